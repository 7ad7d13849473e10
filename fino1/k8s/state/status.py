"""How does a run stand? Its phase, its ranks, how far it has come, where its results are; as data, for tables and programs."""

import json
from collections.abc import Callable, Iterable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field, replace
from datetime import datetime
from typing import Any, Literal, TypeVar

from fino1.k8s import times
from fino1.k8s.cluster.client import Api
from fino1.k8s.cluster.errors import ApiError, KindMissing
from fino1.k8s.state import pods as podlib
from fino1.k8s.state.pods import Pod, Rank
from fino1.k8s.state.run import OURS, Run

_TAIL = 60  # lines of a log in which the last progress is looked for
_READ_AT_MOST = 64  # logs: of more pods, only the first ones' progress is told
_READERS = 8
_LINE = '{"event": "progress"'
T = TypeVar("T")


@dataclass(frozen=True)
class Progress:
    """A progress line of a pod (fino1/progress.py), and how long the rest takes at the pace of the lines before it."""

    stage: str
    labels: Mapping[str, str]
    done: int
    total: int
    numbers: Mapping[str, float]
    at: datetime
    eta_s: float | None = None

    @property
    def percent(self) -> float:
        """How much is done?"""
        return 100 * self.done / self.total if self.total else 100.0

    def __str__(self) -> str:
        what = " ".join([self.stage, *(v for key, v in self.labels.items() if key in ("task",))])
        numbers = "".join(f"  {key} {value:.4g}" for key, value in self.numbers.items())
        eta = f"  ETA {times.short(self.eta_s)}" if self.eta_s else ""
        return f"{what} {self.done}/{self.total} ({self.percent:.0f} %){numbers}{eta}"

    def told(self) -> dict[str, Any]:
        """As data."""
        return {
            "stage": self.stage,
            **self.labels,
            "done": self.done,
            "total": self.total,
            "percent": round(self.percent, 1),
            **self.numbers,
            "at": self.at.isoformat(),
            "etaSeconds": None if self.eta_s is None else round(self.eta_s),
        }


@dataclass
class Reading:
    """What could not be read for want of a right: said once, beside what could."""

    unread: list[str] = field(default_factory=list)

    def ask(self, question: Callable[[], T], otherwise: T) -> T:
        """The answer, or `otherwise` where it is forbidden."""
        try:
            return question()
        except ApiError as error:
            if error.status != 403 and not isinstance(error, KindMissing):
                raise
            if str(error) not in self.unread:
                self.unread.append(str(error))
            return otherwise

    def to_dict(self) -> dict[str, list[str]]:
        """As data; empty where everything was read."""
        return {"unread": self.unread} if self.unread else {}


@dataclass(frozen=True)
class Standing:
    """One run, its ranks, and the progress that its pods (by name) told last."""

    run: Run
    ranks: Sequence[Rank]
    progress: Mapping[str, Progress] = field(default_factory=dict)

    @property
    def ready(self) -> str:
        """How many of its pods run or are done, of how many?"""
        if self.run.phase == "Succeeded":
            return "done"
        live = sum(rank.is_running or rank.pod.get("status", {}).get("phase") == "Succeeded" for rank in self.ranks)
        return f"{live}/{self.run.wanted}"

    @property
    def restarts(self) -> int:
        """Of all ranks."""
        return sum(rank.restarts for rank in self.ranks)

    @property
    def furthest(self) -> Progress | None:
        """The newest progress that any of its pods told."""
        mine = [self.progress[rank.name] for rank in self.ranks if rank.name in self.progress]
        return max(mine, key=lambda each: each.at, default=None)

    @property
    def results(self) -> str:
        """In which directory of the work volume are its results?"""
        return "/work/cells" if self.run.method == "eval" else f"/work/runs/{self.run.directory}"

    def told(self) -> dict[str, Any]:
        """As data."""
        furthest = self.furthest
        return {
            **about(self.run),
            "pods": [self._rank(rank) for rank in self.ranks],
            "progress": furthest.told() if furthest else None,
            "results": self.results,
        }

    def _rank(self, rank: Rank) -> dict[str, Any]:
        end, progress = rank.last_end, self.progress.get(rank.name)
        return {
            "rank": rank.index,
            "name": rank.name,
            "phase": rank.phase,
            "restarts": rank.restarts,
            "node": rank.node or None,
            "lastExit": {"code": end.code, "meaning": end.meaning, "at": end.at} if end else None,
            "progress": progress.told() if progress else None,
        }


