"""The verb `retry`: a failed run's object is made anew; the run goes on from its newest checkpoint."""

import argparse

from fino1 import exits
from fino1.errors import SpecError
from fino1.k8s.change.owned import join_names, label
from fino1.k8s.change.retry import make_anew
from fino1.k8s.change.suspend import was_given_up
from fino1.k8s.cluster.client import connect
from fino1.k8s.state.run import latest_runs


def main(arguments: argparse.Namespace) -> int:
    """Make the objects of the failed runs of a name anew, from what the cluster holds."""
    api = connect(arguments.kubeconfig, arguments.context, arguments.namespace)
    runs = latest_runs(api, arguments.name)
    failed = [run for run in runs if run.phase == "Failed" or was_given_up(api, run)]
    if not failed:
        stand = join_names(f"{run.full} is {run.phase}" for run in runs)
        raise SpecError(f"{arguments.name}: expected a failed run, got one that is not: {stand}")
    make_anew(api, failed)
    for run in failed:
        print(f"{label(run.object)}: started again")
    return exits.DONE
