"""How much memory does a rank of a run take on its GPU, and what can be changed where that is too much?

Which phases there are and what is held in each; the formulas are in `footprint`, where they come from and how far they were
checked in docs/memory.md. All sizes are bytes, of one rank.
"""

import dataclasses
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from fino1.k8s.plan.architecture import Architecture, architecture, of_init
from fino1.k8s.plan.footprint import (
    Parts,
    Sharding,
    backward,
    cache,
    chunked_head,
    forward,
    fused_head,
    gathered,
    saved,
    states,
    step,
)
from fino1.spec.inputs import DEFAULT_MODEL, DEFAULT_VALUE_MODEL, ModelRef
from fino1.spec.run import RunSpec
from fino1.spec.train import PpoBlock

CONTEXT = 2**30  # CUDA context, cuBLAS workspaces and NCCL: an allowance, not measured
FRAGMENTATION = 0.08  # of everything else, what the allocator cannot use: an allowance, not measured
SERVED_TOKENS = 8192  # tokens that a server reads in one pass, at most (vLLM's max_num_batched_tokens)
MARGIN = 0.05  # of the GPU's memory, which an estimate that fits leaves free


@dataclass(frozen=True)
class Phase:
    """A part of the run in which memory is taken up by the same things: name of the thing → bytes."""

    name: str
    parts: Mapping[str, int]

    @property
    def total(self) -> int:
        """Bytes of all parts."""
        return sum(self.parts.values())


@dataclass(frozen=True)
class MemoryEstimate:
    """What one rank takes in each phase; of an evaluation each model served is one."""

    ranks: int
    zero_stage: int
    phases: tuple[Phase, ...]
    host: Mapping[str, int]
    """Bytes that offloading puts into the node's memory, for each rank."""
    unknown: tuple[str, ...]
    """Models whose sizes are not known here; what they take is in no figure, and nothing is estimated without the policy."""
    remedies: Mapping[str, tuple[str, ...]]
    """Part → what would make it smaller."""

    @property
    def peak(self) -> Phase | None:
        """The phase that takes most; None where nothing could be estimated."""
        return max(self.phases, key=lambda phase: phase.total, default=None)


def estimate(
    spec: RunSpec,
    work: Path,
    *,
    zero_stage: int = 3,
    offload_optimizer: bool = False,
    offload_param: bool = False,
    flash: bool = False,
    known: Mapping[str, Architecture] | None = None,
) -> MemoryEstimate:
    """How much does each rank take, phase by phase?

    `known` gives shapes by key of the run file (`model`, `ppo.value_model`, `ppo.reward.model`, `eval.models.0`), for models
    that are not here. One rank divides nothing unless it offloads; PPO knows stages 0 and 3 only.
    """
    found = _Models(work, known or {})
    offloads = offload_optimizer or offload_param
    ranks = spec.world_size if spec.method != "eval" else max(spec.gpus_per_node, 1)
    stage = zero_stage if ranks > 1 or offloads else 0
    if spec.method == "eval":
        s = Sharding(stage=3, ranks=ranks, bf16=True, by_deepspeed=True)
        phases, host, stage = _serve(spec, s, found), {}, 0
    else:
        block = getattr(spec, spec.method)
        is_ppo = spec.method == "ppo"
        assert not is_ppo or (stage in (0, 3) and not offloads), (stage, offloads)
        s = Sharding(stage, ranks, block.bf16, not is_ppo, offload_optimizer, offload_param, flash)
        phases, host = (_ppo if is_ppo else _trainer)(spec, s, found)
    return MemoryEstimate(ranks, stage, tuple(phases), host, tuple(found.unknown), _remedies(spec, stage, offloads))


class _Models:
    """The shapes of the models that a run names, and the keys of those that are not known."""

    def __init__(self, work: Path, known: Mapping[str, Architecture]) -> None:
        self.work, self.known, self.unknown = work, known, []

    def find(self, key: str, ref: ModelRef, default: str | None = None) -> Architecture | None:
        shapes = self.known.get(key) or architecture(ref, self.work, default)
        if shapes is None:
            name = ref.hub or ref.path or ref.run or default
            self.unknown.append(
                f"{key}: {name}: sizes not known here; give {key}.path, a folder with its config.json, or fetch the "
                "model to Hugging Face's cache"
            )
        return shapes


