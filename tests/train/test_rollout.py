"""Sampling: the tokens that transformers would generate, in whatever batch, with the log-probabilities of a full pass."""

import numpy as np
import pytest
import torch
from transformers import LlamaForCausalLM

from fino1.train import attention
from fino1.train.ppo import decode, rollout
from tests.train.conftest import llama_config

STOP, PAD, LENGTH = 1, 0, 24


@pytest.fixture(scope="module", params=["slab", "any"])
def policy(request):
    """Sampled from with our cache, and with the one that any architecture can have."""
    torch.manual_seed(3)
    config = llama_config(bos_token_id=None, eos_token_id=STOP, pad_token_id=PAD)
    policy = LlamaForCausalLM(config).eval()
    assert request.param == "any" or attention.separate(policy)
    return policy


@pytest.fixture(scope="module")
def prompts():
    generator = torch.Generator().manual_seed(5)
    return [torch.randint(2, 40, (n,), generator=generator).tolist() for n in (3, 17, 5, 9, 9, 1, 30, 12)]


def sample(policy, prompts, draws=None, **options):
    settings = {"response_length": LENGTH, "temperature": 1.0, "stop_tokens": [STOP], "pad_token": PAD, "batch_size": 8}
    return rollout.sample(policy, prompts, draws, **{**settings, **options})


def drawn(prompts, update=0):
    return [rollout.uniforms((11, update, i), LENGTH) for i in range(len(prompts))]


def tokens(responses):
    return [response.tokens for response in responses]


def logprobs_of(policy, prompt, response, temperature=1.0):
    with torch.no_grad():
        logits = policy(torch.tensor([prompt + response])).logits[0, len(prompt) - 1 : -1].float()
    return torch.log_softmax(logits / temperature, -1).gather(-1, torch.tensor(response)[:, None]).squeeze(-1)


def watch(policy):
    """Rows and tokens of each of the passes that follow, and the hook to remove."""
    shapes = []

    def see(_, inputs):
        shapes.append((*inputs[0].shape, 1)[:2])

    return shapes, policy.get_input_embeddings().register_forward_pre_hook(see)


def test_greedy_tokens_are_those_that_transformers_generates(policy, prompts):
    found = tokens(sample(policy, prompts))
    for prompt, response in zip(prompts, found, strict=True):
        ids = torch.tensor([prompt])
        wanted = policy.generate(ids, attention_mask=torch.ones_like(ids), max_new_tokens=LENGTH, do_sample=False)
        assert response == wanted[0, len(prompt) :].tolist()


def test_rows_that_have_ended_leave_the_batch(policy, prompts):
    found = tokens(sample(policy, prompts, drawn(prompts)))
    lengths = sorted(map(len, found))
    assert lengths[0] < lengths[-1]  # else nothing has been tried
    shapes, hook = watch(policy)
    sample(policy, prompts, drawn(prompts))
    hook.remove()
    is_padded = not attention.is_separate(policy)
    read = len(prompts) * max(map(len, prompts)) if is_padded else sum(map(len, prompts))
    assert [rows * columns for rows, columns in shapes] == [
        read,
        *(sum(length > step for length in lengths) for step in range(1, lengths[-1])),
    ]


def test_a_prompt_that_waits_takes_the_row_of_a_response_that_has_ended(policy, prompts):
    """While one waits, each of 3 rows decodes; in batches rows are empty until all of a batch have ended."""
    longer = [prompt for prompt in prompts if len(prompt) > 1]
    shapes, hook = watch(policy)
    sample(policy, longer, drawn(longer, update=1), batch_size=3)
    hook.remove()
    last = max(i for i, (_, columns) in enumerate(shapes) if columns > 1)
    waited = [rows for rows, columns in shapes[:last] if columns == 1]
    assert (set(waited) == {3}) == attention.is_separate(policy)


def test_a_prompt_of_several_responses_is_read_once(policy, prompts):
    twice = [prompt for prompt in prompts for _ in range(2)]
    shapes, hook = watch(policy)
    found = sample(policy, twice, drawn(twice), batch_size=len(twice))
    hook.remove()
    assert shapes[0] == (1, sum(map(len, prompts))) or not attention.is_separate(policy)
    for i, (prompt, response) in enumerate(zip(twice, found, strict=True)):
        assert response.tokens == sample(policy, [prompt], [drawn(twice)[i]])[0].tokens
    assert found[0].tokens != found[1].tokens


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_fused_projections_decode_what_the_policy_does(prompts, dtype, monkeypatch):
    """Groups of heads, biases, a scaled rotation, a head of its own; under autocast its products round as the policy's do."""
    torch.manual_seed(4)
    rotation = {"rope_type": "linear", "factor": 2.0, "rope_theta": 10000.0}
    config = llama_config(attention_bias=True, mlp_bias=True, rope_parameters=rotation, tie_word_embeddings=False)
    config.num_attention_heads, config.num_key_value_heads, config.num_hidden_layers = 4, 2, 2
    policy = LlamaForCausalLM(config).eval()
    assert attention.separate(policy) and decode.fuse(policy)
    with torch.no_grad():
        for weight in policy.parameters():
            weight += 0.1 * torch.randn(weight.shape)
    with torch.autocast("cpu", torch.bfloat16, enabled=dtype == torch.bfloat16):
        fused = sample(policy, prompts, drawn(prompts))
        monkeypatch.setattr(decode, "fuse", lambda policy: None)
        plain = sample(policy, prompts, drawn(prompts))
    if dtype == torch.float32:
        assert tokens(fused) == tokens(plain)
    gaps = [
        abs(a - b)
        for one, other in zip(fused, plain, strict=True)
        for a, b in zip(one.logprobs[: same(one, other)], other.logprobs, strict=False)
    ]
    assert len(gaps) > 20
    assert max(gaps) < (2e-5 if dtype == torch.float32 else 0.05)


