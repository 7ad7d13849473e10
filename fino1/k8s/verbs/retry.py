"""The verb `retry`: a failed run's object is made anew; the run goes on from its newest checkpoint."""

import argparse

from fino1 import exits
from fino1.errors import SpecError
from fino1.k8s.change import retry as again
from fino1.k8s.change import suspend as queueing
from fino1.k8s.change.owned import (
    label,
    names,
)
from fino1.k8s.cluster.client import connect
from fino1.k8s.state.run import latest_runs


def main(arguments: argparse.Namespace) -> int:
    """Verb `retry`: a failed run's object is made anew from what the cluster holds; the run goes on from its checkpoints."""
    cluster = connect(arguments.kubeconfig, arguments.context, arguments.namespace)
    runs = latest_runs(cluster, arguments.name)
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
