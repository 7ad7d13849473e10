"""What have the pods of a run logged until now (`read`), and what do they log while they run (`follow`)?

`follow` has a thread for each pod's log, and one for the pods that come and go.
"""

import queue
import threading
import time
from collections.abc import Callable, Iterable, Iterator

from fino1.k8s.cluster.client import Api
from fino1.k8s.cluster.watch import Watch
from fino1.k8s.state.container_log import ContainerLog, LogLine, PodGone, Start, Window, latest_start
from fino1.k8s.state.pods import Pod

_ALL = Window()
_LOOK_S = 0.5  # between two looks at whether the run is over
_BATCHES = 1000  # that wait to be printed; beyond, the threads wait, and with them the kubelets


def read(api: Api, pods: Iterable[Pod], container: str | None = None, window: Window = _ALL) -> Iterator[LogLine]:
    """The lines that these pods have logged until now, pod by pod; none of a container that has not started.

    Raises ApiError where one cannot be read.
    """
    for pod in pods:
        log = ContainerLog(api, pod, container, window)
        start = latest_start(pod, log.container)
        for lines in log.rest(start) if start else ():
            yield from lines


def follow(
    api: Api, label_selector: str, ended: Callable[[], bool], container: str | None = None, window: Window = _ALL
) -> Iterator[LogLine]:
    """Yield what the pods that match write, as it comes: each line of each pod and of each start of its container once.

    `window` is for the pods that are there at first. It ends when `ended` says that no more is to come, with all that was
    written until then. Raises what the server refuses.
    """
    listing = api.list("v1", "Pod", label_selector=label_selector)
    watch = Watch(api, "v1", "Pod", label_selector=label_selector, start=listing)
    follower = _Follower(api, container)
    try:
        for pod in listing.items:
            follower.add(pod, window, is_new=False)
        follower.spawn(follower.attend(watch))
        yield from follower.lines(ended)
    finally:
        watch.close()
        follower.finish()


class _Follower:
    """The threads, and what they hand over."""

    def __init__(self, api: Api, container: str | None) -> None:
        self._api, self._container = api, container
        self._batches: queue.Queue[list[LogLine] | Exception] = queue.Queue(_BATCHES)
        self._logs: dict[str, ContainerLog] = {}  # by the pod's uid
        self._reading: list[threading.Thread] = []
        self._has_ended = False

    def spawn(self, batches: Iterator[list[LogLine]]) -> threading.Thread:
        """Hand over all that comes, or the error that ends it, in a thread."""

        def take() -> None:
            try:
                for batch in batches:
                    self._batches.put(batch)
            except PodGone:
                pass
            except Exception as error:
                self._batches.put(error)

        thread = threading.Thread(target=take, daemon=True)
        thread.start()
        return thread

    def add(self, pod: Pod, window: Window, *, is_new: bool) -> None:
        """Follow a pod; one that `is_new` from the first start of its container on, any other from the latest on."""
        log = self._logs[pod["metadata"]["uid"]] = ContainerLog(self._api, pod, self._container, window)
        if self._has_ended:
            log.finish()
        first = None if is_new else latest_start(pod, log.container)
        self._reading.append(self.spawn(log.everything(first or Start(0, is_running=False))))

    def attend(self, watch: Watch) -> Iterator[list[LogLine]]:
        """Follow each pod that comes, and wake the thread of one that changes; there are no lines in it."""
        for change in watch:
            log = self._logs.get(change.object["metadata"]["uid"])
            if log:
                log.notice(change.object)
            elif change.type != "DELETED":
                self.add(change.object, _ALL, is_new=True)
        yield from ()

    def lines(self, ended: Callable[[], bool]) -> Iterator[LogLine]:
        """Take what the threads hand over, until the end."""
        next_look = 0.0
        while True:
            is_idle = not any(thread.is_alive() for thread in self._reading)  # first: then all they had is handed over
            if not self._has_ended and time.monotonic() >= next_look:
                next_look = time.monotonic() + _LOOK_S
                if ended():
                    self.finish()
            try:
                batch = self._batches.get(timeout=_LOOK_S)
            except queue.Empty:
                if is_idle and self._has_ended:
                    return
                continue
            if isinstance(batch, Exception):
                raise batch
            yield from batch

    def finish(self) -> None:
        """Make all threads end with what was written until now."""
        self._has_ended = True
        for log in list(self._logs.values()):
            log.finish()
