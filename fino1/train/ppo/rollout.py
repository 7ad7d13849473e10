"""How are responses sampled?

One row per prompt; a row that has ended leaves the batch, and another prompt takes its place, so no token is decoded for nothing.
Each row draws its own random numbers, keyed by (seed, update, prompt): what is sampled does not depend on which rank or batch a
prompt is in.
"""

import random
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor
from transformers import DynamicCache, PreTrainedModel

from fino1.train.ppo import slab


@dataclass(frozen=True)
class Response:
    """One sampled response: `tokens` with the end of sequence where one came, and the log-probability of each."""

    tokens: list[int]
    logprobs: list[float]


Between = Callable[[int], None]


def ignore(finished: int) -> None:
    """Do nothing."""


Key = tuple[int, int, int]
"""Of a response's random numbers: the run's seed, the update, the response's place in it."""


def uniforms(key: Key, length: int) -> np.ndarray:
    """The `length` numbers in [0, 1) that choose the tokens of the response with this key (Philox)."""
    return np.random.Generator(np.random.Philox(np.random.SeedSequence(key))).random(length)


def choose_prompts(update: int, size: int, count: int, seed: int) -> list[int]:
    """Indices of the update's prompts: the next `size` of endless passes over all, each in an order of its own."""
    places = range(update * size, (update + 1) * size)
    orders = {}
    for turn in {place // count for place in places}:
        orders[turn] = list(range(count))
        random.Random(f"{seed} {turn}").shuffle(orders[turn])
    return [orders[place // count][place % count] for place in places]


@torch.no_grad()
def sample(
    policy: PreTrainedModel,
    prompts: Sequence[Sequence[int]],
    draws: Sequence[np.ndarray] | None,
    *,
    response_length: int,
    temperature: float,
    stop_tokens: Sequence[int],
    pad_token: int,
    batch_size: int,
    between: Between = ignore,
) -> list[Response]:
    """Sample one response per prompt by inverse transform of `draws` (one array per prompt), or greedily where it is None.

    `stop_tokens` end a response and belong to it; none samples on to `response_length`. `between` is called with the number
    of finished prompts after each `batch_size` of them, and may raise to stop. Logits are divided by `temperature`
    (greedy: not), and the log-probabilities are those of the distribution sampled from.
    """
    training = policy.training
    policy.eval()
    capacity = max(map(len, prompts), default=1) + response_length
    choose = _Choice(draws, temperature, policy.device)
    together = _sample_together if slab.fits(policy, capacity) else _sample_in_batches
    found = together(policy, prompts, choose, response_length, set(stop_tokens), pad_token, batch_size, between)
    policy.train(training)
    return found


class _Choice:
    """Chooses each prompt's tokens: by its draws at a temperature, or the likeliest."""

    def __init__(self, draws: Sequence[np.ndarray] | None, temperature: float, device: torch.device) -> None:
        self.draws = (
            None if draws is None else torch.tensor(np.array(draws), dtype=torch.float64, device=device)
        )  # (B, R)
        self.temperature = temperature

    def __call__(self, logits: Tensor, rows: Sequence[int], found: Sequence[Response]) -> None:
        """Append to the responses of these prompts their next tokens, from `logits` (B, V)."""
        draw = None
        if self.draws is not None:
            places = [len(found[row].tokens) for row in rows]
            draw = self.draws[list(rows), places]
        for row, token, log in zip(
            rows, *(t.tolist() for t in _pick(logits.float(), draw, self.temperature)), strict=True
        ):
            found[row].tokens.append(token)
            found[row].logprobs.append(log)


def _sample_together(
    policy: PreTrainedModel,
    prompts: Sequence[Sequence[int]],
    choose: _Choice,
    response_length: int,
    stop_tokens: set[int],
    _: int,
    batch_size: int,
    between: Between,
) -> list[Response]:
    """Sample with a slab: a prompt that waits takes the row of a response that has ended, the last row that of another."""
    found = [Response([], []) for _ in prompts]
    waiting, rows, told = list(range(len(prompts)))[::-1], [], 0
    size = min(batch_size, len(prompts))
    cache = slab.Slab(policy, size, max(map(len, prompts), default=1) + response_length)
    while waiting or rows:
        if rows:
            lengths = [len(prompts[row]) + len(found[row].tokens) - 1 for row in rows]
            choose(cache.step(policy, [found[row].tokens[-1] for row in rows], lengths), rows, found)
        _drop(cache, rows, prompts, found, stop_tokens, response_length)
        while waiting and len(rows) < size:
            fresh = [waiting.pop() for _ in range(min(len(waiting), size - len(rows)))]
            choose(cache.read(policy, [prompts[row] for row in fresh], len(rows)), fresh, found)
            rows += fresh
            _drop(cache, rows, prompts, found, stop_tokens, response_length)
        told = tell(between, told, len(prompts) - len(waiting) - len(rows), len(prompts), batch_size)
    return found


def tell(between: Between, told: int, finished: int, prompts: int, batch_size: int) -> int:
    """Call `between` after each `batch_size` finished prompts; it knows of the first `told`. Return of how many it knows then."""
    while told < finished and (finished == prompts or told + batch_size <= finished):
        told = min(told + batch_size, prompts)
        between(told)
    return told


def _drop(
    cache: slab.Slab,
    rows: list[int],
    prompts: Sequence[Sequence[int]],
    found: Sequence[Response],
    stop_tokens: set[int],
    response_length: int,
) -> None:
    """Take the responses that have ended out of `rows`; the last row moves into each one's place."""
    for place in reversed(range(len(rows))):
        tokens = found[rows[place]].tokens
        if tokens[-1] in stop_tokens or len(tokens) == response_length:
            last = rows.pop()
            if place < len(rows):
                cache.move(len(rows), place, len(prompts[last]) + len(found[last].tokens) - 1)
                rows[place] = last


def _sample_in_batches(
    policy: PreTrainedModel,
    prompts: Sequence[Sequence[int]],
    choose: _Choice,
    response_length: int,
    stop_tokens: set[int],
    pad_token: int,
    batch_size: int,
    between: Between,
) -> list[Response]:
    """Sample with Transformers' own cache, as any architecture can; prompts are sorted by length, to be padded little."""
    found = [Response([], []) for _ in prompts]
    order = sorted(range(len(prompts)), key=lambda i: len(prompts[i]))
    for start in range(0, len(order), batch_size):
        rows = order[start : start + batch_size]
        _sample_batch(policy, prompts, rows, choose, response_length, stop_tokens, pad_token, found)
        between(start + len(rows))
    return found


def _sample_batch(
    policy: PreTrainedModel,
    prompts: Sequence[Sequence[int]],
    alive: list[int],
    choose: _Choice,
    response_length: int,
    stop_tokens: set[int],
    pad_token: int,
    found: Sequence[Response],
) -> None:
    ids, mask, positions = _pad_left([prompts[row] for row in alive], pad_token, policy.device)  # (B, P)
    cache = DynamicCache(config=policy.config)
    for step in range(response_length):
        output = policy(
            input_ids=ids,
            attention_mask=mask,
            position_ids=positions,
            past_key_values=cache,
            use_cache=True,
            logits_to_keep=1,
        )
        choose(output.logits[:, -1], alive, found)
        keep = [i for i, row in enumerate(alive) if found[row].tokens[-1] not in stop_tokens]
        if not keep or step + 1 == response_length:
            break
        ids = torch.tensor([[found[row].tokens[-1]] for row in alive], device=policy.device)
        positions = positions[:, -1:] + 1
        mask = torch.cat([mask, mask.new_ones(len(alive), 1)], 1)
        if len(keep) < len(alive):
            index = torch.tensor(keep, device=policy.device)
            cache.batch_select_indices(index)
            ids, mask, positions = ids[index], mask[index], positions[index]
            alive = [alive[i] for i in keep]


def _pad_left(prompts: list[Sequence[int]], pad_token: int, device: torch.device) -> tuple[Tensor, Tensor, Tensor]:
    """Token ids, attention mask and positions (B, P) of prompts that all end in the last column."""
    longest = max(map(len, prompts))
    ids = torch.tensor([[pad_token] * (longest - len(p)) + list(p) for p in prompts], device=device)
    mask = torch.tensor([[0] * (longest - len(p)) + [1] * len(p) for p in prompts], device=device)
    return ids, mask, (mask.cumsum(-1) - 1).clamp(min=0)


def _pick(logits: Tensor, draw: Tensor | None, temperature: float) -> tuple[Tensor, Tensor]:
    """Next tokens (B,) and their log-probabilities (B,) from logits (B, V); `draw` (B,) in [0, 1), None picks the best."""
    p = torch.softmax(logits if draw is None or temperature == 1.0 else logits / temperature, -1)
    # of what is no number: the last
    picked = logits.argmax(-1) if draw is None else _invert(p, draw).clamp(max=logits.shape[-1] - 1)
    return picked, p.gather(-1, picked[:, None]).squeeze(-1).log()


def _invert(p: Tensor, draw: Tensor) -> Tensor:
    """The token (B,) in whose part of `p` (B, V), laid end to end, lies the share `draw` (B,) of the whole.

    First the block is found, then the token in it. Sums are of float64, as 128,256 terms in float32 lose the tail; of whole
    blocks only, as float64 takes time.
    """
    if p.shape[-1] % _BLOCK:
        p = torch.nn.functional.pad(p, (0, -p.shape[-1] % _BLOCK))
    p = p.unflatten(-1, (-1, _BLOCK))  # (B, V / block, block)
    ends = p.sum(-1).double().cumsum(-1)
    target = draw[:, None] * ends[:, -1:]
    block = torch.searchsorted(ends, target, right=True).clamp(max=ends.shape[-1] - 1)
    start = torch.nn.functional.pad(ends, (1, 0)).gather(-1, block)
    share = (target - start) / (ends.gather(-1, block) - start)
    inside = p.take_along_dim(block[:, :, None], 1).squeeze(1).double().cumsum(-1)  # (B, block)
    share = share.clamp(0, _BELOW_ONE)  # of the block, whose sum is rounded otherwise here
    token = torch.searchsorted(inside, share * inside[:, -1:], right=True)
    return (block * _BLOCK + token).squeeze(-1)


_BLOCK = 256
_BELOW_ONE = float(np.nextafter(1, 0))
