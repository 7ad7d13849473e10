"""The maths of PPO against hand-computed tensors, definitions and properties."""

import math
from typing import get_args

import pytest
import torch
import torch.nn.functional as F
import transformers
from hypothesis import given, settings
from hypothesis import strategies as st

from fino1.spec.train import Scheduler
from fino1.train.ppo import rl

MASK = torch.tensor([[True, True, True], [True, True, False]])


def assert_close(found, wanted):
    torch.testing.assert_close(found, torch.as_tensor(wanted, dtype=found.dtype), atol=1e-6, rtol=1e-5)


@pytest.mark.parametrize("kind", get_args(Scheduler))
@pytest.mark.parametrize(("warmup", "updates"), [(0, 1), (0, 7), (1, 20), (3, 7), (20, 20), (8, 157)])
def test_the_schedule_is_transformers_own_to_the_bit_once_it_is_warm(kind, warmup, updates):
    parameter = torch.nn.Parameter(torch.zeros(1))
    theirs = transformers.get_scheduler(kind, torch.optim.SGD([parameter], lr=1.0), warmup, updates)
    ours = rl.schedule(kind, warmup, updates)
    for update in range(updates):
        is_warm = kind == "constant" or update >= warmup
        assert ours(update) == (theirs.get_last_lr()[0] if is_warm else (update + 1) / warmup)
        theirs.optimizer.step()
        theirs.step()


def test_masked_mean_counts_what_is_true():
    assert_close(rl.masked_mean(torch.tensor([[1.0, 2.0, 3.0], [4.0, 5.0, 600.0]]), MASK), 3.0)
    assert_close(rl.masked_mean(torch.ones(2, 3), torch.zeros(2, 3, dtype=torch.bool)), 0.0)


def test_masked_whiten_by_hand():
    # 1, 2, 3, 4, 5: mean 3, variance 2.5 with Bessel's correction
    found = rl.masked_whiten(torch.tensor([[1.0, 2.0, 3.0], [4.0, 5.0, 600.0]]), MASK)
    root = math.sqrt(2.5)
    assert_close(found, [[-2 / root, -1 / root, 0], [1 / root, 2 / root, 0]])


def test_masked_whiten_keeps_the_mean_of_rewards():
    found = rl.masked_whiten(torch.tensor([[1.0, 2.0, 3.0], [4.0, 5.0, 600.0]]), MASK, shift_mean=False)
    assert_close(rl.masked_mean(found, MASK), 3.0)


@pytest.mark.parametrize("estimator", ["k1", "k3"])
def test_kl_is_zero_for_equal_policies(estimator):
    logprobs = torch.randn(2, 3)
    assert_close(rl.kl_penalty(logprobs, logprobs, estimator), torch.zeros(2, 3))


def test_kl_by_hand():
    p, q = torch.log(torch.tensor(0.5)), torch.log(torch.tensor(0.25))
    assert_close(rl.kl_penalty(p, q, "k1"), math.log(2))
    assert_close(rl.kl_penalty(p, q, "k3"), 0.5 - 1 + math.log(2))


def test_both_kl_estimators_are_unbiased():
    p, q = torch.tensor([0.2, 0.3, 0.5]), torch.tensor([0.6, 0.3, 0.1])
    exact = (p * (p / q).log()).sum()
    for estimator in ("k1", "k3"):
        assert_close((p * rl.kl_penalty(p.log(), q.log(), estimator)).sum(), exact)


def test_score_goes_to_the_last_response_token():
    kl = torch.tensor([[0.1, 0.2, 0.3], [0.4, 0.5, 9.0]])
    found = rl.token_rewards(kl, torch.tensor([1.0, 0.1]), MASK, 0.5)
    assert_close(found, [[-0.05, -0.1, 0.85], [-0.2, -0.15, 0.0]])


