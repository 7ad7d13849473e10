"""Two ranks that each hold the whole model do what one does, up to rounding, and lose nothing either. (Shards: test_shard)"""

import json

import pytest
import safetensors.torch
import torch

from .conftest import SFT as ONE
from .conftest import WHOLE, TrainRun

pytestmark = pytest.mark.slow

CLOSE = 1e-4  # relative
SFT = {**ONE, **WHOLE}


def compare(one, two, keys):
    """The largest relative difference of these figures, line by line."""
    assert [line.keys() for line in one] == [line.keys() for line in two]
    pairs = [(a[key], b[key]) for a, b in zip(one, two, strict=True) for key in keys if key in a]
    assert pairs
    return max(abs(x - y) / max(abs(x), 1e-3) for x, y in pairs)


def test_sft_of_two_ranks_has_the_losses_of_one(sft, sft_of_two):
    # 60 rows are no whole number of global batches of 8, nor of two ranks' batches of 4
    assert sft_of_two.steps == sft.steps
    assert compare(sft.lines(), sft_of_two.lines(), ["loss", "grad_norm", "num_tokens", "epoch"]) < CLOSE
    assert json.loads((sft_of_two.directory / "done.json").read_text())["world_size"] == 2
    a, b = (safetensors.torch.load_file(run.directory / "model" / "model.safetensors") for run in (sft, sft_of_two))
    for name in a:
        torch.testing.assert_close(a[name], b[name], atol=1e-4, rtol=1e-3)


def test_sft_of_two_ranks_killed_and_stopped_ends_the_same(sft_of_two, tmp_path):
    run = TrainRun(SFT, tmp_path, ranks=2)
    faults = "kill-rank@backward:10@1,term@backward:2@0"  # step 10, in the second epoch, where 9 ends
    assert [run.start(faults) for _ in range(3)] == [137, 143, 0], run.output
    assert run.sha256 == sft_of_two.sha256
    assert run.lines() == sft_of_two.lines()


def test_packed_sft_of_two_ranks_has_the_losses_of_one(tmp_path):
    packed = {**SFT, "sft": {**SFT["sft"], "packing": True, "per_device_train_batch_size": 1, "global_batch_size": 4}}
    packed["sft"] |= {"max_steps": 6, "logging_steps": 1}
    runs = [TrainRun(packed, tmp_path / f"{ranks}", ranks) for ranks in (1, 2)]
    for run in runs:
        assert run.start() == 0, run.output
    one, two = (run.lines() for run in runs)
    assert [line["step"] for line in one] == [1, 2, 3, 4, 5, 6]
    assert compare(one, two, ["loss", "grad_norm", "num_tokens"]) < CLOSE


def test_ppo_of_two_ranks_has_the_episodes_and_losses_of_one(ppo, ppo_document, tmp_path):
    run = TrainRun({**ppo_document, **WHOLE}, tmp_path, ranks=2)
    assert run.start() == 0, run.output
    exact = ["update", "episode", "objective/scores", "response_length", "val/num_eos_tokens", "eval/accuracy", "lr"]
    assert compare(ppo.lines(), run.lines(), exact) == 0  # the same responses
    assert run.lines("generations.jsonl") == ppo.lines("generations.jsonl")
    keys = ["objective/kl", "objective/entropy", "objective/rlhf_reward", "loss/policy_avg", "loss/value_avg"]
    assert compare(ppo.lines(), run.lines(), [*keys, "policy/entropy_avg", "val/ratio"]) < 1e-3
    assert compare(ppo.lines()[:2], run.lines()[:2], ["objective/entropy", "loss/value_avg"]) < CLOSE
