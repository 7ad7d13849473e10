"""The maths of PPO as pure functions.

Legend: B episodes, R response tokens (padded to the longest), N response tokens of several episodes laid end to end,
H hidden size, V vocabulary. `mask` is True where a token counts. A score is one number per response, a reward one per token.
"""

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

CHUNK = 256  # positions whose logits exist at once: 256 × 128,256 floats are 0.13 GB

# What two passes of one policy may differ by in a log-probability, with and without bf16: one pads and caches, the other packs.
# A cap or a scale that one of them leaves out gives 0.1 and more. Root mean square; of vLLM the mean, for bf16's rare outliers.
LARGEST_GAP = {True: 0.1, False: 0.001}


def schedule(kind: str, warmup: int, updates: int) -> Callable[[int], float]:
    """Make the function from an update, the first being 0, to the share of the peak learning rate that it learns with.

    Over `warmup` updates the share rises from 1/warmup to 1, then stays (constant_with_warmup) or falls to 0 after the last
    (linear, cosine); `constant` is 1 throughout. After the warm-up, the numbers of Transformers' `get_scheduler`, whose first
    update has a rate of 0: its samples would be paid for and teach nothing.
    """

    def factor(update: int) -> float:
        if kind == "constant":
            return 1.0
        if update < warmup:
            return (update + 1) / warmup
        if kind == "constant_with_warmup":
            return 1.0
        if kind == "linear":
            return max(0.0, (updates - update) / max(1, updates - warmup))
        assert kind == "cosine", kind
        return max(0.0, 0.5 * (1.0 + math.cos(math.pi * ((update - warmup) / max(1, updates - warmup)))))

    return factor


def masked_mean(values: Tensor, mask: Tensor) -> Tensor:
    """Mean of `values` (…) where `mask` (…) is True; 0 where nothing counts."""
    return torch.where(mask, values, 0).sum() / mask.sum().clamp(min=1)


def masked_whiten(values: Tensor, mask: Tensor, shift_mean: bool = True) -> Tensor:
    """`values` (B, R) scaled to unit variance over all that counts (and to mean 0 with `shift_mean`), 0 elsewhere.

    The variance has Bessel's correction; 1e-8 guards the root (TRL 1.12 `masked_whiten`).
    """
    mean = masked_mean(values, mask)
    variance = torch.where(mask, (values - mean) ** 2, 0).sum() / (mask.sum() - 1).clamp(min=1)
    whitened = (values - mean) * torch.rsqrt(variance + 1e-8)
    return torch.where(mask, whitened if shift_mean else whitened + mean, 0)


def kl_penalty(logprobs: Tensor, ref_logprobs: Tensor, estimator: str) -> Tensor:
    """Estimate KL(policy ‖ reference) at each sampled token, any shape.

    k1 = log p/q, unbiased; k3 = q/p − 1 + log p/q, unbiased and never negative (Schulman, "Approximating KL divergence",
    2020). p is the policy, q the reference.
    """
    log_ratio = logprobs - ref_logprobs
    return log_ratio if estimator == "k1" else torch.expm1(-log_ratio) + log_ratio


def token_rewards(kl: Tensor, scores: Tensor, mask: Tensor, kl_coef: float) -> Tensor:
    """Rewards (B, R) from per-token `kl` (B, R) and `scores` (B): −kl_coef · kl, and the score on the last response token.

    The last token is the end of sequence where one was sampled (TRL 1.12 adds the score one position later, on padding:
    trl#3750). Ziegler et al. 2019, eq. 2. Each row of `mask` (B, R) must have at least one True, all in front.
    """
    rewards = torch.where(mask, -kl_coef * kl, 0)
    last = mask.sum(1, keepdim=True) - 1  # (B, 1)
    return rewards.scatter_add(1, last, scores[:, None].to(rewards.dtype))


def leave_one_out(scores: Tensor, n: int) -> Tensor:
    """Scores (B,), `n` neighbours of which are of one prompt, each less the mean of the others: RLOO's baseline.

    Ahmadian et al., "Back to Basics" (2024, arXiv 2402.14740), eq. 7. It does not depend on the response, so that the
    gradient's expectation stays.
    """
    groups = scores.view(-1, n)
    return ((groups - groups.mean(1, keepdim=True)) * (n / (n - 1))).flatten()


