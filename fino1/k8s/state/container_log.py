"""What has one container logged? Each line once, although connections break and the container is started again.

- A log can be asked for from a whole second on. So after a break we ask from the second before that of the last line
  (standard output and error may be written a little out of order), and know what comes again by its time and text.
- An answer does not say which pod of that name it is from. The pod is read after the answer has begun: if it still is
  ours, so is the answer. Of the container's starts the kubelet keeps two, the one before under `previous`.
- An API server hides that its kubelet's answer was cut short. So the log of a container that has ended is asked for until
  an answer brings nothing new and ends as the one before; where both were cut between two lines, what follows is missing.
"""

import sys
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


@dataclass(frozen=True, slots=True)
class LogLine:
    """One line that a container wrote."""

    pod: str
    container: str
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


def latest_start(pod: Pod, container: str) -> Start | None:
    """The start whose log the kubelet would show; None before the first."""
    status = next((each for each in containers(pod) if each["name"] == container), {})
    state, last = status.get("state") or {}, status.get("lastState") or {}
    if "running" in state:
        return Start(status["restartCount"], is_running=True)
    has_ended = "terminated" in state or "terminated" in last  # the latter: it waits to be started again
    return Start(status["restartCount"], is_running=False) if has_ended else None


class ContainerLog:
    """The log of one container of one pod: of its latest start, or where it `is_new` from its first start on."""

    def __init__(self, api: Api, pod: Pod, container: str | None, window: Window, *, is_new: bool = False) -> None:
        names = [each["name"] for each in (*pod["spec"]["containers"], *pod["spec"].get("initContainers", ()))]
        self.container = container or main_container(pod)
        self.name, self._uid = pod["metadata"]["name"], pod["metadata"]["uid"]
        if self.container not in names:
            raise SpecError(f"pod {self.name}: container: expected one of {', '.join(names)}, got {self.container}")
        start = None if is_new else latest_start(pod, self.container)
        self._restart = start.restart if start else 0  # of the start that is being read
        self._complete: Start | None = None  # its log was read to the end
        self._api, self._window = api, window
        self._delivered: deque[tuple[int, bytes]] = deque()  # (second, line), of the last two seconds
        self._oldest = ""  # with `tail`: the time of the first line that was wanted
        self._stream: Stream | None = None
        self.is_cut = False
        self._warned = ""

    def cut(self) -> None:
        """End `follow`, which may run in another thread, until `is_cut` is False again."""
        self.is_cut = True
        if self._stream:
            self._stream.cut()

    def notice(self, pod: Pod) -> None:
        """End `follow` if the container was started again: the answer may be of the later start."""
        now = latest_start(pod, self.container)
        if now and now.restart > self._restart:
            self.cut()

    def read_on(self, pod: Pod, *, is_last: bool = False) -> Iterator[LogLine]:
        """What was written since, as far as it can be had now; while the container runs, also what comes, unless `is_last`.

        `pod`: as the API server has it now.
        """
        now = latest_start(pod, self.container)
        if now is None or now == self._complete:
            return
        if now.restart > self._restart:
            if now.restart > self._restart + 1:
                self._warn(f"started {now.restart - self._restart} times since; a kubelet keeps the last two logs")
            before = Start(now.restart - 1, is_running=False)
            if not (yield from self._readable(self.rest(before, previous=True))) and not is_last:
                return
            self._restart = now.restart
            self._window, self._oldest = Window(self._window.since), ""  # the last lines were of the start before
        if now.is_running and not is_last:
            yield from self._readable(self.follow(now))
        elif (yield from self._readable(self.rest(now))) and not now.is_running:
            self._complete = now

    def _readable(self, lines: Iterator[LogLine]) -> Generator[LogLine, None, bool]:
        """Yields these lines. Returns False where the kubelet does not answer."""
        try:
            yield from lines
            self._warned = ""
        except ApiError as error:
            if error.status >= 500:
                self._warn(str(error))
                return False
            if error.status not in (400, 404):  # there is no log yet, or none of the start before
                raise
        return True

    def _warn(self, text: str) -> None:
        if text != self._warned:
            print(f"{self.name}: {text}", file=sys.stderr)
            self._warned = text

    def follow(self, start: Start) -> Iterator[LogLine]:
        """The lines that this start writes, to the end of one answer; that need not be the end of the log."""
        self._stream = self._open(follow="true")
        if self.is_cut:
            self._stream.cut()
        yield from self._unseen(self._stream, start)

    def rest(self, start: Start, *, previous: bool = False) -> Iterator[LogLine]:
        """The lines of this start that were not delivered yet; if it still runs, until now."""
        unended = b""
        while True:
            stream, count = self._open(previous="true" if previous else None), 0
            for line in self._unseen(stream, start):
                count += 1
                yield line
            if not stream.is_broken and (start.is_running or (not count and stream.rest == unended)):
                break
            unended = stream.rest
        if unended and not start.is_running and (last := self._parse(start, unended, self._known())):
            yield last  # no line yet, but no more will come

    def _open(self, **query: str | None) -> "Stream":
        """Ask from the second before the last line on; at first, for what is wanted."""
        tail, since = self._window.tail, self._window.since
        start = int(since.timestamp()) if since else None
        if self._delivered:
            tail, start = None, self._delivered[-1][0] - 1
        time_ = None if start is None else datetime.fromtimestamp(start, UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
        query = {"container": self.container, "timestamps": "true", "tailLines": tail, "sinceTime": time_, **query}
        return self._api.open_log(self.name, query)

    def _unseen(self, stream: "Stream", start: Start) -> Iterator[LogLine]:
        """The lines of an answer that were not delivered yet; none where it is another pod's."""
        again, is_ours = self._known(), False
        for raw in stream.lines():
            line = self._parse(start, raw, again)
            if line and not is_ours:
                pod = self._api.get("v1", "Pod", self.name)
                if pod is None or pod["metadata"]["uid"] != self._uid:
                    return
                is_ours = True
            if line:
                yield line

    def _known(self) -> Counter[bytes]:
        return Counter(line for _, line in self._delivered)

    def _parse(self, start: Start, raw: bytes, again: Counter[bytes]) -> LogLine | None:
        """The line, which counts as delivered; None if it comes `again`, or is older than what is wanted."""
        stamp, _, text = raw.decode(errors="replace").partition(" ")
        try:
            second = int(datetime.fromisoformat(stamp).timestamp())
        except ValueError:
            self._warn(f"the kubelet says: {stamp} {text}")  # in place of a log
            return None
        if again[raw] > 0:
            again[raw] -= 1
            return None
        if stamp < self._oldest:
            return None
        if self._window.tail is not None and not self._oldest:
            self._oldest = stamp
        self._delivered.append((second, raw))
        while self._delivered[0][0] < second - 1:
            self._delivered.popleft()
        return LogLine(self.name, self.container, start.restart, stamp, text)
