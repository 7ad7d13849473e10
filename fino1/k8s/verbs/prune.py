"""The verb `prune`: delete what finished runs have left in the cluster; claims and results stay."""

import argparse
import sys
from collections.abc import Sequence
from datetime import timedelta

from fino1 import exits
from fino1.k8s import times
from fino1.k8s.change.owned import (
    RUN,
    SURROUNDINGS,
    Object,
    count_kinds,
    is_run,
    listed,
    owner,
    remove,
    run_of,
)
from fino1.k8s.cluster.client import connect
from fino1.k8s.state.run import OURS, Run, list_runs
from fino1.k8s.text import print_table


def main(arguments: argparse.Namespace) -> int:
    """Verb `prune`: delete runs that were over so long ago, and what runs that are gone have left."""
    cluster = connect(arguments.kubeconfig, arguments.context, arguments.namespace)
    age = times.length(arguments.older_than, "--older-than")
    # Surroundings are listed before runs: those of a submit that is under way get their run object in between.
    surroundings = listed(cluster, SURROUNDINGS, RUN)
    runs = list_runs(cluster)
    old = {run.full: run for run in runs if run.is_over and _is_older(run.since, age)}
    # A run object that is gone may come again as long as its pods end (retry).
    pods_left = cluster.list("v1", "Pod", label_selector=f"{OURS},{RUN}").items
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
        rows.append({"run": full, "phase": run.phase if run else "gone", "for": over, "objects": count_kinds(of_it)})
    if rows:
        print_table(rows, ("run", "phase", "for", "objects"))
    print(f"runs {'that would be ' if is_dry else ''}deleted: {len(rows)}; claims and results stay")
