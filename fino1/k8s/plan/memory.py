"""How much memory does a rank of a run take on its GPU, and what in the run file makes that less?

What is held together at each point of a run; the formulas are in `footprint`, where they come from and how far they were checked
in docs/memory.md. All sizes are bytes, of one rank.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace

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
from fino1.k8s.plan.shapes import Architecture, Finder, of_init
from fino1.spec.inputs import DEFAULT_MODEL, DEFAULT_VALUE_MODEL
from fino1.spec.run import RunSpec

CONTEXT = 2**30  # CUDA context, cuBLAS workspaces and NCCL: an allowance, not measured
FRAGMENTATION = 0.08  # of everything else, what the allocator cannot use: an allowance, not measured
SERVED_TOKENS = 8192  # tokens that a server reads in one pass, at most (vLLM's max_num_batched_tokens)
MARGIN = 0.05  # of the GPU's memory, which an estimate that fits leaves free
Moment = tuple[str, Parts]  # a point of a run, and what takes memory then


@dataclass(frozen=True)
class MemoryEstimate:
    """What one rank takes when it takes most (of an evaluation: the server of its largest model)."""

    ranks: int
    zero_stage: int
    peak: str
    """Where in the run that is; empty where nothing could be estimated."""
    parts: Mapping[str, int]
    """What is in memory then: name → bytes."""
    host: Mapping[str, int] = field(default_factory=dict)
    """Bytes that offloading puts into the node's memory, for each rank."""
    remedies: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    """Part → what would make it smaller."""

    @property
    def total(self) -> int:
        """Bytes of all parts."""
        return sum(self.parts.values())

    def available(self, gpu_bytes: int) -> int:
        """Bytes that a GPU of so many has to give: all but the margin."""
        return int(gpu_bytes * (1 - MARGIN))

    def fits(self, gpu_bytes: int) -> bool:
        """Whether the peak fits a GPU of so many bytes."""
        return self.total <= self.available(gpu_bytes)

    @property
    def changes(self) -> tuple[str, ...]:
        """What to change in the run file to need less, the largest part of the peak first; not tried out."""
        parts = sorted(self.parts, key=lambda part: -self.parts[part])
        changes = [change for part in parts for change in self.remedies.get(part, ())]
        return (*dict.fromkeys(changes), "a GPU with more memory")


def estimate(spec: RunSpec, models: Finder) -> MemoryEstimate:
    """What each rank takes at its peak. One rank divides nothing, unless it offloads. The models that `models` cannot find
    (`models.unknown`) are in no figure, and without the policy there is none.
    """
    launch, host = spec.launch, {}
    offloads = [device == "cpu" for device in (launch.offload_optimizer_device, launch.offload_param_device)]
    ranks = spec.world_size if spec.method != "eval" else max(spec.gpus_per_node, 1)
    stage = launch.zero_stage if ranks > 1 or any(offloads) else 0
    if spec.method == "eval":
        stage, moments = 0, list(_serve(spec, ranks, models))
    elif spec.method == "ppo":
        moments = list(_ppo(spec, Sharding(stage, ranks, spec.ppo.bf16, by_deepspeed=False), models))
    else:
        s = Sharding(stage, ranks, getattr(spec, spec.method).bf16, by_deepspeed=True, offload_optimizer=offloads[0])
        moments = list(_trainer(spec, s, models))
        moved = [*(("gradients", "optimizer") if offloads[0] else ()), *(("weights",) if offloads[1] else ())]
        host = {part: moments[0][1][part] for part in moved if moments}
        moments = [(name, {k: v for k, v in parts.items() if k not in moved}) for name, parts in moments]
    name, parts = max(((name, _with_allowances(parts)) for name, parts in moments), key=_size, default=("", {}))
    return MemoryEstimate(ranks, stage, name, parts, host, _remedies(spec, stage, any(offloads)))


def _size(moment: Moment) -> int:
    return sum(moment[1].values())