def test_gae_by_hand():
    # gamma 0.9, lam 0.5. Row 1: deltas 1 + .9·.5 − .4, 0 + .9·.2 − .5, 2 − .2
    rewards = torch.tensor([[1.0, 0.0, 2.0], [0.0, 1.0, 7.0]])
    values = torch.tensor([[0.4, 0.5, 0.2], [0.3, 0.6, 7.0]])
    advantages, returns = rl.gae(rewards, values, MASK, 0.9, 0.5)
    last = 1.8
    middle = -0.32 + 0.45 * last
    first = 1.05 + 0.45 * middle
    short_last = 0.4
    short_first = 0.9 * 0.6 - 0.3 + 0.45 * short_last
    assert_close(advantages, [[first, middle, last], [short_first, short_last, 0.0]])
    assert_close(returns, [[first + 0.4, middle + 0.5, 2.0], [short_first + 0.3, 1.0, 0.0]])


def test_gae_with_lambda_one_is_return_minus_value():
    rewards, values = torch.randn(4, 5), torch.randn(4, 5)
    mask = torch.ones(4, 5, dtype=torch.bool)
    advantages, _ = rl.gae(rewards, values, mask, 1.0, 1.0)
    assert_close(advantages, rewards.flip(1).cumsum(1).flip(1) - values)


@settings(max_examples=30, deadline=None)
@given(st.integers(0, 2**31), st.floats(0, 1), st.floats(0, 1))
def test_gae_equals_its_quadratic_definition(seed, gamma, lam):
    generator = torch.Generator().manual_seed(seed)
    rewards, values = (torch.randn(3, 6, generator=generator, dtype=torch.float64) for _ in range(2))
    lengths = torch.randint(1, 7, (3,), generator=generator)
    mask = torch.arange(6) < lengths[:, None]
    advantages, _ = rl.gae(rewards, values, mask, gamma, lam)
    for b, length in enumerate(lengths.tolist()):
        for t in range(length):
            total = 0.0
            for k in range(t, length):
                following = values[b, k + 1].item() if k + 1 < length else 0.0
                delta = rewards[b, k].item() + gamma * following - values[b, k].item()
                total += (gamma * lam) ** (k - t) * delta
            assert advantages[b, t].item() == pytest.approx(total, abs=1e-9)
        assert not advantages[b, length:].any()


@settings(max_examples=20, deadline=None)
@given(st.integers(0, 2**31))
def test_masked_positions_change_nothing(seed):
    generator = torch.Generator().manual_seed(seed)
    rewards, values, noise = (torch.randn(2, 3, generator=generator) for _ in range(3))
    other_rewards, other_values = torch.where(MASK, rewards, noise), torch.where(MASK, values, 100 * noise)
    for found, wanted in zip(
        rl.gae(other_rewards, other_values, MASK, 0.99, 0.95), rl.gae(rewards, values, MASK, 0.99, 0.95), strict=True
    ):
        assert_close(found, wanted)
    assert_close(rl.masked_whiten(other_values, MASK), rl.masked_whiten(values, MASK))


def loss(logprobs, old_logprobs, advantages, values=None, old_values=None, returns=None, **changes):
    zeros = torch.zeros_like(logprobs)
    settings = {"tokens": len(logprobs), "cliprange": 0.2, "cliprange_value": 0.2, "vf_coef": 0.5} | changes
    return rl.ppo_loss(
        logprobs,
        zeros if values is None else values,
        old_logprobs,
        zeros if old_values is None else old_values,
        advantages,
        zeros if returns is None else returns,
        **settings,
    )


def test_policy_loss_by_hand():
    # ratios 1, 2, 0.5, 2 with advantages 1, 1, −1, −1: −1; clipped −1.2; clipped 0.8; unclipped 2
    ratio = torch.tensor([1.0, 2.0, 0.5, 2.0])
    found = loss(ratio.log(), torch.zeros(4), torch.tensor([1.0, 1.0, -1.0, -1.0]))
    assert_close(found.policy, [-1.0, -1.2, 0.8, 2.0])
    assert_close(found.loss, 0.6 / 4)
    assert found.clipped.tolist() == [False, True, True, False]