def _phase(name: str, *parts: Parts) -> Phase:
    """The phase that holds all these parts, with the allowances."""
    merged: Parts = {}
    for key, size in (item for each in parts for item in each.items()):
        merged[key] = merged.get(key, 0) + size
    sizes = {key: size for key, size in merged.items() if size}
    return Phase(name, sizes | {"fragmentation": int(FRAGMENTATION * sum(sizes.values())), "CUDA context": CONTEXT})


def _trainer(spec: RunSpec, s: Sharding, found: _Models) -> tuple[list[Phase], Parts]:
    """Phases of what Transformers' Trainer trains: SFT with TRL's fused head, the verifier without a language head."""
    block, is_sft = getattr(spec, spec.method), spec.method == "sft"
    a = found.find("model", spec.model, DEFAULT_MODEL if is_sft else DEFAULT_VALUE_MODEL)
    if a is None:
        return [], {}
    parameters = a.parameters if is_sft else a.backbone + 2 * a.hidden_size
    rows, row = block.per_device_train_batch_size, min(block.max_length, a.max_position_embeddings)
    rows, row = (1, rows * row) if is_sft and block.packing else (rows, row)  # packed rows are laid end to end
    held = states(s, parameters, a.hidden_size)
    moved = [("weights", s.offload_param), ("gradients", s.offload_optimizer), ("optimizer", s.offload_optimizer)]
    host = {key: held.pop(key) for key, is_moved in moved if is_moved}
    work = gathered(s, [(parameters, a)])
    kept = saved(s, a, rows, row, block.gradient_checkpointing)
    learn = (held, work, {"activations": kept})
    head = {"logits and loss": fused_head(s, a, rows * row) if is_sft else 0}
    layer = {"backward": backward(s, [a], rows, row, block.gradient_checkpointing, kept)}
    return [
        _phase("loss", *learn, head),
        _phase("backward", *learn, layer),
        _phase("optimizer step", held, {"step": step(s, parameters)}),
    ], host


def _ppo(spec: RunSpec, s: Sharding, found: _Models) -> tuple[list[Phase], Parts]:
    """Phases of one update: sampling, looking back at what was sampled, learning."""
    block: PpoBlock = spec.ppo
    policy = found.find("model", spec.model, DEFAULT_MODEL)
    init = block.value_model.init
    value = of_init(init, policy.vocab_size) if init and policy else None
    value = value or found.find("ppo.value_model", block.value_model, DEFAULT_VALUE_MODEL)
    judge = found.find("ppo.reward.model", block.reward.model) if block.reward.source == "model" else None
    if policy is None or value is None:
        return [], {}
    critic = value.backbone + value.hidden_size
    both = [(policy.parameters, policy), (critic, value)]
    reference = 4 * (s.share(policy.parameters) if s.stage == 3 else policy.parameters)
    held = states(s, policy.parameters + critic, policy.hidden_size) | {"reference": reference}
    if judge is not None:
        held["reward model"] = judge.dtype_bytes * (judge.backbone + 2 * judge.hidden_size)
    gradients = {"gradients": held.pop("gradients")}  # there only while learning

    response = block.response_length
    prompt = max(1, min(block.max_prompt_length, min(a.max_position_embeddings for _, a in both) - response))
    row, rows = prompt + response, block.per_device_train_batch_size
    batch = min(block.local_rollout_forward_batch_size, s.share(block.global_batch_size))
    copies = s.compute * policy.parameters if s.stage == 3 or s.bf16 else 0
    whole = {"gathered weights" if s.stage == 3 else "autocast copies": copies}  # of the policy, once an update
    look = gathered(s, both, training=False)
    kept = sum(saved(s, a, rows, row, block.gradient_checkpointing) for _, a in both)
    learn = (held, gradients, gathered(s, both), {"activations": kept})
    layer = backward(s, [policy, value], rows, row, block.gradient_checkpointing, kept)
    sampled = {"KV cache": cache(s, policy, batch, row), "logits and loss": 36 * batch * policy.vocab_size}
    phases = [
        _phase(
            "rollout: prompts",
            held,
            whole,
            {"KV cache": cache(s, policy, batch, prompt), "forward": forward(s, policy, batch, prompt)},
        ),
        _phase("rollout: responses", held, whole, sampled),
        _phase("look back", held, look, {"forward": max(forward(s, a, batch, row) for _, a in both)}),
        _phase(
            "look back: logits",
            held,
            look,
            {"logits and loss": chunked_head(s, policy, batch * response, learning=False)},
        ),
        _phase("loss", *learn, {"logits and loss": chunked_head(s, policy, rows * response, learning=True)}),
        _phase("backward", *learn, {"backward": layer}),
        _phase("optimizer step", held, gradients, {"step": step(s, policy.parameters + critic)}),
    ]
    if judge is not None:
        plain = dataclasses.replace(s, stage=1, bf16=judge.dtype_bytes == 2)  # neither divided nor under autocast
        phases.append(_phase("reward", held, {"forward": forward(plain, judge, batch, block.reward.max_length)}))
    return phases, {}


