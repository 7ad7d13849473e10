"""What has one container logged? Each line once, although connections break and the container is started again.

- A log can be asked for from a whole second on. So after a break we ask from the second before that of the last line
  (standard output and error may be written a little out of order), and know what comes again by its time and text.
- An answer does not say which pod of that name it is from. The pod is read after the answer has begun: if it still is
  ours, so is the answer. Of the container's starts the kubelet keeps two, the one before under `previous`.
- An API server hides that its kubelet's answer was cut short. So the log of a container that has ended is asked for until
  an answer brings nothing new and ends as the one before; where both were cut between two lines, what follows is missing.
"""

import sys
import threading
import time
from collections import Counter, deque
from collections.abc import Generator, Iterator
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import TYPE_CHECKING, NamedTuple

from fino1.errors import SpecError
from fino1.k8s.cluster.client import Api
from fino1.k8s.cluster.errors import ApiError
from fino1.k8s.state.pods import Pod, containers, main_container

if TYPE_CHECKING:
    from fino1.k8s.cluster.connection import Stream

_PAUSE_S = 0.5  # before a log is opened again
_TROUBLE_PAUSE_S = 2.0  # before another request to a kubelet that does not answer


@dataclass(frozen=True, slots=True)
class LogLine:
    """One line that a container wrote."""

    pod: str
    container: str
    uid: str  # of the pod: its name may have been used before
    restart: int  # how often the container had been started again when it wrote this
    timestamp: str  # RFC 3339 with nanoseconds, as the kubelet writes it
    text: str


class Window(NamedTuple):
    """The part of a log that is wanted: all of it, from a time on, or the last lines."""

    since: datetime | None = None
    tail: int | None = None


class Start(NamedTuple):
    """One start of a container, by how often it had been started before."""

    restart: int
    is_running: bool


class PodGone(Exception):
    """The pod is gone, or another has taken its name: there is nothing left to read."""


def latest_start(pod: Pod, container: str) -> Start | None:
    """The start whose log the kubelet would show; None before the first."""
    status = next((each for each in containers(pod) if each["name"] == container), {})
    state, last = status.get("state") or {}, status.get("lastState") or {}
    if "running" in state:
        return Start(status["restartCount"], is_running=True)
    has_ended = "terminated" in state or "terminated" in last  # the latter: it waits to be started again
    return Start(status["restartCount"], is_running=False) if has_ended else None


