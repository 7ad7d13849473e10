"""Which pods train together, and is one of them lost? (docs/design.md C12)

Pods that are started again keep their names: what answers under the first one's may be of the attempt before, and torch's
rendezvous asks nobody who it is. So the launchers meet first. Node 0 listens at PET_MASTER_PORT; each other node connects, says
what it trains, and stays. When all are there and have answered that they still are, node 0 lets them go, with a port for torch's
rendezvous and a word for its store that no other attempt knows. From then on it tells newcomers to wait.

The connections stay open for the nodes' heartbeats and their last words. A node that is silent, or goes without a word, is lost,
and the others end.
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
from fino1.train.launch.connection import BEAT_S, Gone, Identity, Link

# Until all are there. Longer than the default grace period (600 s), for which a pod of the attempt before may be in the way.
WAIT_S = 900.0
# For ranks that lost a peer to end by themselves and say so; then for the launcher to say how they ended. Twice this and
# SILENT_S make less than the minute within which a lost rank ends the others.
GRACE_S = 10.0
WORD_S = 20.0  # for the launcher of a rank that was lost to say why: it has to end its other ranks first (GRACE_S)
_READY_S = 5.0  # for all who wait to answer that they are there
_RETRY_S, _LOOK_S = 1.0, 0.1


class Group:
    """A node's place among those that train together. `word` and `port` are the attempt's, once `join` has returned."""

    def __init__(self, identity: Identity, node: int, address: str, door: int, is_done: Callable[[], bool]) -> None:
        """Args:
        identity: What the others must have in common with this node.
        node: This node's number.
        address: Name of node 0.
        door: Port at which node 0 listens.
        is_done: Has the run ended? Then nobody will come any more.
        """
        self.word, self.port = "", 0
        self.lost = ""  # what ended the group, in words
        self.killed: set[int] = set()  # process ids of our ranks that had to be ended
        self._identity, self._node, self._address, self._door, self._is_done = identity, node, address, door, is_done
        self._links: dict[int, Link] = {}  # node 0 has one to each other node, the others have one to node 0
        self._is_together, self._is_ending = False, False
        self._fatal: int | None = None  # the code of another node that ended for good
        self._standing = ""
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
                return await (self._gather() if self._node == 0 else self._knock())
        except TimeoutError:
            expected = f"expected {self._identity.nodes} nodes to meet within {wait_s:.0f} s"
            raise AttemptError(f"node {self._node}: {expected}; it still {self._standing}") from None

    async def _beat(self) -> None:
        while True:
            for link in self._links.values():
                link.say("beat")
            await asyncio.sleep(BEAT_S)

    def _stand(self, text: str) -> None:
        """Say what is waited for, each thing once."""
        if text != self._standing:
            print(f"fino1: node {self._node} {text}", file=sys.stderr, flush=True)
        self._standing = text

    # Node 0

    async def _gather(self) -> bool:
        server = None
        while server is None:
            try:
                server = await asyncio.start_server(self._meet, port=self._door)
            except OSError as error:  # on one machine: the attempt before has the port still
                self._stand(f"waits for port {self._door}: {first_line(error)}")
                await asyncio.sleep(_RETRY_S)
        number = 0
        while not self._is_together:
            missing = [str(node) for node in range(1, self._identity.nodes) if node not in self._links]
            if missing:
                if not self._standing:
                    self._stand(f"waits for {self._identity.nodes - 1} more")
                self._standing = f"waits for node {', '.join(missing)}"
                await asyncio.sleep(_LOOK_S)
                continue
            number += 1
            self._is_together = await self._all_answer(number)
        self.word, self.port = secrets.token_hex(8), _free_port()
        for link in self._links.values():
            link.say("go", word=self.word, port=self.port)
        return True

    async def _all_answer(self, number: int) -> bool:
        """Are all there at once? Whoever does not answer is no longer waited with."""
        asked = dict(self._links)
        for link in asked.values():
            link.say("ready", round=number)
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(_READY_S):
                while any(link.answered < number for link in asked.values()):
                    await asyncio.sleep(_LOOK_S)
        for node, link in asked.items():
            if link.answered < number and self._links.get(node) is link:
                del self._links[node]
                await link.close()
        return self._links == asked

    async def _meet(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        link = Link(reader, writer)
        try:
            hello = await link.hear()
            node, theirs = int(hello["node"]), Identity(**hello["identity"])
        except (Gone, KeyError, TypeError, ValueError):  # no node of ours
            return await link.close()
        if refusal := self._refusal(node, theirs):
            link.say(refusal[0], why=refusal[1])
            return await link.close()
        if before := self._links.pop(node, None):
            before.say("leave", why=f"another pod came as node {node}")
            await before.close()
        self._links[node] = link
        return await self._listen(node, link)

    def _refusal(self, node: int, theirs: Identity) -> tuple[str, str] | None:
        """What is a newcomer told that may not join? To wait, if time can mend it."""
        if theirs.attempt != self._identity.attempt:
            # One of the two is of an attempt that is ending; its name will be the other's.
            return "wait", f"node 0 is of attempt {self._identity.attempt!r}, node {node} of {theirs.attempt!r}"
        if differences := self._identity.differences(theirs):
            return "leave", f"node {node} does not belong to node 0: {differences}"
        if not 0 < node < self._identity.nodes:
            return "leave", f"expected a node below {self._identity.nodes}, got {node}"
        return ("wait", "node 0 already trains with others") if self._is_together else None

    # The other nodes

    async def _knock(self) -> bool:
        while not self._is_done():
            try:
                async with asyncio.timeout(_READY_S):
                    reader, writer = await asyncio.open_connection(self._address, self._door)  # looks its name up anew
            except OSError as error:
                self._stand(f"waits for node 0 at {self._address}:{self._door}: {first_line(error)}")
            else:
                if await self._ask(Link(reader, writer)):
                    return True
            await asyncio.sleep(_RETRY_S)
        return False

    async def _ask(self, link: Link) -> bool:
        """Say who we are and wait to be let go; False to try again. Raises AttemptError where that is of no use."""
        self._links = {0: link}
        link.say("hello", node=self._node, identity=asdict(self._identity))
        self._standing = "waits with node 0 for others"
        try:
            while (message := await link.hear())["say"] not in ("go", "wait", "leave"):
                link.say("ready", round=message["round"])
        except Gone as gone:
            message = {"say": "wait", "why": f"node 0 {gone}"}
        if message["say"] == "go":
            self.word, self.port, self._is_together = message["word"], message["port"], True
            self._tasks.append(asyncio.create_task(self._listen(0, link)))
            return True
        self._links = {}
        await link.close()
        if message["say"] == "leave":
            raise AttemptError(f"node {self._node}: {message['why']}")
        self._stand(f"waits: {message['why']}")
        return False

    # Together

    async def _listen(self, node: int, link: Link) -> None:
        """Hear a node until it ends; that may be the end of us all."""
        why = ""
        while link.ended is None:
            try:
                message = await link.hear()
            except Gone as gone:
                link.ended, why = exits.PEER_LOST, f"node {node} {gone}"
                break
            if message["say"] == "ready":
                link.answered = message["round"]
            elif message["say"] == "loss":
                self._lose(message["why"], message["code"])
            elif message["say"] == "bye":
                link.ended = code = message["code"]
                why = f"node {node} ended with {code}: {exits.meaning(code)}"
        if self._links.get(node) is not link:
            return  # another came in its place
        if not self._is_together:
            del self._links[node]
        elif link.ended != exits.DONE:
            self._lose(why, link.ended)

    def _lose(self, why: str, code: int) -> None:
        """A node is lost, with it the group. Node 0 tells the others."""
        is_new = not self.lost and not self._is_ending
        is_fatal = not exits.is_retryable(code) and self._fatal is None
        if is_fatal:
            self._fatal = code
        if self._node == 0:
            for link in self._links.values():
                link.say("loss", why=why, code=code)
        if is_new or is_fatal:  # what ended a node for good is said even where its end has begun already
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
        if not self._is_ending:
            os._exit(self._fatal or exits.PEER_LOST)  # it waits in torch's rendezvous, or at its end, for who is lost

    async def _end(self, code: int) -> int:
        self._is_ending = True
        if code != exits.DONE and not exits.is_retryable(code):
            self._fatal = code  # its own: nobody has to tell it
        is_first, has_lost = self._node == 0, code == exits.PEER_LOST
        for link in self._links.values():
            if not (is_first and has_lost):
                link.say("bye", code=code)
        if is_first and has_lost and not self.lost:
            self._lose("ranks of node 0 have lost a peer", code)
        if has_lost or (code == exits.DONE and not is_first):
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(WORD_S if has_lost else None):
                    while self._fatal is None and any(link.ended is None for link in self._links.values()):
                        await asyncio.sleep(_LOOK_S)
            if has_lost or any(link.ended != exits.DONE for link in self._links.values()):
                code = self._fatal or exits.PEER_LOST
        for link in self._links.values():
            if is_first and has_lost:
                link.say("bye", code=code)
            await link.close()
        return code


def _children() -> list[int]:
    """Which processes has this one started?"""
    return [int(pid) for path in Path("/proc/self/task").glob("*/children") for pid in path.read_text().split()]


def _free_port() -> int:
    with socket.socket() as some:
        some.bind(("", 0))
        return some.getsockname()[1]
