"""What has one container logged? Every line once, however often the connection breaks, across restarts of the container.

What a kubelet gives and what follows from it:
- Each line comes with its time in nanoseconds, but a log can be asked for from a whole second on only, and several lines
  may share a time. So after a break we ask from the second before that of the last line (stdout and stderr may be written
  a little out of order) and skip, counted by (time, text), what of it was delivered. Where a node's clock is set back by
  more than a second, lines may come twice.
- An API server hides that its kubelet's answer was cut short: the client sees an orderly end. So an end proves nothing.
  A log is complete once the container has ended and another answer repeats what we know and brings nothing new; two,
  where an answer looked cut. Text after the last line end is a line only if they agree on it.
- An answer does not say which pod of that name, and which start of the container, it is from. The pod is read after the
  answer has begun: if it still is ours, so is the answer. What a start still had to say when the next one began is asked
  for with `previous`; the kubelet keeps one earlier start.
"""

import re
import sys
import time
from collections import Counter, deque
from collections.abc import Generator, Iterator, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import lru_cache
from typing import TYPE_CHECKING, Any

from fino1.errors import SpecError
from fino1.k8s.cluster.client import Api
from fino1.k8s.cluster.errors import ApiError

if TYPE_CHECKING:
    from fino1.k8s.cluster.login import Stream

_ANNOTATION = "kubectl.kubernetes.io/default-container"
_STAMP = re.compile(r"(\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d)(?:\.\d+)?(Z|[+-]\d\d:\d\d)")
_ROTATED = 4  # answers that lack the same known lines: the kubelet has rotated these away
_HOPELESS = 60  # answers without a new line, none of them whole
_PAUSE_S = 0.1  # between answers that look cut


@dataclass(frozen=True, slots=True)
class LogLine:
    """One line that a container wrote."""

    pod: str
    container: str
    uid: str  # of the pod: its name may have been used before
    restart: int  # how often the container had been started again when it wrote this
    timestamp: str  # RFC 3339 with nanoseconds, as the kubelet says it
    text: str


@dataclass(frozen=True)
class Window:
    """Which part of a log is wanted? All of it, from a time on, or the last lines."""

    since: datetime | None = None
    tail: int | None = None


@dataclass(frozen=True)
class Instance:
    """One start of a container, as the API server knows it."""

    id: str
    restart: int
    running: bool


@dataclass(frozen=True)
class _Answer:
    """How did one answer end?"""

    new: int  # lines that were delivered
    missing: int  # delivered before, and not sent again
    rest: bytes  # text after the last line end
    date: float  # when it began, by the server's clock


class PodGone(Exception):
    """The pod is gone, or another has taken its name: there is nothing left to read."""


def default_container(pod: Mapping[str, Any]) -> str:
    """Which container does a log mean if nobody says?"""
    annotated = (pod["metadata"].get("annotations") or {}).get(_ANNOTATION)
    return annotated or pod["spec"]["containers"][0]["name"]


def instance(pod: Mapping[str, Any], container: str) -> Instance | None:
    """Which start of the container would the kubelet show? None before the first."""
    status = pod.get("status") or {}
    every = [*(status.get("containerStatuses") or []), *(status.get("initContainerStatuses") or [])]
    mine = next((each for each in every if each["name"] == container), None)
    if mine is None:
        return None
    state, restart = mine.get("state") or {}, mine.get("restartCount", 0)
    if state.get("running"):
        return Instance(mine.get("containerID") or f"restart {restart}", restart, True)
    ended = state.get("terminated") or (mine.get("lastState") or {}).get("terminated")  # waiting to be started again
    if ended is None:
        return None
    return Instance(ended.get("containerID") or mine.get("containerID") or f"restart {restart}", restart, False)


def is_over(pod: Mapping[str, Any]) -> bool:
    """Will no container of this pod start again?"""
    return (pod.get("status") or {}).get("phase") in ("Succeeded", "Failed")


class Seen:
    """Which lines were delivered? As many as are needed to recognise what comes again after a break."""

    def __init__(self, window: Window) -> None:
        self._window = window
        self._kept: deque[tuple[int, str, str]] = deque()  # (second, time, text), in the log's order
        self._again: Counter[tuple[str, str]] = Counter()
        self._whole = True  # nothing was dropped from the front of _kept
        self._matched = False

    @property
    def newest(self) -> int:
        """When was the last line written that was delivered? (in seconds since 1970)"""
        return self._kept[-1][0] if self._kept else 0

    @property
    def missing(self) -> int:
        """How many delivered lines has the answer not repeated yet?"""
        return self._again.total()

    def open(self) -> dict[str, str | int | None]:
        """From where on must the next answer begin? What was delivered may come again in it."""
        self._again = Counter((stamp, text) for _, stamp, text in self._kept)
        self._matched = not self._kept
        if self._kept:
            return {"sinceTime": _rfc3339(self._kept[-1][0] - 1)}
        since = self._window.since
        return {"tailLines": self._window.tail, "sinceTime": _rfc3339(int(since.timestamp())) if since else None}

    def all_from_now(self) -> None:
        """The container was started again: of the new log, all is wanted."""
        self._window = Window(self._window.since)

    def is_new(self, second: int, stamp: str, text: str) -> bool:
        """Must this line be delivered? If so, it counts as delivered."""
        key = (stamp, text)
        if self._again.get(key, 0):
            self._again[key] -= 1
            self._matched = True
            return False
        if self._window.tail is not None and self._whole and not self._matched:
            return False  # older than the last lines, which are all that was asked for
        self._kept.append((second, stamp, text))
        while self._kept[0][0] < second - 1:
            self._kept.popleft()
            self._whole = False
        return True