def _serve(spec: RunSpec, s: Sharding, found: _Models) -> list[Phase]:
    """One phase for each model that is served here: weights and cache, divided over the GPUs of its server."""
    phases = []
    is_vllm = spec.eval.server.engine == "vllm" or (spec.eval.server.engine is None and spec.gpus_per_node > 0)
    requests = 1 if is_vllm else spec.eval.concurrency  # vLLM starts with room for one, and lets the others wait
    for i, model in enumerate(spec.eval.models):
        a = None if model.base_url else found.find(f"eval.models.{i}", model)
        if a is None:
            continue
        context = min(model.context_length or a.max_position_embeddings, a.max_position_embeddings)
        s = dataclasses.replace(s, bf16=a.dtype_bytes == 2)
        heads = -(-a.num_key_value_heads // s.ranks)  # a rank has one at least
        keys = requests * context * 2 * heads * a.head_dim * a.dtype_bytes * a.num_hidden_layers
        parts = {
            "weights": a.dtype_bytes * s.share(a.parameters),
            "KV cache": keys,
            "forward": forward(dataclasses.replace(s, flash=True), a, 1, min(SERVED_TOKENS, context)),
            "logits and loss": 36 * requests * s.share(a.vocab_size),
        }
        phases.append(_phase(f"serve {model.name}", parts))
    return phases


def _remedies(spec: RunSpec, stage: int, offloads: bool) -> dict[str, tuple[str, ...]]:
    """What in the run file makes which part smaller?"""
    if spec.method == "eval":
        return {
            "KV cache": ("smaller eval.models.N.context_length",),
            "weights": ("more gpus_per_node",),
        }
    method, block = spec.method, getattr(spec, spec.method)
    model = ["more gpus_per_node or nodes"] if stage else []
    if stage < 3:
        model.append("launch.zero_stage: 3" + ("" if spec.world_size > 1 else " with more GPUs"))
    if method != "ppo" and not offloads:
        model.append("launch.offload_optimizer_device: cpu")
    length = "response_length or max_prompt_length" if method == "ppo" else "max_length"
    batch = [f"smaller {method}.per_device_train_batch_size"] if block.per_device_train_batch_size > 1 else []
    batch += [] if block.gradient_checkpointing else [f"{method}.gradient_checkpointing: true"]
    batch.append(f"smaller {method}.{length}")
    sampled = ("smaller ppo.local_rollout_forward_batch_size", "smaller ppo.max_prompt_length")
    divided = ("weights", "gradients", "optimizer", "buckets", "reference", "step")
    return (
        dict.fromkeys(divided, tuple(model))
        | dict.fromkeys(("autocast copies",), tuple(m for m in model if "zero_stage" in m))
        | dict.fromkeys(("activations", "backward"), tuple(batch))
        | {"logits and loss": (f"smaller {method}.{length}",), "KV cache": sampled, "forward": sampled}
    )


@dataclass(frozen=True)
class Fit:
    """Does an estimate fit a GPU, and if not, what would help?"""

    fits: bool
    needed: int
    available: int
    """The GPU's memory less the margin."""
    changes: tuple[str, ...]
    """What to change in the run file, the largest part of the peak first; not tried out."""


def fits(found: MemoryEstimate, gpu_memory_bytes: int, margin: float = MARGIN) -> Fit | None:
    """Does the peak fit a GPU of so many bytes, with `margin` of it left free? None where there is no estimate."""
    peak = found.peak
    if peak is None:
        return None
    available = int(gpu_memory_bytes * (1 - margin))
    if peak.total <= available:
        return Fit(True, peak.total, available, ())
    parts = sorted(peak.parts, key=lambda part: -peak.parts[part])
    changes = [change for part in parts for change in found.remedies.get(part, ())]
    return Fit(False, peak.total, available, (*dict.fromkeys(changes), "a GPU with more memory"))
