"""What does a command write that is run in a container? Its standard output, byte for byte, over a WebSocket.

The frames are read here and not by kubernetes.stream, which keeps all that has come in memory (a model has gigabytes), copies
it once more for each frame, and returns from an update only when no frame is waiting. The protocol is v4.channel.k8s.io, which
every kubelet and API server speaks: the first byte of a message is its channel.
"""

import json
from collections.abc import Iterator, Sequence
from typing import Any
from urllib.parse import urlencode

from fino1.errors import ClusterError, SpecError, first_line
from fino1.k8s.cluster.client import Api
from fino1.k8s.cluster.errors import Request, refusal

_PROTOCOL = "v4.channel.k8s.io"
_SILENCE_S = 300.0  # a volume that is slow to be read says nothing meanwhile
_STDIN, _STDOUT, _STDERR, _STATUS = b"\0", b"\1", b"\2", b"\3"


def read_output(api: Api, pod: str, container: str, command: Sequence[str], line: str) -> Iterator[bytes]:
    """What a command that reads this line writes to standard output, as it comes.

    At its end ClusterError, with standard error, where the command failed or was cut off.
    """
    from websocket import ABNF, WebSocketException

    where, errors = f"Pod {api.namespace}/{pod}", b""
    socket = _open(api, pod, container, command)
    try:
        socket.send_binary(_STDIN + line.encode() + b"\n")
        while True:
            kind, message = socket.recv_data()
            if kind == ABNF.OPCODE_CLOSE:
                raise ClusterError(f"{where}: the connection was closed before the command ended")
            channel, data = message[:1], message[1:]
            if channel == _STDOUT and data:  # containerd begins with an empty message on each channel
                yield data
            elif channel == _STDERR:
                errors = (errors + data)[-4000:]
            elif channel == _STATUS:
                return _check(where, json.loads(data), errors)
    except (WebSocketException, OSError) as error:
        raise ClusterError(f"{where}: the connection broke: {first_line(error)}") from error
    finally:
        socket.close()


def _open(api: Api, pod: str, container: str, command: Sequence[str]) -> Any:
    """A WebSocket whose other end is the command. Raises ApiError with what the server refused.

    SpecError for a SOCKS proxy: create_websocket takes every proxy for one of HTTP, and would wait for its answer.
    """
    from kubernetes.stream.ws_client import create_websocket
    from websocket import WebSocketBadStatusException, WebSocketException

    if (proxy := api.who.configuration.proxy or "").startswith("socks"):
        raise SpecError(f"{api.who.source}: proxy {proxy}: expected an HTTP proxy or none to copy files, got SOCKS")
    request = Request("get", api.resource("v1", "Pod"), api.namespace, pod, "exec")
    query = [("container", container), *((stream, "true") for stream in ("stdin", "stdout", "stderr"))]
    query += [("command", word) for word in command]
    url = f"ws{api.who.url.removeprefix('http')}{request.path}?{urlencode(query)}"
    headers = {**api.connection.credentials(), "sec-websocket-protocol": _PROTOCOL}
    try:
        socket = create_websocket(api.connection.login.configuration, url, headers)
    except WebSocketBadStatusException as error:
        raise refusal(error.status_code, error.resp_body or b"", request, api.who) from error
    except (WebSocketException, OSError) as error:
        raise ClusterError(f"{request}: {first_line(error)}") from error
    socket.settimeout(_SILENCE_S)
    return socket


def _check(where: str, status: dict[str, Any], errors: bytes) -> None:
    """Raise what the command said, where it failed."""
    if status.get("status") != "Success":
        said = errors.decode(errors="replace").strip().splitlines()
        raise ClusterError(f"{where}: {said[-1] if said else status.get('message') or 'the command failed'}")
