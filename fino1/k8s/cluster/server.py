"""Does a request get its answer although the API server restarts? Repeats what may be repeated, for as long as that helps."""

import json
import random
import sys
import time
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any
from urllib.parse import urlencode

from fino1.k8s.cluster.errors import ApiError, Asked, Identity, Lost, refusal

if TYPE_CHECKING:
    import urllib3

    from fino1.k8s.cluster.login import Connection, Stream

PATIENCE_S = 30.0  # with a server that has answered before: it restarts
STREAM_PATIENCE_S = 300.0  # a watch or log that lasts for hours also outlives the upgrade of a control plane
_FIRST_PATIENCE_S = 2.0  # with a server that never answered: a wrong address is told at once
_ERROR_PATIENCE_S = 5.0  # with a server that answers 5xx
_WARM_UP_S = 15.0  # after a start a server may refuse users and roles that it has not read yet
_READ_S = 60.0

Query = Mapping[str, str | int | None]


class Server:
    """One API server, as one user; may be used from several threads."""

    def __init__(self, connection: "Connection") -> None:
        self._connection = connection
        self._reached = False
        self._lost_at = float("-inf")

    @property
    def who(self) -> Identity:
        """Who asks whom? (for messages)"""
        return self._connection.who

    def ask(
        self,
        method: str,
        asked: Asked | str,
        query: Query | None = None,
        body: Any = None,
        content_type: str = "application/json",
        *,
        repeatable: bool | None = None,
    ) -> tuple[int, Any]:
        """Send a request (`asked` may be a bare path); returns status and parsed answer. ApiError for a refusal.

        A request that certainly was not seen is sent again, one that is `repeatable` (by default: reads) in any case.
        """
        headers = {"Content-Type": content_type, "Accept": "application/json", "Accept-Encoding": "gzip"}
        content = None if body is None else json.dumps(body).encode()
        answer = self._persist(
            _Patience(PATIENCE_S, method == "GET" if repeatable is None else repeatable),
            asked,
            lambda target: self._connection.send(method, target, content, headers, _READ_S, stream=False),
            query,
        )
        return answer.status, json.loads(answer.data)

    def stream(self, asked: Asked, query: Query, read_timeout_s: float | None = None) -> "Stream":
        """Open a watch or a log. ApiError for a refusal."""
        from fino1.k8s.cluster.login import Stream

        answer = self._persist(
            _Patience(STREAM_PATIENCE_S, repeatable=True),
            asked,
            lambda target: self._connection.send("GET", target, None, {}, read_timeout_s, stream=True),
            query,
        )
        return Stream(answer, self._note_loss)

    def _persist(
        self, patience: "_Patience", asked: Asked | str, send: Any, query: Query | None
    ) -> "urllib3.BaseHTTPResponse":
        given = {key: value for key, value in (query or {}).items() if value not in (None, "")}
        target = (asked if isinstance(asked, str) else asked.path) + ("?" + urlencode(given) if given else "")
        while True:
            try:
                answer = send(target)
            except Lost as error:
                self._note_loss()
                patience.lost(error, self._reached)
                continue
            if answer.status < 400:
                self._reached = True
                return answer
            error = refusal(answer.status, answer.data, asked, self.who)
            if answer.status == 401 and patience.renews():
                self._connection.renew()
                continue
            patience.refused(error, answer.headers.get("Retry-After"), time.monotonic() - self._lost_at < _WARM_UP_S)

    def _note_loss(self) -> None:
        self._lost_at = time.monotonic()


class _Patience:
    """How often is one request tried, and when is enough?"""

    def __init__(self, seconds: float, repeatable: bool) -> None:
        self._seconds, self._repeatable = seconds, repeatable
        self._started, self._pause_s = time.monotonic(), 0.2
        self._renewed, self._told = False, False

    def renews(self) -> bool:
        """Is this the first 401? Then newer credentials may help."""
        first, self._renewed = not self._renewed, True
        return first

    def lost(self, error: Lost, reached: bool) -> None:
        """Sleep, or raise the error: there was no answer."""
        if not (self._repeatable or error.unsent):
            raise error
        limit = self._seconds if reached else _FIRST_PATIENCE_S
        if reached and not self._told:
            print(f"{error}; trying again for {limit:.0f} s", file=sys.stderr)
            self._told = True
        self._sleep(error, limit, 0.0)

    def refused(self, error: ApiError, retry_after: str | None, warming_up: bool) -> None:
        """Sleep, or raise the error: the answer was a refusal that may not last."""
        wait_s = float(retry_after) if retry_after and retry_after.isdigit() else 0.0
        if wait_s and (error.status == 429 or error.status >= 500):  # as client-go: the server asks to be asked again
            self._sleep(error, self._seconds, wait_s)
        elif warming_up and error.status in (401, 403):
            self._sleep(error, _WARM_UP_S, 0.0)
        elif error.status >= 500 and self._repeatable:
            self._sleep(error, self._seconds if warming_up else _ERROR_PATIENCE_S, 0.0)
        else:
            raise error

    def _sleep(self, error: ApiError, limit_s: float, wait_s: float) -> None:
        pause = max(self._pause_s * random.uniform(0.8, 1.2), wait_s)  # spread: a hundred logs come back at once
        if time.monotonic() - self._started + pause > limit_s:
            raise error
        time.sleep(pause)
        self._pause_s = min(self._pause_s * 2, 5.0)