def gae(rewards: Tensor, values: Tensor, mask: Tensor, gamma: float, lam: float) -> tuple[Tensor, Tensor]:
    """Generalised advantage estimates and returns, both (B, R), 0 where `mask` is False.

    δ_t = r_t + γ V_{t+1} − V_t and A_t = δ_t + γ λ A_{t+1} (Schulman et al. 2016, eq. 16), with V = 0 past the last response
    token: the episode ends there. returns = A + V.
    """
    values = torch.where(mask, values, 0)
    rewards = torch.where(mask, rewards, 0)
    advantages = torch.zeros_like(rewards)
    following = torch.zeros_like(rewards[:, 0])  # (B,) advantage of t + 1
    for t in range(rewards.shape[1] - 1, -1, -1):
        next_value = values[:, t + 1] if t + 1 < rewards.shape[1] else torch.zeros_like(following)
        delta = rewards[:, t] + gamma * next_value - values[:, t]
        following = torch.where(mask[:, t], delta + gamma * lam * following, 0)
        advantages[:, t] = following
    return advantages, torch.where(mask, advantages + values, 0)


@dataclass(frozen=True)
class PpoLoss:
    """The loss to minimise, the value model's part of it, and per-token tensors (N,) for the metrics."""

    loss: Tensor
    value_loss: Tensor
    policy: Tensor
    value: Tensor
    ratio: Tensor
    approxkl: Tensor
    clipped: Tensor
    value_clipped: Tensor


def ppo_loss(
    logprobs: Tensor,
    values: Tensor,
    old_logprobs: Tensor,
    old_values: Tensor,
    advantages: Tensor,
    returns: Tensor,
    *,
    tokens: int,
    cliprange: float,
    cliprange_value: float,
    vf_coef: float,
) -> PpoLoss:
    """PPO's clipped policy and value losses, summed over N tokens and divided by the mini-batch's `tokens`.

    Every tensor is (N,). Policy: `policy_loss`. Value: half the larger of the squared errors with and without clipping to old
    ± cliprange_value (baselines' PPO2). Dividing by the mini-batch's tokens, not the micro-batch's, makes the sum over
    micro-batches and ranks the same whatever their number.
    """
    ratio = torch.exp(logprobs - old_logprobs)
    policy = policy_loss(logprobs, old_logprobs, advantages, cliprange)
    near = old_values + (values - old_values).clamp(-cliprange_value, cliprange_value)
    error, near_error = (values - returns) ** 2, (near - returns) ** 2
    value = 0.5 * torch.maximum(error, near_error)
    value_loss = vf_coef * value.sum() / tokens
    return PpoLoss(
        loss=policy.sum() / tokens + value_loss,
        value_loss=value_loss,
        policy=policy.detach(),
        value=value.detach(),
        ratio=ratio.detach(),
        approxkl=(0.5 * (logprobs - old_logprobs) ** 2).detach(),
        clipped=(policy > -advantages * ratio).detach(),
        value_clipped=(near_error > error).detach(),
    )


def policy_loss(logprobs: Tensor, old_logprobs: Tensor, advantages: Tensor, cliprange: float) -> Tensor:
    """max(−A ρ, −A clip(ρ, 1 ± cliprange)) of each token (N,) (Schulman et al. 2017, eq. 7)."""
    ratio = torch.exp(logprobs - old_logprobs)
    return torch.maximum(-advantages * ratio, -advantages * ratio.clamp(1 - cliprange, 1 + cliprange))


Logits = Callable[[Tensor], Tensor]
"""From last hidden states (N, H) to logits (N, V)."""
LossPart = Callable[[Tensor, slice], Tensor]
"""From the log-probabilities of some tokens, and which those are, to their part of the loss."""


