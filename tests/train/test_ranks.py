"""Two ranks that each hold the whole model do what one does, up to rounding, and lose nothing either. (Shards: test_shard)"""

import json
import subprocess
import sys

import pytest
import safetensors.torch
import torch
from transformers import AutoModelForCausalLM, AutoTokenizer

from tests.train.conftest import PPO, SFT, WHOLE, TrainRun

pytestmark = pytest.mark.slow

CLOSE = 1e-4  # relative
SHARDED = {"launch": {"zero_stage": 3}}
SFT_WHOLE = {**SFT, **WHOLE}


def compare(one, two, keys):
    """The largest relative difference of these figures, line by line."""
    assert [line.keys() for line in one] == [line.keys() for line in two]
    pairs = [(a[key], b[key]) for a, b in zip(one, two, strict=True) for key in keys if key in a]
    assert pairs and all(any(key in line for line in one) for key in keys)
    return max(abs(x - y) / max(abs(x), 1e-2) for x, y in pairs)  # a loss may be near 0, its tokens' are of size 1


def rows(run):
    """Which rows, by their counted tokens, does each step take? Whichever rank takes them, in whichever part."""
    steps = {}
    for rank in range(run.ranks):
        for part in run.saw("rows", rank):
            steps.setdefault(part["step"], []).extend(part["rows"])
    return {step: sorted(taken) for step, taken in steps.items()}


def started(tmp, document, *launches):
    """The same run by one rank, and by two with each of these `launch` blocks."""
    runs = [TrainRun({**document, **launches[0]}, tmp / "one")]
    runs += [TrainRun({**document, **launch}, tmp / f"two-{i}", ranks=2) for i, launch in enumerate(launches)]
    for run in runs:
        assert run.start() == 0, run.output
    return runs


def test_sft_of_two_ranks_has_the_rows_and_losses_of_one(sft, sft_of_two):
    assert sft_of_two.steps == sft.steps
    assert rows(sft_of_two) == rows(sft)
    keys = ["loss", "grad_norm", "num_tokens", "epoch", "eval/loss"]
    assert compare(sft.lines(), sft_of_two.lines(), keys) < CLOSE
    assert json.loads((sft_of_two.directory / "done.json").read_text())["world_size"] == 2
    a, b = (safetensors.torch.load_file(run.directory / "model" / "model.safetensors") for run in (sft, sft_of_two))
    for name in a:
        torch.testing.assert_close(a[name], b[name], atol=1e-4, rtol=1e-3)


WITH_A_GPU = """
import sys, torch
from fino1.__main__ import main

torch.cuda.device_count = lambda: 1  # in the launcher; its rank finds none
sys.exit(main(sys.argv[1:]))
"""


def test_a_rank_with_a_gpu_is_a_python_of_its_own_and_does_the_same(sft, tmp_path):
    run = TrainRun(SFT, tmp_path)
    arguments = [str(part) for part in run.command[run.command.index("train") :]]
    command = [sys.executable, "-c", WITH_A_GPU, *arguments]
    done = subprocess.run(command, env=run.environment(), capture_output=True, text=True, timeout=180)
    assert done.returncode == 0, done.stderr
    assert run.sha256 == sft.sha256


def test_sft_of_two_ranks_killed_and_stopped_ends_the_same(sft_of_two, tmp_path):
    run = TrainRun(SFT_WHOLE, tmp_path, ranks=2)
    faults = "kill-rank@backward:10@1,term@backward:2@0"  # step 10, in the second epoch, where 9 ends
    assert [run.start(faults) for _ in range(2)] == [137, 143], run.output
    assert run.refused(ranks=1)
    assert run.start(faults) == 0, run.output
    assert run.sha256 == sft_of_two.sha256
    assert run.lines() == sft_of_two.lines()


def test_packed_sft_of_two_ranks_has_the_packs_and_losses_of_one(tmp_path):
    parts = {"packing": True, "per_device_train_batch_size": 2, "max_steps": 10, "logging_steps": 1, "eval_steps": 5}
    packed = {**SFT_WHOLE, "sft": {**SFT["sft"], **parts}}
    one, *others = started(tmp_path, packed, WHOLE, SHARDED)
    assert [line["step"] for line in one.lines() if "loss" in line] == list(range(1, 11))
    assert all(part["starts"] > len(part["rows"]) for part in one.saw("rows"))  # several rows are one
    for two in others:
        assert rows(two) == rows(one)
        assert compare(one.lines(), two.lines(), ["loss", "grad_norm", "num_tokens", "eval/loss"]) < CLOSE


@pytest.fixture
def talker(sft, tmp_path):
    """The fine-tuned model, which has not learnt to stop, with an end that it comes to now and then."""
    source = sft.directory / "model"
    model, tokenizer = AutoModelForCausalLM.from_pretrained(source), AutoTokenizer.from_pretrained(source)
    with torch.no_grad():
        hidden = model.model(torch.arange(len(tokenizer))[None]).last_hidden_state.mean((0, 1))
        model.get_input_embeddings().weight[tokenizer.eos_token_id] = 8 * hidden / hidden.square().sum()
    for part in (model, tokenizer):
        part.save_pretrained(tmp_path / "talker")
    return str(tmp_path / "talker")


def test_ppo_of_two_ranks_has_the_responses_and_losses_of_one(talker, tmp_path):
    block = {**PPO["ppo"], "total_episodes": 48, "response_length": 40, "missing_eos_penalty": 1.0}
    one, *others = started(tmp_path, {**PPO, "model": {"path": talker}, "ppo": block}, WHOLE, SHARDED)
    batches = one.saw("responses")
    assert len(batches) == 3
    for batch in batches:  # a mean over ranks of their means would be another
        lengths = [len(response) for response in batch["responses"]]
        assert len(set(lengths)) > 4 and sum(lengths[::2]) != sum(lengths[1::2])
    for two in others:
        assert two.saw("responses", 0) == two.saw("responses", 1)
        same_experience(batches, two.saw("responses"))
        norms = [[{"norm": line["norm"]} for line in run.saw("norm")] for run in (one, two)]
        assert compare(*norms, ["norm"]) < CLOSE
        exact = ["update", "episode", "objective/scores", "response_length", "val/num_eos_tokens", "lr"]
        assert compare(one.lines(), two.lines(), [*exact, "eval/accuracy"]) == 0
        assert two.lines("generations.jsonl") == one.lines("generations.jsonl")
        keys = ["objective/entropy", "objective/rlhf_reward", "loss/policy_avg", "loss/value_avg", "val/ratio"]
        keys += ["policy/approxkl_avg", "policy/clipfrac_avg", "policy/entropy_avg"]
        assert compare(one.lines(), two.lines(), keys) < CLOSE


def same_experience(one, two):
    """The same tokens, and what follows from them up to rounding."""
    for a, b in zip(one, two, strict=True):
        assert a["responses"] == b["responses"]
        for name in ("scores", "logprobs", "ref_logprobs", "values", "kl", "rewards", "advantages", "returns"):
            torch.testing.assert_close(torch.tensor(b[name]), torch.tensor(a[name]), atol=1e-5, rtol=1e-4)
