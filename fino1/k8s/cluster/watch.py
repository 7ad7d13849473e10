"""What changes among objects of a kind? A list and a watch that go on for ever and miss no change that still can be known.

The server ends every watch now and then, forgets old resource versions (410 Gone) and restarts. The watch then goes on
from the last version seen; where that is forgotten it lists again and yields the differences as events of its own. (The
client's SharedInformer asks again without a pause while the server is away, logs a traceback each time, raises nothing
where a right is lacking, and takes an object that was made again under its name for the old one.)
"""

import json
import math
import random
import time
from collections.abc import Iterator
from threading import Event
from typing import TYPE_CHECKING, Any, Literal, NamedTuple

from fino1.k8s.cluster.client import Api, Listing
from fino1.k8s.cluster.errors import ApiError

if TYPE_CHECKING:
    from fino1.k8s.cluster.connection import Stream

_ROUND_S = 240  # a proxy on the way seldom lets a watch live longer than five minutes
_SLACK_S = 15  # by which the server may overrun it
_SHORTEST_S = 1.0  # between two rounds: a server that ends each at once is not hammered


class Change(NamedTuple):
    """A change of an object; with DELETED, its last known state."""

    type: Literal["ADDED", "MODIFIED", "DELETED"]
    object: dict[str, Any]


class Watch:
    """Changes among the objects of one kind, to be iterated once; `close` ends it from another thread.

    Without `start` it lists, and yields all that is there as ADDED; with `start`, a listing with the same selectors, it
    goes on from there. It ends after `timeout_s`, or never; ApiError where the server refuses.
    """

    def __init__(
        self,
        api: Api,
        api_version: str,
        kind: str,
        *,
        start: Listing | None = None,
        timeout_s: float = math.inf,
        **selected: Any,
    ) -> None:
        self._api, self._kind, self._selected = api, (api_version, kind), selected
        self._known = {item["metadata"]["uid"]: item for item in start.items} if start else {}
        self._version = start.resource_version if start else ""
        self._end = time.monotonic() + timeout_s
        self._closed = Event()
        self._stream: Stream | None = None

    def close(self) -> None:
        """End the iteration; it may be waiting in another thread."""
        self._closed.set()
        if self._stream:
            self._stream.cut()

    def __iter__(self) -> Iterator[Change]:
        while not self._closed.is_set() and time.monotonic() < self._end:
            began = time.monotonic()
            try:
                if not self._version:
                    yield from self._relist()
                yield from self._round()
            except ApiError as error:
                if error.status != 410:
                    raise
                self._version = ""
            self._closed.wait(min(began + _SHORTEST_S, self._end) - time.monotonic())

    def _relist(self) -> Iterator[Change]:
        """List, and yield what differs from what was known: what is gone first, for a name may have been taken again."""
        listing = self._api.list(*self._kind, **self._selected)
        now = {item["metadata"]["uid"]: item for item in listing.items}
        before, self._known, self._version = self._known, now, listing.resource_version
        yield from (Change("DELETED", item) for uid, item in before.items() if uid not in now)
        for uid, item in now.items():
            if uid not in before:
                yield Change("ADDED", item)
            elif before[uid]["metadata"]["resourceVersion"] != item["metadata"]["resourceVersion"]:
                yield Change("MODIFIED", item)

    def _round(self) -> Iterator[Change]:
        """One watch request, to its end."""
        length = math.ceil(min(_ROUND_S * random.uniform(0.9, 1.1), max(self._end - time.monotonic(), 1)))
        self._stream = self._api.open_watch(
            *self._kind, self._version, length, read_timeout_s=length + _SLACK_S, **self._selected
        )
        if self._closed.is_set():  # close() came before there was a stream to cut
            self._stream.cut()
        for lines in self._stream.lines():
            for line in lines:
                yield from self._take_in(**json.loads(line))
            if time.monotonic() >= self._end:
                self._stream.cut()
                return

    def _take_in(self, type: str, object: dict[str, Any]) -> Iterator[Change]:
        """Remember what an event says, and yield the change if it is one."""
        if type == "ERROR":
            if object.get("code") == 410:
                raise ApiError("the resource version is forgotten", 410)
            return  # the server's own trouble: it ends the answer now, and the next round goes on
        self._version = object["metadata"]["resourceVersion"]
        if type == "BOOKMARK":
            return
        uid = object["metadata"]["uid"]
        if type == "DELETED":
            self._known.pop(uid, None)
            yield Change("DELETED", object)
        else:
            yield Change("MODIFIED" if uid in self._known else "ADDED", object)
            self._known[uid] = object