@torch.no_grad()
def token_logprobs(
    hidden: Tensor, logits: Logits, targets: Tensor, temperature: float, with_entropy: bool = True
) -> tuple[Tensor, Tensor | None]:
    """Log-probabilities of `targets` (N,), and entropies (N,) where wanted, from `hidden` (N, H), without gradients.

    Runs over CHUNK positions at a time, so that no (N, V) tensor outlives its chunk. Logits are divided by `temperature`, as
    they were for sampling.
    """

    def chunk(h: Tensor, target: Tensor) -> tuple[Tensor, Tensor | None]:
        return _softmax(logits(h), target, temperature, with_entropy)[1:]

    found = [chunk(h, target) for h, target in zip(hidden.split(CHUNK), targets.split(CHUNK), strict=True)]
    return torch.cat([f[0] for f in found]), torch.cat([f[1] for f in found]) if with_entropy else None


def head_loss(
    hidden: Tensor, logits: Logits, weights: Sequence[Tensor], targets: Tensor, temperature: float, loss: LossPart
) -> tuple[Tensor, Tensor, Tensor]:
    """The sum of `loss` over all tokens, their log-probabilities (N,) and entropies (N,), which have no gradients.

    `weights` are those that `logits` multiplies by. The gradient of the loss is made as soon as its chunk's log-probabilities
    are known, while its logits are there: the backward pass only hands it on, and nothing is computed twice.
    """
    return _HeadLoss.apply(hidden, targets, logits, temperature, loss, *weights)


class _HeadLoss(torch.autograd.Function):
    @staticmethod
    def forward(
        ctx: Any,
        hidden: Tensor,
        targets: Tensor,
        logits: Logits,
        temperature: float,
        loss: LossPart,
        *weights: Tensor,
    ) -> tuple[Tensor, Tensor, Tensor]:
        def chunk(place: slice) -> tuple[Tensor, Tensor, Tensor, Tensor]:
            with torch.enable_grad():
                h = hidden[place].detach().requires_grad_()
                raw = logits(h)  # (≤ CHUNK, V)
            p, found, entropy = _softmax(raw.detach(), targets[place], temperature)
            part, slope = _differentiate(loss, found, place)
            slope = slope / temperature
            p.mul_(-slope[:, None]).scatter_add_(1, targets[place][:, None], slope[:, None])
            gradient, *more = torch.autograd.grad(raw, (h, *weights), p.to(raw.dtype))
            if place.start == 0:
                sums.extend(more)
            else:
                for known, each in zip(sums, more, strict=True):
                    known += each
            return part, found, entropy, gradient

        sums: list[Tensor] = []
        places = [slice(start, start + CHUNK) for start in range(0, len(hidden), CHUNK)]
        parts, logprobs, entropy, gradient = zip(*map(chunk, places), strict=True)
        ctx.gradients = (torch.cat(gradient), *sums)
        outputs = torch.stack(parts).sum(), torch.cat(logprobs), torch.cat(entropy)
        ctx.mark_non_differentiable(*outputs[1:])
        return outputs

    @staticmethod
    def backward(ctx: Any, slope: Tensor, *_: Tensor) -> tuple:
        gradients, ctx.gradients = ctx.gradients, None  # whoever has the loss does not keep them
        gradient, *sums = (each.mul_(slope) for each in gradients)
        return gradient, None, None, None, None, *sums


@torch.enable_grad()
def _differentiate(loss: LossPart, logprobs: Tensor, place: slice) -> tuple[Tensor, Tensor]:
    """The loss of some tokens and its gradient by each log-probability."""
    known = logprobs.detach().requires_grad_()
    part = loss(known, place)
    return part.detach(), torch.autograd.grad(part, known)[0]


def _softmax(
    logits: Tensor, targets: Tensor, temperature: float, with_entropy: bool = True
) -> tuple[Tensor, Tensor, Tensor | None]:
    """Distributions (N, V), log-probabilities of `targets` (N,), and entropies (N,) where wanted; one exponential a logit."""
    with torch.autocast(logits.device.type, enabled=False):
        x = logits.float() if temperature == 1.0 else logits.float() / temperature
        p = torch.softmax(x, -1)
        top, log_top = x.amax(-1), p.amax(-1).log()  # the likeliest token's logit and log-probability
        logprobs = x.gather(-1, targets[:, None]).squeeze(-1) - top + log_top
        entropy = top - (p[:, None] @ x[:, :, None]).flatten() - log_top if with_entropy else None
    return p, logprobs, entropy
