"""What do the launchers of two nodes send each other? Lines of JSON, `{"type": TYPE, …}`, and heartbeats.

(docs/design.md C12)
"""

import asyncio
import contextlib
import json
from dataclasses import asdict, dataclass
from typing import Any

from fino1 import __version__
from fino1.errors import first_line

BEAT_S = 5.0
SILENT_S = 30.0  # after so many without a heartbeat the other is gone


@dataclass(frozen=True)
class Identity:
    """What nodes that train together have in common. `attempt` is empty where the operator names none (PyTorchJob)."""

    attempt: str
    run: str
    nodes: int
    ranks_per_node: int
    version: str = __version__

    def differences(self, theirs: "Identity") -> str:
        """The parts of `theirs` that differ, in words; "" where none does."""
        pairs = zip(asdict(self).items(), asdict(theirs).values(), strict=True)
        return ", ".join(f"{key}: expected {mine!r}, got {other!r}" for (key, mine), other in pairs if mine != other)


class PeerGone(Exception):  # noqa: N818, an event: the text says how
    """The other end of a connection is no longer there."""


class Link:
    """A connection to another node's launcher. `ended` is that node's exit code, once it has one or is gone."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._reader, self._writer = reader, writer
        self.answered = 0  # the last of node 0's rounds of "ready" that it has answered
        self.ended: int | None = None

    def send(self, kind: str, **content: Any) -> None:
        """Send a message without waiting; to a connection that is closed, nothing."""
        if not self._writer.is_closing():
            self._writer.write(json.dumps({"type": kind, **content}).encode() + b"\n")

    async def receive(self) -> dict[str, Any]:
        """Wait for the next message that is no heartbeat. Raises PeerGone."""
        while True:
            try:
                line = await asyncio.wait_for(self._reader.readline(), SILENT_S)
                message = json.loads(line) if line else None
            except TimeoutError:
                raise PeerGone(f"was silent for {SILENT_S:.0f} s") from None
            except (OSError, ValueError) as error:
                raise PeerGone(f"was lost: {first_line(error)}") from error
            if not isinstance(message, dict):
                raise PeerGone("was lost: its connection ended without a message")
            if message.get("type") != "beat":
                return message

    async def close(self) -> None:
        """Close the connection once what was sent is on its way; waits at most a second."""
        self._writer.close()
        with contextlib.suppress(OSError):  # TimeoutError is one
            await asyncio.wait_for(self._writer.wait_closed(), 1.0)