def test_value_loss_by_hand():
    # value moved 1.0 from old 0: clipped to 0.2. Return 1: errors 0 and 0.64; return 0: errors 1 and 0.04
    found = loss(
        torch.zeros(2), torch.zeros(2), torch.zeros(2), torch.ones(2), torch.zeros(2), torch.tensor([1.0, 0.0])
    )
    assert_close(found.value, [0.32, 0.5])
    assert_close(found.loss, 0.5 * 0.82 / 2)


def test_equal_policies_give_the_policy_gradient():
    logprobs = torch.zeros(3, requires_grad=True)
    advantages = torch.tensor([1.0, -2.0, 0.5])
    loss(logprobs, torch.zeros(3), advantages).loss.backward()
    assert_close(logprobs.grad, -advantages / 3)


def test_micro_batches_add_up_to_the_mini_batch():
    logprobs, old, advantages, values, old_values, returns = torch.randn(6, 8)
    whole = loss(logprobs, old, advantages, values, old_values, returns, tokens=8).loss
    halves = [
        loss(*(t[part] for t in (logprobs, old, advantages, values, old_values, returns)), tokens=8).loss
        for part in (slice(0, 3), slice(3, 8))
    ]
    assert_close(sum(halves), whole)


@pytest.mark.parametrize("chunk", [1, 3, 4096])
def test_token_logprobs_equal_the_full_softmax(monkeypatch, chunk):
    monkeypatch.setattr(rl, "CHUNK", chunk)
    hidden = torch.randn(5, 4, requires_grad=True)
    weight, bias = torch.randn(7, 4, requires_grad=True), torch.randn(7)
    targets = torch.tensor([0, 6, 3, 3, 1])
    scale = torch.randn(5)

    def logits(h):
        return 3 * torch.tanh(F.linear(h, weight, bias) / 3)

    full = torch.log_softmax(logits(hidden) / 0.7, -1)
    wanted = (full[range(5), targets].detach(), torch.distributions.Categorical(logits=full).entropy().detach())
    for found, each in zip(rl.token_logprobs(hidden, logits, targets, 0.7), wanted, strict=True):
        assert_close(found, each)
    assert rl.token_logprobs(hidden, logits, targets, 0.7, with_entropy=False)[1] is None

    def loss(logprobs, place=slice(None)):
        return (scale[place] * logprobs.exp()).sum()

    total, *found = rl.head_loss(hidden, logits, [weight], targets, 0.7, loss)
    for one, each in zip(found, wanted, strict=True):
        assert_close(one, each)
    whole = loss(full[range(5), targets])
    assert_close(total, whole.detach())
    gradients, others = (torch.autograd.grad(7 * each, (hidden, weight)) for each in (total, whole))
    for gradient, other in zip(gradients, others, strict=True):
        assert_close(gradient, other)


def test_distributions_are_of_float32_under_autocast():
    """Large logits, and near-certain tokens: in bf16 an entropy of 0.02 would be −0.05."""
    hidden = torch.randn(6, 64).bfloat16()
    weight = torch.randn(500, 64).bfloat16()
    weight[3] += 3 * hidden[0]
    targets = torch.arange(6)

    def logits(h):
        return F.linear(h, weight) + 100

    full = torch.log_softmax(logits(hidden).double(), -1)
    with torch.autocast("cpu", torch.bfloat16):
        logprobs, entropy = rl.token_logprobs(hidden, logits, targets, 1.0)
    torch.testing.assert_close(logprobs, full[range(6), targets].float(), atol=2e-5, rtol=0)
    torch.testing.assert_close(entropy, -(full * full.exp()).sum(-1).float(), atol=1e-3, rtol=0)
