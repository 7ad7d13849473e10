"""How much GPU memory does a rank of a run take when it takes most, of what, and what in the run file makes that less?

Different things are in memory at different points of a run; the one that takes most counts. All sizes are bytes of one rank.
"""

import functools
from collections.abc import Iterator
from dataclasses import replace
from typing import Any

from fino1.sizes import footprint
from fino1.sizes.footprint import Parts, Sharding
from fino1.sizes.shapes import Finder, of_init
from fino1.spec.inputs import DEFAULT_MODEL, DEFAULT_VALUE_MODEL
from fino1.spec.run import RunSpec

CONTEXT = 2**30  # CUDA context, cuBLAS workspaces and NCCL: an allowance, not measured
FRAGMENTATION = 0.08  # of everything else, what the allocator cannot use: an allowance, not measured
SERVED_TOKENS = 8192  # tokens that a server reads in one pass, at most (vLLM's max_num_batched_tokens)
MARGIN = 0.05  # of the GPU's memory, which an estimate that fits leaves free


def estimate(spec: RunSpec, models: Finder, gpu_bytes: int | None = None) -> dict[str, Any]:
    """What a rank takes at its peak, and whether a GPU of so many bytes has it, as JSON data. A rank of a run
    that asks models is the server of its largest one.

    One rank divides nothing, unless it offloads. The models that `models` cannot find (`unknown`) are in no figure; without the
    policy there is none, and `peak` is None. `host`: bytes that offloading moves to the node's memory.
    """
    launch = spec.launch
    trains, devices = spec.trains, (launch.offload_optimizer_device, launch.offload_param_device)
    offloads = [trains and device == "cpu" for device in devices]
    ranks = spec.world_size if trains else max(spec.gpus_per_node, 1)
    stage = launch.zero_stage if trains and (ranks > 1 or any(offloads)) else 0
    s = Sharding(stage, ranks, trains and spec.trained.bf16, by_deepspeed=spec.method != "ppo")
    ppo = functools.partial(_ppo, gpu_bytes=gpu_bytes or 0)
    points = list({"eval": _serve, "paths": _serve, "ppo": ppo}.get(spec.method, _trainer)(spec, s, models))
    moved = [*(("gradients", "optimizer", "step") if offloads[0] else ()), *(("weights",) if offloads[1] else ())]
    host = {part: points[0][1][part] for part in moved if points and part != "step"}
    sums = [
        (name, _with_allowances({part: parts[part] for part in parts if part not in moved})) for name, parts in points
    ]
    peak, parts = max(sums, key=lambda point: sum(point[1].values()), default=(None, {}))
    total, usable = sum(parts.values()), int(gpu_bytes * (1 - MARGIN)) if gpu_bytes else None
    fits = total <= usable if usable and peak else None
    return {
        "ranks": ranks,
        "zero_stage": stage,
        "peak": peak,
        "total": total,
        "parts": parts,
        "host": host,
        "gpu": gpu_bytes,
        "usable": usable,
        "fits": fits,
        "changes": _list_changes(spec, stage, any(offloads), peak) if fits is False else [],
        "unknown": models.unknown,
        "assumed": models.assumed,
    }


def _with_allowances(parts: Parts) -> Parts:
    sizes = {part: size for part, size in parts.items() if size}
    return sizes | {"fragmentation": int(FRAGMENTATION * sum(sizes.values())), "CUDA context": CONTEXT}


def _larger(**parts: int) -> Parts:
    """The largest of parts that are not in memory together."""
    return dict([max(parts.items(), key=lambda part: part[1])])


def _trainer(spec: RunSpec, s: Sharding, models: Finder) -> Iterator[tuple[str, Parts]]:
    """What Transformers' Trainer trains: SFT with TRL's fused head, the verifier without a language head."""
    block, is_sft = spec.trained, spec.method == "sft"
    a = models.find("model", spec.model, DEFAULT_MODEL if is_sft else DEFAULT_VALUE_MODEL)
    if a is None:
        return
    parameters = a.parameters if is_sft else a.backbone + 2 * a.hidden_size
    rows, row = block.per_device_train_batch_size, min(block.max_length, a.max_position_embeddings)
    tokens, mask = rows * row, 0 if is_sft else row  # SFT's rows lie end to end and attend to themselves
    held = footprint.states(s, parameters)
    kept = footprint.saved(s, a, tokens, mask, block.gradient_checkpointing)
    layer = footprint.backward(s, a, tokens, mask, block.gradient_checkpointing, kept)
    largest = _larger(backward=layer, logits=footprint.fused_head(s, a, tokens) if is_sft else 0)
    yield "backward", held | footprint.gathered(s, [(parameters, a)]) | {"activations": kept} | largest
    yield "optimizer step", held | {"step": footprint.step(s, parameters)}


