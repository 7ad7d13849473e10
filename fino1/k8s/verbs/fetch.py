"""The verb `fetch`: how do a run's results come from its volume to this machine?

They are written as in a work directory (docs/design.md C13), by default `out`: `runs/<directory>/`, and an evaluation's
`cells/<key>/`. So a report is made of them as of runs here, and a run here takes a fetched model by `{run: NAME}`.
"""

import argparse
from collections.abc import Iterator
from pathlib import Path

from fino1 import exits
from fino1.commandline import WORK
from fino1.errors import ClusterError
from fino1.k8s.change.reader import open_reader
from fino1.k8s.cluster import pack
from fino1.k8s.cluster.client import connect
from fino1.k8s.cluster.exec import read_output
from fino1.k8s.cluster.unpack import Fetched, unpack
from fino1.k8s.state.run import Run, latest_runs


def main(arguments: argparse.Namespace) -> int:
    """Fetch the newest of the run objects called NAME; of an evaluation, every model's."""
    for run, came in fetch_runs(arguments, arguments.name, arguments.all):
        for path in came.directories:
            print(path)
        print_fetched(run, came)
    return exits.DONE


def fetch_runs(arguments: argparse.Namespace, name: str, everything: bool) -> Iterator[tuple[Run, Fetched]]:
    """Copy the newest run objects called `name` into the work directory, one after the other."""
    api = connect(arguments.kubeconfig, arguments.context, arguments.namespace)
    script = Path(pack.__file__).read_text(encoding="utf-8")
    for run in latest_runs(api, name):
        if not run.directory:
            got = "got none: it is not of this version"
            raise ClusterError(f"{run.kind}/{run.full}: expected the annotation fino1/directory, {got}")
        command = ["python3", "-c", script, "/work", run.directory, "all" if everything else "results"]
        with open_reader(api, run) as (pod, container):
            came = unpack(read_output(api, pod, container, command), arguments.to or WORK, run.directory)
        yield run, came


def print_fetched(run: Run, came: Fetched) -> None:
    """Print how much of a run has come."""
    part = "" if run.is_over else f" ({run.phase}: not all)"
    print(f"{run.full}: {came.files} files, {came.size / 2**20:.1f} MiB{part}")
