"""How does a run stand: its phase, its ranks, its progress, where its results are?"""

import json
from collections import defaultdict
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime
from typing import Any, Literal, TypeVar

from fino1.k8s import times
from fino1.k8s.cluster.client import Api, in_parallel
from fino1.k8s.cluster.errors import ApiError, KindMissing
from fino1.k8s.state.pods import Pod, Rank, group_ranks, main_container, main_status
from fino1.k8s.state.run import OURS, Run, run_of

_TAIL = 60  # last lines of a log in which progress is looked for
_READ_AT_MOST = 64  # logs; progress is read of so many pods, those that run first
_LINE = '{"event": "progress"'
T = TypeVar("T")


@dataclass(frozen=True)
class Progress:
    """The last progress line of a pod (fino1/progress.py). `eta_s`: seconds for the rest at the pace of the lines before it."""

    stage: str
    labels: Mapping[str, str]
    done: int
    total: int
    numbers: Mapping[str, float]
    at: datetime
    eta_s: float | None = None

    @property
    def percent(self) -> float:
        """Share that is done, from 0 to 100."""
        return 100 * self.done / self.total if self.total else 100.0

    def __str__(self) -> str:
        what = " ".join([self.stage, *(v for key, v in self.labels.items() if key in ("task",))])
        numbers = "".join(f"  {key} {value:.4g}" for key, value in self.numbers.items())
        eta = f"  ETA {times.short(self.eta_s)}" if self.eta_s else ""
        return f"{what} {self.done}/{self.total} ({self.percent:.0f} %){numbers}{eta}"

    def to_dict(self) -> dict[str, Any]:
        """For `-o json`."""
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
class ReadAccess:
    """Collects what this user may not read, so that a verb shows the rest and says once what is missing."""

    unread: list[str] = field(default_factory=list)

    def ask(self, question: Callable[[], T], otherwise: T) -> T:
        """The answer; `otherwise`, and a line in `unread`, where it is forbidden or the cluster has no such kind."""
        try:
            return question()
        except ApiError as error:
            if error.status != 403 and not isinstance(error, KindMissing):
                raise
            if str(error) not in self.unread:
                self.unread.append(str(error))
            return otherwise

    def to_dict(self) -> dict[str, list[str]]:
        """For `-o json`; empty where everything was read."""
        return {"unread": self.unread} if self.unread else {}


@dataclass(frozen=True)
class Standing:
    """One run, its ranks, and the last progress line of its pods, by name."""

    run: Run
    ranks: Sequence[Rank]
    progress: Mapping[str, Progress] = field(default_factory=dict)

    @property
    def ready(self) -> str:
        """Pods that run or have succeeded, of how many: "1/2"; "done" for a run that has succeeded."""
        if self.run.phase == "Succeeded":
            return "done"
        live = sum(rank.is_running or rank.pod.get("status", {}).get("phase") == "Succeeded" for rank in self.ranks)
        return f"{live}/{self.run.expected_pods}"

    @property
    def restarts(self) -> int:
        """Number of times that its ranks were started again, all together."""
        return sum(rank.restarts for rank in self.ranks)

    @property
    def furthest(self) -> Progress | None:
        """The newest progress line of any of its pods; None without one."""
        mine = [self.progress[rank.name] for rank in self.ranks if rank.name in self.progress]
        return max(mine, key=lambda each: each.at, default=None)

    @property
    def results(self) -> str:
        """Directory of its results on the work volume."""
        return "/work/cells" if self.run.method == "eval" else f"/work/runs/{self.run.directory}"

    def to_dict(self) -> dict[str, Any]:
        """For `-o json`."""
        furthest = self.furthest
        return {
            **self.run.to_dict(),
            "pods": [self._rank(rank) for rank in self.ranks],
            "progress": furthest.to_dict() if furthest else None,
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
            "progress": progress.to_dict() if progress else None,
        }


