"""How does each of several episodes that lie end to end in one row attend to itself only?

Transformers makes a mask of the whole row, which grows with the square of its length, and computes all of it. Under the name that
is registered here each episode is a causal attention of its own; several responses to one prompt share its tokens. Layers that
see a window which an episode is longer than, and models that have no exchangeable attention, keep the mask.
"""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor
from transformers import AttentionInterface, AttentionMaskInterface, PreTrainedModel
from transformers.integrations.sdpa_attention import sdpa_attention_forward
from transformers.masking_utils import sdpa_mask

NAME = "fino1_episodes"


Part = tuple[int, ...]
"""The tokens of one episode; or those of a prompt, then of each response to it."""


@dataclass(frozen=True)
class Lengths:
    """Stands where a layer expects its mask: what lies in the row, in order."""

    each: tuple[Part, ...]
    _masks: dict[Part, Tensor] = field(default_factory=dict, compare=False)  # made once for all layers

    @property
    def longest(self) -> int:
        """Tokens of the longest episode."""
        return max(part[0] + max(part[1:], default=0) for part in self.each)

    def mask_responses(self, part: Part, device: torch.device) -> Tensor:
        """Which tokens (1, 1, R, P + R) of a prompt and all responses to it does each of their R tokens attend to?"""
        if part not in self._masks:
            own = torch.block_diag(*(torch.ones(size, size).tril() for size in part[1:])).bool()
            self._masks[part] = torch.cat([own.new_ones(len(own), part[0]), own], 1)[None, None].to(device)
        return self._masks[part]


_row: ContextVar[Lengths | Tensor | None] = ContextVar("row", default=None)


def separate(model: PreTrainedModel) -> bool:
    """Let the model's passes inside `episodes` attend episode by episode; return whether it can."""
    if model.config._attn_implementation == "sdpa":
        model.set_attn_implementation(NAME)
    return is_separate(model)


def is_separate(model: PreTrainedModel) -> bool:
    """True where the model's passes inside `episodes` attend episode by episode."""
    return model.config._attn_implementation == NAME


@contextmanager
def episodes(lengths: Sequence[int | Part]) -> Iterator[None]:
    """Say of which episodes the one row of a pass consists. A mask is made once, at the start of a pass."""
    with _known(Lengths(tuple((part,) if isinstance(part, int) else part for part in lengths))):
        yield


@contextmanager
def masked(mask: Tensor) -> Iterator[None]:
    """Say which keys (B, 1, 1, K) the next token of each row attends to."""
    with _known(mask):
        yield


@contextmanager
def _known(row: Lengths | Tensor) -> Iterator[None]:
    token = _row.set(row)
    try:
        yield
    finally:
        _row.reset(token)


def _mask(*arguments: Any, local_size: int | None = None, **options: Any) -> Lengths | Tensor | None:
    row = _row.get()
    if isinstance(row, Tensor):
        return row
    if row is not None and not options.get("use_vmap") and (local_size is None or local_size >= row.longest):
        return row
    return sdpa_mask(*arguments, local_size=local_size, **options)


def _attend(
    module: torch.nn.Module,
    query: Tensor,
    key: Tensor,
    value: Tensor,
    attention_mask: Lengths | Tensor | None,
    **options: Any,
) -> tuple[Tensor, None]:
    """Attention (1, L, heads, size) of queries, keys and values (1, heads, L, size)."""
    if not isinstance(attention_mask, Lengths):
        return sdpa_attention_forward(module, query, key, value, attention_mask, **options)
    sizes = [sum(part) for part in attention_mask.each]
    found = []
    for part, q, k, v in zip(attention_mask.each, *(t.split(sizes, 2) for t in (query, key, value)), strict=True):
        first = [tensor[:, :, : part[0]] for tensor in (q, k, v)]
        found.append(sdpa_attention_forward(module, *first, None, **options)[0])
        if len(part) > 1:
            mask = attention_mask.mask_responses(part, q.device)
            found.append(sdpa_attention_forward(module, q[:, :, part[0] :], k, v, mask, **options)[0])
    return torch.cat(found, 1), None


AttentionInterface.register(NAME, _attend)
AttentionMaskInterface.register(NAME, _mask)
