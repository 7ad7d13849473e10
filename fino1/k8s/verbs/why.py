"""The verb `why`: why is a run pending, or why did it fail? One screen: the verdict, what to do, the evidence."""

import argparse
import shutil
import sys
from collections.abc import Iterator, Sequence

from fino1 import exits
from fino1.k8s.cluster.client import connect
from fino1.k8s.state.run import latest_runs
from fino1.k8s.state.status import ReadAccess
from fino1.k8s.text import print_structured
from fino1.k8s.why.facts import gather
from fino1.k8s.why.judge import Diagnosis, diagnose

_WORST = ("Failed", "Restarting", "Pending", "Queued", "Suspended", "Running", "Succeeded")
_OTHERS = 12  # findings, or runs, that fit on a screen besides the first


def main(arguments: argparse.Namespace) -> int:
    """Print the diagnosis of the worst run of a name, and a line for each of the others."""
    api = connect(arguments.kubeconfig, arguments.context, arguments.namespace)
    access = ReadAccess()
    diagnoses = [diagnose(facts) for facts in gather(api, latest_runs(api, arguments.name), access)]
    diagnoses.sort(key=lambda each: (_WORST.index(each.run.phase), not each.findings, each.run.full))
    if arguments.output != "text":
        runs = [each.to_dict() for each in diagnoses]
        print_structured({"name": arguments.name, "runs": runs, **access.to_dict()}, arguments.output)
        return exits.DONE
    width = shutil.get_terminal_size().columns if sys.stdout.isatty() else None  # a file or a pipe gets all of it
    for line in [*_screen(diagnoses[0]), *_others(diagnoses[1:]), *(f"not read: {line}" for line in access.unread)]:
        fits = width is None or len(line) <= width or not line.startswith(" ")
        print(line if fits else line[: width - 1] + "…")
    return exits.DONE


def _screen(first: Diagnosis) -> Iterator[str]:
    """One run: verdict, advice, evidence, other findings, events, last lines."""
    yield first.verdict
    if first.advice:
        yield f"→ {first.advice}"
    for finding in first.findings[:1]:
        yield from _evidence(finding.about, finding.evidence)
    for finding in first.findings[1 : _OTHERS + 1]:
        yield f"also: {finding.says}"
        yield from _evidence(finding.about, finding.evidence[:2])
    for heading, lines in (("events", first.events), (f"last lines of {first.tail_source}", first.tail)):
        if lines:
            yield from ("", heading, *(f"  {line}" for line in lines))


def _evidence(about: Sequence[str], lines: Sequence[str]) -> Iterator[str]:
    if about:
        more = f" and {len(about) - 4} more" if len(about) > 4 else ""
        yield f"  {', '.join(about[:4])}{more}"
    yield from (f"  {line}" for line in lines if line)


def _others(rest: Sequence[Diagnosis]) -> Iterator[str]:
    """The other models of an evaluation, a line for those with the same phase and cause."""
    alike: dict[tuple[str, str], list[str]] = {}
    for each in rest:
        says = each.findings[0].says if each.findings else "nothing is wrong"
        alike.setdefault((each.run.phase, says), []).append(each.run.full)
    if alike:
        yield from ("", "the others")
    for (phase, says), names in list(alike.items())[:_OTHERS]:
        who = f"{len(names)} models ({', '.join(names[:3])}{', …' if len(names) > 3 else ''})"
        yield f"  {phase}: {who if len(names) > 1 else names[0]}: {says}"
    if len(alike) > _OTHERS:
        yield f"  and {len(alike) - _OTHERS} more kinds of trouble (-o json has all)"
