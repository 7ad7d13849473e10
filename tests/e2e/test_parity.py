"""Do the CLI's runs run, to the leaderboard? And does `fino1-k8s run` make the same models here, without a cluster?"""

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from fino1 import exits
from tests.cluster.tools.node import Node
from tests.e2e.shell import RUNS, SHORT_PPO, SHORT_SFT, Shell, new_shell

SHORT_EVAL = 'eval.tasks=[{"task": "ledger", "size": 20}]'


@pytest.fixture(scope="module")
def trained(node: Node) -> Iterator[Shell]:
    """Where the runs `sft` and `ppo` were made, in pods."""
    with new_shell(node) as shell:
        shell.submit("sft-tiny", "sft", SHORT_SFT)
        shell.submit("ppo-tiny", "ppo", *SHORT_PPO)
        yield shell


def run(work: Path, name: str, *settings: str) -> subprocess.Popen:
    """Start a run file of the tiny model here, under its short name."""
    options = [word for setting in settings for word in ("--set", setting)]
    command = [sys.executable, "-m", "fino1.k8s.cli", "run", RUNS / f"{name}-tiny.yaml", "--name", name]
    log = (work / f"{name}.log").open("wb")
    return subprocess.Popen([*map(str, command), "--work", str(work), *options], stdout=log, stderr=log)


def artefact(work: Path, name: str) -> str:
    (directory,) = work.glob(f"runs/{name}-*")
    return json.loads((directory / "done.json").read_text())["artefact_sha256"]


def kill_the_rank_after(work: Path, name: str, step: int) -> None:
    """SIGKILL the process that trains, once it has come so far."""
    deadline = time.monotonic() + 300
    while f'"step": {step}' not in "".join(file.read_text() for file in work.glob(f"runs/{name}-*/metrics.jsonl")):
        assert time.monotonic() < deadline, (work / f"{name}.log").read_text()
        time.sleep(0.1)
    launcher = subprocess.check_output(["pgrep", "-o", "-f", f"fino1 train.*{work}"], text=True).strip()
    ranks = subprocess.check_output(["pgrep", "-P", launcher], text=True).split()
    os.kill(int(ranks[0]), signal.SIGKILL)


@pytest.mark.timeout(1200)
def test_ppo_and_the_evaluation_take_what_the_runs_before_them_made(trained: Shell, tmp_path: Path) -> None:
    shell = trained
    assert shell.artefact("ppo") != shell.artefact("sft")
    shell.submit("eval-tiny", "eval", SHORT_EVAL)
    shell.fino1("fetch", "eval", "--to", tmp_path / "eval")
    shell.fino1("fetch", "ppo", "--to", tmp_path / "ppo")
    assert list(tmp_path.glob("ppo/**/model/config.json"))
    samples = [json.loads(line) for file in tmp_path.glob("eval/**/samples.jsonl") for line in file.open()]
    assert len(samples) == 2 * 20 and all(sample["completion"] for sample in samples)
    said = shell.fino1("report", "sft", "ppo", "eval", "--to", tmp_path / "report")
    board = json.loads((tmp_path / "report" / "report" / "leaderboard.json").read_text())
    assert "| sft |" in said and "| ppo |" in said and board


@pytest.mark.timeout(1200)
def test_a_run_here_killed_or_not_makes_what_the_pod_makes(trained: Shell, tmp_path: Path) -> None:
    here = run(tmp_path, "sft", SHORT_SFT, "sft.save_steps=10")
    kill_the_rank_after(tmp_path, "sft", 20)
    assert here.wait() == 0, (tmp_path / "sft.log").read_text()
    assert "attempt 2" in (tmp_path / "sft.log").read_text()
    assert run(tmp_path, "ppo", *SHORT_PPO).wait() == 0, (tmp_path / "ppo.log").read_text()
    assert run(tmp_path, "eval", SHORT_EVAL).wait() == 0, (tmp_path / "eval.log").read_text()
    for name in ("sft", "ppo"):
        assert artefact(tmp_path, name) == trained.artefact(name)


def test_a_mistake_here_is_told_once(tmp_path: Path) -> None:
    here = run(tmp_path, "ppo", *SHORT_PPO)  # there is no run `sft`
    assert here.wait() == exits.USER
    said = (tmp_path / "ppo.log").read_text()
    assert said.count("expected a finished run") == 1 and "attempt" not in said
