"""What does an update learn from, and how is it laid out for a forward pass?

Legend: B episodes, R response tokens padded to the longest, K rows of L tokens that hold episodes end to end, N response
tokens of a pass.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from fino1.spec.ppo import PpoBlock
from fino1.train import attention
from fino1.train.ppo import rl


@dataclass
class Episode:
    """One prompt (token ids) with its sampled response and the numbers of each of its tokens."""

    index: int
    prompt: list[int]
    response: list[int]
    logprobs: Tensor  # (R,)
    score: float = 0.0
    ended: bool = True
    ref_logprobs: Tensor | None = None  # (R,)
    values: Tensor | None = None  # (R,)
    sampled_logprobs: Tensor | None = None  # (R,), of an engine that is not the policy itself

    @property
    def tokens(self) -> int:
        """Tokens of prompt and response."""
        return len(self.prompt) + len(self.response)


@dataclass(frozen=True)
class Batch:
    """All episodes of an update as padded tensors (B, R); every rank holds the same."""

    mask: Tensor
    logprobs: Tensor
    ref_logprobs: Tensor
    values: Tensor
    kl: Tensor
    rewards: Tensor
    advantages: Tensor
    returns: Tensor
    scores: Tensor  # (B,)


@dataclass(frozen=True)
class Packed:
    """Episodes laid end to end in rows; `index` (N,) says where in the flattened rows each target is predicted."""

    ids: Tensor  # (K, L)
    positions: Tensor  # (K, L), from 0 in each episode: transformers keeps attention inside one
    index: Tensor  # (N,)
    targets: Tensor  # (N,)
    lengths: tuple[attention.Part, ...] | None = None  # of a single row, in order


def parts(items: Sequence, size: int) -> list[Sequence]:
    """Cut a sequence into parts of `size`; the last may be shorter."""
    return [items[start : start + size] for start in range(0, len(items), size)]


def parts_within(lengths: Sequence[Sequence[int]], own: int, budget: int) -> list[list[int]]:
    """Cut what rank `own` has, by index, into parts of at most `budget` tokens, as many for every rank; a longer one is alone.

    `lengths` are those of every rank's share, which all know: ranks that compute together take as many passes each.
    """
    filled = [_fill(share, budget) for share in lengths]
    found, count = filled[own], max(map(len, filled))
    while len(found) < count:
        largest = max(found, key=len)
        found.remove(largest)
        found += [largest[::2], largest[1::2]]
    return found


def _fill(lengths: Sequence[int], budget: int) -> list[list[int]]:
    """Indices in parts of at most `budget` tokens: first fit, longest first."""
    found: list[list[int]] = []
    used: list[int] = []
    for i in sorted(range(len(lengths)), key=lambda i: -lengths[i]):
        part = next((k for k, u in enumerate(used) if u + lengths[i] <= budget), len(used))
        if part == len(used):
            found.append([])
            used.append(0)
        found[part].append(i)
        used[part] += lengths[i]
    return found


def pack(
    episodes: Sequence[Episode], device: torch.device, one_row: bool = False, shares_prompts: bool = False
) -> Packed:
    """Lay episodes end to end, in rows no longer than the longest (`one_row`: all in one, where each can attend to itself).

    With `shares_prompts` a prompt of several episodes is laid out once in that row, and all of them attend to it. Targets come in
    the order of `episodes`. Short rows end in token 0, which attends to nothing else and predicts nothing.
    """
    groups = group_equal([e.prompt for e in episodes]) if shares_prompts else [[i] for i in range(len(episodes))]
    parts_of = [part_of([episodes[i] for i in group]) for group in groups]
    lengths = [sum(part) for part in parts_of]
    length = sum(lengths) if one_row else max(lengths)
    rows = _fill(lengths, length)
    ids, positions, index = [], [], {}
    for k, row in enumerate(rows):
        tokens: list[int] = []
        places: list[int] = []
        for group in (groups[number] for number in row):
            prompt = episodes[group[0]].prompt
            tokens += prompt
            places += range(len(prompt))
            last = k * length + len(tokens) - 1
            for i in group:
                response = episodes[i].response
                start = k * length + len(tokens)
                index[i] = [last, *range(start, start + len(response) - 1)]
                tokens += response
                places += range(len(prompt), len(prompt) + len(response))
        ids.append(tokens + [0] * (length - len(tokens)))
        positions.append(places + list(range(length - len(places))))
    return Packed(
        ids=torch.tensor(ids, device=device),
        positions=torch.tensor(positions, device=device),
        index=torch.tensor([place for i in range(len(episodes)) for place in index[i]], device=device),
        targets=torch.tensor([token for e in episodes for token in e.response], device=device),
        lengths=tuple(parts_of[number] for number in rows[0]) if one_row else None,
    )


def group_equal(prompts: Sequence[Sequence[int]]) -> list[list[int]]:
    """Indices of equal prompts together, in the order in which each comes first."""
    found: dict[tuple[int, ...], list[int]] = {}
    for i, prompt in enumerate(prompts):
        found.setdefault(tuple(prompt), []).append(i)
    return list(found.values())


def part_of(episodes: Sequence[Episode]) -> attention.Part:
    """How many tokens episodes of one prompt have in a row."""
    first = episodes[0]
    return (first.tokens,) if len(episodes) == 1 else (len(first.prompt), *(len(e.response) for e in episodes))


def batch(episodes: Sequence[Episode], block: PpoBlock, shuffle: torch.Generator | None = None) -> Batch:
    """Rewards, advantages and returns of an update's episodes, whitened over all of them.

    `shuffle` permutes the scores first: the control of the report, in which there is nothing to learn.
    """
    mask = _pad([torch.ones(len(e.response), dtype=torch.bool) for e in episodes])
    logprobs = _pad([e.logprobs for e in episodes])
    ref_logprobs = _pad([e.ref_logprobs for e in episodes])
    values = _pad([e.values for e in episodes])
    scores = torch.tensor([e.score - (0 if e.ended else block.missing_eos_penalty) for e in episodes])
    if shuffle is not None:
        scores = scores[torch.randperm(len(scores), generator=shuffle)]
    kl = torch.where(mask, rl.kl_penalty(logprobs, ref_logprobs, block.kl_estimator), 0)
    gains = rl.leave_one_out(scores, block.num_generations) if block.leave_one_out else scores
    rewards = rl.token_rewards(kl, gains, mask, block.kl_coef)
    if block.whiten_rewards:
        rewards = rl.masked_whiten(rewards, mask, shift_mean=False)
    advantages, returns = rl.gae(rewards, values, mask, block.gamma, block.lam)
    return Batch(
        mask=mask,
        logprobs=logprobs,
        ref_logprobs=ref_logprobs,
        values=values,
        kl=kl,
        rewards=rewards,
        advantages=rl.masked_whiten(advantages, mask) * importance_weights(episodes, block),
        returns=returns,
        scores=scores,
    )


def importance_weights(episodes: Sequence[Episode], block: PpoBlock) -> Tensor | float:
    """π/π_vLLM of each token (B, R), cut off at the block's cap; they weigh the clipped loss, which is linear in the advantage.

    Truncated importance sampling (Ionides, 2008). 1 where the policy samples for itself.
    """
    if not block.is_sampled_by_vllm:
        return 1.0
    ratios = _pad([(e.logprobs - e.sampled_logprobs).exp() for e in episodes])
    return ratios.clamp(max=block.rollout.importance_sampling_cap)


def _pad(rows: Sequence[Tensor]) -> Tensor:
    return torch.nn.utils.rnn.pad_sequence(list(rows), batch_first=True)
