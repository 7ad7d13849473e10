"""The verb `submit`: render, lint, ask the server, apply."""

import argparse
import sys
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from fino1 import exits
from fino1.errors import SpecError
from fino1.k8s.change import admitted_pods, dryrun, owned
from fino1.k8s.change.apply import apply
from fino1.k8s.change.dryrun import Change
from fino1.k8s.change.owned import INSTANCE, Object, is_run, label, managed, run_of
from fino1.k8s.cluster.client import Api, connect
from fino1.k8s.finding import Finding
from fino1.k8s.objects.lint import lint
from fino1.k8s.objects.render import is_hook, render
from fino1.k8s.state.run import Run
from fino1.k8s.verbs.wait import wait_for
from fino1.spec import recipe


def main(arguments: argparse.Namespace) -> int:
    """Verb `submit`: render, lint, ask the server about every object and its pods, apply. Twice is once."""
    spec, name = recipe.read_run(arguments.run, arguments.values, arguments.set, arguments.name)
    rendered = render(spec, name)
    _lint(lint(spec))
    objects = [managed(thing) for thing in rendered if not is_hook(thing)]
    cluster = connect(arguments.kubeconfig, arguments.context, arguments.namespace)
    dryrun.kinds_served(cluster, objects)
    there = dryrun.present(cluster, objects)
    _look_at_earlier(there.values(), objects)
    if _must_wait(cluster, objects, there, arguments.dry_run):
        there = dryrun.present(cluster, objects)
    changes = dryrun.changes(cluster, objects, there)
    for warning in dryrun.claims_that_differ(changes):
        print(f"warning: {warning}", file=sys.stderr)
    if any(change.outcome == "created" and is_run(change.object) for change in changes):
        admitted_pods.check(cluster, objects)
    if not arguments.dry_run:
        changes = apply(cluster, changes)
    _tell(changes, arguments)
    if arguments.wait and not arguments.dry_run:
        return wait_for(cluster, [Run(change.after) for change in changes if is_run(change.object)])
    return exits.DONE


def _lint(findings: Sequence[Finding]) -> None:
    """SpecError with all findings if one is an error; warnings are only told."""
    if any(finding.level == "error" for finding in findings):
        raise SpecError([str(finding) for finding in findings])
    for finding in findings:
        print(finding, file=sys.stderr)


def _look_at_earlier(there: Iterable[Object], objects: Sequence[Object]) -> None:
    """Is the name in use by runs with another hash? SpecError where one that is not over writes to the same directory."""
    mine = {label(thing) for thing in objects}
    directories = {Run(thing).directory for thing in objects if is_run(thing)}
    earlier = [Run(thing) for thing in there if is_run(thing) and label(thing) not in mine]
    problems = []
    for run in (run for run in earlier if not run.is_over):
        stands = f"{run.kind}/{run.full}, an earlier run of this name, is {run.phase}"
        if run.directory in directories:
            problems.append(
                f"{stands} and writes to the same directory, {run.directory}: `fino1-k8s cancel {run.full}` first, the new run"
                " goes on from its checkpoints"
            )
        else:
            print(f"warning: {stands}; both will run (`fino1-k8s cancel {run.full}` ends it)", file=sys.stderr)
    if problems:
        raise SpecError(problems)


def _must_wait(cluster: Api, objects: Sequence[Object], there: Mapping[str, Object], is_dry: bool) -> bool:
    """C12: wait until what an earlier attempt of the same full name has left is gone. Was there any?"""
    ending = [thing for thing in there.values() if thing["metadata"].get("deletionTimestamp") and run_of(thing)]
    alive = {run_of(thing) for thing in there.values() if is_run(thing) and thing not in ending}
    fresh = {run_of(thing) for thing in objects if run_of(thing)} - alive
    instances = {thing["metadata"]["labels"][INSTANCE] for thing in objects}
    selector = f"{INSTANCE}={instances.pop()}"

    def left() -> list[dict[str, Any]]:
        again = [cluster.get(each["apiVersion"], each["kind"], each["metadata"]["name"]) for each in ending]
        gone = {each["metadata"]["uid"] for each in ending}
        still = [each for each in again if each and each["metadata"]["uid"] in gone]
        return still + owned.pods(cluster, selector, fresh)

    first = left() if fresh else []
    if first and is_dry:
        which = owned.names(label(thing) for thing in first)
        print(f"warning: without --dry-run this waits for the end of {which}", file=sys.stderr)
    elif first:
        owned.wait_until_gone(left, owned.patience_s(pod for pod in first if pod["kind"] == "Pod"))
    return bool(first) and not is_dry


def _tell(changes: Sequence[Change], arguments: argparse.Namespace) -> None:
    """A line for each run object, one for all the others, and what to type next."""
    would = "would be " if arguments.dry_run else ""

    def outcome(change: Change) -> str:
        return change.outcome if change.outcome == "unchanged" else f"{would}{change.outcome}"

    runs = [change for change in changes if is_run(change.object)]
    for change in runs:
        print(f"{label(change.object)}: {outcome(change)}")
    others = Counter((outcome(change), change.object["kind"]) for change in changes if not is_run(change.object))
    for what in dict.fromkeys(what for what, _ in others):
        kinds = ", ".join(f"{count} {kind}" for (each, kind), count in sorted(others.items()) if each == what)
        print(f"{what}: {kinds}")
    if arguments.dry_run:
        print("next: the same without --dry-run")
        return
    given = {"--kubeconfig": arguments.kubeconfig, "--context": arguments.context, "-n": arguments.namespace}
    where = "".join(f" {flag} {value}" for flag, value in given.items() if value)
    print(f"next: fino1-k8s status {runs[0].object['metadata']['labels'][INSTANCE]}{where}")
