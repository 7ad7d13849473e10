"""How does a request reach an endpoint? Over connections that are kept, in a fifth of the CPU time of the `openai` client.

Most of the client's time goes into its models, and into a pool that looks at every idle connection for each request: on one
core it sends a few hundred requests a second. What is not answered with 2xx becomes the client's own exceptions. Where a proxy
is to be used, or the endpoint redirects, the client sends the request itself.
"""

import http.client
import json
import select
from collections.abc import Mapping
from typing import Any, cast
from urllib.parse import urlsplit
from urllib.request import getproxies

import httpx2
import openai

PATH = "/chat/completions"


class Connections:
    """Connections to one endpoint, as many as requests are under way. Safe to use from several threads."""

    def __init__(self, client: openai.OpenAI, is_local: bool) -> None:
        """`client` has the base URL, the headers with the key, and the time limit; with `is_local` no proxy is used."""
        self._client = client
        self._url = f"{str(client.base_url).rstrip('/')}{PATH}"
        self._parts = urlsplit(self._url)
        self._target = self._parts._replace(scheme="", netloc="").geturl()
        self._is_direct = is_local or not ({self._parts.scheme, "all"} & getproxies().keys())
        is_tls = self._parts.scheme == "https"
        self._tls = httpx2.create_ssl_context() if is_tls else None  # trusts what the client does
        authorization = {"Authorization": f"Bearer {client.api_key}"}
        said = {**client.default_headers, **authorization, "Content-Type": "application/json"}
        self._headers = {name: value for name, value in said.items() if isinstance(value, str)}
        self._idle: list[http.client.HTTPConnection] = []

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
            connection.request("POST", self._target, data, {**self._headers, **headers})
            reply = connection.getresponse()
            content = reply.read()
        except (OSError, http.client.HTTPException) as error:
            connection.close()
            sent = self._describe_request()
            if isinstance(error, TimeoutError):
                raise openai.APITimeoutError(sent) from error
            raise openai.APIConnectionError(request=sent) from error
        if reply.will_close:
            connection.close()
        else:
            self._idle.append(connection)
        return reply.status, reply.getheaders(), content

    def _take_idle(self) -> http.client.HTTPConnection | None:
        """Take a connection that the endpoint has not closed meanwhile; None where there is none."""
        while True:
            try:
                connection = self._idle.pop()
            except IndexError:
                return None
            poll = select.poll()
            poll.register(connection.sock, select.POLLIN)
            if not poll.poll(0):
                return connection
            connection.close()

    def _connect(self) -> http.client.HTTPConnection:
        host, port, timeout_s = self._parts.hostname or "", self._parts.port, cast(float, self._client.timeout)
        if self._tls is None:
            connection = http.client.HTTPConnection(host, port, timeout=timeout_s)
        else:
            connection = http.client.HTTPSConnection(host, port, timeout=timeout_s, context=self._tls)
        connection.connect()
        return connection

    def _describe_request(self) -> httpx2.Request:
        return httpx2.Request("POST", self._url)


def _find_error(content: bytes) -> Any:
    """Find the error in an answer's body, as the client does; None where it has none."""
    try:
        body = json.loads(content)
    except (ValueError, RecursionError):
        return None
    return body.get("error", body) if isinstance(body, dict) else body
