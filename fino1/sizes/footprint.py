"""How many bytes does a rank take for each thing that training holds? Pure formulas; their sources and checks: docs/memory.md.

Legend: P parameters, H hidden size, Q and K width of all query and key heads, I width of the MLP, V vocabulary.
"""

from collections.abc import Sequence
from dataclasses import dataclass

from fino1.sizes.shapes import Architecture

LIVE = 10**9  # DeepSpeed's stage3_max_live_parameters: how many are gathered at once
TILE = (4096, 32768)  # tokens and vocabulary of the logits that TRL's fused head holds at once
CHUNK = 256  # positions whose logits PPO holds at once (fino1.train.ppo.rl)
Parts = dict[str, int]  # what takes memory → bytes


@dataclass(frozen=True)
class Sharding:
    """How a rank holds a model. SFT and the verifier leave the division to DeepSpeed, PPO to torch's fully_shard."""

    stage: int
    ranks: int
    bf16: bool
    by_deepspeed: bool

    @property
    def compute(self) -> int:
        """Bytes of a number in a matrix product."""
        return 2 if self.bf16 else 4

    @property
    def residual(self) -> int:
        """Bytes of a number between layers. Undivided weights are in float32 under autocast, and so is the residual stream."""
        return 4 if self.stage == 0 else self.compute

    def share(self, count: int) -> int:
        """How many of `count` are this rank's."""
        return -(-count // self.ranks)


def states(s: Sharding, parameters: int) -> Parts:
    """Weights, gradients and AdamW's state of trained `parameters` (arXiv 1910.02054 §3.1, and the code we run)."""
    share = s.share(parameters)
    if s.stage == 0:  # float32 throughout; DDP, which PPO goes without, has a second set of gradients as buckets
        buckets = 4 * parameters if s.ranks > 1 and s.by_deepspeed else 0
        return {"weights": 4 * parameters, "gradients": 4 * parameters, "optimizer": 8 * parameters, "buckets": buckets}
    if not s.by_deepspeed:  # fully_shard: float32 shares, no second master copy
        return {"weights": 4 * share, "gradients": 4 * share, "optimizer": 8 * share}
    return {
        "weights": s.compute * (share if s.stage == 3 else parameters),
        # summed in float32 (data_types.grad_accum_dtype); stage 1 keeps those of the last pass besides
        "gradients": 4 * share if s.stage > 1 else (4 + s.compute) * parameters,
        "optimizer": 12 * share,  # master weights and two moments
    }


def gathered(s: Sharding, models: Sequence[tuple[int, Architecture]], training: bool = True) -> Parts:
    """Weights and gradients that exist once more while computing. `models` are (parameters, shapes)."""
    total = sum(count for count, _ in models)
    if s.stage == 0:  # autocast keeps what it has cast until it is left
        return {"autocast copies": 2 * total} if s.bf16 else {}
    if s.stage < 3:
        return {}
    if s.by_deepspeed:
        return {"gathered weights": s.compute * min(total, LIVE + max(a.embedding for _, a in models))}
    outside = sum(count - a.num_hidden_layers * a.layer for count, a in models)  # embeddings and heads: the root's
    layer = max(a.layer for _, a in models)
    whole = {"gathered weights": s.compute * (outside + 2 * layer)}  # this layer and the next
    return whole | {"gathered gradients": 4 * (outside + layer)} if training else whole


def layer_activations(s: Sharding, a: Architecture, mask: int) -> int:
    """Bytes for each token that one layer keeps for its backward pass. A mask has `mask` keys for each token; 0: there is none.

    Counted over the operations of transformers' Llama as arXiv 2205.05198 §4.1 counts GPT's, and checked against torch's saved
    tensors. SDPA turns a mask into numbers in each layer, and then needs keys and values once for every query head.
    """
    h, q, k, c = a.hidden_size, a.queries, a.keys, s.compute
    norms = 8 + (16 * h if s.residual == 4 else 12 * h)
    inputs = 2 * c * h if s.residual == c else 5 * c * h  # autocast casts them for every product
    extra = (4 + c) * (q + k) + 4 * (a.num_attention_heads + a.num_key_value_heads) if a.qk_norm else 0
    attended = 4 * q + mask if mask else 3 * q + 2 * k
    return norms + inputs + c * attended + 4 * a.num_attention_heads + extra + 4 * c * a.intermediate_size


def saved(s: Sharding, a: Architecture, tokens: int, mask: int, checkpointing: bool) -> int:
    """Bytes that a forward pass of so many tokens leaves for the backward pass, without the head."""
    layer = s.residual * a.hidden_size if checkpointing else layer_activations(s, a, mask)
    final = (12 if s.residual == 4 else 8) * a.hidden_size + 8 * a.head_dim + 8
    return tokens * (a.num_hidden_layers * layer + final + mask)


def backward(s: Sharding, a: Architecture, tokens: int, mask: int, checkpointing: bool, kept: int) -> int:
    """Bytes that the backward pass takes besides `kept`, what was saved: a layer computed again, or the norms' gradients.

    At its end it is the gradient of an embedding, which comes whole, when nothing of what was saved is left.
    """
    layer = layer_activations(s, a, mask) + s.compute * a.intermediate_size + 4 * a.hidden_size
    width = layer if checkpointing else 18 * a.hidden_size
    return max(tokens * width, (4 if s.stage == 0 else s.compute) * a.embedding - kept)


def forward(s: Sharding, a: Architecture, tokens: int, mask: int = 0) -> int:
    """Bytes of a pass of so many tokens that keeps nothing: what exists inside one layer, and the mask."""
    streams = 8 if s.residual == 2 else 16
    width = 3 * s.compute * a.intermediate_size + streams * a.hidden_size + 8 * a.head_dim + (1 + s.compute) * mask
    return tokens * width


def cache(s: Sharding, a: Architecture, rows: int, row: int) -> int:
    """Bytes of the keys and values of `rows` × `row` tokens; growing by one token makes a layer's anew."""
    return rows * row * 2 * a.keys * s.residual * (a.num_hidden_layers + 1)


def fused_head(s: Sharding, a: Architecture, tokens: int) -> int:
    """Bytes of SFT's loss: a tile of logits, gradients of the hidden states and of the whole head in float32."""
    tile = s.compute * (min(tokens, TILE[0]) + a.hidden_size) * min(a.vocab_size, TILE[1])
    return tile + tokens * a.hidden_size * (s.residual + 4) + (4 if s.residual == 4 else 6) * a.embedding


def chunked_head(s: Sharding, a: Architecture, tokens: int, temperature: float, learning: bool) -> int:
    """Bytes of PPO's log-probabilities: a chunk's logits, a copy where they are scaled or not in float32, their softmax, and the
    head cast.

    Learning makes the gradients at once: of the hidden states, and of the head a sum and a chunk's own, beside logits and theirs.
    """
    cast = s.compute if s.residual != s.compute else 0
    states, logits = tokens * a.hidden_size * s.residual, min(tokens, CHUNK) * a.vocab_size
    is_float32 = s.compute == 4
    forward = (4 + s.compute + (0 if is_float32 and temperature == 1.0 else 4)) * logits
    if not learning:
        return states + forward + cast * a.embedding
    backward = (4 + s.compute + (0 if is_float32 else s.compute)) * logits + (s.residual + cast) * a.embedding
    return 2 * states + max(forward, backward) + (cast + s.residual) * a.embedding


def step(s: Sharding, parameters: int) -> int:
    """Bytes that an optimizer step takes besides its state: gradients copied to float32 (DeepSpeed, at stage 3 a sub-group at a
    time), or none (the fused AdamW of PPO and of the Trainer).
    """
    share = s.share(parameters)
    return 4 * (min(share, LIVE) if s.stage == 3 else share) if s.stage and s.by_deepspeed else 0
