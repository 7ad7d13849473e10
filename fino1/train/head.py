"""What does a model's head make of hidden states that are known?

A model's own forward pass computes it, on a backbone that only hands over those states: the head, and what a model does around
it, such as capping its logits (Gemma 2: `final_logit_softcapping`) or scaling them (Granite: `logits_scaling`, Cohere:
`logit_scale`). Legend: N positions, H hidden size, V vocabulary, L tokens of rows laid end to end.
"""

import functools
from collections.abc import Callable, Iterator
from contextlib import contextmanager, nullcontext
from typing import Any

import torch
from torch import Tensor, nn
from transformers import AutoModelForCausalLM, PretrainedConfig, PreTrainedModel
from transformers.modeling_outputs import BaseModelOutputWithPast
from transformers.utils import ModelOutput

from fino1.errors import SpecError
from fino1.train import attention

IGNORED = -100  # torch's cross entropy leaves such a label out


def logits_of(policy: PreTrainedModel) -> Callable[[Tensor], Tensor]:
    """Make the function from last hidden states (N, H) to logits (N, V). Sampling computes with the same forward pass."""

    def logits(hidden: Tensor) -> Tensor:
        with _known(policy, _Output(last_hidden_state=hidden[None])):
            return policy(input_ids=None, use_cache=False).logits[0]

    return logits


def check_head(config: PretrainedConfig, source: str) -> None:
    """Raise SpecError for a model whose logits cannot be computed from its hidden states; no weight is read for it."""
    with torch.device("meta"):
        policy = AutoModelForCausalLM.from_config(config)
        try:
            logits_of(policy)(torch.empty(1, policy.get_output_embeddings().weight.shape[-1]))
        except Exception as error:  # whatever an architecture makes of a backbone that is none
            raise SpecError(
                f"model: {source}: expected a causal language model whose head can be computed by itself, got "
                f"{type(policy).__name__}"
            ) from error


def score_labels_only(model: PreTrainedModel) -> None:
    """Let the fused head that TRL adds (trl 1.16 `add_fused_lm_head`) compute logits of positions with a label only.

    It does so by itself where there is Triton, and computes all of them elsewhere. Rows come laid end to end (1, L), with where
    each starts in `cu_seq_lens_q`, or padded (B, L).
    """
    fused = model.forward

    @functools.wraps(fused)
    def forward(*args: Any, fused_lm_head: bool = False, labels: Tensor | None = None, **kwargs: Any) -> ModelOutput:
        if not fused_lm_head or labels is None:
            return fused(*args, fused_lm_head=fused_lm_head, labels=labels, **kwargs)
        starts = kwargs.get("cu_seq_lens_q")
        with nullcontext() if starts is None else attention.episodes(starts.diff().tolist()):
            output = model.base_model(*args, **kwargs)
        labels = labels[:, 1:]
        has_label = labels != IGNORED
        has_label[0, 0] |= ~has_label.any()  # else there would be nothing to differentiate
        output.last_hidden_state = output.last_hidden_state[:, :-1][has_label][None]
        with _known(model, output):
            return fused(*args, fused_lm_head=True, shift_labels=labels[has_label][None], **kwargs)

    model.forward = forward


@contextmanager
def _known(model: PreTrainedModel, output: ModelOutput) -> Iterator[None]:
    """Let the model's forward pass take `output` for what its backbone computes."""
    prefix = model.base_model_prefix
    backbone = getattr(model, prefix)
    setattr(model, prefix, _Known(backbone, output))
    try:
        yield
    finally:
        setattr(model, prefix, backbone)


class _Known(nn.Module):
    """Hands over an output that is known; else it is as its backbone, whose constants a head may read."""

    def __init__(self, backbone: nn.Module, output: ModelOutput) -> None:
        super().__init__()
        self.__dict__["_backbone"] = backbone  # no part of this module
        self._output = output

    def __getattr__(self, name: str) -> Any:
        return getattr(self.__dict__["_backbone"], name)

    def forward(self, *_: Any, **__: Any) -> ModelOutput:
        return self._output


class _Output(BaseModelOutputWithPast):
    """Has no other output that a model may pass on, such as the logits of a router."""

    def __getattr__(self, name: str) -> None:
        return None
