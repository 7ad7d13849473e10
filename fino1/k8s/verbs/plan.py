"""The verb `plan`: what would run, does it fit, what is missing, what does it cost?"""

import argparse
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from typing import Any

from fino1 import exits
from fino1.commandline import WORK
from fino1.errors import SpecError
from fino1.k8s.finding import Finding, missing
from fino1.k8s.objects.lint import lint
from fino1.k8s.plan import cost, outline
from fino1.k8s.plan.outline import Line
from fino1.k8s.plan.vocabulary import check_vocabulary
from fino1.k8s.text import print_structured, print_table
from fino1.sizes import memory
from fino1.sizes.shapes import Finder, gpu_memory
from fino1.spec import recipe
from fino1.spec.run import RunSpec

_STYLES = {"ok": "green", "wait": "yellow", "missing": "red"}


def main(arguments: argparse.Namespace) -> int:
    """Verb `plan`: 0 where the run can be submitted, 2 where something is missing."""
    spec, name = recipe.read_run(arguments.run, arguments.values, arguments.set, arguments.name)
    (report, lines), book, hours = outline.outline_run(spec, name), arguments.prices, arguments.hours
    if hours is not None and not (book and hours > 0):
        raise SpecError(f"--hours: expected more than 0 hours, and --prices, got {hours:g} with {book or 'no prices'}")
    report["cost"] = cost.cost(spec, cost.read(book), book, hours) if book else None
    found, gpu_bytes = ([], None) if arguments.offline else _ask_cluster(arguments, spec, name)
    report["memory"] = None
    models = Finder(WORK, recipe.find(arguments.run))
    if report["pods"]["gpus"]:
        report["memory"] = memory.estimate(spec, models, gpu_bytes or gpu_memory(spec.gpu))
    findings = [*_judge_file(spec, report, models), *found]
    report["checks"] = [
        {"about": each.about[0], "verdict": each.level, "text": each.says, "facts": each.numbers} for each in findings
    ]
    report["missing"] = [f"{each.about[0]}: {each.says}" for each in findings if each.level == "missing"]
    if arguments.output == "text":
        lines += [*_describe_memory(report), *_describe_cost(report["cost"])]
        _print(report, lines, checked=not arguments.offline)
    else:
        print_structured(report, arguments.output)
    return exits.USER if report["missing"] else exits.DONE


def _ask_cluster(arguments: argparse.Namespace, spec: RunSpec, name: str) -> tuple[list[Finding], int | None]:
    """What the cluster says of the run, and the memory of its smallest GPU. SpecError where no cluster can be chosen."""
    from fino1.k8s.cluster.client import connect
    from fino1.k8s.plan import preflight

    try:
        api = connect(arguments.kubeconfig, arguments.context, arguments.namespace)
    except SpecError as error:
        raise SpecError(f"{text}, or add --offline" for text in error.problems) from error
    return preflight.look(api, spec, name)


def _judge_file(spec: RunSpec, report: Mapping[str, Any], models: Finder) -> Iterator[Finding]:
    """What is found by the run file alone: by lint, whether models fit together, and whether a GPU has the memory."""
    for each in lint(spec):
        level = "missing" if each.level == "error" else "note"
        yield replace(each, says=f"{each.says} [{each.cause}]", level=level)
    yield from check_vocabulary(spec, models)
    if report["memory"] and report["memory"]["fits"] is False:
        changes = "; ".join(report["memory"]["changes"])
        yield missing("GPU memory", f"{_describe_peak(report)}; what helps: {changes}")


def _print(report: Mapping[str, Any], lines: Sequence[Line], checked: bool) -> None:
    width = max(len(key) for key, _ in lines)
    for key, text in lines:
        print(f"{key:<{width}}  {text}")
    if report["checks"]:
        checks = [{"": each["verdict"], "about": each["about"], "found": each["text"]} for each in report["checks"]]
        print()
        print_table(checks, ("", "about", "found"), styles=_STYLES)
    print()
    for number, text in enumerate(report["missing"], 1):
        print(f"{number}. missing: {text}")
    if not report["missing"]:
        print("nothing is missing" if checked else "nothing is missing by the run file alone; no cluster was asked")


def _describe_memory(report: Mapping[str, Any]) -> Iterator[Line]:
    """The lines about GPU memory: the peak, its parts, and what is in no figure."""
    found = report["memory"]
    if found is None:
        return
    if found["peak"]:
        yield "memory", f"{_describe_peak(report)} (estimated, docs/memory.md)"
        parts = sorted(found["parts"].items(), key=lambda part: -part[1])
        yield "", " + ".join(f"{size / 2**30:.1f} {name}" for name, size in parts if size >= 2**30 / 20)
    if host := found["host"]:
        yield "", f"{_gib(sum(host.values()))} per rank in the node's memory: {', '.join(host)}"
    yield from (("", text) for text in found["assumed"])
    yield from (("memory", f"not estimated: {text}") for text in found["unknown"])


def _describe_peak(report: Mapping[str, Any]) -> str:
    """The most that a rank takes, and whether it fits."""
    found, product = report["memory"], report["pods"]["product"]
    verdict = f"the memory of {product} is not known" if product else "set gpu.product to learn whether it fits"
    if found["fits"] is not None:
        verdict = f"{'fits' if found['fits'] else 'does not fit'}, a GPU has {_gib(found['usable'])} to give"
    each = "rank" if report["pods"]["ranks"] else "GPU"
    return f"peak {_gib(found['total'])} per {each} ({found['peak']}); {verdict}"


def _describe_cost(found: Mapping[str, Any] | None) -> Iterator[Line]:
    """The lines about money."""
    if found is None:
        return
    total = ""
    if found["amount"] is not None:
        total = f"; {found['bound']} {found['amount']:.2f} {found['currency']} for {found['hours']:g} hours"
    yield "cost", f"{found['gpus']} GPUs, {found['per_hour']:.2f} {found['currency']} an hour{total}"
    yield from (("", f"not in it: {text}") for text in found["unpriced"])


def _gib(size: int) -> str:
    return f"{size / 2**30:.1f} GiB"
