"""How do requests get to an API server and answers back, although it may restart meanwhile? Knows nothing of objects."""

import contextlib
import json
import random
import ssl
import sys
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from typing import Any
from urllib.parse import urlencode

import urllib3
from kubernetes import client

from fino1.errors import ClusterError, SpecError, first_line
from fino1.k8s.cluster.errors import ApiError, Identity, Lost, Request, refusal
from fino1.k8s.cluster.login import Login, log_in

_CONNECT_S = 10.0
_READ_S = 60.0
_RETRY_S = 30.0  # how long a server that has answered before is asked again: it restarts
_STREAM_RETRY_S = 300.0  # a watch or log that lasts for hours also outlives the upgrade of a control plane
_FIRST_RETRY_S = 2.0  # a server that has never answered: the address may be wrong
_ERROR_RETRY_S = 5.0  # a server that answers 5xx
_WARM_UP_S = 15.0  # after a start a server may refuse users and roles that it has not read yet

Query = Mapping[str, str | int | None]


class Connection:
    """Open connections to one API server, with one user's credentials; may be used from several threads."""

    def __init__(self, kubeconfig: str | None, context: str | None) -> None:
        self._chosen, self._lock = (kubeconfig, context), threading.Lock()
        self.has_answered, self.lost_at = False, float("-inf")
        self.login: Login
        self.renew()

    def renew(self) -> None:
        """Read the credentials again: after a 401, a token file, a kubeconfig or a plugin may have newer ones."""
        login = log_in(*self._chosen)
        with self._lock:
            self.login = login
            self._pool = client.ApiClient(login.configuration).rest_client.pool_manager

    @property
    def who(self) -> Identity:
        """The user and the server, for messages."""
        return self.login.who

    def credentials(self) -> dict[str, str]:
        """The headers that say who asks; a token that is about to expire is renewed first."""
        with self._lock:  # the library's hooks that renew a token are not made for threads
            return {each["key"]: each["value"] for each in self.login.configuration.auth_settings().values()}

    def ask(
        self,
        method: str,
        request: Request | str,
        query: Query | None = None,
        body: Any = None,
        content_type: str = "application/json",
        *,
        repeatable: bool | None = None,
    ) -> tuple[int, Any]:
        """Send a request (a str: a bare path); returns status and parsed answer. ApiError for a refusal.

        A request that certainly was not seen is sent again, one that is `repeatable` (by default: reads) in any case.
        """
        options = {
            "headers": {"Content-Type": content_type, "Accept": "application/json", "Accept-Encoding": "gzip"},
            "body": None if body is None else json.dumps(body).encode(),
            "timeout": urllib3.Timeout(connect=_CONNECT_S, read=_READ_S),
        }
        retry = _Retry(self, _RETRY_S, method == "GET" if repeatable is None else repeatable)
        answer = self._send(retry, method, request, query, options)
        return answer.status, json.loads(answer.data)

    def stream(self, request: Request, query: Query, read_timeout_s: float | None = None) -> "Stream":
        """Open a watch or a log. ApiError for a refusal."""
        timeout = urllib3.Timeout(connect=_CONNECT_S, read=read_timeout_s)
        options = {"headers": {}, "timeout": timeout, "preload_content": False}
        return Stream(self._send(_Retry(self, _STREAM_RETRY_S, True), "GET", request, query, options), self.note_loss)

    def _send(
        self, retry: "_Retry", method: str, request: Request | str, query: Query | None, options: dict[str, Any]
    ) -> urllib3.BaseHTTPResponse:
        """Send until there is an answer, or an error that will not pass."""
        given = {key: value for key, value in (query or {}).items() if value not in (None, "")}
        target = (request if isinstance(request, str) else request.path) + ("?" + urlencode(given) if given else "")

        while True:
            try:
                answer = self._send_once(method, target, options)
                if answer.status >= 400:
                    raise refusal(answer.status, answer.data, request, self.who, answer.headers.get("Retry-After"))
            except ApiError as error:
                if not retry.may_help(error):
                    raise
                time.sleep(max(random.uniform(0.2, 0.8), error.retry_after_s))  # spread: many logs come back at once
            else:
                self.has_answered = True
                return answer

    def _send_once(self, method: str, target: str, options: dict[str, Any]) -> urllib3.BaseHTTPResponse:
        """Raises Lost where there was no answer, ClusterError where TLS or the address is at fault."""
        url, source = self.who.url + target, self.who.source
        headers = {"User-Agent": "fino1", **options["headers"], **self.credentials()}
        try:
            return self._pool.request(method, url, retries=False, **{**options, "headers": headers})
        except urllib3.exceptions.SSLError as error:
            if isinstance(error.args[0], ssl.SSLEOFError | ssl.SSLZeroReturnError):  # it went away in the handshake
                raise Lost(f"{url}: the connection broke in the TLS handshake", unsent=True) from error
            raise ClusterError(f"{self.who.url}: TLS: {first_line(error)} ({source})") from error
        except (urllib3.exceptions.LocationValueError, urllib3.exceptions.ProxySchemeUnknown) as error:
            raise SpecError(f"{source}: server: {first_line(error)}") from error
        except urllib3.exceptions.HTTPError as error:
            unsent = isinstance(error, urllib3.exceptions.NewConnectionError | urllib3.exceptions.ConnectTimeoutError)
            raise Lost(f"{self.who.url} cannot be reached: {_cause(error)} ({source})", unsent) from error

    def note_loss(self) -> None:
        """Remember that the connection broke: the server may be restarting."""
        self.lost_at = time.monotonic()


