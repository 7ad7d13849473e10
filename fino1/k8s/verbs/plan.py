"""The verb `plan`: what would run, does it fit, what is missing, what does it cost?"""

import argparse
from collections import Counter
from collections.abc import Iterator, Mapping
from typing import Any

from fino1 import exits
from fino1.errors import SpecError
from fino1.k8s.finding import Finding, missing
from fino1.k8s.plan import outline
from fino1.k8s.plan.shapes import gpu_memory
from fino1.k8s.text import print_structured, print_table
from fino1.spec import recipe
from fino1.spec.run import RunSpec

_SHOWN = 8  # runs of an evaluation that are named
_MOMENTS = {  # name of the peak (docs/memory.md) → when that is
    "loss": "while computing the loss",
    "backward": "in the backward pass",
    "optimizer step": "in the optimizer's step",
    "rollout: prompts": "while reading prompts",
    "rollout: responses": "while sampling responses",
    "log-probabilities: layers": "while computing log-probabilities, in the layers",
    "log-probabilities: logits": "while computing log-probabilities, in the logits",
    "reward": "while computing rewards",
}
_STYLES = {"ok": "green", "wait": "yellow", "missing": "red"}


def main(arguments: argparse.Namespace) -> int:
    """Verb `plan`: 0 where the run can be submitted, 2 where something is missing."""
    spec, name = recipe.read_run(arguments.run, arguments.values, arguments.set, arguments.name)
    report = outline.outline_run(spec, name)
    report["cost"] = outline.estimate_cost(spec, arguments.prices, arguments.hours)
    checks: list[Finding] = []
    gpu_bytes = None
    if not arguments.offline:
        checks, gpu_bytes = _ask_cluster(arguments, spec, name)
    report["memory"] = outline.estimate_memory(spec, recipe.find(arguments.run), gpu_bytes or gpu_memory(spec.gpu))
    checks = [*_missing_by_file(report), *checks]
    report["checks"] = [
        {"about": each.about[0], "verdict": each.level, "text": each.says, "facts": each.numbers} for each in checks
    ]
    report["missing"] = [f"{each.about[0]}: {each.says}" for each in checks if each.level == "missing"]
    if arguments.output == "text":
        _print(report, checked=not arguments.offline)
    else:
        print_structured(report, arguments.output)
    return exits.USER if report["missing"] else exits.DONE


def _ask_cluster(arguments: argparse.Namespace, spec: RunSpec, name: str) -> tuple[list[Finding], int | None]:
    """What the cluster says of the run, and the memory of its smallest GPU. SpecError where no cluster can be chosen."""
    from fino1.k8s.cluster.client import connect
    from fino1.k8s.plan import preflight

    try:
        cluster = connect(arguments.kubeconfig, arguments.context, arguments.namespace)
    except SpecError as error:
        raise SpecError(f"{text}, or add --offline" for text in error.problems) from error
    return preflight.look(cluster, spec, name)


def _missing_by_file(report: Mapping[str, Any]) -> Iterator[Finding]:
    """What is missing by the run file alone: what lint calls an error, and memory."""
    for finding in report["lint"]["findings"]:
        if finding.startswith("error: "):
            yield missing("lint", finding.removeprefix("error: "))
    found = report["memory"]
    if found and found["fits"] is False:
        takes, usable = outline.format_gib(found["total"]), outline.format_gib(found["usable"])
        changes = "; ".join(found["changes"])
        who = "a rank takes" if report["pods"]["ranks"] else "the server takes of each GPU"
        when = _describe_moment(found["peak"])
        yield missing("GPU memory", f"{who} {takes} ({when}), a GPU has {usable} to give; what helps: {changes}")


def _print(report: Mapping[str, Any], checked: bool) -> None:
    rows = [
        *_describe_run(report),
        *_describe_memory(report["memory"], report["pods"]),
        *_describe_cost(report["cost"]),
    ]
    width = max(len(key) for key, _ in rows)
    for key, text in rows:
        print(f"{key:<{width}}  {text}")
    if report["checks"]:
        print()
        print_table(
            [{"": check["verdict"], "about": check["about"], "found": check["text"]} for check in report["checks"]],
            ("", "about", "found"),
            styles=_STYLES,
        )
    print()
    for number, text in enumerate(report["missing"], 1):
        print(f"{number}. missing: {text}")
    if not report["missing"]:
        print("nothing is missing" if checked else "nothing is missing by the run file alone; no cluster was asked")


