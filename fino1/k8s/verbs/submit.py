"""The verb `submit`: render a run, lint it, ask the server about every object and pod, apply. Submitted twice is once."""

import argparse
import sys
from collections.abc import Iterable, Sequence

from fino1 import exits
from fino1.errors import SpecError
from fino1.k8s.change import dryrun, owned
from fino1.k8s.change.apply import apply
from fino1.k8s.change.dryrun import Change
from fino1.k8s.change.owned import INSTANCE, is_run, label
from fino1.k8s.cluster.client import Api, connect
from fino1.k8s.cluster.errors import ApiError
from fino1.k8s.finding import Finding
from fino1.k8s.objects.lint import lint
from fino1.k8s.objects.render import render
from fino1.k8s.state.run import Run
from fino1.k8s.verbs.wait import wait_for
from fino1.spec import recipe


def main(arguments: argparse.Namespace) -> int:
    """Submit a run: all its objects, or none."""
    spec, name = recipe.read_run(arguments.run, arguments.values, arguments.set, arguments.name)
    objects = [owned.managed(thing) for thing in render(spec, name)]
    findings = lint(spec)
    if any(finding.level == "error" for finding in findings):
        raise SpecError(map(str, findings))
    for finding in findings:
        print(finding, file=sys.stderr)
    api = connect(arguments.kubeconfig, arguments.context, arguments.namespace)
    changes = _find_changes(api, objects, arguments.dry_run)
    if any(change.outcome == "created" and is_run(change.object) for change in changes):
        _heed(dryrun.admit_pods(api, objects)[1])
    if not arguments.dry_run:
        changes = apply(api, changes)
    _print_outcomes(changes, arguments.dry_run)
    if arguments.dry_run:
        print("next: the same without --dry-run")
        return exits.DONE
    given = {"--kubeconfig": arguments.kubeconfig, "--context": arguments.context, "-n": arguments.namespace}
    where = "".join(f" {flag} {value}" for flag, value in given.items() if value)
    print(f"next: fino1-k8s status {objects[0]['metadata']['labels'][INSTANCE]}{where}")
    if arguments.wait:
        return wait_for(api, [Run(change.after) for change in changes if is_run(change.object)])
    return exits.DONE


def _find_changes(api: Api, objects: Sequence[owned.Object], is_dry: bool) -> list[Change]:
    """Wait until what an earlier attempt left is gone; then plan what an apply would do."""
    dryrun.check_kinds(api, objects)
    there = dryrun.find_existing(api, objects)
    _heed(list(dryrun.judge_earlier(objects, there.values())))
    left = dryrun.find_leftovers(api, objects, there.values())
    if left and is_dry:
        _warn([f"without --dry-run this waits for the end of {owned.join_names(map(label, left))}"])
    elif left:
        owned.wait_until_gone(lambda: dryrun.find_leftovers(api, objects, dryrun.find_existing(api, objects).values()))
        there = dryrun.find_existing(api, objects)
    changes = dryrun.plan_changes(api, objects, there)
    _warn(dryrun.find_claim_differences(changes))
    return changes


def _warn(lines: Iterable[str]) -> None:
    for line in lines:
        print(f"warning: {line}", file=sys.stderr)


def _heed(findings: Sequence[Finding]) -> None:
    """Warn of what the user should know. Raises SpecError or ClusterError where the run would fail."""
    _warn(each.says for each in findings if each.level in ("note", "wait"))
    refused = [each for each in findings if each.level == "missing"]
    # What no server has refused is the run file's fault.
    dryrun.raise_all([ApiError(each.says, each.numbers.get("status", 422)) for each in refused])


def _print_outcomes(changes: Sequence[Change], is_dry: bool) -> None:
    """A line for each run object, and one for all other objects of an outcome."""
    others: dict[str, list[owned.Object]] = {}
    for change in changes:
        outcome = f"would be {change.outcome}" if is_dry and change.outcome != "unchanged" else change.outcome
        if is_run(change.object):
            kept = dryrun.describe_kept(change)
            print(f"{label(change.object)}: {outcome}{f' ({kept})' if kept else ''}")
        else:
            others.setdefault(outcome, []).append(change.object)
    for outcome, things in others.items():
        print(f"{outcome}: {owned.count_kinds(things)}")
