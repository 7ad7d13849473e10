"""Where are the keys and values of responses that are being sampled? In memory that is taken once, a row for each response.

Legend: B rows, K tokens that a row has room for, `size` of an attention head. Rows have different lengths; those of responses
that have not ended come first.
"""

import weakref
from collections.abc import Sequence

import torch
from torch import Tensor
from transformers import Cache, DynamicCache, PreTrainedModel
from transformers.cache_utils import DynamicLayer, DynamicSlidingWindowLayer

from fino1.train import attention
from fino1.train.ppo import decode
from fino1.train.ppo.episodes import group_equal


def fits(policy: PreTrainedModel, capacity: int) -> bool:
    """True for a policy each of whose layers attends to all of so many tokens, episode by episode."""
    layers = DynamicCache(config=policy.config).layers
    return attention.is_separate(policy) and all(
        type(layer) is DynamicLayer
        or (
            type(layer) is DynamicSlidingWindowLayer
            and layer.sliding_window is not None
            and layer.sliding_window >= capacity
        )
        for layer in layers
    )


class Slab(Cache):
    """A cache whose rows are filled with prompts, written token by token, and moved; Transformers sees an ordinary one."""

    def __init__(self, policy: PreTrainedModel, rows: int, capacity: int) -> None:
        self.rows, self.capacity, self.device = rows, capacity, policy.device
        super().__init__(layers=[_Layer(self) for _ in DynamicCache(config=policy.config).layers])
        self.fused = decode.fuse(policy)
        self.places: Tensor | None = None  # (B,) where the next token of each row goes; None while prompts are read
        self.read_into: list[tuple[int, list[int]]] = []  # the tokens of each prompt, and its rows

    def read(self, policy: PreTrainedModel, prompts: Sequence[Sequence[int]], first: int) -> Tensor:
        """Put prompts into the rows from `first` on; return the logits (B, V) of their next tokens.

        Nothing is padded, and a prompt that comes several times is read once.
        """
        groups = group_equal(prompts)
        lengths = [len(prompts[group[0]]) for group in groups]
        self.places = None
        self.read_into = [(n, [first + i for i in group]) for n, group in zip(lengths, groups, strict=True)]
        ids = torch.tensor([[token for group in groups for token in prompts[group[0]]]], device=self.device)
        positions = torch.tensor([[place for length in lengths for place in range(length)]], device=self.device)
        last = torch.tensor(lengths, device=self.device).cumsum(0) - 1
        with attention.episodes(lengths):
            output = policy(
                input_ids=ids, position_ids=positions, past_key_values=self, use_cache=True, logits_to_keep=last
            )
        if len(groups) == len(prompts):
            return output.logits[0]
        number = {i: k for k, group in enumerate(groups) for i in group}
        return output.logits[0][[number[i] for i in range(len(prompts))]]

    def step(self, policy: PreTrainedModel, tokens: Sequence[int], lengths: Sequence[int]) -> Tensor:
        """Write the last token of each row in use, which has so many before it; return the logits (B, V) of the next."""
        self.places = torch.tensor(lengths, device=self.device)
        self.end = max(lengths) + 1
        mask = torch.arange(self.end, device=self.device) <= self.places[:, None]  # (B, K)
        ids = torch.tensor(tokens, device=self.device)
        if self.fused is not None:
            return self.fused.step(self.layers, ids, self.places, mask)
        with attention.masked(mask[:, None, None]):
            output = policy(
                input_ids=ids[:, None],
                position_ids=self.places[:, None],
                past_key_values=self,
                use_cache=True,
                logits_to_keep=1,
            )
        return output.logits[:, -1]

    def move(self, source: int, target: int, length: int) -> None:
        """Copy a row's first `length` tokens over another row."""
        for layer in self.layers:
            for slab in (layer.keys, layer.values):
                slab[target, :, :length] = slab[source, :, :length]


class _Layer(DynamicLayer):
    """The rows of one layer: `keys` and `values` (B, heads, K, size)."""

    def __init__(self, slab: Slab) -> None:
        super().__init__()
        self.slab = weakref.proxy(slab)  # a circle would keep its memory until the collector comes by
        self.index = torch.arange(slab.rows, device=slab.device)

    def lazy_initialization(self, key_states: Tensor, value_states: Tensor) -> None:
        """Take the memory. What is masked must be a number all the same."""
        rows, capacity, fused = self.slab.rows, self.slab.capacity, self.slab.fused
        self.keys, self.values = (
            states.new_zeros(rows, states.shape[1], capacity, states.shape[3], dtype=fused.dtype if fused else None)
            for states in (key_states, value_states)
        )
        self.is_initialized = True

    def update(self, key_states: Tensor, value_states: Tensor, *_: object, **__: object) -> tuple[Tensor, Tensor]:
        """Write one token of each row and return all of them; of prompts, return their own."""
        if not self.is_initialized:
            self.lazy_initialization(key_states, value_states)
        places = self.slab.places
        if places is None:
            self._lay_out(key_states, value_states)
            return key_states, value_states
        count = len(places)
        for slab, states in ((self.keys, key_states), (self.values, value_states)):
            slab[self.index[:count], :, places] = states[:, :, 0]
        return self.keys[:count, :, : self.slab.end], self.values[:count, :, : self.slab.end]

    def _lay_out(self, keys: Tensor, values: Tensor) -> None:
        """Copy what was read of prompts that lie end to end, both (1, heads, L, size), into their rows."""
        lengths = [length for length, _ in self.slab.read_into]
        for slab, states in ((self.keys, keys), (self.values, values)):
            for part, (length, rows) in zip(states[0].split(lengths, 1), self.slab.read_into, strict=True):
                slab[rows, :, :length] = part.to(slab.dtype)

    def get_seq_length(self) -> int:
        """Tokens before those of the pass."""
        return 0 if self.slab.places is None else self.slab.end - 1
