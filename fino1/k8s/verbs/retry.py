"""The verb `retry`: a failed run's object is made anew; the run goes on from its newest checkpoint."""

import argparse

from fino1 import exits
from fino1.errors import SpecError
from fino1.k8s.change.owned import find_own_workload, join_names, label
from fino1.k8s.change.retry import make_anew
from fino1.k8s.cluster.client import Api, connect
from fino1.k8s.state.queue import condition
from fino1.k8s.state.run import Run, latest_runs

_GIVEN_UP = "DeactivatedDueTo"  # in Kueue's reason after too many or too long attempts (its pkg/workload)


def main(arguments: argparse.Namespace) -> int:
    """Make the objects of the failed runs of a name anew, from what the cluster holds."""
    api = connect(arguments.kubeconfig, arguments.context, arguments.namespace)
    runs = latest_runs(api, arguments.name)
    failed = [run for run in runs if run.phase == "Failed" or _was_given_up(api, run)]
    if not failed:
        stand = join_names(f"{run.full} is {run.phase}" for run in runs)
        raise SpecError(f"{arguments.name}: expected a failed run, got one that is not: {stand}")
    make_anew(api, failed)
    for run in failed:
        print(f"{label(run.object)}: started again")
    return exits.DONE


def _was_given_up(api: Api, run: Run) -> bool:
    """Whether Kueue has deactivated the run by itself."""
    evicted = condition(find_own_workload(api, run) if run.is_suspended else None, "Evicted")
    return evicted.get("status") == "True" and _GIVEN_UP in evicted.get("reason", "")
