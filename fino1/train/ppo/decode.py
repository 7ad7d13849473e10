"""How is the next token of each row computed with little around the matrix products?

On a CPU, for a plain Llama: projections of one input are one matrix, which lies as the product reads it. The copies are of one
rollout, since each update changes the weights. Other policies decode by Transformers' own pass.

Legend: B rows, K tokens that a row has room for, H hidden size, V vocabulary.
"""

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional
from transformers import LlamaForCausalLM, PreTrainedModel


def fuse(policy: PreTrainedModel) -> "FusedLlama | None":
    """Copy the policy's weights for a rollout; None for a policy that decodes by its own pass."""
    is_plain = type(policy) is LlamaForCausalLM and policy.config.hidden_act == "silu"
    return FusedLlama(policy) if is_plain and policy.device.type == "cpu" else None


class FusedLlama:
    """A Llama that decodes one token of each row."""

    def __init__(self, policy: LlamaForCausalLM) -> None:
        is_cast = torch.is_autocast_enabled("cpu")
        self.dtype = torch.get_autocast_dtype("cpu") if is_cast else policy.dtype
        self.model, self.heads = policy.model, policy.config.num_attention_heads
        self.groups = policy.config.num_key_value_heads
        self.layers = [self._copy_layer(layer) for layer in policy.model.layers]
        self.head = self._copy(policy.lm_head)

    def _copy_layer(self, layer: Any) -> tuple:
        attention, mlp = layer.self_attn, layer.mlp
        return (
            layer.input_layernorm,
            self._copy(attention.q_proj, attention.k_proj, attention.v_proj),
            self._copy(attention.o_proj),
            layer.post_attention_layernorm,
            self._copy(mlp.gate_proj, mlp.up_proj),
            self._copy(mlp.down_proj),
        )

    def _copy(self, *parts: nn.Linear) -> tuple[Tensor, Tensor | None]:
        """Weights (input, output) and bias of layers side by side that have one input."""
        weights = [part.weight.detach().to(self.dtype) for part in parts]
        weight = torch.cat(weights) if len(parts) > 1 else weights[0]
        bias = None if parts[0].bias is None else torch.cat([part.bias.detach().to(self.dtype) for part in parts])
        return weight.T.contiguous(), bias

    @torch.no_grad()
    def step(self, caches: Sequence[Any], tokens: Tensor, places: Tensor, mask: Tensor) -> Tensor:
        """Logits (B, V) after `tokens` (B,), which are written to `places` (B,) of the caches' rows, all of `dtype`.

        `mask` (B, K) is True at the tokens of a row that are there.
        """
        rows, count = torch.arange(len(tokens)), self.heads + self.groups
        x = self.model.embed_tokens(tokens)  # (B, H)
        cos, sin = (part[0, :, None] for part in self.model.rotary_emb(x, places[None]))  # (B, 1, size)
        with torch.autocast("cpu", enabled=False):
            for cache, (norm, qkv, out, norm_2, gate_up, down) in zip(caches, self.layers, strict=True):
                found = self._multiply(_normalize(norm, x), qkv).unflatten(-1, (count + self.groups, -1))
                turned, value = found[:, :count].to(x.dtype), found[:, count:]
                first, second = turned.chunk(2, -1)
                turned = turned * cos + torch.cat([-second, first], -1) * sin
                cache.keys[rows, :, places] = turned[:, self.heads :].to(self.dtype)
                cache.values[rows, :, places] = value
                keys, values = (part[: len(tokens), :, : mask.shape[1]] for part in (cache.keys, cache.values))
                query = turned[:, : self.heads].unflatten(1, (self.groups, -1)).to(self.dtype)
                seen = functional.scaled_dot_product_attention(query, keys, values, mask[:, None, None])
                x = x + self._multiply(seen.flatten(1), out)
                gate, up = self._multiply(_normalize(norm_2, x), gate_up).chunk(2, -1)
                x = x + self._multiply(functional.silu(gate) * up, down)
            return self._multiply(_normalize(self.model.norm, x), self.head)

    def _multiply(self, x: Tensor, weights: tuple[Tensor, Tensor | None]) -> Tensor:
        weight, bias = weights
        x = x.to(self.dtype)
        return x @ weight if bias is None else torch.addmm(bias, x, weight)


def _normalize(norm: Any, x: Tensor) -> Tensor:
    return functional.rms_norm(x, (x.shape[-1],), norm.weight, norm.variance_epsilon)
