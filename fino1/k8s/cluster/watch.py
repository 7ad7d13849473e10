"""What changes among objects of a kind? A list and a watch that go on for ever and miss no change that still can be told.

The server ends every watch now and then, forgets old resource versions (410 Gone) and restarts. The watch then goes on
from the last version seen; where that is forgotten it lists again and yields the differences as events of its own.
"""

import json
import math
import random
import time
from collections.abc import Iterator, Mapping
from threading import Event
from typing import TYPE_CHECKING, Any, Literal, NamedTuple

from fino1.k8s.cluster.client import Api, Listing
from fino1.k8s.cluster.errors import ApiError

if TYPE_CHECKING:
    from fino1.k8s.cluster.login import Stream

_ROUND_S = 240  # a proxy on the way seldom lets a watch live longer than five minutes
_SLACK_S = 15  # by which the server may overrun it
_SHORTEST_S = 1.0  # between two rounds: a server that ends each at once is not hammered


class Change(NamedTuple):
    """What happened to an object; with DELETED, its last known state."""

    type: Literal["ADDED", "MODIFIED", "DELETED"]
    object: dict[str, Any]


class _Gone(Exception):
    """The server no longer knows the resource version."""


class Watch:
    """Changes among the objects of one kind, to be iterated once; `close` ends it from another thread.

    Without `start` it lists, and tells all that is there as ADDED; with `start`, a listing with the same selectors, it
    goes on from there. It ends after `timeout_s`, or never; ApiError where the server refuses.
    """

    def __init__(
        self,
        api: Api,
        api_version: str,
        kind: str,
        *,
        label_selector: str = "",
        field_selector: str = "",
        namespace: str | None = None,
        start: Listing | None = None,
        timeout_s: float = math.inf,
    ) -> None:
        self._api, self._kind = api, (api_version, kind)
        self._selected = {"label_selector": label_selector, "field_selector": field_selector, "namespace": namespace}
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
            except _Gone:
                self._version = ""
            except ApiError as error:
                if error.status != 410:
                    raise
                self._version = ""
            self._closed.wait(min(began + _SHORTEST_S, self._end) - time.monotonic())

    def _relist(self) -> Iterator[Change]:
        """List, and tell what differs from what was known: what is gone first, for a name may have been taken again."""
        listing = self._api.list(*self._kind, **self._selected)
        now = {item["metadata"]["uid"]: item for item in listing.items}
        before, self._known, self._version = self._known, now, listing.resource_version
        for uid, item in before.items():
            if uid not in now:
                yield Change("DELETED", item)
        for uid, item in now.items():
            if uid not in before:
                yield Change("ADDED", item)
            elif before[uid]["metadata"]["resourceVersion"] != item["metadata"]["resourceVersion"]:
                yield Change("MODIFIED", item)

    def _round(self) -> Iterator[Change]:
        """One watch request, to its end."""
        length = math.ceil(min(_ROUND_S * random.uniform(0.9, 1.1), max(self._end - time.monotonic(), 1)))
        self._stream = self._api.open_watch(
            *self._kind,
            **self._selected,
            resource_version=self._version,
            length_s=length,
            read_timeout_s=length + _SLACK_S,
        )
        if self._closed.is_set():  # close() came before there was a stream to cut
            self._stream.cut()
        for lines in self._stream.lines():
            for line in lines:
                event = json.loads(line)
                change = self._understood(event["type"], event["object"])
                if change:
                    yield change
            if time.monotonic() >= self._end:
                self._stream.cut()
                return

    def _understood(self, kind: str, obj: dict[str, Any]) -> Change | None:
        if kind == "ERROR":
            if obj.get("code") == 410:
                raise _Gone
            return None  # the server's own trouble: it ends the answer now, and the next round goes on
        metadata: Mapping[str, Any] = obj["metadata"]
        self._version = metadata["resourceVersion"]
        if kind == "BOOKMARK":
            return None
        known = metadata["uid"] in self._known
        if kind == "DELETED":
            self._known.pop(metadata["uid"], None)
            return Change("DELETED", obj)
        self._known[metadata["uid"]] = obj
        return Change("MODIFIED" if known else "ADDED", obj)
