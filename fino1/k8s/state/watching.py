"""How do run objects and their pods change while one looks?"""

import queue
import threading
import time
from collections.abc import Callable, Sequence

from fino1 import exits
from fino1.k8s import times
from fino1.k8s.cluster.client import Api
from fino1.k8s.cluster.errors import ApiError
from fino1.k8s.cluster.watch import Change, Watch
from fino1.k8s.state import status as standing
from fino1.k8s.state.pods import Pod, first_failures
from fino1.k8s.state.run import KINDS, Run
from fino1.k8s.state.status import Reading, Standing

_SETTLE_S = 10.0  # for the last pods' exit codes to come, after the run object has told its end


class Watched:
    """Run objects and their pods, as they are now. Threads watch them; `attend` takes in what they have seen."""

    def __init__(self, api: Api, runs: Sequence[Run], *, with_pods: bool = True) -> None:
        self.api, self.reading = api, Reading()
        self.runs = {run.full: run for run in runs}
        self.deleted: set[str] = set()
        self._pods: dict[str, Pod] = {}  # by uid; deleted ones too: their exit codes count
        self._gone: set[str] = set()
        self._changes: queue.Queue[tuple[str, Change | Exception]] = queue.Queue()
        self._over_since: float | None = None
        self._watches: list[Watch] = []
        for kind in sorted({run.kind for run in runs}):
            self._take_up(kind)
        if with_pods:
            self._take_up_pods()

    def _take_up(self, kind: str) -> None:
        """Read the run objects again, and watch from there on; one that is gone meanwhile is deleted."""
        selector = standing.selector(list(self.runs.values()))
        listing = self.api.list(KINDS[kind], kind, label_selector=selector)
        there = {item["metadata"]["uid"]: item for item in listing.items}
        for full, run in list(self.runs.items()):
            item = there.get(run.object["metadata"]["uid"])
            if item:
                self.runs[full] = Run(item)
            elif run.kind == kind:
                self.deleted.add(full)
        self._spawn(kind, Watch(self.api, KINDS[kind], kind, label_selector=selector, start=listing))

    def _take_up_pods(self) -> None:
        selector = standing.selector(list(self.runs.values()))
        listing = self.reading.ask(lambda: self.api.list("v1", "Pod", label_selector=selector), None)
        if listing is not None:
            self._pods = {pod["metadata"]["uid"]: pod for pod in listing.items}
            self._spawn("Pod", Watch(self.api, "v1", "Pod", label_selector=selector, start=listing))

    def _spawn(self, kind: str, watch: Watch) -> None:
        self._watches.append(watch)

        def attend() -> None:
            try:
                for change in watch:
                    self._changes.put((kind, change))
            except Exception as error:
                self._changes.put((kind, error))

        threading.Thread(target=attend, daemon=True).start()

    def close(self) -> None:
        """End the threads."""
        for watch in self._watches:
            watch.close()

    def attend(self, seconds: float) -> None:
        """Take in all changes; wait at most so long for the first. Raises what the server refused."""
        try:
            self._take(*self._changes.get(timeout=max(seconds, 0)))
            while True:
                self._take(*self._changes.get_nowait())
        except queue.Empty:
            return

    def _take(self, kind: str, seen: Change | Exception) -> None:
        if isinstance(seen, Exception):
            if kind != "Pod" or not isinstance(seen, ApiError) or seen.status != 403:
                raise seen
            self.reading.unread.append(str(seen))
            return
        metadata = seen.object["metadata"]
        if kind == "Pod":
            self._pods[metadata["uid"]] = seen.object
            if seen.type == "DELETED":
                self._gone.add(metadata["uid"])
            return
        full = metadata["name"]
        if full in self.runs and self.runs[full].object["metadata"]["uid"] == metadata["uid"]:
            self.runs[full] = Run(seen.object)
            if seen.type == "DELETED":
                self.deleted.add(full)

    @property
    def is_over(self) -> bool:
        """Will none of them go on?"""
        return all(run.is_over or run.full in self.deleted for run in self.runs.values())

    @property
    def is_settled(self) -> bool:
        """Are they over, and do failed ones' pods say why (or do not say it in time)?"""
        if not self.is_over:
            return False
        self._over_since = self._over_since or time.monotonic()
        failed = [each for each in self.standings() if each.run.phase == "Failed" and _is_news(each.run)]
        told = all(first_failures(each.ranks) for each in failed)
        return told or bool(self.reading.unread) or time.monotonic() - self._over_since > _SETTLE_S

    def standings(self) -> list[Standing]:
        """How do they stand now? Once all are over, deleted pods count too: they may say why."""
        pods = [pod for uid, pod in self._pods.items() if self.is_over or uid not in self._gone]
        return standing.standings(self.runs.values(), pods)

    def exit_code(self) -> int:
        """0 if all succeeded, else what the container that failed first ended with; 1 where nobody knows."""
        codes = []
        for each in self.standings():
            if each.run.phase == "Failed":
                failures = first_failures(each.ranks)
                codes.append((failures[0].at, failures[0].code) if failures else (each.run.since, exits.BUG))
            elif each.run.full in self.deleted and not each.run.is_over:
                codes.append((each.run.since, exits.BUG))
        return min(codes)[1] if codes else exits.DONE


def _is_news(run: Run) -> bool:
    """Has it ended so recently that its pods may still have to tell how?"""
    return (times.now() - times.parse(run.since)).total_seconds() < _SETTLE_S


def over(api: Api, runs: Sequence[Run]) -> Callable[[], bool]:
    """A question for `logs.follow`: are all these runs over by now?"""
    watched = Watched(api, runs, with_pods=False)

    def ended() -> bool:
        watched.attend(0)
        if watched.is_over:
            watched.close()
        return watched.is_over

    return ended
