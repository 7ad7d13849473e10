"""The verb `cancel`: end a run and delete its objects; claims and results stay."""

import argparse

from fino1 import exits
from fino1.errors import SpecError
from fino1.k8s.change import owned
from fino1.k8s.change.owned import is_run, label
from fino1.k8s.cluster.client import connect
from fino1.k8s.state.run import run_of


def main(arguments: argparse.Namespace) -> int:
    """Delete the run objects, wait for their pods, delete the surroundings."""
    api, name = connect(arguments.kubeconfig, arguments.context, arguments.namespace), arguments.name
    things = owned.list_of_run(api, name)
    if not things:
        print(f"{name}: nothing of it is in namespace {api.namespace}, nothing to cancel")
        return exits.DONE
    if foreign := owned.find_foreign(api, things):
        raise SpecError(f"{label(theirs[-1])} belongs to {owner}" for owner, theirs in foreign.items())
    runs, others = ([thing for thing in things if is_run(thing) == wanted] for wanted in (True, False))
    # The network stays as it is until the last pod has written its checkpoint: ranks find each other by their Service.
    owned.end_runs(api, runs, {run_of(thing) for thing in things}, arguments.timeout)
    owned.remove(api, others)
    for thing in runs:
        print(f"{label(thing)}: cancelled")
    print(f"deleted: {owned.count_kinds(others)}; claims and results stay")
    return exits.DONE
