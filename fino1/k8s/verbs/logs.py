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
from fino1.k8s.state import logs as log
from fino1.k8s.state import pods
from fino1.k8s.state import status as standing
from fino1.k8s.state import watching as waiting
from fino1.k8s.state.container_log import LogLine, Window
from fino1.k8s.state.run import Run, latest_runs

_PLACES = {"PyTorchJob": pods.INDEX[0]}  # which label says a pod's rank; the others' pods are Jobs'


def main(arguments: argparse.Namespace) -> int:
    """Verb `logs`: pod by pod what is there, or with `--follow` all of them as they write, until the run is over."""
    if arguments.tail is not None and arguments.tail < 0:
        raise SpecError(f"--tail: expected a number of lines, got {arguments.tail}")
    since = times.since(arguments.since, "--since") if arguments.since else None
    api = connect(arguments.kubeconfig, arguments.context, arguments.namespace)
    runs = latest_runs(api, arguments.name)
    selector = standing.selector(runs)
    if arguments.rank is not None:
        selector += f",{_PLACES.get(runs[0].kind, pods.INDEX[1])}={arguments.rank}"
    names = _Names(
        api, runs, alone=sum(run.wanted for run in runs) == 1 or (len(runs) == 1 and arguments.rank is not None)
    )
    window = Window(since, arguments.tail)
    try:
        if arguments.follow:
            _print(_followed(api, runs, selector, arguments.container, window), names, arguments.output)
        else:
            listing = api.list("v1", "Pod", label_selector=selector)
            _check_rank(arguments, runs, listing.items)
            names.learn(listing.items)
            _print(log.read(api, _in_order(listing.items), arguments.container, window), names, arguments.output)
    except BrokenPipeError:  # `logs | head` has seen enough
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
    except KeyboardInterrupt:
        pass
    return exits.DONE


def _followed(api: Api, runs: Sequence[Run], selector: str, container: str | None, window: Window) -> Iterable[LogLine]:
    return log.follow(api, selector, waiting.over(api, runs), container, window)


def _check_rank(arguments: argparse.Namespace, runs: Sequence[Run], found_pods: Sequence[Any]) -> None:
    """A rank that the run cannot have is a mistake; one that has no pod now is not."""
    most = max(run.wanted for run in runs)
    if not found_pods and arguments.rank is not None and not 0 <= arguments.rank < most:
        raise SpecError(f"--rank: expected 0 to {most - 1}, got {arguments.rank}")


def _in_order(found_pods: Iterable[pods.Pod]) -> list[pods.Pod]:
    """By run, rank, and age."""
    return sorted(found_pods, key=lambda pod: (pods.run_of(pod), pods.index(pod), pod["metadata"]["creationTimestamp"]))


class _Names:
    """What is before each line? The rank; in an evaluation the model, and its shard where it has several."""

    def __init__(self, api: Api, runs: Sequence[Run], alone: bool) -> None:
        self._api, self._runs, self._alone = api, {run.full: run for run in runs}, alone
        self._known: dict[str, Mapping[str, Any]] = {}

    def learn(self, found_pods: Iterable[pods.Pod]) -> None:
        """Remember whose these pods are."""
        for pod in found_pods:
            self._known[pod["metadata"]["name"]] = {"run": pods.run_of(pod), "rank": pods.index(pod)}

    def of(self, line: LogLine) -> Mapping[str, Any]:
        """Which run and rank wrote it?"""
        if line.pod not in self._known:
            pod = self._api.get("v1", "Pod", line.pod)
            if pod is None:  # gone already
                return {"run": "", "rank": line.pod}
            self.learn([pod])
        return self._known[line.pod]

    def prefix(self, line: LogLine) -> str:
        """As text, with a blank; empty where there is only one pod."""
        if self._alone:
            return ""
        who = self.of(line)
        run = self._runs.get(who["run"])
        if len(self._runs) == 1 or run is None:
            return f"[{who['rank']}] "
        model = run.full.rpartition("-")[0].removeprefix(f"{run.name}-")
        return f"[{model}/{who['rank']}] " if run.wanted > 1 else f"[{model}] "


def _print(lines: Iterable[LogLine], names: _Names, form: str) -> None:
    for line in lines:
        if form == "text":
            print(names.prefix(line) + line.text, flush=True)
            continue
        told = {"pod": line.pod, "container": line.container, "restart": line.restart}
        print(json.dumps({**names.of(line), **told, "time": line.timestamp, "text": line.text}), flush=True)