class ContainerLog:
    """The log of one container of one pod, over all its starts."""

    def __init__(self, api: Api, pod: Pod, container: str | None, window: Window) -> None:
        names = [each["name"] for each in (*pod["spec"]["containers"], *pod["spec"].get("initContainers", ()))]
        self.container = container or main_container(pod)
        self.pod = pod  # as last read
        self.name, self._uid = pod["metadata"]["name"], pod["metadata"]["uid"]
        if self.container not in names:
            raise SpecError(f"pod {self.name}: container: expected one of {', '.join(names)}, got {self.container}")
        self._api, self._window = api, window
        self._delivered: deque[tuple[int, bytes]] = deque()  # (second, line), of the last two seconds
        self._oldest = ""  # with `tail`: the time of the first line that was wanted
        self._stream: Stream | None = None
        self._changed = threading.Event()  # the pod has, or all is over
        self._is_finishing, self._noticed, self._followed = False, 0, 0
        self._warned = ""

    def refresh(self) -> Start | None:
        """Read the pod again; the container's latest start. Raises PodGone."""
        pod = self._api.get("v1", "Pod", self.name, self.pod["metadata"]["namespace"])
        if pod is None or pod["metadata"]["uid"] != self._uid:
            raise PodGone
        self.pod = pod
        return latest_start(pod, self.container)

    def notice(self, pod: Pod) -> None:
        """Take note that the pod has changed; from another thread."""
        start = latest_start(pod, self.container)
        self._noticed = start.restart if start else 0
        self._changed.set()
        self._cut()

    def finish(self) -> None:
        """Make `everything` end with what was written until now; from another thread."""
        self._is_finishing = True
        self._changed.set()
        self._cut()

    def _cut(self) -> None:
        """End `follow` if it is time, or if the container was started again: the answer may be of the later start."""
        if self._stream and (self._is_finishing or self._noticed > self._followed):
            self._stream.cut()

    def everything(self, last: Start) -> Iterator[list[LogLine]]:
        """All that the container writes from its start `last` on, until nothing more can come, or `finish`. Raises PodGone."""
        complete: Start | None = None  # its log was read to the end
        while True:
            self._changed.clear()
            is_last = self._is_finishing
            now = self.refresh()
            if not (yield from self._drain_previous_start(last, now)) and not is_last:
                continue
            last = now or last
            if now and now.is_running and not is_last:
                yield from self._readable(self.follow(now))
                time.sleep(_PAUSE_S)  # it may have ended, and the API server not know it yet
                continue
            if now and now != complete:
                if not (yield from self._readable(self.rest(now))) and not is_last:
                    continue
                complete = now
            if is_last or self.pod["status"].get("phase") in ("Succeeded", "Failed"):
                return
            self._changed.wait()

    def _drain_previous_start(self, last: Start, now: Start | None) -> Generator[list[LogLine], None, bool]:
        """If it was started again: what the start before still had to say. False where that is not to be had now."""
        if not now or last.restart == now.restart:
            return True
        if now.restart > last.restart + 1:
            self._warn(f"started {now.restart - last.restart} times since; a kubelet keeps the last two logs")
        before = Start(now.restart - 1, is_running=False)
        if not (yield from self._readable(self.rest(before, previous=True))):
            return False
        self._window, self._oldest = Window(self._window.since), ""  # the last lines were of the start before
        return True

    def _readable(self, batches: Iterator[list[LogLine]]) -> Generator[list[LogLine], None, bool]:
        """Yields these batches. Returns False, after a pause, where the kubelet does not answer."""
        try:
            yield from batches
            self._warned = ""
        except ApiError as error:
            if error.status >= 500:
                self._warn(str(error))
                time.sleep(_TROUBLE_PAUSE_S)
                return False
            if error.status not in (400, 404):  # there is no log yet, or none of the start before
                raise
        return True

    def _warn(self, text: str) -> None:
        if text != self._warned:
            print(f"{self.name}: {text}", file=sys.stderr)
            self._warned = text

    def follow(self, start: Start) -> Iterator[list[LogLine]]:
        """The lines that this start writes, to the end of one answer; that need not be the end of the log."""
        self._followed = start.restart
        self._stream = self._open(follow="true")
        self._cut()
        yield from self._unseen(self._stream, start)

    def rest(self, start: Start, *, previous: bool = False) -> Iterator[list[LogLine]]:
        """The lines of this start that were not delivered yet; if it still runs, until now."""
        unended = b""
        while True:
            stream, count = self._open(previous="true" if previous else None), 0
            for lines in self._unseen(stream, start):
                count += len(lines)
                yield lines
            if not stream.is_broken and (start.is_running or (not count and stream.rest == unended)):
                break
            unended = stream.rest
        if unended and not start.is_running:  # no line yet, but no more will come
            yield list(self._parse(start, [unended], self._known()))

    def _open(self, **query: str | None) -> "Stream":
        """Ask from the second before the last line on; at first, for what is wanted."""
        tail, since = self._window.tail, self._window.since
        start = int(since.timestamp()) if since else None
        if self._delivered:
            tail, start = None, self._delivered[-1][0] - 1
        time_ = None if start is None else datetime.fromtimestamp(start, UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
        query = {"container": self.container, "timestamps": "true", "tailLines": tail, "sinceTime": time_, **query}
        return self._api.open_log(self.name, query, self.pod["metadata"]["namespace"])

    def _unseen(self, stream: "Stream", start: Start) -> Iterator[list[LogLine]]:
        """The lines of an answer that were not delivered yet. Raises PodGone where it is another pod's."""
        again, is_ours = self._known(), False
        for raw in stream.lines():
            if lines := list(self._parse(start, raw, again)):
                if not is_ours:
                    self.refresh()
                is_ours = True
                yield lines

    def _known(self) -> Counter[bytes]:
        return Counter(line for _, line in self._delivered)

    def _parse(self, start: Start, raw: list[bytes], again: Counter[bytes]) -> Iterator[LogLine]:
        """The lines but those that come `again`; they count as delivered."""
        for line in raw:
            stamp, _, text = line.decode(errors="replace").partition(" ")
            try:
                second = int(datetime.fromisoformat(stamp).timestamp())
            except ValueError:
                self._warn(f"the kubelet says: {stamp} {text}")  # in place of a log
                continue
            if again[line] > 0:
                again[line] -= 1
            elif stamp >= self._oldest:
                if self._window.tail is not None and not self._oldest:
                    self._oldest = stamp
                self._delivered.append((second, line))
                while self._delivered[0][0] < second - 1:
                    self._delivered.popleft()
                yield LogLine(self.name, self.container, self._uid, start.restart, stamp, text)
