"""What does a command write that is run in a container? Its standard output, byte for byte, over a WebSocket.

The protocol is v4.channel.k8s.io, which every kubelet and API server speaks: binary frames, the first byte of each the channel
(1 standard output, 2 standard error, 3 how the command ended).
"""

import json
from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING, Any
from urllib.parse import urlencode

from fino1.errors import ClusterError, first_line
from fino1.k8s.cluster.errors import Asked, Identity, Resource, refusal

if TYPE_CHECKING:
    from kubernetes.client import Configuration

_PROTOCOL = "v4.channel.k8s.io"
_SILENCE_S = 300.0  # a volume that is slow to be read says nothing meanwhile
_STDOUT, _STDERR, _STATUS = 1, 2, 3
_PODS = Resource("v1", "Pod", "pods")


class Exec:
    """Runs commands in containers, with one user's credentials."""

    def __init__(self, configuration: "Configuration", who: Identity) -> None:
        self._configuration, self._who = configuration, who

    def output(self, namespace: str, pod: str, container: str, command: Sequence[str]) -> Iterator[bytes]:
        """Standard output as it comes. At its end ClusterError, with standard error, where the command failed or was cut off."""
        where = f"Pod {namespace}/{pod}"
        socket = self._open(Asked("get", _PODS, namespace, pod, "exec"), container, command)
        errors = b""
        try:
            while True:
                channel, data = _frame(socket, where)
                if channel == _STDOUT:
                    if data:  # containerd begins with an empty message on each channel, which is no end
                        yield data
                elif channel == _STDERR:
                    errors = (errors + data)[-4000:]
                elif channel == _STATUS:
                    _check(where, json.loads(data), errors)
                    return
        finally:
            socket.close()

    def _open(self, asked: Asked, container: str, command: Sequence[str]) -> Any:
        """Raises ApiError with what the server refused."""
        from kubernetes.stream.ws_client import create_websocket
        from websocket import WebSocketBadStatusException, WebSocketException

        query = [("container", container), ("stdout", "true"), ("stderr", "true"), *(("command", c) for c in command)]
        url = f"ws{self._who.url.removeprefix('http')}{asked.path}?{urlencode(query)}"
        headers = {s["key"]: s["value"] for s in self._configuration.auth_settings().values()}
        try:
            socket = create_websocket(self._configuration, url, headers | {"sec-websocket-protocol": _PROTOCOL})
        except WebSocketBadStatusException as error:
            raise refusal(error.status_code, error.resp_body or b"", asked, self._who) from error
        except (WebSocketException, OSError) as error:
            raise ClusterError(f"{asked}: {first_line(error)}") from error
        socket.settimeout(_SILENCE_S)
        return socket


def _frame(socket: Any, where: str) -> tuple[int, bytes]:
    """The next message: its channel and content."""
    from websocket import ABNF, WebSocketException

    try:
        kind, data = socket.recv_data()
    except (WebSocketException, OSError) as error:
        raise ClusterError(f"{where}: the connection broke: {first_line(error)}") from error
    if kind == ABNF.OPCODE_CLOSE:
        raise ClusterError(f"{where}: the connection was closed before the command ended")
    return (data[0], data[1:]) if data else (0, b"")


def _check(where: str, status: dict[str, Any], errors: bytes) -> None:
    """Raise what the command said, where it failed."""
    if status.get("status") != "Success":
        said = errors.decode(errors="replace").strip().splitlines()
        raise ClusterError(f"{where}: {said[-1] if said else status.get('message') or 'the command failed'}")
