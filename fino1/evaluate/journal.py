"""How does an answer outlast its process, its disk and its store? (docs/design.md C6)

It is on the disk before its thread asks the next question, and in the store, where there is one. Where either fails, no further
question is asked; the answers to those under way, which are paid for, are written into room that was reserved for them.
"""

import contextlib
import errno
import json
import os
from collections.abc import Iterator, Sequence
from pathlib import Path

from fino1.errors import SpecError
from fino1.evaluate.endpoint import Cancelled
from fino1.evaluate.questions import Question
from fino1.evaluate.store import Store, StoreLost

FULL = (errno.ENOSPC, errno.EDQUOT)
TOKEN_BYTES = 16  # of an answer: JSON in ASCII has 6 bytes for each letter of other scripts
LINE_BYTES = 4096  # what a line holds besides the prompt, the question and the answer


class Journal:
    """A file of a cell's answers, open for appending, and the store's copy of them. `failure` is why nothing more is asked."""

    def __init__(self, handle: int, path: Path, reserve: Path, store: Store | None) -> None:
        self._handle, self._path, self._reserve, self._store = handle, path, reserve, store
        self.failure: Exception | None = None

    def append(self, lines: bytes) -> None:
        """Write answers. Raises OSError where they cannot be written at all."""
        size = os.fstat(self._handle).st_size
        try:
            self._write(lines)
        except OSError as error:
            if error.errno not in FULL or not self._reserve.exists():
                raise
            self._reserve.unlink()
            os.ftruncate(self._handle, size)  # half a line may be there
            self._write(lines)
            self.failure = error
        if self._store is not None and self.failure is None:
            try:
                self._store.put(self._path.parent.name, lines)
            except (SpecError, StoreLost, Cancelled) as error:
                self.failure = error

    def _write(self, lines: bytes) -> None:
        write_whole(self._handle, lines)
        os.fsync(self._handle)


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
        yield journal
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
