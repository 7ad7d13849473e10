"""Which pods train together, and is one of them lost? (docs/design.md C12)

Pods that are started again keep their names: what answers under the first one's may be of the attempt before, and torch's
store, where ranks meet, does not check who connects. So the launchers connect first. Node 0 listens at PET_MASTER_PORT; each
other node connects, sends what it trains, and stays. When all are there and have answered that they still are, node 0 tells them
to go, with a port for that store and an id that no other attempt knows. From then on it tells newcomers to wait.

The connections stay open for the nodes' heartbeats and their exit codes. A node that is silent, or closes its connection
without an exit code, is lost, and the others end.
"""

import asyncio
import contextlib
import os
import secrets
import signal
import socket
import sys
import threading
from collections.abc import Callable
from dataclasses import asdict
from pathlib import Path

from fino1 import exits
from fino1.errors import AttemptError, first_line
from fino1.train.launch.connection import BEAT_S, Identity, Link, PeerGone

# Until all are there. Longer than the default grace period (600 s), for which a pod of the attempt before may be in the way.
WAIT_S = 900.0
# For ranks that lost a peer to end by themselves; then for the launcher to end with their code. Twice this and
# SILENT_S make less than the minute within which a lost rank ends the others.
GRACE_S = 10.0
EXIT_CODE_S = 20.0  # for the launcher of a rank that was lost to send its code: it ends its other ranks first (GRACE_S)
_READY_S = 5.0  # for all who wait to answer that they are there
_RETRY_S, _LOOK_S = 1.0, 0.1