def _ppo(spec: RunSpec, s: Sharding, models: Finder, gpu_bytes: int) -> Iterator[tuple[str, Parts]]:
    """One update: sampling, then log-probabilities and values of what was sampled, then learning."""
    block, init = spec.ppo, spec.ppo.value_model.init
    policy = models.find("model", spec.model, DEFAULT_MODEL)
    value = of_init(init, policy.vocab_size) if init and policy else None
    value = value or models.find("ppo.value_model", block.value_model, DEFAULT_VALUE_MODEL)
    judge = models.find("ppo.reward.model", block.reward.model) if block.reward.source == "model" else None
    if policy is None or value is None:
        return
    critic = value.backbone + value.hidden_size
    both, parameters = [(policy.parameters, policy), (critic, value)], policy.parameters + critic
    held = footprint.states(s, parameters)
    embedding = 0 if s.stage == 3 else (4 - s.compute) * policy.embedding  # undivided it stays in float32
    held["reference"] = s.compute * (s.share(policy.parameters) if s.stage == 3 else policy.parameters) + embedding
    held["reward model"] = judge.dtype_bytes * (judge.backbone + 2 * judge.hidden_size) if judge else 0
    gradients = {"gradients": held.pop("gradients")}  # there only while it learns

    response, checkpointing = block.response_length, block.gradient_checkpointing
    prompt = max(1, min(block.max_prompt_length, min(a.max_position_embeddings for _, a in both) - response))
    row, rows = prompt + response, block.per_device_train_batch_size
    share = s.share(block.global_batch_size)
    batch, looked = min(block.rollout_batch_size, share), min(block.forward_batch_size, share)
    if block.per_device_train_tokens:
        rows = max(1, block.per_device_train_tokens // row)
    copies = s.compute * policy.parameters if s.stage == 3 or s.bf16 else 0
    if block.is_sampled_by_vllm:
        needed = s.compute * policy.parameters + footprint.cache(s, policy, 1, row)  # its weights and one row
        sampled = {"vLLM": _share_of_gpu(block.rollout.gpu_memory_utilization, gpu_bytes, needed)}
    else:
        sampled = _larger(forward=footprint.forward(s, policy, batch * prompt), logits=36 * batch * policy.vocab_size)
        sampled |= {"KV cache": footprint.cache(s, policy, batch, row)}
    yield "rollout", held | sampled | {"gathered weights" if s.stage == 3 else "autocast copies": copies}
    layer = max(footprint.forward(s, a, looked * row) for _, a in both)
    head = functools.partial(footprint.chunked_head, s, policy, temperature=block.temperature)
    scored = _larger(forward=layer, logits=head(looked * response, learning=False))
    yield "log-probabilities", held | footprint.gathered(s, both, training=False) | scored
    heads = (head(rows * response, learning=True), 0)  # the value model's is none to speak of
    for (count, a), logits in zip(both, heads, strict=True):  # one after the other
        kept = footprint.saved(s, a, rows * row, 0, checkpointing)
        layer = footprint.backward(s, a, rows * row, 0, checkpointing, kept)
        learned = {"activations": kept} | _larger(backward=layer, logits=logits)
        yield "backward", held | gradients | footprint.gathered(s, both if s.stage else [(count, a)]) | learned
    if judge:
        whole = replace(s, stage=1, bf16=judge.dtype_bytes == 2)  # neither divided nor under autocast
        length = block.reward.max_length
        yield "reward", held | {"forward": footprint.forward(whole, judge, looked * length, length)}


def _share_of_gpu(share: float, gpu_bytes: int, needed: int) -> int:
    """Bytes that vLLM takes, which are its share of the GPU: of this one (0: not known), or of one whose share has room."""
    taken = int(gpu_bytes * share)
    return max(taken, needed) if taken >= needed or not gpu_bytes else int(needed / share)


def _serve(spec: RunSpec, s: Sharding, models: Finder) -> Iterator[tuple[str, Parts]]:
    """Each model that is served here: weights and cache, divided over the GPUs of its server."""
    engine = spec.asking.server.engine
    for key, model in spec.asked.items():
        gpus = spec.count_gpus(model)
        is_vllm = engine == "vllm" or (engine is None and gpus > 0)
        requests = 1 if is_vllm else spec.asking.concurrency  # vLLM starts with room for one, and lets the others wait
        s = replace(s, ranks=max(gpus, 1))
        a = None if model.base_url else models.find(key, model)
        if a is None:
            continue
        context = min(model.context_length or a.max_position_embeddings, a.max_position_embeddings)
        heads = -(-a.num_key_value_heads // s.ranks)  # a rank has one at least
        whole, tokens = replace(s, stage=3, bf16=a.dtype_bytes == 2), min(SERVED_TOKENS, context)
        parts = {
            "weights": a.dtype_bytes * s.share(a.parameters),
            "KV cache": requests * context * 2 * heads * a.head_dim * a.dtype_bytes * a.num_hidden_layers,
            "forward": footprint.forward(whole, a, tokens, tokens),
            "logits": 36 * requests * s.share(a.vocab_size),
        }
        yield f"serve {model.name}", parts


def _list_changes(spec: RunSpec, stage: int, offloads: bool, peak: str) -> list[str]:
    """What to change in the run file to need less at this point, without what is done already; nothing is tried."""
    gpu = "a GPU with more memory"
    if not spec.trains:
        served, model = next(each for each in spec.asked.items() if f"serve {each[1].name}" == peak)
        more = f"more {served}.gpus" if spec.count_gpus(model) != spec.gpus_per_node else "more gpus_per_node"
        return [more, f"smaller {served}.context_length", gpu]
    block, key, is_ppo = spec.trained, f"{spec.method}.", spec.method == "ppo"
    divide = f"launch.zero_stage: 3{'' if spec.world_size > 1 else ' with more GPUs'}" if stage < 3 else ""
    offload = "" if is_ppo or offloads else "launch.offload_optimizer_device: cpu"
    changes = [divide, offload, "more gpus_per_node or nodes" if stage else ""]
    if peak == "backward":
        changes += [f"smaller {key}per_device_train_batch_size"] if block.per_device_train_batch_size > 1 else []
        changes += [] if block.gradient_checkpointing else [f"{key}gradient_checkpointing: true"]
        changes += [f"smaller {key}{'response_length or max_prompt_length' if is_ppo else 'max_length'}"]
    elif peak == "rollout" and block.is_sampled_by_vllm:
        changes += ["another ppo.rollout.gpu_memory_utilization"]
    elif peak != "optimizer step":
        size = "rollout" if peak == "rollout" else "forward"
        changes += [f"smaller ppo.per_device_{size}_batch_size", "smaller ppo.max_prompt_length"]
    return [change for change in (*changes, gpu) if change]
