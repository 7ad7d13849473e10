"""The verb `fetch`: how do a run's results come from its volume to this machine?

They are written as in a work directory (docs/design.md C13), by default `out`: `runs/<directory>/`, and an evaluation's
`cells/<key>/`. So a report is made of them as of runs here, and a run here takes a fetched model by `{run: NAME}`.
"""

import argparse
import json
from collections.abc import Iterator, Sequence
from pathlib import Path

from fino1 import exits
from fino1.commandline import WORK
from fino1.errors import ClusterError
from fino1.k8s.change.reader import find_volume, open_reader, read_spec
from fino1.k8s.cluster import pack
from fino1.k8s.cluster.client import connect
from fino1.k8s.cluster.exec import read_output
from fino1.k8s.cluster.unpack import Fetched, unpack
from fino1.k8s.state.run import Run, latest_runs, summarize


def main(arguments: argparse.Namespace) -> int:
    """Fetch the newest of the run objects called NAME; of an evaluation, every model's."""
    for came in fetch_runs(arguments, [arguments.name], arguments.all):
        print(*came.directories, sep="\n")
    return exits.DONE


def fetch_runs(arguments: argparse.Namespace, names: Sequence[str], everything: bool) -> Iterator[Fetched]:
    """Copy the newest run objects of these names into the work directory, all of a volume at once; say how much has come."""
    api = connect(arguments.kubeconfig, arguments.context, arguments.namespace)
    command = ["python3", "-c", Path(pack.__file__).read_text("utf-8"), "/work", "all" if everything else "results"]
    volumes: dict[str, dict[str, Run]] = {}  # volume, one for all models of an evaluation → its runs by full name
    for name in names:
        runs = sorted(latest_runs(api, name), key=lambda run: run.directory)
        if old := next((run for run in runs if not run.directory), None):
            raise ClusterError(f"{old.kind}/{old.full}: expected the annotation fino1/directory, got none: too old")
        volume = json.dumps(find_volume(read_spec(api, runs[0]))) if len(names) > 1 else ""
        volumes.setdefault(volume, {}).update({run.full: run for run in runs})
    for some in map(list, map(dict.values, volumes.values())):
        directories = [run.directory for run in some]
        with open_reader(api, some) as reader:
            output = read_output(api, *reader, command, json.dumps(directories))
            came = unpack(output, arguments.to or WORK, *directories)
        yield came
        called = ", ".join(dict.fromkeys(run.name for run in some))
        title = some[0].full if len(some) == 1 else f"{called}, {len(came.runs)} of {len(some)} runs"
        part = "" if all(run.is_over for run in some) else f" ({summarize(some)}: not all)"
        print(f"{title}: {came.files} files, {came.size / 2**20:.1f} MiB{part}")