def pod_selector(runs: Sequence[Run]) -> str:
    """One label selector for the pods of these runs: of one run, of all that share a name, or of all runs."""
    names = {run.name for run in runs}
    if len(runs) == 1:
        return runs[0].pods
    of_name = f",app.kubernetes.io/instance={names.pop()}" if len(names) == 1 else ""
    return f"{OURS},app.kubernetes.io/component!=test{of_name}"


def list_pods(api: Api, runs: Sequence[Run], namespace: str | None = None) -> list[Pod]:
    """The pods of these runs, in one list. (`namespace` "": of all namespaces)"""
    return api.list("v1", "Pod", label_selector=pod_selector(runs), namespace=namespace)


def standings(runs: Iterable[Run], pods: Iterable[Pod]) -> list[Standing]:
    """Pair each run with its ranks; a run's phase then also counts what its pods show."""
    by_run: dict[str, list[Pod]] = defaultdict(list)
    for pod in pods:
        by_run[run_of(pod)].append(pod)
    found = [(run, group_ranks(by_run[run.full])) for run in runs]
    return [Standing(replace(run, pods_say=_summarize_ranks(ranks)), ranks) for run, ranks in found]


def _summarize_ranks(ranks: Sequence[Rank]) -> Literal["", "running", "ended"]:
    """The phase that the ranks show of their run: "running" if one runs, else "ended" if one has ended."""
    if any(rank.is_running for rank in ranks):
        return "running"
    return "ended" if any(rank.has_ended for rank in ranks) else ""


def with_progress(api: Api, before: Sequence[Standing], access: ReadAccess) -> list[Standing]:
    """Add the last progress of the pods that log it: rank 0 of a training run, each pod of one that asks models."""
    logging = [
        rank.pod
        for each in before
        for rank in each.ranks
        if (rank.index == 0 or each.run.method in ("eval", "paths")) and main_status(rank.pod)
    ]
    asked = sorted(logging, key=lambda pod: pod["status"].get("phase") != "Running")[:_READ_AT_MOST]
    read = in_parallel(lambda pod: access.ask(lambda: read_progress(api, pod), None), asked)
    found = {pod["metadata"]["name"]: each for pod, each in zip(asked, read, strict=True) if each}
    return [Standing(each.run, each.ranks, found) for each in before]


def read_progress(api: Api, pod: Pod) -> Progress | None:
    """The last progress in a pod's log; None without one, or where the log cannot be had now. ApiError where it is forbidden."""
    query = {"container": main_container(pod), "tailLines": _TAIL, "timestamps": "true"}
    try:
        stream = api.open_log(pod["metadata"]["name"], query)
    except ApiError as error:
        if error.status == 403:
            raise
        return None  # not started, just deleted, or its node does not answer: the pod's phase says so
    return last_progress(line.decode(errors="replace") for line in stream.lines())


def last_progress(lines: Iterable[str]) -> Progress | None:
    """The progress in the last lines of a log, each of which begins with its time; None where no line has one."""
    stamped = (line.partition(" ") for line in lines)
    found = [each for stamp, _, text in stamped if text.startswith(_LINE) and (each := _parse(stamp, text))]
    if not found:
        return None
    last = found[-1]
    first = next(p for p in found if (p.stage, p.labels, p.total) == (last.stage, last.labels, last.total))
    seconds, steps = (last.at - first.at).total_seconds(), last.done - first.done
    eta = seconds / steps * (last.total - last.done) if steps > 0 and seconds > 0 else None
    return replace(last, eta_s=eta)


def _parse(stamp: str, text: str) -> Progress | None:
    try:
        line = json.loads(text)
        rest = {key: value for key, value in line.items() if key not in ("event", "stage", "done", "total")}
        labels = {key: value for key, value in rest.items() if isinstance(value, str)}
        numbers = {key: value for key, value in rest.items() if isinstance(value, int | float)}
        return Progress(line["stage"], labels, line["done"], line["total"], numbers, times.parse(stamp))
    except (ValueError, KeyError):
        return None  # cut short, or another program's
