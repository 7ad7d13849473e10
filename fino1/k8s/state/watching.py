"""How do run objects and their pods change while one looks?"""

import queue
import threading
import time
from collections.abc import Callable, Sequence

from fino1 import exits
from fino1.k8s import times
from fino1.k8s.cluster.client import Api, Listing
from fino1.k8s.cluster.errors import ApiError
from fino1.k8s.cluster.watch import Change, Watch
from fino1.k8s.state import status
from fino1.k8s.state.pods import Pod, find_first_failures
from fino1.k8s.state.run import KINDS, Run
from fino1.k8s.state.status import ReadAccess, Standing

_SETTLE_S = 10.0  # for the last pods' exit codes to come, after the run object has said that it is over


class Watched:
    """Run objects and their pods, as they are now. Threads watch them; `attend` takes in what they have seen."""

    def __init__(self, api: Api, runs: Sequence[Run], *, with_pods: bool = True) -> None:
        self.access = ReadAccess()
        self.runs = {run.full: run for run in runs}
        self.deleted: set[str] = set()  # full names
        self._api, self._selector = api, status.pod_selector(runs)
        self._pods: dict[str, Pod] = {}  # by uid; deleted ones too: their exit codes count
        self._gone: set[str] = set()  # uids of deleted pods
        self._changes: queue.Queue[tuple[str, Change | Exception]] = queue.Queue()
        self._over_since: float | None = None
        self._watches: list[Watch] = []
        for kind in sorted({run.kind for run in runs}):
            self._take_up_runs(kind)
        if with_pods:
            self._take_up_pods()

    def _take_up_runs(self, kind: str) -> None:
        """Read the run objects again, and watch from there on; one that is gone meanwhile is deleted."""
        listing = self._api.list(KINDS[kind], kind, label_selector=self._selector)
        there = {item["metadata"]["uid"]: item for item in listing.items}
        for full, run in list(self.runs.items()):
            item = there.get(run.object["metadata"]["uid"])
            if item:
                self.runs[full] = Run(item)
            elif run.kind == kind:
                self.deleted.add(full)
        self._watch(KINDS[kind], kind, listing)

    def _take_up_pods(self) -> None:
        listing = self.access.ask(lambda: self._api.list("v1", "Pod", label_selector=self._selector), None)
        if listing is not None:
            self._pods = {pod["metadata"]["uid"]: pod for pod in listing.items}
            self._watch("v1", "Pod", listing)

    def _watch(self, api_version: str, kind: str, start: Listing) -> None:
        watch = Watch(self._api, api_version, kind, label_selector=self._selector, start=start)
        self._watches.append(watch)

        def collect() -> None:
            try:
                for change in watch:
                    self._changes.put((kind, change))
            except Exception as error:
                self._changes.put((kind, error))

        threading.Thread(target=collect, daemon=True).start()

    def close(self) -> None:
        """End the threads."""
        for watch in self._watches:
            watch.close()

    def attend(self, seconds: float) -> None:
        """Take in all changes; wait at most so long for the first. Raises what the server refused."""
        try:
            self._take_in(*self._changes.get(timeout=max(seconds, 0)))
            while True:
                self._take_in(*self._changes.get_nowait())
        except queue.Empty:
            return

    def _take_in(self, kind: str, seen: Change | Exception) -> None:
        if isinstance(seen, Exception):
            if kind != "Pod" or not isinstance(seen, ApiError) or seen.status != 403:
                raise seen
            self.access.unread.append(str(seen))
            return
        uid, full = seen.object["metadata"]["uid"], seen.object["metadata"]["name"]
        is_deleted = seen.type == "DELETED"
        if kind == "Pod":
            self._pods[uid] = seen.object
            self._gone |= {uid} if is_deleted else set()
        elif full in self.runs and self.runs[full].object["metadata"]["uid"] == uid:
            self.runs[full] = Run(seen.object)
            self.deleted |= {full} if is_deleted else set()

    @property
    def is_over(self) -> bool:
        """Whether none of them will go on."""
        return all(run.is_over or run.full in self.deleted for run in self.runs.values())

    @property
    def is_settled(self) -> bool:
        """Whether they are over, and failed ones' pods say why (or have not said it in time)."""
        if not self.is_over:
            return False
        self._over_since = self._over_since or time.monotonic()
        failed = [each for each in self.standings() if each.run.phase == "Failed" and _is_news(each.run)]
        is_explained = all(find_first_failures(each.ranks) for each in failed)
        return is_explained or bool(self.access.unread) or time.monotonic() - self._over_since > _SETTLE_S

    def standings(self) -> list[Standing]:
        """The state of all now. Once all are over, deleted pods count too: they may say why."""
        pods = [pod for uid, pod in self._pods.items() if self.is_over or uid not in self._gone]
        return status.standings(self.runs.values(), pods)

    def exit_code(self) -> int:
        """0 if all succeeded, else what the container that failed first ended with; 1 where that is not known."""
        codes = []
        for each in self.standings():
            failures = find_first_failures(each.ranks)
            if each.run.phase == "Failed" and failures:
                codes.append((failures[0].at, failures[0].code))
            elif each.run.phase == "Failed" or (each.run.full in self.deleted and not each.run.is_over):
                codes.append((each.run.since, exits.BUG))
        return min(codes)[1] if codes else exits.DONE


def _is_news(run: Run) -> bool:
    """Whether it has ended so recently that its pods may still say how."""
    return (times.now() - times.parse(run.since)).total_seconds() < _SETTLE_S


def watch_for_end(api: Api, runs: Sequence[Run]) -> Callable[[], bool]:
    """A function, for `logs.follow`, that returns whether all these runs are over by now."""
    watched = Watched(api, runs, with_pods=False)

    def are_over() -> bool:
        watched.attend(0)
        if watched.is_over:
            watched.close()
        return watched.is_over

    return are_over
