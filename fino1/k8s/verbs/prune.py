"""The verb `prune`: delete what finished runs have left in the cluster; claims and results stay."""

import argparse
import sys
from collections.abc import Mapping, Sequence

from fino1 import exits
from fino1.k8s import times
from fino1.k8s.change.owned import RUN, SURROUNDINGS, Object, count_kinds, find_foreign, is_run, remove
from fino1.k8s.cluster.client import connect
from fino1.k8s.state.run import OURS, Run, list_ours, list_runs, run_of
from fino1.k8s.text import print_table


def main(arguments: argparse.Namespace) -> int:
    """Delete runs that have been over for long enough, and the surroundings of runs that are gone."""
    api = connect(arguments.kubeconfig, arguments.context, arguments.namespace)
    age = times.length(arguments.older_than, "--older-than")

    def is_old(moment: str) -> bool:
        return times.now() - times.parse(moment) >= age

    # Surroundings are listed before runs: those of a submit that is under way get their run object in between.
    surroundings = list_ours(api, SURROUNDINGS, RUN)
    runs = list_runs(api)
    old = {run.full: run for run in runs if run.is_over and is_old(run.since)}
    # A run object that is gone may come again as long as its pods end (retry).
    pods = api.list("v1", "Pod", label_selector=f"{OURS},{RUN}")
    kept = ({run.full for run in runs} | {run_of(pod) for pod in pods}) - old.keys()
    to_delete = [run.object for run in old.values()]
    to_delete += [
        thing
        for thing in surroundings
        if run_of(thing) in old or (run_of(thing) not in kept and is_old(thing["metadata"]["creationTimestamp"]))
    ]
    for owner, theirs in sorted(find_foreign(api, to_delete).items()):
        print(f"kept: what belongs to {owner}", file=sys.stderr)
        to_delete = [thing for thing in to_delete if thing not in theirs]
    _print_deletions(to_delete, old, arguments.dry_run)
    if not arguments.dry_run:
        remove(api, [thing for thing in to_delete if is_run(thing)])
        remove(api, [thing for thing in to_delete if not is_run(thing)])
    return exits.DONE


def _print_deletions(to_delete: Sequence[Object], old: Mapping[str, Run], is_dry: bool) -> None:
    """A row for each run."""
    at, rows = times.now(), []
    for full in dict.fromkeys(run_of(thing) for thing in to_delete):
        run = old.get(full)
        its = [thing for thing in to_delete if run_of(thing) == full]
        since = times.ago(run.since if run else its[0]["metadata"]["creationTimestamp"], at)
        rows.append({"run": full, "phase": run.phase if run else "gone", "for": since, "objects": count_kinds(its)})
    if rows:
        print_table(rows, ("run", "phase", "for", "objects"))
    print(f"runs {'that would be ' if is_dry else ''}deleted: {len(rows)}; claims and results stay")
