"""How does a request reach an endpoint? Over connections that are kept, in a fifth of the CPU time of the `openai` client.

Most of the client's time goes into its models, and into a pool that looks at every idle connection for each request: on one
core it sends a few hundred requests a second. What is not answered with 2xx becomes the client's own exceptions. Where a proxy
is to be used, or the endpoint redirects, the client sends the request itself.
"""

import http.client
import itertools
import json
import select
import socket
import time
from collections.abc import Mapping
from typing import IO, Any, cast
from urllib.parse import urlsplit
from urllib.request import getproxies

import httpx2
import openai

PATH = "/chat/completions"
MOST_HEADERS, LONGEST_LINE = 200, 65536
FRESH_S = 0.02  # so short a time after its answer a connection is not looked at: with many threads each look is a wait


class Connections:
    """Connections to one endpoint, as many as requests are under way. Safe to use from several threads."""

    def __init__(self, client: openai.OpenAI, is_local: bool) -> None:
        """`client` has the base URL, the headers with the key, and the time limit; with `is_local` no proxy is used."""
        self._client = client
        self._url = f"{str(client.base_url).rstrip('/')}{PATH}"
        self._parts = urlsplit(self._url)
        target = self._parts._replace(scheme="", netloc="").geturl()
        self._start = f"POST {target} HTTP/1.1\r\n".encode("ascii")
        self._is_direct = is_local or not ({self._parts.scheme, "all"} & getproxies().keys())
        is_tls = self._parts.scheme == "https"
        self._tls = httpx2.create_ssl_context() if is_tls else None  # trusts what the client does
        authorization = {"Authorization": f"Bearer {client.api_key}"}
        said = {"Accept-Encoding": "identity", **client.default_headers, **authorization}
        said |= {"Host": self._parts.netloc.rpartition("@")[2], "Content-Type": "application/json"}
        self._headers = _encode({name: value for name, value in said.items() if isinstance(value, str)})
        self._idle: list[_Connection] = []

    def post(self, body: Mapping[str, Any], headers: Mapping[str, str]) -> Any:
        """Send a request for a chat completion; returns the JSON of its answer.

        Raises openai.APIStatusError and openai.APIConnectionError as the client does; ValueError or RecursionError for a body
        that is no JSON.
        """
        if not self._is_direct:
            return self._post_by_client(body, headers)
        status, said, content = self._send(json.dumps(body).encode(), headers)
        if 200 <= status < 300:
            return json.loads(content)
        if 300 <= status < 400:
            return self._post_by_client(body, headers)
        response = httpx2.Response(status, headers=said, content=content, request=self._describe_request())
        raise openai.APIStatusError(f"status {status}", response=response, body=_find_error(content))

    def close(self) -> None:
        """Close the connections that no request uses."""
        while self._idle:
            self._idle.pop().close()

    def _post_by_client(self, body: Mapping[str, Any], headers: Mapping[str, str]) -> Any:
        options = cast(Any, {"headers": headers})
        reply = self._client.post(PATH, cast_to=httpx2.Response, body=body, options=options)
        return json.loads(reply.content)

    def _send(self, data: bytes, headers: Mapping[str, str]) -> tuple[int, list[tuple[str, str]], bytes]:
        """Send over an idle connection, or over a new one; returns status, headers and body."""
        try:
            connection = self._take_idle() or self._connect()
        except OSError as error:
            sent = self._describe_request()
            raise openai.APIConnectionError(request=sent) from httpx2.ConnectError(str(error), request=sent)
        try:
            length = {"Content-Length": str(len(data))}
            connection.socket.sendall(
                b"".join([self._start, self._headers, _encode({**headers, **length}), b"\r\n", data])
            )
            status, said, content, is_kept = _read_answer(connection.reader)
        except (OSError, http.client.HTTPException) as error:
            connection.close()
            sent = self._describe_request()
            if isinstance(error, TimeoutError):
                raise openai.APITimeoutError(sent) from error
            raise openai.APIConnectionError(request=sent) from error
        if is_kept:
            connection.used = time.monotonic()
            self._idle.append(connection)
        else:
            connection.close()
        return status, list(said.items()), content

    def _take_idle(self) -> "_Connection | None":
        """Take a connection that the endpoint has not closed meanwhile; None where there is none."""
        while True:
            try:
                connection = self._idle.pop()
            except IndexError:
                return None
            if time.monotonic() < connection.used + FRESH_S:
                return connection
            poll = select.poll()
            poll.register(connection.socket, select.POLLIN)
            if not poll.poll(0):
                return connection
            connection.close()

    def _connect(self) -> "_Connection":
        host, timeout_s = self._parts.hostname or "", cast(float, self._client.timeout)
        port = self._parts.port or (443 if self._tls else 80)
        opened = socket.create_connection((host, port), timeout_s)
        try:
            opened.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            return _Connection(self._tls.wrap_socket(opened, server_hostname=host) if self._tls else opened)
        except BaseException:
            opened.close()
            raise

    def _describe_request(self) -> httpx2.Request:
        return httpx2.Request("POST", self._url)