class ContainerLog:
    """The log of one container of one pod, over all its starts."""

    def __init__(self, api: Api, pod: Mapping[str, Any], container: str | None, window: Window) -> None:
        names = [each["name"] for each in (*pod["spec"]["containers"], *pod["spec"].get("initContainers", ()))]
        self.container = container or default_container(pod)
        self.pod = pod  # as last read
        if self.container not in names:
            raise SpecError(f"pod {self.name}: container: expected one of {', '.join(names)}, got {self.container}")
        self._api, self._seen = api, Seen(window)
        self._stream: Stream | None = None
        self._cut = False
        self._told: set[str] = set()

    @property
    def name(self) -> str:
        """Which pod is it?"""
        return self.pod["metadata"]["name"]

    @property
    def _uid(self) -> str:
        return self.pod["metadata"]["uid"]

    def refresh(self) -> Instance | None:
        """Read the pod again: the container's latest start. Raises PodGone."""
        pod = self._api.get("v1", "Pod", self.name, self.pod["metadata"]["namespace"])
        if pod is None or pod["metadata"]["uid"] != self._uid:
            raise PodGone
        self.pod = pod
        return instance(pod, self.container)

    def cut(self) -> None:
        """End `follow` from another thread; also one that begins after this, until `uncut`."""
        self._cut = True
        if self._stream:
            self._stream.cut()

    def uncut(self) -> None:
        """From now on `follow` reads on."""
        self._cut = False

    def restarted(self) -> None:
        """The container has been started again: tail no longer applies."""
        self._seen.all_from_now()

    def follow(self, start: Instance) -> Iterator[list[LogLine]]:
        """What does this start write? To the end of one answer, which need not be the end of the log."""
        try:
            yield from self._answer(start, {"follow": "true"})
        finally:
            self._stream = None

    def drain(self, start: Instance, *, previous: bool = False) -> Iterator[list[LogLine]]:
        """What of this start's log was not delivered yet? If it still runs: all up to the first answer."""
        query = {"previous": "true" if previous else None}
        votes: Counter[tuple[int, bytes]] = Counter()  # of the answers since the last that brought a new line
        began, doubtful = None, False
        while True:
            answer = yield from self._answer(start, query)
            began = began or answer.date
            if start.running and self._seen.newest >= began:
                return  # it writes on, and what it had written when we asked is delivered
            doubtful = doubtful or bool(answer.missing or answer.rest)
            if answer.new:
                votes.clear()
                continue
            votes[answer.missing, answer.rest] += 1
            if answer.missing == 0 and votes[0, answer.rest] > doubtful:
                break
            if not answer.rest and votes[answer.missing, b""] == _ROTATED:
                return
            if votes.total() == _HOPELESS:
                raise ApiError(
                    f"{self.name}: each of {_HOPELESS} answers of its kubelet was cut short before anything new"
                )
            time.sleep(_PAUSE_S)
        if answer.rest and not start.running:
            yield self._unseen(start, [answer.rest])

    def _answer(self, start: Instance, query: Mapping[str, str | None]) -> Generator[list[LogLine], None, _Answer]:
        """Ask once; yield what is new; say how it ended. Raises PodGone if it is another pod's."""
        query = {"container": self.container, "timestamps": "true", **query, **self._seen.open()}
        stream = self._api.open_log(self.name, query, self.pod["metadata"]["namespace"])
        if query.get("follow"):
            self._stream = stream
            if self._cut:  # before there was a stream to cut
                stream.cut()
        new = 0
        for raw in stream.lines():
            lines = self._unseen(start, raw)
            if lines and not new:
                self.refresh()  # raises PodGone if the name, and with it perhaps the answer, is another pod's
            new += len(lines)
            if lines:
                yield lines
        return _Answer(new, self._seen.missing, stream.rest, stream.date)

    def _unseen(self, start: Instance, raw: list[bytes]) -> list[LogLine]:
        """Which of these lines were not delivered yet? They count as delivered now."""
        lines = []
        for line in raw:
            stamp, _, text = line.decode(errors="replace").partition(" ")
            second = _second(stamp)
            if second is None:
                self._tell(line)
            elif self._seen.is_new(second, stamp, text):
                lines.append(LogLine(self.name, self.container, self._uid, start.restart, stamp, text))
        return lines

    def _tell(self, line: bytes) -> None:
        """Pass on, once, what the kubelet itself says in place of a log."""
        text = line.decode(errors="replace")
        if text and text not in self._told:
            self._told.add(text)
            print(f"{self.name}: the kubelet says: {text}", file=sys.stderr)


def _second(stamp: str) -> int | None:
    """Which second since 1970 is it? None for text that is no time."""
    match = _STAMP.fullmatch(stamp)
    return _whole_second(match[1] + match[2]) if match else None


@lru_cache(maxsize=256)
def _whole_second(stamp: str) -> int:
    return int(datetime.fromisoformat(stamp).timestamp())


def _rfc3339(second: int) -> str:
    return datetime.fromtimestamp(second, UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
