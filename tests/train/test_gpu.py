"""The same runs on a GPU with bf16: `make test-gpu`."""

import json
import subprocess
import sys

import pytest
import torch

pytestmark = [
    pytest.mark.gpu,
    pytest.mark.skipif(not torch.cuda.is_available(), reason="no GPU on this machine"),
]

SFT = {
    "data.size": 640,
    "sft.per_device_train_batch_size": 16,
    "sft.bf16": "true",
    "sft.gradient_checkpointing": "true",
}
PPO = {
    "data.size": 640,
    "ppo.total_episodes": 128,
    "ppo.global_batch_size": 64,
    "ppo.bf16": "true",
    "ppo.gradient_checkpointing": "true",
}


def run(name, work, settings):
    options = [part for key, value in settings.items() for part in ("--set", f"{key}={value}")]
    command = [sys.executable, "-m", "fino1.k8s.cli", "run", f"{name}-tiny", "--name", name, "--work", work]
    subprocess.run([*command, "--set", "gpus_per_node=1", *options], check=True, timeout=500)
    (directory,) = (work / "runs").glob(f"{name}-*")
    lines = [json.loads(line) for line in (directory / "metrics.jsonl").read_text().splitlines()]
    assert (directory / "done.json").is_file()
    return lines


def test_sft_then_ppo(tmp_path):
    losses = [line["loss"] for line in run("sft", tmp_path, SFT)]
    assert losses[-1] < losses[0]
    updates = run("ppo", tmp_path, PPO)
    assert len([line for line in updates if "objective/kl" in line]) == 2
    assert abs(updates[-1]["val/ratio"] - 1) < 0.5
