"""What would a run do, take and cost, by its run file alone? JSON data, as `plan -o json` prints it; no cluster is asked."""

import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from fino1.commandline import WORK
from fino1.k8s.objects import render
from fino1.k8s.objects.backends import pod_templates
from fino1.k8s.objects.lint import lint
from fino1.k8s.objects.unit import Unit, units
from fino1.k8s.plan import cost, memory
from fino1.k8s.plan.shapes import Finder
from fino1.spec.inputs import RowsBlock
from fino1.spec.run import RunSpec

_GIB = 2**30


def outline_run(spec: RunSpec, name: str) -> dict[str, Any]:
    """Objects, pods, ranks, batches, images, volumes and directories of a run, and what lint finds."""
    parts, objects = units(spec, name), render.render(spec, name)
    findings = lint(spec)
    return {
        "name": name,
        "method": spec.method,
        "backend": "job" if spec.method == "eval" else spec.backend,
        "runs": [_describe_unit(unit) for unit in parts],
        "pods": _count_pods(spec, len(parts)),
        "batch": _divide_batch(spec),
        "steps": _count_steps(spec),
        "images": sorted({*_list_images(objects)}),
        "claims": [_describe_claim(spec, mount) for mount in ("work", "models")],
        "objects": [{"kind": o["kind"], "name": o["metadata"]["name"]} for o in objects if not render.is_hook(o)],
        "lint": {
            "errors": sum(finding.level == "error" for finding in findings),
            "warnings": sum(finding.level == "warning" for finding in findings),
            "findings": [str(finding) for finding in findings],
        },
    }


def estimate_memory(spec: RunSpec, planned: Path, gpu_bytes: int | None) -> dict[str, Any] | None:
    """What GPU memory a rank takes at its peak, and whether a GPU of so many bytes has it; None for a run without GPUs.

    `planned` is the run file: the runs whose models it takes are looked for beside it.
    """
    if not spec.gpus_per_node:
        return None
    models = Finder(WORK, planned)
    found = memory.estimate(spec, models)
    fits = found.fits(gpu_bytes) if gpu_bytes and found.peak else None
    return {
        "ranks": found.ranks,
        "zero_stage": found.zero_stage,
        "peak": found.peak or None,
        "total": found.total,
        "parts": dict(found.parts),
        "host": dict(found.host),
        "gpu": gpu_bytes,
        "usable": found.available(gpu_bytes) if gpu_bytes else None,
        "fits": fits,
        "changes": list(found.changes) if fits is False else [],
        "unknown": models.unknown,
        "assumed": models.assumed,
    }


def estimate_cost(spec: RunSpec, prices: Path | None, hours: float | None) -> dict[str, Any] | None:
    """What the run costs by a price book; None without one. Raises SpecError for a book that lacks its GPUs."""
    return cost.cost(spec, cost.read(prices), str(prices), hours) if prices else None


def format_gib(size: int) -> str:
    """Bytes as GiB, for people."""
    return f"{size / _GIB:.1f} GiB"


def _describe_unit(unit: Unit) -> dict[str, str]:
    """A run object's name, and where on the volume `work` it leaves its results."""
    found = {"name": unit.full, "directory": f"runs/{unit.name}-{unit.run_hash}"}
    return found | ({"model": unit.model["name"]} if unit.model else {})


def _count_pods(spec: RunSpec, parts: int) -> dict[str, Any]:
    is_eval = spec.method == "eval"
    served = sum(not model.base_url for model in spec.eval.models) * spec.eval.shards
    return {
        "count": parts * spec.eval.shards if is_eval else spec.nodes,
        "gpus_per_pod": spec.gpus_per_node,
        "gpus": (served if is_eval else spec.nodes) * spec.gpus_per_node,
        "resource": spec.gpu.resource if spec.gpus_per_node else None,
        "product": spec.gpu.product if spec.gpus_per_node else None,
        "ranks": None if is_eval else spec.world_size,
    }


def _divide_batch(spec: RunSpec) -> dict[str, int] | None:
    """Global = per device × ranks × accumulation (× mini-batches), which the run file's check has made sure of. None: eval."""
    if spec.method == "eval":
        return None
    block = getattr(spec, spec.method)
    mini = block.num_mini_batches if spec.method == "ppo" else 1
    accumulation = block.global_batch_size // (mini * spec.world_size * block.per_device_train_batch_size)
    found = {
        "global": block.global_batch_size,
        "per_device": block.per_device_train_batch_size,
        "ranks": spec.world_size,
        "accumulation": accumulation,
    }
    return found | ({"mini_batches": mini} if spec.method == "ppo" else {})


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
        steps = updates * block.num_ppo_epochs * block.num_mini_batches
        factors = ((block.num_ppo_epochs, "passes"), (block.num_mini_batches, "mini-batches"))
        of = " × ".join([f"{updates} updates", *(f"{count} {noun}" for count, noun in factors if count > 1)])
        return {"steps": steps, "of": of}
    block = getattr(spec, spec.method)
    if block.max_steps:
        return {"steps": block.max_steps, "of": "max_steps"}
    rows, epochs = _count_rows(spec.data), block.num_train_epochs
    if rows is None:
        return {"steps": None, "of": f"{epochs:g} epochs; number of rows not known"}
    steps = math.ceil(-(-rows // block.global_batch_size) * epochs)
    return {"steps": steps, "of": f"{epochs:g} epochs of at most {rows} rows"}


def _count_rows(block: RowsBlock) -> int | None:
    """Rows that are read at most; None where only the file knows."""
    if block.task == "ledger" and block.path is None:
        return min(block.size, block.limit or block.size)
    return block.limit


def _list_images(objects: Sequence[Mapping[str, Any]]) -> list[str]:
    specs = [template["spec"] for thing in objects for template in pod_templates(thing)]
    return [each["image"] for spec in specs for each in [*spec.get("initContainers", []), *spec["containers"]]]


def _describe_claim(spec: RunSpec, mount: str) -> dict[str, Any]:
    block = getattr(spec.volumes, mount)
    return {
        "name": block.claimName,
        "mount": f"/{mount}",
        "create": block.create,
        "size": block.size,
        "storage_class": block.storageClassName,
        "access_modes": list(block.accessModes),
    }