def _with_allowances(parts: Parts) -> Parts:
    sizes = {key: size for key, size in parts.items() if size}
    return sizes | {"fragmentation": int(FRAGMENTATION * sum(sizes.values())), "CUDA context": CONTEXT}


def _trainer(spec: RunSpec, s: Sharding, models: Finder) -> Iterator[Moment]:
    """What Transformers' Trainer trains: SFT with TRL's fused head, the verifier without a language head."""
    block, is_sft = getattr(spec, spec.method), spec.method == "sft"
    a = models.find("model", spec.model, DEFAULT_MODEL if is_sft else DEFAULT_VALUE_MODEL)
    if a is None:
        return
    parameters = a.parameters if is_sft else a.backbone + 2 * a.hidden_size
    rows, row = block.per_device_train_batch_size, min(block.max_length, a.max_position_embeddings)
    rows, row = (1, rows * row) if is_sft and block.packing else (rows, row)  # packed rows are laid end to end
    held = states(s, parameters, a.hidden_size)
    kept = saved(s, a, rows, row, block.gradient_checkpointing)
    learning = held | gathered(s, [(parameters, a)]) | {"activations": kept}
    if is_sft:
        yield "loss", learning | {"logits and loss": fused_head(s, a, rows * row)}
    yield "backward", learning | {"backward": backward(s, [a], rows, row, block.gradient_checkpointing, kept)}
    yield "optimizer step", held | {"step": step(s, parameters)}


def _find_actors(spec: RunSpec, models: Finder) -> Sequence[Architecture | None]:
    """PPO's policy, value model and reward model; None for what is not known, or not there."""
    block, init = spec.ppo, spec.ppo.value_model.init
    policy = models.find("model", spec.model, DEFAULT_MODEL)
    value = of_init(init, policy.vocab_size) if init and policy else None
    value = value or models.find("ppo.value_model", block.value_model, DEFAULT_VALUE_MODEL)
    judge = models.find("ppo.reward.model", block.reward.model) if block.reward.source == "model" else None
    return policy, value, judge


def _hold_actors(s: Sharding, policy: Architecture, critic: int, judge: Architecture | None) -> tuple[Parts, Parts]:
    """What PPO holds all the time, and the gradients, which are there only while it learns. `critic`: parameters."""
    held = states(s, policy.parameters + critic, policy.hidden_size)
    held["reference"] = 4 * (s.share(policy.parameters) if s.stage == 3 else policy.parameters)
    if judge is not None:
        held["reward model"] = judge.dtype_bytes * (judge.backbone + 2 * judge.hidden_size)
    return held, {"gradients": held.pop("gradients")}


def _ppo(spec: RunSpec, s: Sharding, models: Finder) -> Iterator[Moment]:
    """One update: sampling, then log-probabilities and values of what was sampled, then learning."""
    policy, value, judge = _find_actors(spec, models)
    if policy is None or value is None:
        return
    block = spec.ppo
    critic = value.backbone + value.hidden_size
    both = [(policy.parameters, policy), (critic, value)]
    held, gradients = _hold_actors(s, policy, critic, judge)

    response = block.response_length
    prompt = max(1, min(block.max_prompt_length, min(a.max_position_embeddings for _, a in both) - response))
    row, rows = prompt + response, block.per_device_train_batch_size
    batch = min(block.local_rollout_forward_batch_size, s.share(block.global_batch_size))
    copies = s.compute * policy.parameters if s.stage == 3 or s.bf16 else 0
    sampling = held | {"gathered weights" if s.stage == 3 else "autocast copies": copies}
    looking = held | gathered(s, both, training=False)
    kept = sum(saved(s, a, rows, row, block.gradient_checkpointing) for _, a in both)
    learning = held | gradients | gathered(s, both) | {"activations": kept}
    sampled = {"KV cache": cache(s, policy, batch, row), "logits and loss": 36 * batch * policy.vocab_size}
    yield (
        "rollout: prompts",
        sampling
        | {
            "KV cache": cache(s, policy, batch, prompt),
            "forward": forward(s, policy, batch, prompt),
        },
    )
    yield "rollout: responses", sampling | sampled
    yield "log-probabilities: layers", looking | {"forward": max(forward(s, a, batch, row) for _, a in both)}
    scored = chunked_head(s, policy, batch * response, learning=False)
    yield "log-probabilities: logits", looking | {"logits and loss": scored}
    yield "loss", learning | {"logits and loss": chunked_head(s, policy, rows * response, learning=True)}
    layer = backward(s, [policy, value], rows, row, block.gradient_checkpointing, kept)
    yield "backward", learning | {"backward": layer}
    yield "optimizer step", held | gradients | {"step": step(s, policy.parameters + critic)}
    if judge is not None:
        plain = replace(s, stage=1, bf16=judge.dtype_bytes == 2)  # neither divided nor under autocast
        yield "reward", held | {"forward": forward(plain, judge, batch, block.reward.max_length)}


