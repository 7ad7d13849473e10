"""The verb `cancel`: end a run and delete its objects; claims and results stay."""

import argparse
from collections.abc import Iterable
from typing import Any

from fino1 import exits
from fino1.errors import SpecError
from fino1.k8s.change import owned
from fino1.k8s.change.owned import INSTANCE, RUN, Object, is_run, label, list_of_run
from fino1.k8s.cluster.client import connect
from fino1.k8s.state.run import run_of


def main(arguments: argparse.Namespace) -> int:
    """Delete the run objects, wait for their pods, delete the surroundings."""
    api, name = connect(arguments.kubeconfig, arguments.context, arguments.namespace), arguments.name
    things = list_of_run(api, name)
    if not things:
        print(f"{name}: nothing of it is in namespace {api.namespace}, nothing to cancel")
        return exits.DONE
    _refuse_foreign(things)
    runs, others = ([thing for thing in things if is_run(thing) == wanted] for wanted in (True, False))
    fulls = {run_of(thing) for thing in things}
    selector = f"{RUN}={name}" if fulls == {name} else f"{INSTANCE}={name}"
    timeout = arguments.timeout
    if timeout is None:
        timeout = owned.patience_s(owned.list_pods(api, selector, fulls))
    # The network stays as it is until the last pod has written its checkpoint: ranks find each other by their Service.
    owned.remove(api, runs, "Foreground")
    deleted = {thing["metadata"]["uid"] for thing in runs}

    def list_remaining() -> list[dict[str, Any]]:
        there = [thing for thing in list_of_run(api, name) if thing["metadata"]["uid"] in deleted]
        return there + owned.list_pods(api, selector, fulls)

    owned.wait_until_gone(list_remaining, timeout)
    owned.remove(api, others)
    for thing in runs:
        print(f"{label(thing)}: cancelled")
    print(f"deleted: {owned.count_kinds(others)}; claims and results stay")
    return exits.DONE


def _refuse_foreign(things: Iterable[Object]) -> None:
    others = {other: thing for thing in things if (other := owned.find_owner(thing))}
    if others:
        raise SpecError(f"{label(thing)} belongs to {other.name}: {other.removal}" for other, thing in others.items())