def about(run: Run) -> dict[str, Any]:
    """What its object says, as data."""
    metadata = run.object["metadata"]
    return {
        "name": run.name,
        "run": run.full,
        "namespace": metadata["namespace"],
        "method": run.method,
        "kind": run.kind,
        "phase": run.phase,
        "since": run.since,
        "created": run.created,
        "queue": run.queue or None,
    }


def selector(runs: Sequence[Run]) -> str:
    """Which labels have the pods of these runs? One selector: of one run, of all that share a name, or of all runs."""
    names = {run.name for run in runs}
    if len(runs) == 1:
        return runs[0].pods
    of_name = f",app.kubernetes.io/instance={names.pop()}" if len(names) == 1 else ""
    return f"{OURS},app.kubernetes.io/component!=test{of_name}"


def pods_of(api: Api, runs: Sequence[Run], namespace: str | None = None) -> list[Pod]:
    """The pods of these runs, in one list."""
    return api.list("v1", "Pod", label_selector=selector(runs), namespace=namespace).items


def standings(runs: Iterable[Run], pods: Iterable[Pod]) -> list[Standing]:
    """Each run with its ranks, and told of them."""
    sorted_out = podlib.by_run(pods)
    found = [(run, podlib.ranks(sorted_out.get(run.full, ()))) for run in runs]
    return [Standing(replace(run, pods_say=_say(ranks)), ranks) for run, ranks in found]


def _say(ranks: Sequence[Rank]) -> Literal["", "running", "ended"]:
    """Does one of them run, or else: has one ended?"""
    if any(rank.is_running for rank in ranks):
        return "running"
    return "ended" if any(rank.has_ended for rank in ranks) else ""


def with_progress(api: Api, before: Sequence[Standing], reading: Reading) -> list[Standing]:
    """The same, with what the pods that tell progress (rank 0 of a training run, each of an evaluation) told last."""
    asked = [
        rank.pod
        for each in before
        for rank in each.ranks
        if (each.run.method == "eval" or rank.index == 0) and podlib.main_status(rank.pod)
    ]
    telling = sorted(asked, key=lambda pod: pod["status"].get("phase") != "Running")[:_READ_AT_MOST]
    with ThreadPoolExecutor(_READERS) as readers:
        told = list(readers.map(lambda pod: reading.ask(lambda: progress_of(api, pod), None), telling))
    found = {pod["metadata"]["name"]: each for pod, each in zip(telling, told, strict=True) if each}
    return [Standing(each.run, each.ranks, found) for each in before]


def progress_of(api: Api, pod: Pod) -> Progress | None:
    """How far is a pod? None where its log says nothing of it, or cannot be had now. ApiError where it is forbidden."""
    query = {"container": podlib.main_container(pod), "tailLines": _TAIL, "timestamps": "true"}
    try:
        stream = api.open_log(pod["metadata"]["name"], query, pod["metadata"]["namespace"])
    except ApiError as error:
        if error.status == 403:
            raise
        return None  # not started, just deleted, or its node does not answer: the pod's phase says so
    return last_progress(line.decode(errors="replace") for lines in stream.lines() for line in lines)


def last_progress(lines: Iterable[str]) -> Progress | None:
    """What do the last lines of a log, each after its time, say of progress?"""
    told: list[Progress] = []
    for line in lines:
        stamp, _, text = line.partition(" ")
        if text.startswith(_LINE) and (one := _read(stamp, text)):
            told.append(one)
    if not told:
        return None
    last = told[-1]
    first = next(
        each for each in told if (each.stage, each.labels, each.total) == (last.stage, last.labels, last.total)
    )
    seconds, steps = (last.at - first.at).total_seconds(), last.done - first.done
    eta = seconds / steps * (last.total - last.done) if steps > 0 and seconds > 0 else None
    return Progress(last.stage, last.labels, last.done, last.total, last.numbers, last.at, eta)


def _read(stamp: str, text: str) -> Progress | None:
    try:
        line = json.loads(text)
        rest = {key: value for key, value in line.items() if key not in ("event", "stage", "done", "total")}
        labels = {key: value for key, value in rest.items() if isinstance(value, str)}
        numbers = {key: value for key, value in rest.items() if isinstance(value, int | float)}
        return Progress(line["stage"], labels, line["done"], line["total"], numbers, times.parse(stamp))
    except (ValueError, KeyError):
        return None  # cut short, or another program's