class _Retry:
    """Whether one request is worth another try: for as long as the trouble may pass."""

    def __init__(self, connection: Connection, limit_s: float, repeatable: bool) -> None:
        self._connection, self._limit_s, self._repeatable = connection, limit_s, repeatable
        self._began = time.monotonic()
        self._has_renewed = self._has_warned = False

    def may_help(self, error: ApiError) -> bool:
        """Whether to send again after this error; may read the credentials again for that."""
        elapsed = time.monotonic() - self._began
        if isinstance(error, Lost):
            self._connection.note_loss()
            limit_s = self._limit_s if self._connection.has_answered else _FIRST_RETRY_S
            if not (self._repeatable or error.unsent) or elapsed >= limit_s:
                return False
            if self._connection.has_answered and not self._has_warned:
                print(f"{error}; trying again for {limit_s:.0f} s", file=sys.stderr)
                self._has_warned = True
            return True
        is_warming_up = time.monotonic() - self._connection.lost_at < _WARM_UP_S
        if error.status == 401 and not self._has_renewed:
            self._has_renewed = True
            self._connection.renew()
            return True
        if error.status in (401, 403):
            return is_warming_up
        if error.retry_after_s and (
            error.status == 429 or error.status >= 500
        ):  # as client-go: it asks to be asked again
            return elapsed + error.retry_after_s < self._limit_s
        limit_s = self._limit_s if is_warming_up else _ERROR_RETRY_S
        return error.status >= 500 and self._repeatable and elapsed < limit_s


def _cause(error: Exception) -> str:
    """The message of urllib3, without its object addresses."""
    text = first_line(error)
    return text.partition(": ")[2] if text.startswith(("HTTPSConnection(", "HTTPConnection(")) else text


class Stream:
    """An answer that goes on for as long as the server has something to say, read in lines."""

    def __init__(self, response: urllib3.BaseHTTPResponse, on_break: Callable[[], None]) -> None:
        self._response, self._on_break = response, on_break
        self.rest = b""  # what came after the last line end
        self.is_broken = False

    def lines(self) -> Iterator[list[bytes]]:
        """The lines as they come, several at once; ends with the answer, or when the connection breaks."""
        try:
            for chunk in self._response.stream(1 << 16):
                *lines, self.rest = (self.rest + chunk).split(b"\n")
                if lines:
                    yield lines
        except (urllib3.exceptions.HTTPError, OSError, ValueError):  # ValueError: cut() closed it under us
            self.is_broken = True
            self._on_break()
        finally:
            self._response.close()

    def cut(self) -> None:
        """End `lines` from another thread."""
        with contextlib.suppress(ValueError, RuntimeError, OSError):
            self._response.shutdown()
