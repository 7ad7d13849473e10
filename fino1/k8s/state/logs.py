"""What have the pods of a run logged until now (`read`), and what do they log while they run (`follow`)?

`follow` has a thread for each pod's log, and lists the pods again and again.
"""

import queue
import threading
import time
from collections.abc import Callable, Iterable, Iterator

from fino1.k8s.cluster.client import Api
from fino1.k8s.state.container_log import ContainerLog, LogLine, Window, latest_start
from fino1.k8s.state.pods import Pod

_ALL = Window()
_LOOK_S = 1.0  # between two looks at which pods there are, and whether the run is over
_DRAIN_S = 0.1  # at the end, between two looks at whether a thread still reads
_LINES = 10000  # that wait to be printed; beyond, the threads wait, and with them the kubelets


def read(api: Api, pods: Iterable[Pod], container: str | None = None, window: Window = _ALL) -> Iterator[LogLine]:
    """The lines that these pods have logged until now, pod by pod; none of a container that has not started.

    Raises ApiError where one cannot be read.
    """
    for pod in pods:
        log = ContainerLog(api, pod, container, window)
        start = latest_start(pod, log.container)
        if start:
            yield from log.rest(start)


def follow(
    api: Api, label_selector: str, ended: Callable[[], bool], container: str | None = None, window: Window = _ALL
) -> Iterator[LogLine]:
    """Yield what the pods that match write, as it comes: each line of each pod and of each start of its container once.

    `window` is for the pods that are there at first. It ends when `ended` says that no more is to come, with all that was
    written until then. Raises what the server refuses.
    """
    follower = _Follower(api, label_selector, container)
    try:
        yield from follower.follow(ended, window)
    finally:
        follower.cut()


class _Follower:
    """The pods' logs, the threads that read them, and what these hand over."""

    def __init__(self, api: Api, label_selector: str, container: str | None) -> None:
        self._api, self._label_selector, self._container = api, label_selector, container
        self._lines: queue.Queue[LogLine | Exception] = queue.Queue(_LINES)
        self._logs: dict[str, ContainerLog] = {}  # by the pod's uid
        self._threads: dict[str, threading.Thread] = {}  # as well

    def follow(self, ended: Callable[[], bool], window: Window) -> Iterator[LogLine]:
        """All lines, until the end."""
        is_first = True
        while True:
            is_over = ended()  # first: then the list has all that the run has made
            pods = self._api.list("v1", "Pod", label_selector=self._label_selector)
            for pod in pods:
                self._take_up(pod, window if is_first else _ALL, is_new=not is_first)
            is_first = False
            if is_over:
                break
            yield from self._take(_LOOK_S)
        self.cut()
        while any(thread.is_alive() for thread in self._threads.values()) or not self._lines.empty():
            yield from self._take(_DRAIN_S)
        for pod in pods:
            yield from self._logs[pod["metadata"]["uid"]].read_on(pod, is_last=True)

    def _take_up(self, pod: Pod, window: Window, *, is_new: bool) -> None:
        """Read on in a thread, unless one does."""
        uid = pod["metadata"]["uid"]
        log = self._logs.get(uid)
        if log is None:
            log = self._logs[uid] = ContainerLog(self._api, pod, self._container, window, is_new=is_new)
        if uid in self._threads and self._threads[uid].is_alive():
            log.notice(pod)
            return
        log.is_cut = False
        self._threads[uid] = threading.Thread(target=self._hand_over, args=(log.read_on(pod),), daemon=True)
        self._threads[uid].start()

    def _hand_over(self, lines: Iterator[LogLine]) -> None:
        """Put all that comes into the queue, or the error that ends it."""
        try:
            for line in lines:
                self._lines.put(line)
        except Exception as error:
            self._lines.put(error)

    def _take(self, seconds: float) -> Iterator[LogLine]:
        """What the threads hand over in this time."""
        end = time.monotonic() + seconds
        while (left := end - time.monotonic()) > 0:
            try:
                line = self._lines.get(timeout=left)
            except queue.Empty:
                return
            if isinstance(line, Exception):
                raise line
            yield line

    def cut(self) -> None:
        """Make all threads end."""
        for log in self._logs.values():
            log.cut()
