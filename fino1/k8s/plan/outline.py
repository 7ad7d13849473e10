"""What would a run do and take, by its run file alone? As JSON data and as lines for people; no cluster is asked."""

import math
from collections import Counter
from collections.abc import Iterator
from typing import Any

from fino1 import jsonlines, runs
from fino1.commandline import WORK
from fino1.errors import SpecError
from fino1.k8s.objects.backends import pod_templates
from fino1.k8s.objects.render import render
from fino1.k8s.objects.unit import units
from fino1.spec import canonical
from fino1.spec.inputs import DataBlock, RowsBlock
from fino1.spec.paths import LEAST_CALLS
from fino1.spec.run import RunSpec

_SHOWN = 8  # runs of an evaluation that are named in the text
Line = tuple[str, str]  # heading and text


def outline_run(spec: RunSpec, name: str) -> tuple[dict[str, Any], list[Line]]:
    """Objects, pods, ranks, batches, images, volumes and directories of a run."""
    objects, parts, steps = render(spec, name), units(spec, name), _count_steps(spec)
    pods = [template["spec"] for each in objects for template in pod_templates(each)]
    images = {each["image"] for pod in pods for each in [*pod.get("initContainers", []), *pod["containers"]]}
    report = {
        "name": name,
        "method": spec.method,
        "backend": parts[0].backend,
        "runs": [
            {"name": unit.full, "directory": f"runs/{unit.directory}"}
            | ({"model": unit.asked[0]["name"]} if spec.method == "eval" else {})
            for unit in parts
        ],
        "pods": count_pods(spec),
        "batch": _divide_batch(spec),
        "steps": steps,
        "calls": _count_calls(spec, steps.get("questions")),
        "images": sorted(images),
        "claims": [{"mount": f"/{mount}", **getattr(spec.volumes, mount).model_dump()} for mount in ("work", "models")],
        "objects": [{"kind": each["kind"], "name": each["metadata"]["name"]} for each in objects],
    }
    return report, _describe(report)


def _describe(report: dict[str, Any]) -> list[Line]:
    pods, batch, steps, runs = report["pods"], report["batch"], report["steps"], report["runs"]
    lines = [("run", f"{report['name']} (method {report['method']}, backend {report['backend']})")]
    for run in runs[:_SHOWN]:
        lines.append(
            ("object", f"{run.get('model', '')}: {run['name']}, results in {run['directory']}".removeprefix(": "))
        )
    if len(runs) > _SHOWN:
        lines.append(("", f"and {len(runs) - _SHOWN} more"))
    gpus = "{gpus_per_pod} {resource} ({product})".format_map({**pods, "product": pods["product"] or "any product"})
    text = f"{_count(pods['count'], 'pod')} × {gpus if pods['gpus_per_pod'] else 'no GPU'}"
    text += f", {_count(pods['gpus'], 'GPU')} in all" if pods["gpus"] else ""
    lines.append(("pods", text + (f", {_count(pods['ranks'], 'rank')}" if pods["ranks"] else "")))
    if batch:
        text = "{global} = {per_device} per device × {ranks} ranks × {accumulation} accumulation".format_map(batch)
        mini = batch.get("mini_batches", 1)
        lines.append(("batch", text + (f" × {mini} mini-batches" if mini > 1 else "")))
    counted = steps.get("steps", steps.get("questions"))
    lines.append(("steps" if batch else "questions", steps["of"] if counted is None else f"{counted} ({steps['of']})"))
    lines += _describe_calls(report["calls"])
    lines.append(("image", ", ".join(report["images"])))
    for claim in report["claims"]:
        made = f"made with {claim['size']}" if claim["create"] else "expected to exist"
        lines.append(("claim", f"{claim['claimName']} at {claim['mount']}, {', '.join(claim['accessModes'])}, {made}"))
    kinds = Counter(item["kind"] for item in report["objects"])
    return [*lines, ("objects", ", ".join(f"{count} {kind}" for kind, count in kinds.items()))]


