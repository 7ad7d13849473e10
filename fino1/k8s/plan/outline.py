"""What would a run do and take, by its run file alone? JSON data, as `plan -o json` prints it; no cluster is asked."""

import math
from typing import Any

from fino1.k8s.objects import render
from fino1.k8s.objects.backends import pod_templates
from fino1.k8s.objects.unit import units
from fino1.spec.inputs import RowsBlock
from fino1.spec.run import RunSpec


def outline_run(spec: RunSpec, name: str) -> dict[str, Any]:
    """Objects, pods, ranks, batches, images, volumes and directories of a run."""
    objects = [each for each in render.render(spec, name) if not render.is_hook(each)]
    pods = [template["spec"] for each in objects for template in pod_templates(each)]
    claims = {"work": spec.volumes.work, "models": spec.volumes.models}
    return {
        "name": name,
        "method": spec.method,
        "backend": "job" if spec.method == "eval" else spec.backend,
        "runs": [
            {"name": unit.full, "directory": f"runs/{unit.directory}"}
            | ({"model": unit.model["name"]} if unit.model else {})
            for unit in units(spec, name)
        ],
        "pods": count_pods(spec),
        "batch": _divide_batch(spec),
        "steps": _count_steps(spec),
        "images": sorted(
            {each["image"] for pod in pods for key in pod if key.endswith("ontainers") for each in pod[key]}
        ),
        "claims": [{"mount": f"/{mount}", **block.model_dump()} for mount, block in claims.items()],
        "objects": [{"kind": each["kind"], "name": each["metadata"]["name"]} for each in objects],
    }


def count_pods(spec: RunSpec) -> dict[str, Any]:
    """Pods, their GPUs, and ranks (None: eval). Each shard of a model is a pod of an evaluation, without GPUs for an endpoint."""
    pods = served = spec.nodes
    if spec.method == "eval":
        pods = len(spec.eval.models) * spec.eval.shards
        served = sum(not model.base_url for model in spec.eval.models) * spec.eval.shards
    return {
        "count": pods,
        "gpus_per_pod": spec.gpus_per_node,
        "gpus": served * spec.gpus_per_node,
        "resource": spec.gpu.resource if spec.gpus_per_node else None,
        "product": spec.gpu.product if spec.gpus_per_node else None,
        "ranks": None if spec.method == "eval" else spec.world_size,
    }


def _divide_batch(spec: RunSpec) -> dict[str, int] | None:
    """Global = per device × ranks × accumulation (× mini-batches), which the run file's check has made sure of. None: eval."""
    if spec.method == "eval":
        return None
    block, ranks = spec.trained, spec.world_size
    mini = {"mini_batches": spec.ppo.num_mini_batches} if spec.method == "ppo" else {}
    unit = block.per_device_train_batch_size * ranks * mini.get("mini_batches", 1)
    batch = {"global": block.global_batch_size, "per_device": block.per_device_train_batch_size, "ranks": ranks}
    return {**batch, "accumulation": block.global_batch_size // unit, **mini}


def _count_steps(spec: RunSpec) -> dict[str, Any]:
    """Optimizer steps (of an evaluation: questions), None where the run file does not say; `of`: what they are counted from."""
    if spec.method == "eval":
        sizes = [_count_rows(task) for task in spec.eval.tasks]
        known = None if None in sizes else sum(size or 0 for size in sizes) * len(spec.eval.models)
        of = f"{len(spec.eval.models)} models × {len(spec.eval.tasks)} tasks"
        return {"questions": known, "of": f"not known until the tasks are read ({of})" if known is None else of}
    if spec.method == "ppo":
        block = spec.ppo
        updates = -(-block.total_episodes // block.global_batch_size)
        factors = ((block.num_ppo_epochs, "passes"), (block.num_mini_batches, "mini-batches"))
        of = " × ".join([f"{updates} updates", *(f"{count} {noun}" for count, noun in factors if count > 1)])
        return {"steps": updates * block.num_ppo_epochs * block.num_mini_batches, "of": of}
    block = spec.trained
    if block.max_steps:
        return {"steps": block.max_steps, "of": "max_steps"}
    rows, epochs = _count_rows(spec.data), block.num_train_epochs
    if rows is None:
        return {"steps": None, "of": f"{epochs:g} epochs; number of rows not known"}
    steps = math.ceil(-(-rows // block.global_batch_size) * epochs)
    return {"steps": steps, "of": f"{epochs:g} epochs of at most {rows} rows"}


def _count_rows(block: RowsBlock) -> int | None:
    """Rows that are read at most; None where only the file knows."""
    is_made = block.task == "ledger" and block.path is None
    return min(block.size, block.limit or block.size) if is_made else block.limit
