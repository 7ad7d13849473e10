"""The verb `logs`: what do all pods of a run write?"""

import argparse
import functools
import json
from collections.abc import Iterator, Sequence

from fino1 import exits
from fino1.errors import SpecError
from fino1.k8s import times
from fino1.k8s.cluster.client import Api, connect
from fino1.k8s.state import status
from fino1.k8s.state.container_log import LogLine, Window
from fino1.k8s.state.logs import follow, read
from fino1.k8s.state.pods import INDEX, read_index
from fino1.k8s.state.run import Run, latest_runs, run_of
from fino1.k8s.state.watching import Watched

_LABELS = {"PyTorchJob": INDEX[0]}  # which label has a pod's rank; the others' pods are Jobs'


def main(arguments: argparse.Namespace) -> int:
    """Print pod by pod what is there, or with `--follow` all of them as they write, until the run is over."""
    since = times.since(arguments.since, "--since") if arguments.since else None
    window, rank = Window(since, arguments.tail), arguments.rank
    api = connect(arguments.kubeconfig, arguments.context, arguments.namespace)
    runs = latest_runs(api, arguments.name)
    selector = status.pod_selector(runs)
    if rank is not None:
        selector += f",{_LABELS.get(runs[0].kind, INDEX[1])}={rank}"
    if arguments.follow:
        lines = follow(api, selector, Watched(api, runs, with_pods=False).look, arguments.container, window)
    else:
        pods = api.list("v1", "Pod", label_selector=selector)
        most = max(run.expected_pods for run in runs)
        if not pods and rank is not None and not 0 <= rank < most:  # one that the run could have is no mistake
            raise SpecError(f"--rank: expected 0 to {most - 1}, got {rank}")
        pods.sort(key=lambda pod: (run_of(pod), read_index(pod), pod["metadata"]["creationTimestamp"]))
        lines = read(api, pods, arguments.container, window)
    is_alone = sum(run.expected_pods for run in runs) == 1 or (len(runs) == 1 and rank is not None)
    _print(api, runs, lines, arguments.output, is_alone)
    return exits.DONE


def _print(api: Api, runs: Sequence[Run], lines: Iterator[LogLine], form: str, is_alone: bool) -> None:
    """Print lines with their writer; as text without one where there `is_alone` one pod."""
    by_name = {run.full: run for run in runs}

    @functools.cache
    def find_writer(name: str) -> tuple[str, int | str]:
        """The run and the rank of a pod; where the pod is gone already, its name for a rank."""
        pod = api.get("v1", "Pod", name)
        return (run_of(pod), read_index(pod)) if pod else ("", name)

    for line in lines:
        if form == "text":
            prefix = "" if is_alone else _prefix(by_name, *find_writer(line.pod))
            print(prefix + line.text, flush=True)
            continue
        full, rank = find_writer(line.pod)
        origin = {"run": full, "rank": rank, "pod": line.pod, "container": line.container, "restart": line.restart}
        print(json.dumps({**origin, "time": line.timestamp, "text": line.text}), flush=True)


def _prefix(runs: dict[str, Run], full: str, rank: int | str) -> str:
    """The writer of a line: its rank; in an evaluation the model, and its shard where it has several."""
    run = runs.get(full)
    if len(runs) == 1 or run is None:
        return f"[{rank}] "
    model = run.model or full.rpartition("-")[0].removeprefix(f"{run.name}-")
    return f"[{model}/{rank}] " if run.expected_pods > 1 else f"[{model}] "
