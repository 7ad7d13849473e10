"""The verbs `suspend`, a run's pods end with a checkpoint and the run object stays, and `resume`: also of runs in a Kueue queue.

Kueue starts what is suspended as soon as there is room, so a run of a queue is stopped through its Workload.
"""

import argparse
from typing import Any

from fino1 import exits
from fino1.errors import ClusterError, SpecError
from fino1.k8s.change.owned import find_own_workload, join_names, label
from fino1.k8s.cluster.client import Api, connect
from fino1.k8s.state.queue import kueue_version
from fino1.k8s.state.run import Run, latest_runs


def main(arguments: argparse.Namespace) -> int:
    """Suspend or resume the newest run objects of a name that are not over; prints a line for each."""
    api = connect(arguments.kubeconfig, arguments.context, arguments.namespace)
    runs = latest_runs(api, arguments.name)
    open_runs = [run for run in runs if not run.is_over]
    if not open_runs:
        stand = join_names(f"{run.full} is {run.phase}" for run in runs)
        raise SpecError(f"{arguments.name}: expected a run that is not over, got {stand}")
    for run in open_runs:
        print(f"{label(run.object)}: {_set_suspended(api, run, arguments.verb == 'suspend')}")
    return exits.DONE


def _set_suspended(api: Api, run: Run, suspended: bool) -> str:
    """Suspend or resume a run that is not over. Returns what it did, in words."""
    thing, is_suspended, queue = run.object, run.is_suspended, ""
    change: dict[str, Any] = {"suspend": suspended}
    if run.kind == "PyTorchJob":
        change = {"runPolicy": change}
    if run.queue and kueue_version(api):
        thing, change = find_own_workload(api, run) or {}, {"active": not suspended}
        if not thing:
            hint = f"is the queue {run.queue} there, and Kueue running?"
            raise ClusterError(f"{run.kind}/{run.full}: Kueue has no Workload for it ({hint}); try again in a moment")
        is_suspended, queue = not thing["spec"].get("active", True), f", it is in queue {run.queue}"
    if is_suspended == suspended:
        return "already suspended" if suspended else f"not suspended{queue}"
    api.patch(thing["apiVersion"], thing["kind"], thing["metadata"]["name"], {"spec": change})
    return "suspended, its pods end with a checkpoint" if suspended else f"resumed{queue}"
