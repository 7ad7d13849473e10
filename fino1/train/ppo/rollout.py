"""How are responses sampled?

One row per prompt; a row that has ended leaves the batch and its keys and values leave the cache, so no token is decoded for
nothing. Each row draws its own random numbers, keyed by (seed, update, prompt): what is sampled does not depend on which rank or
batch a prompt is in. Prompts are sorted by length, so that a batch pads to little more than its own prompts.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor
from transformers import DynamicCache, PreTrainedModel


@dataclass(frozen=True)
class Response:
    """One sampled response: `tokens` with the end of sequence where one came, and the log-probability of each."""

    tokens: list[int]
    logprobs: list[float]


Between = Callable[[int], None]


def ignore(finished: int) -> None:
    """Do nothing between batches."""


def uniforms(seed: int, update: int, prompt: int, length: int) -> np.ndarray:
    """The `length` numbers in [0, 1) that choose the tokens of this prompt's response in this update (Philox, keyed)."""
    key = np.random.SeedSequence([seed, update, prompt])
    return np.random.Generator(np.random.Philox(key)).random(length)


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
    of finished prompts after each batch of `batch_size`, and may raise to stop. Logits are divided by `temperature`
    (greedy: not), and the log-probabilities are those of the distribution sampled from.
    """
    responses: list[Response | None] = [None] * len(prompts)
    order = sorted(range(len(prompts)), key=lambda i: len(prompts[i]))
    training = policy.training
    policy.eval()
    for start in range(0, len(order), batch_size):
        rows = order[start : start + batch_size]
        found = _sample_batch(
            policy,
            [prompts[i] for i in rows],
            None if draws is None else np.stack([draws[i] for i in rows]),
            response_length,
            temperature,
            set(stop_tokens),
            pad_token,
        )
        for i, response in zip(rows, found, strict=True):
            responses[i] = response
        between(start + len(rows))
    policy.train(training)
    return [response for response in responses if response is not None]


def _sample_batch(
    policy: PreTrainedModel,
    prompts: list[Sequence[int]],
    draws: np.ndarray | None,
    response_length: int,
    temperature: float,
    stop_tokens: set[int],
    pad_token: int,
) -> list[Response]:
    ids, mask, positions = _pad_left(prompts, pad_token, policy.device)  # (B, P)
    chosen = None if draws is None else torch.tensor(draws, dtype=torch.float64, device=policy.device)  # (B, R)
    tokens: list[list[int]] = [[] for _ in prompts]
    logprobs: list[list[float]] = [[] for _ in prompts]
    alive = list(range(len(prompts)))
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
        picked, logs = _pick(output.logits[:, -1].float(), None if chosen is None else chosen[:, step], temperature)
        for row, token, log in zip(alive, picked.tolist(), logs.tolist(), strict=True):
            tokens[row].append(token)
            logprobs[row].append(log)
        keep = [i for i, row in enumerate(alive) if tokens[row][-1] not in stop_tokens]
        if not keep or step + 1 == response_length:
            break
        ids, positions = picked[:, None], positions[:, -1:] + 1
        mask = torch.cat([mask, mask.new_ones(len(alive), 1)], 1)
        if len(keep) < len(alive):
            index = torch.tensor(keep, device=policy.device)
            cache.batch_select_indices(index)
            ids, mask, positions = ids[index], mask[index], positions[index]
            chosen = None if chosen is None else chosen[index]
            alive = [alive[i] for i in keep]
    return [Response(t, p) for t, p in zip(tokens, logprobs, strict=True)]


def _pad_left(prompts: list[Sequence[int]], pad_token: int, device: torch.device) -> tuple[Tensor, Tensor, Tensor]:
    """Token ids, attention mask and positions (B, P) of prompts that all end in the last column."""
    longest = max(map(len, prompts))
    ids = torch.tensor([[pad_token] * (longest - len(p)) + list(p) for p in prompts], device=device)
    mask = torch.tensor([[0] * (longest - len(p)) + [1] * len(p) for p in prompts], device=device)
    return ids, mask, (mask.cumsum(-1) - 1).clamp(min=0)


def _pick(logits: Tensor, draw: Tensor | None, temperature: float) -> tuple[Tensor, Tensor]:
    """Next tokens (B,) and their log-probabilities (B,) from logits (B, V); `draw` (B,) in [0, 1), None picks the best."""
    if draw is None:
        logs = torch.log_softmax(logits, -1)
        picked = logs.argmax(-1)
    else:
        logs = torch.log_softmax(logits / temperature, -1)
        cumulated = logs.double().exp().cumsum(-1)  # float64: 128,256 terms in float32 lose the tail
        picked = torch.searchsorted(cumulated, draw[:, None] * cumulated[:, -1:], right=True).squeeze(-1)
        picked = picked.clamp(max=logits.shape[-1] - 1)
    return picked, logs.gather(-1, picked[:, None]).squeeze(-1)
