"""Nothing is lost (docs/design.md C6): runs killed and stopped at exact points end as if nothing had happened."""

import json
import os
import signal
import stat
import subprocess
import sys
import time

import pytest
import yaml

from tests.train.conftest import ROOT, SFT, TrainRun

pytestmark = pytest.mark.slow

KILLED, TERMINATED = 137, 143


def same_as(whole, run):
    """Does `run` leave what `whole`, which nothing interrupted, has left?"""
    assert run.sha256 == whole.sha256
    assert run.lines() == whole.lines()  # hence each step exactly once
    assert run.steps == whole.steps
    assert sorted(p.name for p in run.directory.iterdir()) == sorted(p.name for p in whole.directory.iterdir())
    assert sorted(p.name for p in run.checkpoints.iterdir()) == sorted(p.name for p in whole.checkpoints.iterdir())


def killed_at(run, *faults):
    """Start the run over and over, each time with the next fault, and once without; every fault must have happened."""
    for number in range(1, len(faults) + 1):
        assert run.start(",".join(faults)) == KILLED, run.output
        assert run.happened() == number, run.output
    assert run.start(",".join(faults)) == 0, run.output


def test_sft_killed_wherever_it_hurts_ends_the_same(sft, tmp_path):
    assert sft.steps == [10, 11]  # save_total_limit 2; the last step whatever save_steps
    run = TrainRun(SFT, tmp_path)
    killed_at(
        run,
        "kill@backward:5",  # half of step 3; 2 is there
        "kill@sft-write:1",  # writing 4: the weights are there, the optimizer is not
        "kill@renamed:2",  # 4 and 6, which is there and nothing is pruned
        "kill@prune:1",  # at the start: 6 is there, of the one that is too many a part is gone
        "kill@backward:8",  # half of step 11, in the second epoch; 10 is there
        "kill@model:1",  # 10 and 11 are there, and there is nothing to train
        "kill@between:1",  # model/ is there, done.json is not
    )
    same_as(sft, run)


def test_ppo_killed_wherever_it_hurts_ends_the_same(ppo, ppo_document, tmp_path):
    assert ppo.steps == [3, 4]
    run = TrainRun(ppo_document, tmp_path)
    killed_at(
        run,
        "kill@rollout:90",  # held-out rows first, then update 1: there is no checkpoint
        "kill@ppo-write:1",  # writing 1: the weights are there, the optimizer is not
        "kill@optimizer:7",  # update 2, second mini-batch; 1 is there
        "kill@renamed:2",  # 2 and 3 are there and nothing is pruned
        "kill@model:1",  # value_model/ is there, model/ is not
        "kill@between:1",
    )
    same_as(ppo, run)
    assert run.lines("generations.jsonl") == ppo.lines("generations.jsonl")


def test_sigterm_writes_a_checkpoint_of_that_moment(sft, tmp_path):
    run = TrainRun(SFT, tmp_path)
    assert run.start("term@backward:5") == TERMINATED, run.output
    assert run.steps == [2, 3]  # 3 was under way and is not of save_steps
    assert run.start() == 0, run.output
    same_as(sft, run)
    assert run.start() == 0  # nothing is left to do
    assert "progress" not in run.output


def test_sigterm_in_a_rollout_keeps_the_state_before_the_update(ppo, ppo_document, tmp_path):
    run = TrainRun(ppo_document, tmp_path)
    assert run.start("term@rollout:15,term@optimizer:5") == TERMINATED, run.output
    assert run.steps == [0], run.output
    assert run.start("term@rollout:15,term@optimizer:5") == TERMINATED, run.output
    assert run.steps == [1, 2], run.output  # while it learns, the update is brought to its end
    assert run.refused(ranks=2)
    assert run.start() == 0, run.output
    same_as(ppo, run)


def test_the_local_backend_starts_it_again(sft, tmp_path):
    run = TrainRun(SFT, tmp_path)  # of the same hash, so in the same directory
    file = tmp_path / "run.yaml"
    file.write_text(yaml.safe_dump(SFT))
    command = [sys.executable, "-m", "fino1", "run", str(file), "--name", "run", "--work", str(tmp_path)]
    faults = "term@backward:5,kill@sft-write:1"
    done = subprocess.run(command, cwd=ROOT, env=run.environment(faults), capture_output=True, text=True, timeout=180)
    assert done.returncode == 0, done.stdout + done.stderr
    assert run.happened() == 2
    assert "ended with 143" in done.stderr and "ended with 137" in done.stderr
    same_as(sft, run)


def test_a_damaged_checkpoint_is_passed_over_and_another_number_of_ranks_refused(sft, tmp_path):
    run = TrainRun(SFT, tmp_path)
    assert run.start("kill@written:4") == KILLED
    assert run.steps == [4, 6]
    assert run.refused(ranks=2)
    weights = run.checkpoints / "step-00000006" / "model.safetensors"
    os.truncate(weights, weights.stat().st_size // 2)
    assert run.steps == [4]
    assert run.start("kill@written:4,kill@written:2") == KILLED, run.output  # 6 once more, and 8
    assert run.steps == [4, 6]
    (run.checkpoints / "step-00000006" / "manifest.json").unlink()
    assert run.start() == 0, run.output
    same_as(sft, run)


def test_ranks_end_with_a_killed_launcher(tmp_path):
    run = TrainRun({**SFT, "sft": {**SFT["sft"], "max_steps": 10_000}}, tmp_path, ranks=2)
    with subprocess.Popen(run.command, env=run.environment(), stdout=subprocess.DEVNULL) as launcher:
        path = run.directory / "metrics.jsonl"
        while not (path.exists() and path.read_text().strip()):
            assert launcher.poll() is None
            time.sleep(0.1)
        children = f"/proc/{launcher.pid}/task/{launcher.pid}/children"
        with open(children) as file:
            ranks = [int(pid) for pid in file.read().split()]
        assert len(ranks) == 2
        launcher.send_signal(signal.SIGKILL)
    deadline = time.monotonic() + 5
    while any(map(_lives, ranks)):
        assert time.monotonic() < deadline, "ranks outlived their launcher"
        time.sleep(0.05)


def _lives(pid):
    try:
        with open(f"/proc/{pid}/stat") as file:
            return file.read().rpartition(")")[2].split()[0] != "Z"
    except FileNotFoundError:
        return False


@pytest.mark.parametrize("method", ["sft", "ppo"])
def test_all_may_read_the_model(method, request):
    run = request.getfixturevalue(method)
    for folder in ("model", "value_model") if method == "ppo" else ("model",):
        modes = {stat.S_IMODE(p.stat().st_mode) for p in (run.directory / folder).iterdir()}
        assert modes == {0o644}
    assert json.loads((run.directory / "done.json").read_text())["world_size"] == 1
