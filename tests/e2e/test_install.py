"""Do the charts' and the CLI's runs run? From `helm install` to the leaderboard, as a new user would type it."""

import json
from pathlib import Path

from tests.e2e.shell import RUNS, Shell

SHORT_SFT = "data.size=1600"  # 100 steps: this tests the way, not the learning (make demo does)
SHORT_PPO = "ppo.total_episodes=512"
SHORT_EVAL = 'eval.tasks=[{"task": "ledger", "size": 20}]'


def test_helm_installs_trains_tests_and_leaves_the_results(shell: Shell) -> None:
    said = shell.helm("install", "fino1-sft", "charts/train", "-f", RUNS / "sft-tiny.yaml", "--set", SHORT_SFT)
    assert "fino1-k8s status fino1-sft" in said
    shell.fino1("wait", "fino1-sft")
    assert "Succeeded" in shell.fino1("status", "fino1-sft")
    assert '"done": 100, "total": 100' in shell.fino1("logs", "fino1-sft")
    assert (shell.directory("fino1-sft") / "config.json").exists()
    assert "nothing is missing" in shell.helm("test", "fino1-sft", "--logs")
    before = shell.artefact("fino1-sft")
    shell.helm("uninstall", "fino1-sft")
    assert shell.get("pods,pytorchjobs")["items"] == []
    assert {claim["status"]["phase"] for claim in shell.get("persistentvolumeclaims")["items"]} == {"Bound"}
    assert shell.artefact("fino1-sft") == before


def test_ppo_and_the_evaluation_take_what_the_runs_before_them_made(shell: Shell, tmp_path: Path) -> None:
    shell.submit("sft-tiny", "sft", SHORT_SFT)
    shell.submit("ppo-tiny", "ppo", SHORT_PPO)
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