def _serve(spec: RunSpec, ranks: int, models: Finder) -> Iterator[Moment]:
    """Each model that is served here: weights and cache, divided over the GPUs of its server."""
    is_vllm = spec.eval.server.engine == "vllm" or (spec.eval.server.engine is None and spec.gpus_per_node > 0)
    requests = 1 if is_vllm else spec.eval.concurrency  # vLLM starts with room for one, and lets the others wait
    for i, model in enumerate(spec.eval.models):
        a = None if model.base_url else models.find(f"eval.models.{i}", model)
        if a is None:
            continue
        context = min(model.context_length or a.max_position_embeddings, a.max_position_embeddings)
        s = Sharding(stage=3, ranks=ranks, bf16=a.dtype_bytes == 2, by_deepspeed=True, flash=True)
        heads = -(-a.num_key_value_heads // ranks)  # a rank has one at least
        yield (
            f"serve {model.name}",
            {
                "weights": a.dtype_bytes * s.share(a.parameters),
                "KV cache": requests * context * 2 * heads * a.head_dim * a.dtype_bytes * a.num_hidden_layers,
                "forward": forward(s, a, 1, min(SERVED_TOKENS, context)),
                "logits and loss": 36 * requests * s.share(a.vocab_size),
            },
        )


def _remedies(spec: RunSpec, stage: int, offloads: bool) -> dict[str, tuple[str, ...]]:
    """Part → what in the run file makes it smaller, without what is done already."""
    if spec.method == "eval":
        return {"KV cache": ("smaller eval.models.N.context_length",), "weights": ("more gpus_per_node",)}
    method, block = spec.method, getattr(spec, spec.method)
    divide = f"launch.zero_stage: 3{'' if spec.world_size > 1 else ' with more GPUs'}" if stage < 3 else ""
    offload = "" if method == "ppo" or offloads else "launch.offload_optimizer_device: cpu"
    length = f"smaller {method}.{'response_length or max_prompt_length' if method == 'ppo' else 'max_length'}"
    rows = f"smaller {method}.per_device_train_batch_size" if block.per_device_train_batch_size > 1 else ""
    again = "" if block.gradient_checkpointing else f"{method}.gradient_checkpointing: true"
    sampled = ("smaller ppo.local_rollout_forward_batch_size", "smaller ppo.max_prompt_length")
    model = ("more gpus_per_node or nodes" if stage else "", divide, offload)
    parts = dict.fromkeys(("weights", "gradients", "optimizer", "buckets", "reference", "step"), model)
    parts |= {"autocast copies": (divide,), "activations": (rows, again, length), "backward": (rows, again, length)}
    parts |= {"logits and loss": (length,), "KV cache": sampled, "forward": sampled}
    return {part: tuple(filter(None, changes)) for part, changes in parts.items()}
