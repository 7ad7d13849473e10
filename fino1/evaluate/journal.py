"""How does an answer outlast its process, its disk and its store? (docs/design.md C6)

Once it is written, the end of this process does not lose it (cell.py says when that is). A thread syncs what was written
meanwhile and puts it into the store, where there is one. Where either fails, no further question is asked; the answers to those
under way, which are paid for, are written into room that was reserved for them.
"""

import asyncio
import contextlib
import errno
import json
import os
import threading
from collections.abc import Iterator, Sequence
from pathlib import Path

from fino1.errors import SpecError
from fino1.evaluate.endpoint import Cancelled
from fino1.evaluate.questions import Question
from fino1.evaluate.store import Store, StoreLost

FULL = (errno.ENOSPC, errno.EDQUOT)
TOKEN_BYTES = 16  # of an answer: JSON in ASCII has 6 bytes for each letter of other scripts
GATHER_S = 0.1  # a sync holds up what is written meanwhile, so few answers wait for more
LINE_BYTES = 4096  # what a line holds besides the prompt, the question and the answer


class Journal:
    """A file of a cell's answers, open for appending, and the store's copy of them. `failure` is why nothing more is asked.

    An answer that was appended outlives this process; once it is settled, this machine and its disk. `settle` may run in another
    thread than `append`.
    """

    def __init__(self, handle: int, path: Path, reserve: Path, store: Store | None) -> None:
        self._handle, self._path, self._reserve, self._store = handle, path, reserve, store
        self._writing, self._settling = threading.Lock(), threading.Lock()
        self._unsettled: list[bytes] = []
        self._appended = self._settled = 0  # how often something was, and the first how many of that are settled
        self._settles: asyncio.Task[None] | None = None
        self._round = asyncio.Event()  # set once what is being settled now is
        self.failure: Exception | None = None

    def append(self, lines: bytes) -> None:
        """Write answers. Raises OSError where they cannot be written at all."""
        with self._writing:
            size = os.fstat(self._handle).st_size
            try:
                write_whole(self._handle, lines)
            except OSError as error:
                self._free(error, size)
                write_whole(self._handle, lines)
            self._unsettled.append(lines)
            self._appended += 1

    def settle(self) -> None:
        """Bring what was appended onto the disk and into the store; where that fails, `failure` says so."""
        with self._settling:
            if not self._unsettled:
                return
            with self._writing:
                lines, count, size = self._unsettled, self._appended, os.fstat(self._handle).st_size
                self._unsettled = []
            try:
                self._sync(lines, size)
                if self._store is not None and self.failure is None:
                    self._store.put(self._path.parent.name, b"".join(lines))
            except (OSError, SpecError, StoreLost, Cancelled) as error:
                self.failure = self.failure or error
            self._settled = count

    async def keep_up(self, most: int) -> None:
        """Have a thread settle what was appended; return once no more than `most` answers of those so far are not settled."""
        mine = self._appended
        if self._settles is None or self._settles.done():
            self._settles = asyncio.create_task(self._settle_all(most))
        while self._settled < mine - most:
            await self._round.wait()

    async def _settle_all(self, most: int) -> None:
        while self._settled < self._appended:
            if self._appended - self._settled < most // 4:
                await asyncio.sleep(GATHER_S)
            await asyncio.to_thread(self.settle)
            done, self._round = self._round, asyncio.Event()
            done.set()

    def _sync(self, lines: Sequence[bytes], size: int) -> None:
        """Sync the file; some disks are found to be full only now. Raises OSError where that fails."""
        try:
            os.fsync(self._handle)
        except OSError as error:
            with self._writing:
                self._free(error, size - sum(map(len, lines)))
                write_whole(self._handle, b"".join([*lines, *self._unsettled]))
            os.fsync(self._handle)

    def _free(self, error: OSError, size: int) -> None:
        """Free the room reserved for the answers under way and cut the file to `size`. Raises `error` where that is no help."""
        if error.errno not in FULL or not self._reserve.exists():
            raise error
        self._reserve.unlink()
        os.ftruncate(self._handle, size)  # half a line may be there
        self.failure = error


def write_whole(handle: int, lines: bytes) -> None:
    """Append to an open file."""
    left = memoryview(lines)
    while left:
        left = left[os.write(handle, left) :]


def reserve(path: Path, size: int) -> None:
    """Make a file of this size. Raises OSError where the disk has not so many bytes left."""
    with path.open("wb") as file, _where_files_can_be_reserved():
        os.posix_fallocate(file.fileno(), 0, max(size, 1))


@contextlib.contextmanager
def open_journal(path: Path, store: Store | None, reserved_bytes: int = 0) -> Iterator[Journal]:
    """Open a file of answers. Raises OSError where the disk has not so many bytes left, and at the end what failed."""
    reserved = path.with_name(f".{path.name}.reserve")
    handle = os.open(path, os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o666)
    try:
        reserve(reserved, reserved_bytes)
        journal = Journal(handle, path, reserved, store)
        try:
            yield journal
        finally:
            journal.settle()
    finally:
        reserved.unlink(missing_ok=True)
        os.close(handle)
    if journal.failure is not None:
        raise journal.failure


@contextlib.contextmanager
def _where_files_can_be_reserved() -> Iterator[None]:
    try:
        yield
    except OSError as error:
        if error.errno in FULL:
            raise


def bound_bytes(questions: Sequence[Question], max_tokens: int, at_once: int) -> int:
    """Bound the bytes of the answers to so many questions under way."""
    longest = max(len(json.dumps(q.prompt)) + len(json.dumps(q.record.question)) for q in questions)
    return min(at_once, len(questions)) * (longest + max_tokens * TOKEN_BYTES + LINE_BYTES)
