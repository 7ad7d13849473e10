"""How does a request reach an endpoint? By aiohttp, over connections that are kept, in far less CPU time than by openai's client.

Most of that client's time goes into its models, and into a pool that looks at every idle connection for each request. What is not
answered with 2xx becomes its exceptions all the same. Where a proxy is to be used, or the endpoint redirects, the client sends
the request itself.
"""

import asyncio
import json
from collections.abc import Mapping
from typing import Any, cast
from urllib.parse import urlsplit
from urllib.request import getproxies

import aiohttp
import httpx2
import openai
from multidict import CIMultiDict

PATH = "/chat/completions"
LONGEST_LINE = 65536  # bytes of a header, as Python's own client takes them
_NOT_SENT = (aiohttp.ClientConnectorError, aiohttp.ConnectionTimeoutError, aiohttp.InvalidURL)


class Connections:
    """Connections to one endpoint, as many as requests are under way. Its coroutines all run on one event loop."""

    def __init__(self, client: openai.AsyncOpenAI, is_local: bool) -> None:
        """`client` has the base URL, the headers with the key, and the time limit; with `is_local` no proxy is used."""
        self._client = client
        self._url = f"{str(client.base_url).rstrip('/')}{PATH}"
        scheme = urlsplit(self._url).scheme
        self._is_direct = is_local or not ({scheme, "all"} & getproxies().keys())
        self._tls = httpx2.create_ssl_context() if scheme == "https" else True  # trusts what the client does
        said = {**client.default_headers, "Authorization": f"Bearer {client.api_key}"}
        said |= {"Content-Type": "application/json", "Accept-Encoding": "identity"}
        self._headers = CIMultiDict({name: value for name, value in said.items() if isinstance(value, str)})
        self._session: aiohttp.ClientSession | None = None
        # To connect, to send and until the answer begins; aiohttp has no limit for a body that the endpoint does not take.
        self._longest_s = 3 * cast(float, client.timeout)

    async def post(self, body: bytes, headers: Mapping[str, str]) -> Any:
        """Send a request for a chat completion, a body of JSON; returns the JSON of its answer.

        Raises openai.APIStatusError and openai.APIConnectionError as the client does; ValueError or RecursionError for a body
        that is no JSON.
        """
        if not self._is_direct:
            return await self._post_by_client(body, headers)
        status, said, content = await self._send(body, headers)
        if 200 <= status < 300:
            return json.loads(content)
        if 300 <= status < 400:
            return await self._post_by_client(body, headers)
        response = httpx2.Response(status, headers=said, content=content, request=self._describe_request())
        raise openai.APIStatusError(f"status {status}", response=response, body=_find_error(content))

    async def close(self) -> None:
        """Close the connections."""
        if self._session is not None:
            await self._session.close()
        await self._client.close()

    async def _post_by_client(self, body: bytes, headers: Mapping[str, str]) -> Any:
        options = cast(Any, {"headers": headers})
        reply = await self._client.post(PATH, cast_to=httpx2.Response, body=json.loads(body), options=options)
        return json.loads(reply.content)

    async def _send(self, body: bytes, headers: Mapping[str, str]) -> tuple[int, list[tuple[str, str]], bytes]:
        """Send over an idle connection, or over a new one; returns status, headers and body."""
        self._session = self._session or self._open()
        said = self._headers.copy()
        said.update(headers)
        data = aiohttp.BytesPayload(body)  # spares a search for what kind of a body it is
        try:
            async with asyncio.timeout(self._longest_s):
                reply = await self._session.post(self._url, data=data, headers=said, allow_redirects=False)
            async with reply:
                content = await reply.read()
        except _NOT_SENT as error:
            sent = self._describe_request()
            raise openai.APIConnectionError(request=sent) from httpx2.ConnectError(str(error), request=sent)
        except TimeoutError as error:
            raise openai.APITimeoutError(self._describe_request()) from error
        except (OSError, aiohttp.ClientError) as error:
            raise openai.APIConnectionError(request=self._describe_request()) from error
        # aiohttp has undone an encoding that it knows.
        return reply.status, [(k, v) for k, v in reply.headers.items() if k.lower() != "content-encoding"], content

    def _open(self) -> aiohttp.ClientSession:
        timeout_s = cast(float, self._client.timeout)
        return aiohttp.ClientSession(
            connector=aiohttp.TCPConnector(limit=0, ssl=self._tls, resolver=aiohttp.ThreadedResolver()),
            timeout=aiohttp.ClientTimeout(total=None, sock_connect=timeout_s, sock_read=timeout_s),
            cookie_jar=aiohttp.DummyCookieJar(),
            max_line_size=LONGEST_LINE,
            max_field_size=LONGEST_LINE,
        )

    def _describe_request(self) -> httpx2.Request:
        return httpx2.Request("POST", self._url)


def _find_error(content: bytes) -> Any:
    """Find the error in an answer's body, as the client does; None where it has none."""
    try:
        body = json.loads(content)
    except (ValueError, RecursionError):
        return None
    return body.get("error", body) if isinstance(body, dict) else body
