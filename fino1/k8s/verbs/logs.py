"""The verb `logs`: what do all pods of a run write?"""

import argparse
import json
import os
import sys
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from fino1 import exits
from fino1.errors import SpecError
from fino1.k8s import times
from fino1.k8s.cluster.client import Api, connect
from fino1.k8s.state import status
from fino1.k8s.state.container_log import LogLine, Window
from fino1.k8s.state.logs import follow, read
from fino1.k8s.state.pods import INDEX, Pod, read_index
from fino1.k8s.state.run import Run, latest_runs, run_of
from fino1.k8s.state.watching import watch_for_end

_LABELS = {"PyTorchJob": INDEX[0]}  # which label has a pod's rank; the others' pods are Jobs'


def main(arguments: argparse.Namespace) -> int:
    """Print pod by pod what is there, or with `--follow` all of them as they write, until the run is over."""
    if arguments.tail is not None and arguments.tail < 0:
        raise SpecError(f"--tail: expected a number of lines, got {arguments.tail}")
    since = times.since(arguments.since, "--since") if arguments.since else None
    window, container, rank = Window(since, arguments.tail), arguments.container, arguments.rank
    api = connect(arguments.kubeconfig, arguments.context, arguments.namespace)
    runs = latest_runs(api, arguments.name)
    selector = status.pod_selector(runs)
    if rank is not None:
        selector += f",{_LABELS.get(runs[0].kind, INDEX[1])}={rank}"
    is_alone = sum(run.expected_pods for run in runs) == 1 or (len(runs) == 1 and rank is not None)
    writers = _Writers(api, runs, is_alone)
    try:
        if arguments.follow:
            _print(follow(api, selector, watch_for_end(api, runs), container, window), writers, arguments.output)
        else:
            pods = api.list("v1", "Pod", label_selector=selector).items
            most = max(run.expected_pods for run in runs)
            if not pods and rank is not None and not 0 <= rank < most:  # one that the run could have is no mistake
                raise SpecError(f"--rank: expected 0 to {most - 1}, got {rank}")
            writers.learn(pods)
            _print(read(api, sorted(pods, key=_order), container, window), writers, arguments.output)
    except BrokenPipeError:  # `logs | head` has seen enough
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
    except KeyboardInterrupt:
        pass
    return exits.DONE


def _order(pod: Pod) -> tuple[str, int, str]:
    """By run, rank, and age."""
    return run_of(pod), read_index(pod), pod["metadata"]["creationTimestamp"]


def _print(lines: Iterable[LogLine], writers: "_Writers", form: str) -> None:
    for line in lines:
        if form == "text":
            print(writers.prefix(line) + line.text, flush=True)
            continue
        origin = {**writers.find(line), "pod": line.pod, "container": line.container, "restart": line.restart}
        print(json.dumps({**origin, "time": line.timestamp, "text": line.text}), flush=True)


class _Writers:
    """The writer of each line: the rank; in an evaluation the model, and its shard where it has several."""

    def __init__(self, api: Api, runs: Sequence[Run], is_alone: bool) -> None:
        self._api, self._runs, self._is_alone = api, {run.full: run for run in runs}, is_alone
        self._known: dict[str, Mapping[str, Any]] = {}  # by the pod's name

    def learn(self, pods: Iterable[Pod]) -> None:
        """Remember whose these pods are."""
        for pod in pods:
            self._known[pod["metadata"]["name"]] = {"run": run_of(pod), "rank": read_index(pod)}

    def find(self, line: LogLine) -> Mapping[str, Any]:
        """The run and the rank that wrote it; where the pod is gone already, the pod's name for a rank."""
        if line.pod not in self._known:
            pod = self._api.get("v1", "Pod", line.pod)
            if pod is None:
                return {"run": "", "rank": line.pod}
            self.learn([pod])
        return self._known[line.pod]

    def prefix(self, line: LogLine) -> str:
        """The writer as text, with a blank; empty where there is only one pod."""
        if self._is_alone:
            return ""
        writer = self.find(line)
        run = self._runs.get(writer["run"])
        if len(self._runs) == 1 or run is None:
            return f"[{writer['rank']}] "
        model = run.full.rpartition("-")[0].removeprefix(f"{run.name}-")
        return f"[{model}/{writer['rank']}] " if run.expected_pods > 1 else f"[{model}] "
