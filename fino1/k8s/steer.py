"""The verbs that change a run which is on the cluster: suspend, resume, retry, cancel, prune."""

import argparse
import sys
from collections.abc import Iterable, Sequence
from datetime import timedelta
from typing import Any

from fino1 import exits
from fino1.errors import SpecError
from fino1.k8s import again, api, found, output, queueing, times
from fino1.k8s.api import Api
from fino1.k8s.belongings import (
    RUN,
    SURROUNDINGS,
    Object,
    is_run,
    label,
    listed,
    names,
    of_run,
    owner,
    patience_s,
    pods,
    remove,
    run_of,
    wait_until_gone,
)
from fino1.k8s.found import Run


def suspend(arguments: argparse.Namespace) -> int:
    """Verb `suspend`: its pods end (with a checkpoint), its place in the cluster stays."""
    return _set_suspended(arguments, True)


def resume(arguments: argparse.Namespace) -> int:
    """Verb `resume`: its pods start again, or it waits in its queue again."""
    return _set_suspended(arguments, False)


def retry(arguments: argparse.Namespace) -> int:
    """Verb `retry`: a failed run's object is made anew from what the cluster holds; the run goes on from its checkpoints."""
    cluster = _connect(arguments)
    runs = found.latest(cluster, arguments.name)
    failed = [run for run in runs if run.phase == "Failed" or queueing.was_given_up(cluster, run)]
    if not failed:
        stand = names(f"{run.full} is {run.phase}" for run in runs)
        raise SpecError(f"{arguments.name}: expected a failed run, got one that is not: {stand}")
    for run in failed:
        again.check(cluster, run)
    again.make(cluster, failed)
    for run in failed:
        print(f"{label(run.object)}: started again")
    return exits.DONE


def cancel(arguments: argparse.Namespace) -> int:
    """Verb `cancel`: delete the run objects, wait for their pods, delete what they needed. Claims and results stay."""
    cluster = _connect(arguments)
    things = of_run(cluster, arguments.name)
    if not things:
        print(f"{arguments.name}: nothing of it is in namespace {cluster.namespace}, nothing to cancel")
        return exits.DONE
    _refuse_anothers(things)
    runs = [thing for thing in things if is_run(thing)]
    fulls = {run_of(thing) for thing in things}
    selector = (
        f"{RUN}={arguments.name}" if fulls == {arguments.name} else f"app.kubernetes.io/instance={arguments.name}"
    )
    timeout = patience_s(pods(cluster, selector, fulls)) if arguments.timeout is None else arguments.timeout
    # The network stays as it is until the last pod has written its checkpoint: ranks find each other by their Service.
    remove(cluster, runs, "Foreground")
    deleted = {thing["metadata"]["uid"] for thing in runs}

    def left() -> list[dict[str, Any]]:
        there = [thing for thing in of_run(cluster, arguments.name) if thing["metadata"]["uid"] in deleted]
        return there + pods(cluster, selector, fulls)

    wait_until_gone(left, timeout)
    others = [thing for thing in things if not is_run(thing)]
    remove(cluster, others)
    for thing in runs:
        print(f"{label(thing)}: cancelled")
    print(f"deleted: {_counted(others)}; claims and results stay")
    return exits.DONE


def prune(arguments: argparse.Namespace) -> int:
    """Verb `prune`: delete runs that were over so long ago, and what runs that are gone have left."""
    cluster = _connect(arguments)
    age = times.length(arguments.older_than, "--older-than")
    # Surroundings are listed before runs: those of a submit that is under way get their run object in between.
    surroundings = listed(cluster, SURROUNDINGS, RUN)
    runs = found.runs(cluster)
    old = {run.full: run for run in runs if run.is_over and _is_older(run.since, age)}
    # A run object that is gone may come again as long as its pods end (retry).
    pods_left = cluster.list("v1", "Pod", label_selector=f"{found.OURS},{RUN}").items
    kept = ({run.full for run in runs} | {run_of(pod) for pod in pods_left}) - old.keys()
    doomed = [run.object for run in old.values()]
    for thing in surroundings:
        if run_of(thing) in old or (
            run_of(thing) not in kept and _is_older(thing["metadata"]["creationTimestamp"], age)
        ):
            doomed.append(thing)
    theirs = [thing for thing in doomed if owner(thing)]
    for other, removal in sorted({tuple(owner(thing)) for thing in theirs}):
        print(f"kept: what belongs to {other} ({removal})", file=sys.stderr)
    doomed = [thing for thing in doomed if not owner(thing)]
    _tell_pruned(doomed, old, arguments.dry_run)
    if not arguments.dry_run:
        remove(cluster, [thing for thing in doomed if is_run(thing)])
        remove(cluster, [thing for thing in doomed if not is_run(thing)])
    return exits.DONE


def _connect(arguments: argparse.Namespace) -> Api:
    return api.connect(arguments.kubeconfig, arguments.context, arguments.namespace)


def _set_suspended(arguments: argparse.Namespace, suspended: bool) -> int:
    cluster = _connect(arguments)
    runs = found.latest(cluster, arguments.name)
    open_runs = [run for run in runs if not run.is_over]
    if not open_runs:
        stand = names(f"{run.full} is {run.phase}" for run in runs)
        raise SpecError(f"{arguments.name}: expected a run that is not over, got {stand}")
    for run in open_runs:
        print(f"{label(run.object)}: {queueing.set_suspended(cluster, run, suspended)}")
    return exits.DONE


def _refuse_anothers(things: Iterable[Object]) -> None:
    others = {tuple(other): thing for thing in things if (other := owner(thing))}
    if others:
        raise SpecError(f"{label(thing)} belongs to {name}: {removal}" for (name, removal), thing in others.items())


def _is_older(moment: str, age: timedelta) -> bool:
    return times.now() - times.parse(moment) >= age


def _tell_pruned(doomed: Sequence[Object], old: dict[str, Run], is_dry: bool) -> None:
    """A row for each run."""
    at = times.now()
    rows = []
    for full in dict.fromkeys(run_of(thing) for thing in doomed):
        run = old.get(full)
        of_it = [thing for thing in doomed if run_of(thing) == full]
        over = times.ago(run.since, at) if run else times.ago(of_it[0]["metadata"]["creationTimestamp"], at)
        rows.append({"run": full, "phase": run.phase if run else "gone", "for": over, "objects": _counted(of_it)})
    if rows:
        output.table(rows, ("run", "phase", "for", "objects"))
    print(f"runs {'that would be ' if is_dry else ''}deleted: {len(rows)}; claims and results stay")


def _counted(things: Iterable[Object]) -> str:
    """How many of each kind?"""
    kinds = sorted(thing["kind"] for thing in things)
    return ", ".join(f"{kinds.count(kind)} {kind}" for kind in dict.fromkeys(kinds)) or "nothing else"
