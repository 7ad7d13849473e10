"""The verbs `fetch` and `report`: how do a run's results come from its volume to this machine?

They are laid down as in a work directory (C13), by default `out`: `runs/<directory>/`, and an evaluation's `cells/<key>/`. So
the report is made of them as of runs here, and a run here takes a fetched model by `{run: NAME}`.
"""

import argparse
import signal
from collections.abc import Iterator
from pathlib import Path

from fino1 import exits
from fino1.errors import ClusterError
from fino1.k8s import found, pack, page
from fino1.k8s.api import connect
from fino1.k8s.execute import Exec
from fino1.k8s.found import Run
from fino1.k8s.reader import reader
from fino1.k8s.unpack import Fetched, unpack

_DEFAULT = Path("out")


def fetch(arguments: argparse.Namespace) -> int:
    """Verb `fetch`: of all run objects called NAME, the newest; of an evaluation every model's."""
    try:
        for run, came in _come(arguments, arguments.name, arguments.all):
            for path in came.directories:
                print(path)
            _say(run, came)
    except KeyboardInterrupt:  # the reading pod is gone by now
        return exits.of_signal(signal.SIGINT)
    return exits.DONE


def report(arguments: argparse.Namespace) -> int:
    """Verb `report`: fetch what is named; write the evaluations' leaderboard and the others' curves as one page."""
    directories = []
    try:
        for name in arguments.names:
            for run, came in _come(arguments, name, everything=False):
                _say(run, came)
                directories.append(run.directory)
    except KeyboardInterrupt:
        return exits.of_signal(signal.SIGINT)
    print()
    return page.write(arguments.to or _DEFAULT, directories, "--title", arguments.title)


def _come(arguments: argparse.Namespace, name: str, everything: bool) -> Iterator[tuple[Run, Fetched]]:
    """Copy the newest run objects called `name` into the work directory, one after the other."""
    from fino1.k8s import connection

    api = connect(arguments.kubeconfig, arguments.context, arguments.namespace)
    account = connection.account(arguments.kubeconfig, arguments.context)
    execute = Exec(account.configuration(), api.server.who)
    text = Path(pack.__file__).read_text(encoding="utf-8")
    for run in found.latest(api, name):
        if not run.directory:
            raise ClusterError(
                f"{run.kind}/{run.full}: expected the annotation fino1/directory, got none: it is not of this version"
            )
        command = ["python3", "-c", text, "/work", run.directory, "all" if everything else "results"]
        with reader(api, run) as (pod, container):
            came = unpack(
                execute.output(api.namespace, pod, container, command), arguments.to or _DEFAULT, run.directory
            )
        yield run, came


def _say(run: Run, came: Fetched) -> None:
    print(
        f"{run.full}: {came.files} files, {came.size / 2**20:.1f} MiB"
        + ("" if run.is_over else f" ({run.phase}: not all)")
    )
