"""The verb `fetch`: how do a run's results come from its volume to this machine?

They are written as in a work directory (docs/design.md C13), by default `out`: `runs/<directory>/`, and an evaluation's
`cells/<key>/`. So a report is made of them as of runs here, and a run here takes a fetched model by `{run: NAME}`.
"""

import argparse
from collections.abc import Iterable, Iterator
from pathlib import Path

from fino1 import exits
from fino1.commandline import WORK
from fino1.errors import ClusterError
from fino1.k8s.change.reader import open_readers
from fino1.k8s.cluster import pack
from fino1.k8s.cluster.client import Api, connect
from fino1.k8s.cluster.exec import read_output
from fino1.k8s.cluster.unpack import Fetched, unpack
from fino1.k8s.state.run import Run, latest_runs, summarize

_AT_ONCE = 32  # runs of one request: their names are in its URL


def main(arguments: argparse.Namespace) -> int:
    """Fetch the newest of the run objects called NAME; of an evaluation, every model's."""
    for came in fetch_runs(arguments, [arguments.name], arguments.all):
        print(*came.directories, sep="\n")
    return exits.DONE


def fetch_runs(arguments: argparse.Namespace, names: Iterable[str], everything: bool) -> Iterator[Fetched]:
    """Copy the newest run objects of these names into the work directory, some at a time; say how much has come."""
    api = connect(arguments.kubeconfig, arguments.context, arguments.namespace)
    script = Path(pack.__file__).read_text(encoding="utf-8")
    with open_readers(api) as find_reader:
        for name, some in _divide(api, names):
            directories = [run.directory for run in some]
            command = ["python3", "-c", script, "/work", "all" if everything else "results", *directories]
            came = unpack(read_output(api, *find_reader(some), command), arguments.to or WORK, *directories)
            yield came
            title = some[0].full if len(some) == 1 else f"{name}, {len(came.runs)} of {len(some)} runs"
            part = "" if all(run.is_over for run in some) else f" ({summarize(some)}: not all)"
            print(f"{title}: {came.files} files, {came.size / 2**20:.1f} MiB{part}")


def _divide(api: Api, names: Iterable[str]) -> Iterator[tuple[str, list[Run]]]:
    """The runs of each name, so many of them as one request can ask for."""
    for name in names:
        runs = latest_runs(api, name)
        for run in runs:
            if not run.directory:
                got = "got none: it is not of this version"
                raise ClusterError(f"{run.kind}/{run.full}: expected the annotation fino1/directory, {got}")
        for at in range(0, len(runs), _AT_ONCE):
            yield name, runs[at : at + _AT_ONCE]
