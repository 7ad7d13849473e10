"""PPO whose responses real vLLM samples, on the CPU. `make test-vllm` has what it needs."""

import math
from importlib.util import find_spec

import pytest
import torch
from transformers import AutoModelForCausalLM

from fino1.spec.ppo import RolloutBlock
from fino1.train.ppo import vllm_rollout
from fino1.train.ppo.rollout import ignore
from tests.train.conftest import LLAMA, PPO, SFT, WHOLE, TrainRun
from tests.train.test_resume import killed_at, same_as

SAMPLING = {"response_length": 12, "temperature": 0.7, "stop_tokens": [1], "batch_size": 4, "between": ignore}
VLLM = {**PPO, "ppo": {**PPO["ppo"], "rollout": {"engine": "vllm", "gpu_memory_utilization": 0.1}}}

pytestmark = [pytest.mark.slow, pytest.mark.skipif(not find_spec("vllm"), reason="make test-vllm")]


@pytest.fixture(autouse=True)
def small(monkeypatch):
    monkeypatch.setenv("VLLM_CPU_KVCACHE_SPACE", "1")  # GiB


@pytest.fixture(scope="module")
def sft(undisturbed):
    init = {"vocab_size": 400, **LLAMA, "hidden_size": 64}  # heads of 32: vLLM has no smaller ones on a CPU
    return undisturbed("sft-for-vllm", {**SFT, "model": {"init": init}})


@pytest.fixture(scope="module")
def document(sft):
    return {**VLLM, "model": {"path": str(sft.directory / "model")}}


@pytest.fixture(scope="module")
def whole(document, undisturbed):
    return undisturbed("ppo-vllm", document)


def test_what_is_sampled_has_the_log_probabilities_of_the_weights_handed_over_last(sft):
    folder = sft.directory / "model"
    policy = AutoModelForCausalLM.from_pretrained(folder, dtype=torch.float32)
    engine = vllm_rollout.Engine((folder, None), RolloutBlock(gpu_memory_utilization=0.1), torch.float32, 64, 1)
    prompts, keys = [[5 + i, 17, 40 + i] for i in range(9)], [(1, 0, i) for i in range(9)]

    def distance():
        """Root mean square, over all tokens, to the policy's log-probabilities."""
        found = engine.sample(prompts, keys, **SAMPLING)
        squares = []
        for prompt, response in zip(prompts, found, strict=True):
            with torch.no_grad():
                logits = policy(torch.tensor([prompt + response.tokens])).logits[0, len(prompt) - 1 : -1]
            own = (logits / SAMPLING["temperature"]).log_softmax(-1)[range(len(response.tokens)), response.tokens]
            squares += (own - torch.tensor(response.logprobs)).square().tolist()
        return math.sqrt(sum(squares) / len(squares))

    engine.hand_over(policy.named_parameters())
    assert distance() < 1e-4
    with torch.no_grad():
        for weight in policy.parameters():
            weight += 0.05 * torch.randn_like(weight)
    assert distance() > 0.05  # the weights before
    engine.hand_over(policy.named_parameters())
    assert distance() < 1e-4
    first, again = (engine.sample(prompts, keys, **SAMPLING) for _ in range(2))
    assert [each.tokens for each in first] == [each.tokens for each in again]
    assert [each.tokens for each in engine.sample(prompts[::-1], keys[::-1], **SAMPLING)][::-1] == [
        each.tokens for each in first
    ]


def test_an_update_learns_from_it(whole, document, tmp_path):
    mismatches = [line["rollout/mismatch_kl"] for line in whole.lines() if "rollout/mismatch_kl" in line]
    assert len(mismatches) == 4 and max(map(abs, mismatches)) < 1e-6
    assert all(math.isfinite(line["loss/policy_avg"]) for line in whole.lines() if "loss/policy_avg" in line)
    ppo = TrainRun({**PPO, "model": document["model"]}, tmp_path).finished()
    greedy = [[line["eval/accuracy"] for line in run.lines() if line["update"] == 0] for run in (whole, ppo)]
    assert greedy[0] == greedy[1]  # before the first update both are one model


def test_killed_it_ends_the_same(whole, document, tmp_path):
    run = TrainRun(document, tmp_path)
    killed_at(run, "kill@ppo-write:1", "kill@optimizer:7", "kill@model:1")
    same_as(whole, run)


def test_two_ranks_sample_what_one_does(whole, document, tmp_path):
    two = TrainRun({**document, **WHOLE}, tmp_path, ranks=2).finished()
    keys = ("objective/scores", "objective/entropy", "response_length")
    first, other = ([line[key] for key in keys] for line in (whole.lines()[1], two.lines()[1]))
    assert first == pytest.approx(other, abs=1e-3)
