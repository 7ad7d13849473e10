"""The verb `why`: why is a run pending, or why did it fail? One screen: the verdict, what to do, the evidence."""

import argparse
import shutil
import sys
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from fino1 import exits
from fino1.k8s.cluster.client import connect
from fino1.k8s.state.run import latest_runs
from fino1.k8s.state.status import ReadAccess
from fino1.k8s.text import print_structured
from fino1.k8s.why.facts import gather
from fino1.k8s.why.judge import diagnose

_WORST = ("Failed", "Restarting", "Pending", "Queued", "Suspended", "Running", "Succeeded")
_OTHERS = 12  # findings that fit on a screen besides the first


def main(arguments: argparse.Namespace) -> int:
    """Print the diagnosis of the worst run of a name, and a line for each of the others."""
    api = connect(arguments.kubeconfig, arguments.context, arguments.namespace)
    access = ReadAccess()
    diagnoses = [diagnose(facts) for facts in gather(api, latest_runs(api, arguments.name), access)]
    diagnoses.sort(key=lambda each: (_WORST.index(each["phase"]), not each["findings"], each["run"]))
    if arguments.output != "text":
        print_structured({"name": arguments.name, "runs": diagnoses, **access.to_dict()}, arguments.output)
        return exits.DONE
    width = shutil.get_terminal_size().columns if sys.stdout.isatty() else None  # a file or a pipe gets all of it
    for line in [*_screen(diagnoses[0]), *_others(diagnoses[1:]), *(f"not read: {line}" for line in access.unread)]:
        fits = width is None or len(line) <= width or not line.startswith(" ")
        print(line if fits else line[: width - 1] + "…")
    return exits.DONE


def _screen(first: Mapping[str, Any]) -> Iterator[str]:
    """One run: verdict, advice, evidence, other findings, events, last lines."""
    yield first["verdict"]
    if first["advice"]:
        yield f"→ {first['advice']}"
    for place, finding in enumerate(first["findings"][: _OTHERS + 1]):
        if place:
            yield f"also: {finding['says']}"
        if about := finding.get("about"):
            yield f"  {', '.join(about[:4])}{f' and {len(about) - 4} more' if len(about) > 4 else ''}"
        yield from (f"  {line}" for line in finding.get("evidence", [])[: 2 if place else None] if line)
    last = first["lastLines"] or {"of": "", "lines": []}
    for heading, lines in (("events", first["events"]), (f"last lines of {last['of']}", last["lines"])):
        if lines:
            yield from ("", heading, *(f"  {line}" for line in lines))


def _others(rest: Sequence[Mapping[str, Any]]) -> Iterator[str]:
    """The other models of an evaluation, a line for those with the same phase and cause."""
    alike: dict[tuple[str, str], list[str]] = {}
    for each in rest:
        says = each["findings"][0]["says"] if each["findings"] else "nothing is wrong"
        alike.setdefault((each["phase"], says), []).append(each["run"])
    if alike:
        yield from ("", "the others")
    for (phase, says), names in alike.items():
        who = f"{len(names)} models ({', '.join(names[:3])}{', …' if len(names) > 3 else ''})"
        yield f"  {phase}: {who if len(names) > 1 else names[0]}: {says}"