class Group:
    """A node among those that train together. `attempt_id`, and `port` of the store, are there once `join` has returned."""

    def __init__(
        self, identity: Identity, node: int, address: str, listen_port: int, is_done: Callable[[], bool]
    ) -> None:
        """Args:
        identity: What the others must have in common with this node.
        node: This node's number.
        address: Name of node 0.
        listen_port: Port at which node 0 listens.
        is_done: True once the run has ended: then no other node will come any more.
        """
        self.attempt_id, self.port = "", 0
        self.lost = ""  # what ended the group, in words
        self.killed: set[int] = set()  # process ids of our ranks that had to be ended
        self._identity, self._node, self._is_done = identity, node, is_done
        self._address, self._listen_port = address, listen_port
        self._links: dict[int, Link] = {}  # node 0 has one to each other node, the others have one to node 0
        self._is_together, self._is_ending = False, False
        self._fatal: int | None = None  # the code of another node that ended for good
        self._waits_for = ""  # in words
        self._tasks: list[asyncio.Task] = []  # asyncio itself keeps none
        self._loop = asyncio.new_event_loop()
        threading.Thread(target=self._loop.run_forever, daemon=True).start()

    def join(self, wait_s: float = WAIT_S) -> bool:
        """Wait until all nodes are there; False where the run is done. Raises AttemptError where they do not come."""
        return asyncio.run_coroutine_threadsafe(self._join(wait_s), self._loop).result()

    def end(self, code: int) -> int:
        """Tell the others how our ranks ended; returns the code to end with.

        It is that of a node that has ended for good, if our ranks only lost a peer: a controller that sees one pod's code
        before the other's must not start the run again. The other nodes end well only when node 0 has: started again alone,
        it would wait for them in vain.
        """
        return asyncio.run_coroutine_threadsafe(self._end(code), self._loop).result()

    async def _join(self, wait_s: float) -> bool:
        self._tasks.append(asyncio.create_task(self._beat()))
        try:
            async with asyncio.timeout(wait_s):
                return await (self._collect() if self._node == 0 else self._connect())
        except TimeoutError:
            expected = f"expected {self._identity.nodes} nodes to meet within {wait_s:.0f} s"
            raise AttemptError(f"node {self._node}: {expected}; it still {self._waits_for}") from None

    async def _beat(self) -> None:
        while True:
            for link in self._links.values():
                link.send("beat")
            await asyncio.sleep(BEAT_S)

    def _report(self, text: str) -> None:
        """Print what is waited for, each thing once."""
        if text != self._waits_for:
            print(f"fino1: node {self._node} {text}", file=sys.stderr, flush=True)
        self._waits_for = text

    # Node 0: wait until all nodes are connected

    async def _collect(self) -> bool:
        server = None
        while server is None:
            try:
                server = await asyncio.start_server(self._accept, port=self._listen_port)
            except OSError as error:  # on one machine: the attempt before has the port still
                self._report(f"waits for port {self._listen_port}: {first_line(error)}")
                await asyncio.sleep(_RETRY_S)
        number = 0
        while not self._is_together:
            missing = [str(node) for node in range(1, self._identity.nodes) if node not in self._links]
            if missing:
                if not self._waits_for:
                    self._report(f"waits for {self._identity.nodes - 1} more")
                self._waits_for = f"waits for node {', '.join(missing)}"
                await asyncio.sleep(_LOOK_S)
                continue
            number += 1
            self._is_together = await self._all_answer(number)
        self.attempt_id, self.port = secrets.token_hex(8), _free_port()
        for link in self._links.values():
            link.send("go", attempt_id=self.attempt_id, port=self.port)
        return True

    async def _all_answer(self, number: int) -> bool:
        """True where all nodes are there at once; one that does not answer is dropped, and has to connect again."""
        asked = dict(self._links)
        for link in asked.values():
            link.send("ready", round=number)
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(_READY_S):
                while any(link.answered < number for link in asked.values()):
                    await asyncio.sleep(_LOOK_S)
        for node, link in asked.items():
            if link.answered < number and self._links.get(node) is link:
                del self._links[node]
                await link.close()
        return self._links == asked

    async def _accept(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        link = Link(reader, writer)
        try:
            hello = await link.receive()
            node, theirs = int(hello["node"]), Identity(**hello["identity"])
        except (PeerGone, KeyError, TypeError, ValueError):  # no node of ours
            return await link.close()
        if refusal := self._find_refusal(node, theirs):
            link.send(refusal[0], why=refusal[1])
            return await link.close()
        if before := self._links.pop(node, None):
            before.send("leave", why=f"another pod came as node {node}")
            await before.close()
        self._links[node] = link
        return await self._listen(node, link)

    def _find_refusal(self, node: int, theirs: Identity) -> tuple[str, str] | None:
        """Return what to send a node that may not join, and why: "wait" where that can change, else "leave". None if it may."""
        if theirs.attempt != self._identity.attempt:
            # One of the two is of an attempt that is ending; its name will be the other's.
            return "wait", f"node 0 is of attempt {self._identity.attempt!r}, node {node} of {theirs.attempt!r}"
        if differences := self._identity.differences(theirs):
            return "leave", f"node {node} does not belong to node 0: {differences}"
        if not 0 < node < self._identity.nodes:
            return "leave", f"expected a node below {self._identity.nodes}, got {node}"
        return ("wait", "node 0 already trains with others") if self._is_together else None

    # The other nodes: connect to node 0

    async def _connect(self) -> bool:
        while not self._is_done():
            try:
                async with asyncio.timeout(_READY_S):  # looks its name up anew
                    reader, writer = await asyncio.open_connection(self._address, self._listen_port)
            except OSError as error:
                self._report(f"waits for node 0 at {self._address}:{self._listen_port}: {first_line(error)}")
            else:
                if await self._join_node_0(Link(reader, writer)):
                    return True
            await asyncio.sleep(_RETRY_S)
        return False

    async def _join_node_0(self, link: Link) -> bool:
        """Send our identity and wait to be told to go; False to try again. Raises AttemptError where that cannot help."""
        self._links = {0: link}
        link.send("hello", node=self._node, identity=asdict(self._identity))
        self._waits_for = "waits with node 0 for others"
        try:
            while (message := await link.receive())["type"] not in ("go", "wait", "leave"):
                link.send("ready", round=message["round"])
        except PeerGone as gone:
            message = {"type": "wait", "why": f"node 0 {gone}"}
        if message["type"] == "go":
            self.attempt_id, self.port, self._is_together = message["attempt_id"], message["port"], True
            self._tasks.append(asyncio.create_task(self._listen(0, link)))
            return True
        self._links = {}
        await link.close()
        if message["type"] == "leave":
            raise AttemptError(f"node {self._node}: {message['why']}")
        self._report(f"waits: {message['why']}")
        return False

    # All nodes, once they are connected

    async def _listen(self, node: int, link: Link) -> None:
        """Receive a node's messages until it ends; where it is lost, or ends badly, so does the group."""
        why = ""
        while link.ended is None:
            try:
                message = await link.receive()
            except PeerGone as gone:
                link.ended, why = exits.PEER_LOST, f"node {node} {gone}"
                break
            if message["type"] == "ready":
                link.answered = message["round"]
            elif message["type"] == "loss":
                self._end_group(message["why"], message["code"])
            elif message["type"] == "bye":
                link.ended = code = message["code"]
                why = f"node {node} ended with {code}: {exits.meaning(code)}"
        if self._links.get(node) is not link:
            return  # another came in its place
        if not self._is_together:
            del self._links[node]
        elif link.ended != exits.DONE:
            self._end_group(why, link.ended)

    def _end_group(self, why: str, code: int) -> None:
        """End this node's ranks, since a node of the group is lost. Node 0 also tells the other nodes."""
        is_new = not self.lost and not self._is_ending
        is_fatal = not exits.is_retryable(code) and self._fatal is None
        if is_fatal:
            self._fatal = code
        if self._node == 0:
            for link in self._links.values():
                link.send("loss", why=why, code=code)
        if is_new or is_fatal:  # what ended a node for good is printed even where our end has begun already
            print(f"fino1: {why}; this node ends too", file=sys.stderr, flush=True)
        if is_new:
            self._tasks.append(asyncio.create_task(self._end_ranks()))
        self.lost = self.lost or why

    async def _end_ranks(self) -> None:
        """End our ranks, which may hang in a collective for as long as it takes, then whatever the launcher waits for."""
        await asyncio.sleep(GRACE_S)
        if not self._is_ending:
            for pid in _children():
                self.killed.add(pid)
                with contextlib.suppress(ProcessLookupError):
                    os.kill(pid, signal.SIGKILL)
            await asyncio.sleep(GRACE_S)
        if not self._is_ending:  # it waits for torch's store, a rank that no signal ends, or another's end
            os._exit(self._fatal or exits.PEER_LOST)

    async def _end(self, code: int) -> int:
        self._is_ending = True
        if code != exits.DONE and not exits.is_retryable(code):
            self._fatal = code  # our own
        is_first, has_lost = self._node == 0, code == exits.PEER_LOST
        for link in self._links.values():
            if not (is_first and has_lost):
                link.send("bye", code=code)
        if is_first and has_lost and not self.lost:
            self._end_group("ranks of node 0 have lost a peer", code)
        if has_lost or (code == exits.DONE and not is_first):
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(EXIT_CODE_S if has_lost else None):
                    while self._fatal is None and any(link.ended is None for link in self._links.values()):
                        await asyncio.sleep(_LOOK_S)
            if has_lost or any(link.ended != exits.DONE for link in self._links.values()):
                code = self._fatal or exits.PEER_LOST
        for link in self._links.values():
            if is_first and has_lost:
                link.send("bye", code=code)
            await link.close()
        return code


def _children() -> list[int]:
    """Process ids of this process' children."""
    return [int(pid) for path in Path("/proc/self/task").glob("*/children") for pid in path.read_text().split()]


def _free_port() -> int:
    with socket.socket() as some:
        some.bind(("", 0))
        return some.getsockname()[1]
