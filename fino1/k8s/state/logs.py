"""What have pods logged until now (`read`), and what do they log while they run (`follow`)?

`follow` has a thread for each pod's log, and one for the pods that come and go; container_log.py says why no line is lost.
"""

import queue
import sys
import threading
import time
from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import Any

from fino1.k8s.cluster.client import Api
from fino1.k8s.cluster.errors import ApiError
from fino1.k8s.cluster.watch import Watch
from fino1.k8s.state.container_log import ContainerLog, Instance, LogLine, PodGone, Window, instance, is_over

_PAUSE_S = 0.5  # before another look at what was not ready
_TROUBLE_PAUSE_S = 2.0  # before another request to a kubelet that does not answer
_LOOK_S = 0.5  # how often `ended` is asked while nothing comes
_DONE, _NOTHING, _TROUBLE = "done", "nothing", "trouble"
_BATCHES = 1000  # that wait to be taken; beyond, the threads wait, and with them the kubelets


def read(
    api: Api,
    pods: Iterable[Mapping[str, Any]],
    container: str | None = None,
    window: Window = Window(),  # noqa: B008, it is frozen
    *,
    previous: bool = False,
) -> Iterator[LogLine]:
    """What have these pods logged until now (or, `previous`, in the start before)? Pod by pod; ApiError if one can't be read.

    A container that has not started has no log, and is passed over.
    """
    for pod in pods:
        log = ContainerLog(api, pod, container, window)
        start = instance(pod, log.container)
        if start and previous:
            start = Instance(start.id, start.restart - 1, running=False) if start.restart else None
        if start:
            for lines in log.drain(start, previous=previous):
                yield from lines


def follow(
    api: Api,
    *,
    label_selector: str,
    namespace: str | None = None,
    container: str | None = None,
    window: Window = Window(),  # noqa: B008, it is frozen
    ended: Callable[[], bool] | None = None,
) -> Iterator[LogLine]:
    """Yield what the pods that match write, as it comes: each line of each pod and of each start of its container once.

    `window` is for the pods that are there at first. It ends when `ended` says that no more is to come, with all that was
    written until then; without it, once there were pods and all of them are over. Raises what the server refuses.
    """
    selected = {"label_selector": label_selector, "namespace": namespace}
    listing = api.list("v1", "Pod", **selected)
    follower = _Follower(api, container, Watch(api, "v1", "Pod", **selected, start=listing))
    try:
        for pod in listing.items:
            follower.add(pod, window, known=True)
        follower.spawn(follower.attend)
        yield from follower.lines(ended)
    finally:
        follower.close()


class _Follower:
    """The threads, and what they hand over."""

    def __init__(self, api: Api, container: str | None, watch: Watch) -> None:
        self.closed, self.finishing = threading.Event(), threading.Event()
        self._api, self._container, self._watch = api, container, watch
        self._batches: queue.Queue[list[LogLine] | Exception] = queue.Queue(_BATCHES)
        self._ranks: dict[str, _Rank] = {}  # by the pod's uid
        self._reading: list[threading.Thread] = []

    def spawn(self, work: Callable[[], None]) -> threading.Thread:
        """Do `work` in a thread; its error is raised where the lines are taken."""

        def guarded() -> None:
            try:
                work()
            except Exception as error:
                self.hand_over(error)

        thread = threading.Thread(target=guarded, daemon=True)
        thread.start()
        return thread

    def add(self, pod: Mapping[str, Any], window: Window, known: bool) -> None:
        """Follow a pod; one that is not `known` from the first list is read from its very beginning."""
        rank = _Rank(self, ContainerLog(self._api, pod, self._container, window), known)
        self._ranks[pod["metadata"]["uid"]] = rank
        self._reading.append(self.spawn(rank.read))

    def attend(self) -> None:
        """Follow each pod that comes, and wake the thread of one that changes."""
        for change in self._watch:
            rank = self._ranks.get(change.object["metadata"]["uid"])
            if rank:
                rank.wake(change.object)
            elif change.type != "DELETED":
                self.add(change.object, Window(), known=False)

    def hand_over(self, batch: list[LogLine] | Exception) -> None:
        """Give lines, or an error, to whoever iterates; wait while there are too many."""
        while not self.closed.is_set():
            try:
                return self._batches.put(batch, timeout=_LOOK_S)
            except queue.Full:
                continue

    def lines(self, ended: Callable[[], bool] | None) -> Iterator[LogLine]:
        """Take what the threads hand over, until the end."""
        looked = time.monotonic()
        while True:
            idle = not any(thread.is_alive() for thread in self._reading)  # first: then the queue holds all they had
            try:
                batch = self._batches.get(timeout=_LOOK_S)
            except queue.Empty:
                if idle and (self.finishing.is_set() or (ended is None and self._ranks)):
                    return
            else:
                if isinstance(batch, Exception):
                    raise batch
                yield from batch
            if ended and not self.finishing.is_set() and time.monotonic() - looked >= _LOOK_S:
                looked = time.monotonic()
                if ended():
                    self._finish()

    def _finish(self) -> None:
        self.finishing.set()
        for rank in list(self._ranks.values()):
            rank.interrupt()

    def close(self) -> None:
        """End all threads; what they still have is dropped."""
        self.closed.set()
        self._watch.close()
        self._finish()


