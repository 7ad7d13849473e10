"""What do the launchers of two nodes say to each other? Lines of JSON, `{"say": WHAT, …}`, and heartbeats.

Contract: docs/design.md C12.
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
    """What must nodes that train together have in common? `attempt` is empty where the operator names none (PyTorchJob)."""

    attempt: str
    run: str
    nodes: int
    ranks_per_node: int
    version: str = __version__

    def differences(self, theirs: "Identity") -> str:
        """Which parts of `theirs` are not ours? Empty if none."""
        pairs = zip(asdict(self).items(), asdict(theirs).values(), strict=True)
        return ", ".join(f"{key}: expected {mine!r}, got {other!r}" for (key, mine), other in pairs if mine != other)


class Gone(Exception):  # noqa: N818, an event: the text says how
    """The other end of a connection is no longer there."""


class Link:
    """A connection to another node's launcher. `ended` is that node's exit code, once it has one or is gone."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._reader, self._writer = reader, writer
        self.answered = 0  # the last of node 0's rounds of questions
        self.ended: int | None = None

    def say(self, what: str, **more: Any) -> None:
        """Send a message; never waits, and to nobody it is nothing."""
        if not self._writer.is_closing():
            self._writer.write(json.dumps({"say": what, **more}).encode() + b"\n")

    async def hear(self) -> dict[str, Any]:
        """The next message that is no heartbeat. Raises Gone."""
        while True:
            try:
                line = await asyncio.wait_for(self._reader.readline(), SILENT_S)
                message = json.loads(line) if line else None
            except TimeoutError:
                raise Gone(f"was silent for {SILENT_S:.0f} s") from None
            except (OSError, ValueError) as error:
                raise Gone(f"was lost: {first_line(error)}") from error
            if not isinstance(message, dict):
                raise Gone("was lost: its connection ended without a word")
            if message.get("say") != "beat":
                return message

    async def close(self) -> None:
        """Hang up, once what was said is on its way."""
        self._writer.close()
        with contextlib.suppress(OSError):  # TimeoutError is one
            await asyncio.wait_for(self._writer.wait_closed(), 1.0)
