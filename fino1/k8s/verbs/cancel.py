"""The verb `cancel`: end a run and delete its objects; claims and results stay."""

import argparse
from collections.abc import Iterable
from typing import Any

from fino1 import exits
from fino1.errors import SpecError
from fino1.k8s.change.owned import (
    RUN,
    Object,
    count_kinds,
    is_run,
    label,
    of_run,
    owner,
    patience_s,
    pods,
    remove,
    run_of,
    wait_until_gone,
)
from fino1.k8s.cluster.client import connect


def main(arguments: argparse.Namespace) -> int:
    """Verb `cancel`: delete the run objects, wait for their pods, delete what they needed. Claims and results stay."""
    cluster = connect(arguments.kubeconfig, arguments.context, arguments.namespace)
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
    print(f"deleted: {count_kinds(others)}; claims and results stay")
    return exits.DONE


def _refuse_anothers(things: Iterable[Object]) -> None:
    others = {tuple(other): thing for thing in things if (other := owner(thing))}
    if others:
        raise SpecError(f"{label(thing)} belongs to {name}: {removal}" for (name, removal), thing in others.items())