def same(one, other):
    """How many tokens two responses begin with alike."""
    parted = [i for i, (a, b) in enumerate(zip(one.tokens, other.tokens, strict=False)) if a != b]
    return parted[0] if parted else len(one.tokens)


@pytest.mark.parametrize("batch_size", [1, 3, 5])
def test_sampled_tokens_do_not_depend_on_the_batch(policy, prompts, batch_size):
    whole = sample(policy, prompts, drawn(prompts))
    parts = sample(policy, prompts, drawn(prompts), batch_size=batch_size)
    assert tokens(whole) == tokens(parts)
    for a, b in zip(whole, parts, strict=True):
        np.testing.assert_allclose(a.logprobs, b.logprobs, atol=2e-5)


def test_sampled_tokens_do_not_depend_on_the_company_or_the_rank(policy, prompts):
    whole, draws = sample(policy, prompts, drawn(prompts)), drawn(prompts)
    for rank in range(2):
        mine = range(rank, len(prompts), 2)
        share = sample(policy, [prompts[i] for i in mine], [draws[i] for i in mine])
        assert tokens(share) == [whole[i].tokens for i in mine]


@pytest.mark.parametrize("temperature", [1.0, 0.5])
def test_logprobs_are_those_of_a_full_pass(policy, prompts, temperature):
    for prompt, response in zip(prompts, sample(policy, prompts, drawn(prompts), temperature=temperature), strict=True):
        wanted = logprobs_of(policy, prompt, response.tokens, temperature)
        torch.testing.assert_close(torch.tensor(response.logprobs), wanted, atol=2e-5, rtol=1e-5)


def test_a_response_ends_with_its_first_stop_token(policy, prompts):
    found = tokens(sample(policy, prompts, drawn(prompts)))
    assert any(response[-1] == STOP for response in found)
    assert all(STOP not in response[:-1] for response in found)
    assert all(len(response) == LENGTH for response in found if response[-1] != STOP)


def test_without_stop_tokens_it_goes_on(policy, prompts):
    found = tokens(sample(policy, prompts, drawn(prompts), stop_tokens=[]))
    assert {len(response) for response in found} == {LENGTH}
    assert any(STOP in response for response in found)


def test_low_temperature_is_greedy(policy, prompts):
    greedy = tokens(sample(policy, prompts))
    assert tokens(sample(policy, prompts, drawn(prompts), temperature=1e-4)) == greedy


def test_tokens_are_drawn_in_proportion(policy):
    logits = torch.tensor([[0.2, 0.5, 0.0, 0.3]]).log()
    draws = (torch.arange(1000, dtype=torch.float64) + 0.5) / 1000
    picked, logs = rollout._pick(logits.expand(len(draws), -1), draws, 1.0)
    assert torch.bincount(picked, minlength=4).tolist() == [200, 500, 0, 300]
    torch.testing.assert_close(logs, logits[0][picked])
    cold, _ = rollout._pick(logits.expand(len(draws), -1), draws, 0.5)  # squares: 4, 25, 0, 9 of 38
    assert torch.bincount(cold, minlength=4).tolist() == pytest.approx([105, 658, 0, 237], abs=1)


def test_a_token_of_many_is_the_one_that_a_sum_over_all_finds():
    """Of a vocabulary of several blocks, the last of them filled up; most tokens have next to no chance."""
    generator = torch.Generator().manual_seed(2)
    logits = 12 * torch.randn(64, 1000, generator=generator)
    draws = torch.rand(64, dtype=torch.float64, generator=generator)
    ends = torch.log_softmax(logits, -1).double().exp().cumsum(-1)
    wanted = torch.searchsorted(ends, draws[:, None] * ends[:, -1:], right=True).squeeze(-1)
    assert torch.equal(rollout._pick(logits, draws, 1.0)[0], wanted)


def test_the_last_token_is_never_overrun():
    logits = torch.tensor([[0.0, float("-inf")]])
    picked, _ = rollout._pick(logits, torch.tensor([np.nextafter(1, 0)], dtype=torch.float64), 1.0)
    assert picked.tolist() == [0]


def test_numbers_are_keyed_by_seed_update_and_prompt():
    first = rollout.uniforms((1, 2, 3), 8)
    assert (first == rollout.uniforms((1, 2, 3), 8)).all()
    assert (first[:4] == rollout.uniforms((1, 2, 3), 4)).all()
    others = [rollout.uniforms(key, 8) for key in ((0, 2, 3), (1, 3, 3), (1, 2, 4), (2, 1, 3))]
    assert all((first != other).all() for other in others)
    assert ((first >= 0) & (first < 1)).all()


def test_between_is_told_how_many_are_finished_and_may_stop_it(policy, prompts):
    finished = []
    sample(policy, prompts, drawn(prompts), batch_size=3, between=finished.append)
    assert finished == [3, 6, 8]

    def stop(count):
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        sample(policy, prompts, drawn(prompts), between=stop)
