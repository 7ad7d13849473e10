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
from fino1.k8s.cluster.errors import ApiError, Lost, Request, refusal
from fino1.k8s.cluster.login import Login, log_in

_CONNECT_S = 10.0
_READ_S = 60.0
_RETRY_S = 300.0  # how long a server that has answered before is asked again: upgrading a control plane takes minutes
_FIRST_RETRY_S = 2.0  # a server that has never answered: the address may be wrong
_ERROR_RETRY_S = 5.0  # a server that answers 5xx
_WARM_UP_S = 15.0  # after a start a server may refuse users and roles that it has not read yet

Query = Mapping[str, str | int | None]


class Connection:
    """Open connections to one API server, with one user's credentials; may be used from several threads."""

    def __init__(self, kubeconfig: str | None, context: str | None) -> None:
        self._chosen, self._lock = (kubeconfig, context), threading.Lock()
        self._has_answered, self._lost_at = False, float("-inf")
        self.login: Login
        self._renew()

    def _renew(self) -> None:
        """Read the credentials again: after a 401, a token file, a kubeconfig or a plugin may have newer ones."""
        login = log_in(*self._chosen)
        if not login.configuration.verify_ssl:  # insecure-skip-tls-verify: chosen, and no news at each request
            urllib3.disable_warnings(urllib3.exceptions.InsecureRequestWarning)
        try:
            pool = client.ApiClient(login.configuration).rest_client.pool_manager
        except (urllib3.exceptions.HTTPError, ValueError) as error:
            raise SpecError(f"{login.source}: proxy {login.configuration.proxy}: {first_line(error)}") from error
        with self._lock:
            self.login, self._pool = login, pool

    def credentials(self) -> dict[str, str]:
        """The headers that say who asks; a token that is about to expire is renewed first."""
        with self._lock:  # the library's hooks that renew a token are not made for threads
            return {each["key"]: each["value"].strip() for each in self.login.configuration.auth_settings().values()}

    def ask(
        self,
        method: str,
        request: Request | str,
        query: Query | None = None,
        body: Any = None,
        content_type: str = "application/json",
        *,
        repeatable: bool = True,
    ) -> tuple[int, Any]:
        """Send a request (a str: a bare path); returns status and parsed answer. ApiError for a refusal.

        A request that certainly was not seen is sent again, one that is `repeatable` in any case.
        """
        options = {
            "headers": {"Content-Type": content_type, "Accept": "application/json", "Accept-Encoding": "gzip"},
            "body": None if body is None else json.dumps(body).encode(),
            "timeout": urllib3.Timeout(connect=_CONNECT_S, read=_READ_S),
        }
        answer = self._send(method, request, query, repeatable, options)
        try:
            return answer.status, json.loads(answer.data)
        except ValueError as error:
            said = first_line(answer.data[:80].decode(errors="replace").strip() or f"an empty body ({answer.status})")
            where = f"{self.login.url}{request if isinstance(request, str) else request.path}"
            raise ClusterError(f"{where}: expected JSON from Kubernetes, got {said} ({self.login.source})") from error

    def stream(self, request: Request, query: Query) -> "Stream":
        """Open a log. ApiError for a refusal."""
        options = {"headers": {}, "timeout": urllib3.Timeout(connect=_CONNECT_S, read=None), "preload_content": False}
        return Stream(self._send("GET", request, query, True, options), self._note_loss)

    def _send(
        self, method: str, request: Request | str, query: Query | None, repeatable: bool, options: dict[str, Any]
    ) -> urllib3.BaseHTTPResponse:
        """Send until there is an answer, or an error that will not pass."""
        given = {key: value for key, value in (query or {}).items() if value not in (None, "")}
        target = (request if isinstance(request, str) else request.path) + ("?" + urlencode(given) if given else "")
        began, has_renewed, has_warned = time.monotonic(), False, False
        while True:
            try:
                answer = self._send_once(method, target, options)
                if answer.status >= 400:
                    raise refusal(answer.status, answer.data, request, self.login, answer.headers.get("Retry-After"))
                self._has_answered = True
                return answer
            except ApiError as error:
                if error.status == 401 and not has_renewed:
                    self._renew()
                    has_renewed = True
                    continue
                if time.monotonic() - began + error.retry_after_s >= self._patience_s(error, repeatable):
                    raise
                if isinstance(error, Lost) and self._has_answered and not has_warned:
                    print(f"{error}; trying again for {_RETRY_S:.0f} s", file=sys.stderr)
                    has_warned = True
                time.sleep(max(random.uniform(0.2, 0.8), error.retry_after_s))  # spread: many logs come back at once

    def _patience_s(self, error: ApiError, repeatable: bool) -> float:
        """Seconds for which a request is sent again after this error; 0 where that may do harm or is of no use."""
        is_warming_up = time.monotonic() - self._lost_at < _WARM_UP_S
        if isinstance(error, Lost):
            seconds = _RETRY_S if self._has_answered else _FIRST_RETRY_S
            return seconds if repeatable or error.unsent else 0
        if error.status in (401, 403):
            return _RETRY_S if is_warming_up else 0
        if error.retry_after_s and (error.status == 429 or error.status >= 500):  # as client-go: it asks for that
            return _RETRY_S
        if error.status >= 500 and repeatable:
            return _RETRY_S if is_warming_up else _ERROR_RETRY_S
        return 0

    def _send_once(self, method: str, target: str, options: dict[str, Any]) -> urllib3.BaseHTTPResponse:
        """Raises Lost where there was no answer, ClusterError where TLS or the address is at fault."""
        url, source = self.login.url, self.login.source
        headers = {"User-Agent": "fino1", **options["headers"], **self.credentials()}
        try:
            return self._pool.request(method, url + target, retries=False, **{**options, "headers": headers})
        except urllib3.exceptions.SSLError as error:
            if isinstance(error.args[0], ssl.SSLEOFError | ssl.SSLZeroReturnError):  # it went away in the handshake
                self._note_loss()
                raise Lost(f"{url}: the connection broke in the TLS handshake", unsent=True) from error
            raise ClusterError(f"{url}: TLS: {first_line(error)} ({source})") from error
        except urllib3.exceptions.LocationValueError as error:
            raise SpecError(f"{source}: server: {first_line(error)}") from error
        except urllib3.exceptions.HTTPError as error:
            self._note_loss()
            unsent = isinstance(error, urllib3.exceptions.NewConnectionError | urllib3.exceptions.ConnectTimeoutError)
            raise Lost(f"{url} cannot be reached: {_cause(error)} ({source})", unsent) from error

    def _note_loss(self) -> None:
        """Remember that the connection broke: the server may be restarting."""
        self._lost_at = time.monotonic()


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

    def lines(self) -> Iterator[bytes]:
        """The lines as they come; ends with the answer, or when the connection breaks."""
        try:
            for chunk in self._response.stream(1 << 16):
                *lines, self.rest = (self.rest + chunk).split(b"\n")
                yield from lines
        except (urllib3.exceptions.HTTPError, OSError, ValueError):  # ValueError: cut() closed it under us
            self.is_broken = True
            self._on_break()
        finally:
            self._response.close()

    def cut(self) -> None:
        """End `lines` from another thread."""
        with contextlib.suppress(ValueError, RuntimeError, OSError):
            self._response.shutdown()