class _Connection:
    """A socket, and what came over it and is not yet read."""

    def __init__(self, opened: socket.socket) -> None:
        self.socket, self.reader = opened, opened.makefile("rb")
        self.used = 0.0

    def close(self) -> None:
        self.reader.close()
        self.socket.close()


def _encode(headers: Mapping[str, str]) -> bytes:
    """Encode headers. Raises ValueError for one that would be several lines."""
    text = "".join(f"{name.lower()}: {value}\r\n" for name, value in headers.items())
    if text.count("\n") != len(headers) or text.count("\r") != len(headers):
        raise ValueError("expected headers of one line each")
    return text.encode("latin-1")


def _read_answer(reader: IO[bytes]) -> tuple[int, dict[str, str], bytes, bool]:
    """Read status, headers (names in lower case), body, and whether the connection is kept. Raises OSError, HTTPException."""
    status = 100
    while status < 200:  # what goes before an answer
        line = _read_line(reader)
        version, _, rest = line.partition(" ")
        if not version.startswith("HTTP/1.") or not rest[:3].isdigit():
            raise http.client.BadStatusLine(line)
        status, lines = int(rest[:3]), list(itertools.islice(iter(lambda: _read_line(reader), ""), MOST_HEADERS))
        if len(lines) == MOST_HEADERS:
            raise http.client.HTTPException(f"{MOST_HEADERS} headers or more")
    parts = (line.partition(":") for line in lines)
    headers = {name.lower(): value.strip() for name, _, value in parts}
    is_kept = version == "HTTP/1.1" and headers.get("connection", "").lower() != "close"
    try:
        if headers.get("transfer-encoding", "").lower() == "chunked":
            return status, headers, _read_chunks(reader), is_kept
        if "content-length" in headers or status in (204, 304):
            return status, headers, _read_exactly(reader, int(headers.get("content-length", 0))), is_kept
    except ValueError as error:
        raise http.client.HTTPException(f"a length that is no number: {error}") from error
    return status, headers, reader.read(), False


def _read_line(reader: IO[bytes]) -> str:
    line = reader.readline(LONGEST_LINE)
    if not line.endswith(b"\n"):
        raise http.client.HTTPException("a line that is too long" if len(line) == LONGEST_LINE else "no end of a line")
    return line.rstrip(b"\r\n").decode("latin-1")


def _read_chunks(reader: IO[bytes]) -> bytes:
    chunks = []
    while size := int(_read_line(reader).partition(";")[0], 16):
        chunks.append(_read_exactly(reader, size))
        _read_line(reader)
    while _read_line(reader):  # trailers
        pass
    return b"".join(chunks)


def _read_exactly(reader: IO[bytes], size: int) -> bytes:
    if size < 0:
        raise ValueError(size)
    content = reader.read(size)
    if len(content) < size:
        raise http.client.IncompleteRead(content, size - len(content))
    return content


def _find_error(content: bytes) -> Any:
    """Find the error in an answer's body, as the client does; None where it has none."""
    try:
        body = json.loads(content)
    except (ValueError, RecursionError):
        return None
    return body.get("error", body) if isinstance(body, dict) else body