def count_pods(spec: RunSpec) -> dict[str, Any]:
    """Pods, their GPUs, and ranks (None: of what asks models). A pod that asks endpoints alone has no GPUs."""
    served = spec.pods if spec.trains else sum(not m.base_url for m in spec.asked.values()) * spec.asking.shards
    gpus = spec.gpus_per_node if served else 0
    return {
        "count": spec.pods,
        "gpus_per_pod": gpus,
        "gpus": served * gpus,
        "resource": spec.gpu.resource if gpus else None,
        "product": spec.gpu.product if gpus else None,
        "ranks": spec.world_size if spec.trains else None,
    }


def _divide_batch(spec: RunSpec) -> dict[str, int] | None:
    """Global = per device × ranks × accumulation (× mini-batches), which the run file's check has seen to. None: no training."""
    if not spec.trains:
        return None
    block, ranks = spec.trained, spec.world_size
    mini = {"mini_batches": spec.ppo.num_mini_batches} if spec.method == "ppo" else {}
    unit = block.per_device_train_batch_size * ranks * mini.get("mini_batches", 1)
    batch = {"global": block.global_batch_size, "per_device": block.per_device_train_batch_size, "ranks": ranks}
    return {**batch, "accumulation": block.global_batch_size // unit, **mini}


def _count_steps(spec: RunSpec) -> dict[str, Any]:
    """Optimizer steps (no training: questions), None where the run file does not say; `of`: what they are counted from."""
    if not spec.trains:
        sizes, models = [_count_rows(task) for task in spec.asking.tasks], len(spec.eval.models)
        is_eval = spec.method == "eval"
        known = None if None in sizes else sum(size or 0 for size in sizes) * (models if is_eval else 1)
        of = f"{models} models × {len(sizes)} tasks" if is_eval else _count(len(sizes), "task")
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
        why = f"; run {spec.data.run} is not in {WORK}/runs" if spec.data.run else ""
        return {"steps": None, "of": f"{epochs:g} epochs; number of rows not known{why}"}
    steps = math.ceil(-(-rows // block.global_batch_size) * epochs)
    return {"steps": steps, "of": f"{epochs:g} epochs of at most {rows} rows"}


def _count_calls(spec: RunSpec, questions: int | None) -> dict[str, Any] | None:
    """The writer's calls of method `paths`, and what their replies take at most; None for what is not known. None: others."""
    writer = spec.paths.writer
    if spec.method != "paths" or writer is None:
        return None
    most, price = spec.paths.most_calls, writer.price
    tokens = None if questions is None else questions * most * writer.max_tokens
    return {
        "per_question": [LEAST_CALLS, most],
        "all": None if questions is None else [questions * LEAST_CALLS, questions * most],
        "reply_tokens": tokens,
        "reply_dollars": None if price is None or tokens is None else tokens * price.output / 1e6,
        "budget": spec.paths.budget and spec.paths.budget.given(),
    }


def _describe_calls(found: dict[str, Any] | None) -> Iterator[Line]:
    """The lines about the calls of method `paths`."""
    if found is None:
        return
    each, every = ("{} … {}".format(*found[key]) if found[key] else "not known" for key in ("per_question", "all"))
    yield "calls", f"{every} ({each} a question), and those of the judge and for malformed replies"
    if found["reply_tokens"]:
        dollars = "" if found["reply_dollars"] is None else f", {found['reply_dollars']:.2f} dollars"
        yield "", f"their replies take at most {found['reply_tokens']} tokens{dollars}; prompts are not in it"
    budget = found["budget"] or {}
    limits = [f"{canonical.dumps(budget[unit])} {unit}" for unit in ("tokens", "dollars") if budget.get(unit)]
    yield "budget", f"{' or '.join(limits)}, then the run ends" if limits else "none"


def _count_rows(block: RowsBlock) -> int | None:
    """Rows that are read at most; None where only the file knows."""
    there = block.size if block.is_generated else _count_searched(block)
    return block.limit if there is None else min(there, block.limit or there)


def _count_searched(block: RowsBlock) -> int | None:
    """Rows for SFT of the run that the block names; None without one, and where it has not finished on this machine."""
    if not isinstance(block, DataBlock) or block.run is None:
        return None
    try:
        done = jsonlines.read_object(runs.finished(WORK, block.run) / "done.json")
    except SpecError:
        return None
    return done.get("rows") if done.get("method") == "paths" else None


def _count(number: int, noun: str) -> str:
    return f"{number} {noun}" + ("" if number == 1 else "s")