def _describe_run(report: Mapping[str, Any]) -> Iterator[tuple[str, str]]:
    """The lines that say what would run."""
    pods, batch, steps = report["pods"], report["batch"], report["steps"]
    yield "run", f"{report['name']} (method {report['method']}, backend {report['backend']})"
    for run in report["runs"][:_SHOWN]:
        model = f"{run['model']}: " if "model" in run else ""
        yield "object", f"{model}{run['name']}, results in {run['directory']}"
    if len(report["runs"]) > _SHOWN:
        yield "", f"and {len(report['runs']) - _SHOWN} more"
    devices = "no GPU"
    if pods["gpus_per_pod"]:
        devices = f"{pods['gpus_per_pod']} {pods['resource']} ({pods['product'] or 'any product'})"
    gpus = f", {_count(pods['gpus'], 'GPU')} in all" if pods["gpus"] else ""
    ranks = f", {_count(pods['ranks'], 'rank')}" if pods["ranks"] else ""
    yield "pods", f"{_count(pods['count'], 'pod')} × {devices}{gpus}{ranks}"
    if batch:
        mini = f" × {batch['mini_batches']} mini-batches" if batch.get("mini_batches", 1) > 1 else ""
        product = f"{batch['per_device']} per device × {batch['ranks']} ranks × {batch['accumulation']} accumulation"
        yield "batch", f"{batch['global']} = {product}{mini}"
    counted = steps.get("steps", steps.get("questions"))
    many = steps["of"] if counted is None else f"{counted} ({steps['of']})"
    yield "steps" if batch else "questions", many
    yield "image", ", ".join(report["images"])
    for claim in report["claims"]:
        made = f"made with {claim['size']}" if claim["create"] else "expected to exist"
        yield "claim", f"{claim['name']} at {claim['mount']}, {', '.join(claim['access_modes'])}, {made}"
    names = [f"{item['kind']}/{item['name']}" for item in report["objects"]]
    counts = Counter(item["kind"] for item in report["objects"]).items()
    kinds = ", ".join(f"{count} {kind}" for kind, count in counts)
    yield "objects", kinds if len(names) > 2 * _SHOWN else ", ".join(names)
    yield "lint", f"{report['lint']['errors']} errors, {report['lint']['warnings']} warnings"
    yield from (("", finding) for finding in report["lint"]["findings"])


def _count(number: int, noun: str) -> str:
    return f"{number} {noun}" + ("" if number == 1 else "s")


def _describe_moment(peak: str) -> str:
    """When the peak is, as part of a sentence."""
    return _MOMENTS.get(peak) or peak.replace("serve ", "serving ", 1)


def _describe_memory(found: Mapping[str, Any] | None, pods: Mapping[str, Any]) -> Iterator[tuple[str, str]]:
    """The lines about GPU memory: the peak, its parts, and what is in no figure."""
    if found is None:
        return
    if found["peak"]:
        peak = f"peak {outline.format_gib(found['total'])} per {'rank' if pods['ranks'] else 'GPU'}"
        when = _describe_moment(found["peak"])
        yield "memory", f"{peak}, {when}; {_judge_memory(found, pods['product'])} (estimated, docs/memory.md)"
        parts = sorted(found["parts"].items(), key=lambda part: -part[1])
        yield "", " + ".join(f"{size / 2**30:.1f} {name}" for name, size in parts if size >= 2**30 / 20)
    if found["host"]:
        yield (
            "",
            f"{outline.format_gib(sum(found['host'].values()))} per rank in the node's memory: {', '.join(found['host'])}",
        )
    for text in found["assumed"]:
        yield "", text
    for text in found["unknown"]:
        yield "memory", f"not estimated: {text}"


def _judge_memory(found: Mapping[str, Any], product: str | None) -> str:
    """Whether the peak fits, or why that is not known."""
    if found["fits"] is None:
        return f"the memory of {product} is not known" if product else "set gpu.product to learn whether it fits"
    return f"{'fits' if found['fits'] else 'does not fit'}, a GPU has {outline.format_gib(found['usable'])} to give"


def _describe_cost(found: Mapping[str, Any] | None) -> Iterator[tuple[str, str]]:
    """The lines about money."""
    if found is None:
        return
    total = ""
    if found["amount"] is not None:
        total = f"; {found['bound']} {found['amount']:.2f} {found['currency']} for {found['hours']:g} hours"
    yield "cost", f"{found['gpus']} GPUs, {found['per_hour']:.2f} {found['currency']} an hour{total}"
    yield from (("", f"not in it: {text}") for text in found["unpriced"])
