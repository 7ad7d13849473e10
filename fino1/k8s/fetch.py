"""The verb `fetch`: how do a run's results come from its volume to this machine?

They are laid down as in a work directory (C13), by default `out`: `runs/<directory>/`, and an evaluation's `cells/<key>/`. So
`fino1 report --work DIR` reads them, and a run here takes a fetched model by `{run: NAME}`.
"""

import argparse
import signal
from pathlib import Path

from fino1 import exits
from fino1.errors import ClusterError
from fino1.k8s import found, pack
from fino1.k8s.api import Api, connect
from fino1.k8s.execute import Exec
from fino1.k8s.found import Run
from fino1.k8s.reader import reader
from fino1.k8s.unpack import unpack

_DEFAULT = Path("out")


def fetch(arguments: argparse.Namespace) -> int:
    """Verb `fetch`: of all run objects called NAME, the newest; of an evaluation every model's."""
    from fino1.k8s import connection

    api = connect(arguments.kubeconfig, arguments.context, arguments.namespace)
    runs = found.latest(api, arguments.name)
    account = connection.account(arguments.kubeconfig, arguments.context)
    execute = Exec(account.configuration(), api.server.who)
    try:
        for run in runs:
            _fetch(api, execute, run, arguments.to or _DEFAULT, arguments.all)
    except KeyboardInterrupt:  # the reading pod is gone by now
        return exits.of_signal(signal.SIGINT)
    return exits.DONE


def _fetch(api: Api, execute: Exec, run: Run, work: Path, everything: bool) -> None:
    if not run.directory:
        raise ClusterError(
            f"{run.kind}/{run.full}: expected the annotation fino1/directory, got none: it is not of this version"
        )
    text = Path(pack.__file__).read_text(encoding="utf-8")
    command = ["python3", "-c", text, "/work", run.directory, "all" if everything else "results"]
    with reader(api, run) as (pod, container):
        came = unpack(execute.output(api.namespace, pod, container, command), work, run.directory)
    for path in came.directories:
        print(path)
    print(
        f"{run.full}: {came.files} files, {came.size / 2**20:.1f} MiB"
        + ("" if run.is_over else f" ({run.phase}: not all)")
    )
