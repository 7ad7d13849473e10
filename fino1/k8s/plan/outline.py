"""What would a run do and take, by its run file alone? As JSON data and as lines for people; no cluster is asked."""

from collections import Counter
from typing import Any

from fino1.k8s.objects.backends import pod_templates
from fino1.k8s.objects.render import render
from fino1.k8s.objects.unit import units
from fino1.sizes.work import Line, count, count_calls, count_steps, describe_calls, divide_batch
from fino1.spec.run import RunSpec

_SHOWN = 8  # runs of an evaluation that are named in the text


def outline_run(spec: RunSpec, name: str) -> tuple[dict[str, Any], list[Line]]:
    """Objects, pods, ranks, batches, images, volumes and directories of a run."""
    objects, parts, steps = render(spec, name), units(spec, name), count_steps(spec)
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
        "batch": divide_batch(spec),
        "steps": steps,
        "calls": count_calls(spec, steps.get("questions")),
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
    most = "up to " if pods["gpus"] < pods["count"] * pods["gpus_per_pod"] else ""
    text = f"{count(pods['count'], 'pod')} × {most + gpus if pods['gpus_per_pod'] else 'no GPU'}"
    text += f", {count(pods['gpus'], 'GPU')} in all" if pods["gpus"] else ""
    lines.append(("pods", text + (f", {count(pods['ranks'], 'rank')}" if pods["ranks"] else "")))
    if batch:
        text = "{global} = {per_device} per device × {ranks} ranks × {accumulation} accumulation".format_map(batch)
        mini = batch.get("mini_batches", 1)
        lines.append(("batch", text + (f" × {mini} mini-batches" if mini > 1 else "")))
    counted = steps.get("steps", steps.get("questions"))
    lines.append(("steps" if batch else "questions", steps["of"] if counted is None else f"{counted} ({steps['of']})"))
    lines += describe_calls(report["calls"])
    lines.append(("image", ", ".join(report["images"])))
    for claim in report["claims"]:
        made = f"made with {claim['size']}" if claim["create"] else "expected to exist"
        lines.append(("claim", f"{claim['claimName']} at {claim['mount']}, {', '.join(claim['accessModes'])}, {made}"))
    kinds = Counter(item["kind"] for item in report["objects"])
    return [*lines, ("objects", ", ".join(f"{count} {kind}" for kind, count in kinds.items()))]


def count_pods(spec: RunSpec) -> dict[str, Any]:
    """Pods, their GPUs, and ranks (None: of what asks models). A pod that asks endpoints alone has no GPUs."""
    gpus = max(spec.pod_gpus, default=0)
    return {
        "count": spec.pods,
        "gpus_per_pod": gpus,
        "gpus": sum(spec.pod_gpus),
        "resource": spec.gpu.resource if gpus else None,
        "product": spec.gpu.product if gpus else None,
        "ranks": spec.world_size if spec.trains else None,
    }
