"""How do the ranks of a node start, and how do they end together? (docs/design.md C5)

Where there is no GPU, the launcher imports what they need once and each rank is a fork of it. A GPU's context does not survive
a fork, so there each rank is a Python of its own. Either way they are forked before the launcher has threads of its own, and
wait for the variables that say where they meet.
"""

import contextlib
import json
import os
import signal
import sys
import tempfile
import time
import traceback
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from types import FrameType
from typing import IO, NoReturn

from fino1 import exits, processes

# For ranks to end in after SIGTERM: one may be writing a large checkpoint.
SHUTDOWN_TIMEOUT_S = 600.0
FAILED_TIMEOUT_S = 30.0  # for those that remain after one has failed: there is nothing to write then
_LOOK_S = 0.02  # short, for the rank that failed first is to be seen first

Enter = Callable[[int], int]  # becomes a rank, given the file descriptor for its explanation; returns its exit code


@dataclass
class Rank:
    """A rank that was started. `code` is how it ended, -N by signal N, None before."""

    local: int
    pid: int
    go: IO[bytes]
    explanation: IO[bytes] = field(repr=False)
    code: int | None = None

    def send(self, number: int) -> None:
        """Send a signal, if it still lives."""
        if self.code is None:
            os.kill(self.pid, number)  # it is our child, so its number is not another's until we have waited for it


class Ranks:
    """The ranks of this node."""

    def __init__(self, count: int, enter: Enter, closed: Iterable[IO] = ()) -> None:
        """Start `count` of them; each waits for `run` and then does what `enter` says, or ends with this process.

        They close the files in `closed`, which only this process may hold.
        """
        self.ended: list[Rank] = []  # in this order
        self.told: int | None = None  # the signal that asked us to end
        self._ranks: list[Rank] = []
        for local in range(count):
            self._ranks.append(self._fork(local, enter, closed))

    def run(self, variables: Callable[[int], Mapping[str, str]]) -> None:
        """Let the ranks go, each with the `variables` of its local number, and wait until all have ended.

        A signal is passed on to them; where one fails, the others get SIGTERM.
        """
        for number in (signal.SIGTERM, signal.SIGINT):
            signal.signal(number, self._receive)
        for rank in self._ranks:
            with contextlib.suppress(BrokenPipeError), rank.go:  # it was killed: that is seen below
                rank.go.write(json.dumps(variables(rank.local)).encode())
        kill_at: float | None = None
        while len(self.ended) < len(self._ranks):
            self._look()
            if kill_at is None and (self.told or any(rank.code for rank in self.ended)):
                kill_at = time.monotonic() + (SHUTDOWN_TIMEOUT_S if self.told else FAILED_TIMEOUT_S)
                self._send(self.told or signal.SIGTERM)
            elif kill_at is not None and time.monotonic() > kill_at:
                self._send(signal.SIGKILL)
            time.sleep(_LOOK_S)

    def explanations(self) -> list[str]:
        """What ranks wrote for the user, each text once."""
        found = []
        for rank in self.ended:
            rank.explanation.seek(0)
            found.append(rank.explanation.read().decode())
        return [text for text in dict.fromkeys(found) if text]

    def _look(self) -> None:
        for rank in self._ranks:
            if rank.code is None:
                pid, status = os.waitpid(rank.pid, os.WNOHANG)
                if pid:
                    rank.code = os.waitstatus_to_exitcode(status)
                    self.ended.append(rank)

    def _send(self, number: int) -> None:
        for rank in self._ranks:
            rank.send(number)

    def _receive(self, number: int, frame: FrameType | None) -> None:
        if not any(rank.code for rank in self.ended):  # else that is what ends us
            self.told = self.told or number

    def _fork(self, local: int, enter: Enter, closed: Iterable[IO]) -> Rank:
        explanation = tempfile.TemporaryFile()  # noqa: SIM115, the rank's and ours
        reading, writing = os.pipe()
        launcher = os.getpid()
        sys.stdout.flush()
        sys.stderr.flush()
        pid = os.fork()
        if pid == 0:
            os.close(writing)
            for file in (*closed, *(rank.go for rank in self._ranks)):
                file.close()
            _become(enter, launcher, reading, explanation.fileno())
        os.close(reading)
        return Rank(local, pid, os.fdopen(writing, "wb"), explanation)


def _become(enter: Enter, launcher: int, reading: int, explanation: int) -> NoReturn:
    """Be a rank, from its fork to its end."""
    code = exits.BUG
    try:
        processes.die_with_parent(parent=launcher)  # also what it becomes by exec
        os.setsid()  # Ctrl-C reaches the launcher only
        for number in (signal.SIGTERM, signal.SIGINT):
            signal.signal(number, signal.SIG_DFL)  # until there is a checkpoint to write, both end it at once
        with os.fdopen(reading) as pipe:
            variables = pipe.read()
        if not variables:
            os._exit(exits.KILLED)  # the launcher was
        os.environ.update(json.loads(variables))
        code = enter(explanation)
        sys.stdout.flush()
        sys.stderr.flush()
    except BaseException:
        traceback.print_exc()
    finally:
        os._exit(code)  # a broken process group would hang in its destructor


def first_code(ended: Sequence[Rank], first: int, killed: Collection[int] = ()) -> int:
    """Exit code of the rank that failed first, of those that `ended` in this order; the first of this node is rank `first`.

    One that ended because it lost a peer did not fail first, even if it was noticed first, nor did one that we have `killed`
    (process ids) because it hung without its peer. Prints which rank it was where that cannot have printed anything itself.
    """
    codes = {}
    for rank in ended:
        if rank.code == -signal.SIGKILL and rank.pid in killed:
            codes[rank.local] = exits.PEER_LOST
        elif rank.code:
            codes[rank.local] = rank.code if rank.code > 0 else exits.of_signal(-rank.code)
    if not codes:
        return exits.DONE
    local, code = next(((r, c) for r, c in codes.items() if c != exits.PEER_LOST), next(iter(codes.items())))
    by_signal = any(rank.local == local and rank.code < 0 for rank in ended)
    if (by_signal and code != exits.PEER_LOST) or code not in exits.MEANING:
        print(f"fino1: rank {first + local} ended with {code}: {exits.meaning(code)}", file=sys.stderr)
    return code