class _Rank:
    """The thread that reads one pod's log."""

    def __init__(self, follower: _Follower, log: ContainerLog, known: bool) -> None:
        self._follower, self._log = follower, log
        self._last = None if known else Instance("", 0, running=True)  # the start that was read last
        self._changes, self._changed = 0, threading.Condition()
        self._told = False
        self._came = 0  # batches of lines

    def wake(self, pod: Mapping[str, Any]) -> None:
        """The pod has changed; where the container was started again, leave what is open and look at the new start."""
        now = instance(pod, self._log.container)
        if now and self._last and now.restart > self._last.restart:
            self._log.cut()
        with self._changed:
            self._changes += 1
            self._changed.notify()

    def interrupt(self) -> None:
        """Leave what is open, and look what there is to do."""
        self._log.cut()
        with self._changed:
            self._changes += 1
            self._changed.notify()

    def read(self) -> None:
        """Hand over all that the container writes, until nothing more can come."""
        drained = ""  # the start whose log is complete
        try:
            while not self._follower.closed.is_set():
                changes, finishing = self._changes, self._follower.finishing.is_set()
                self._log.uncut()
                now = self._log.refresh()
                if now and self._last and now.id != self._last.id and not self._turn_to(now):
                    continue
                self._last = now or self._last
                if now and now.running and not finishing:
                    self._follow(now)
                    continue
                if now and now.id != drained and self._take(self._log.drain(now)) == _DONE:
                    drained = now.id
                if finishing or is_over(self._log.pod):
                    return
                with self._changed:
                    self._changed.wait_for(lambda seen=changes: self._changes != seen)
        except PodGone:
            return

    def _follow(self, start: Instance) -> None:
        began, came = time.monotonic(), self._came
        if self._take(self._log.follow(start)) == _DONE and came == self._came and time.monotonic() - began < _PAUSE_S:
            self._follower.closed.wait(_PAUSE_S)  # it may have ended, and the API server not know it yet

    def _turn_to(self, now: Instance) -> bool:
        """The container was started again: first, what the start before still had to say. False: not to be had now."""
        if now.restart > self._last.restart + 1:
            self._tell(f"started {now.restart - self._last.restart} times since; a kubelet keeps the last two logs")
        before = Instance("", now.restart - 1, running=False)
        if now.restart and self._take(self._log.drain(before, previous=True)) == _TROUBLE:
            return False
        self._log.restarted()
        return True

    def _take(self, batches: Iterator[list[LogLine]]) -> str:
        """Hand over all; _NOTHING where there is no log (yet), _TROUBLE where it could not be read this time."""
        try:
            for batch in batches:
                self._came += 1
                self._follower.hand_over(batch)
        except ApiError as error:
            if error.status >= 500:
                self._tell(str(error))
                self._follower.closed.wait(_TROUBLE_PAUSE_S)
                return _TROUBLE
            if error.status not in (400, 404):  # not started, or no start before; read() finds a pod that is gone
                raise
            self._follower.closed.wait(_PAUSE_S)
            return _NOTHING
        self._told = False
        return _DONE

    def _tell(self, text: str) -> None:
        if not self._told:
            print(f"{self._log.name}: {text}", file=sys.stderr)
            self._told = True
