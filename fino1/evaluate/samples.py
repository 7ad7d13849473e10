"""Which samples of an unfinished cell are on disk, and which process writes which file? (docs/design.md C6, C10)

<cell>/samples.jsonl          what a process without shards appends; all samples in the order of the rows once finished
<cell>/samples-0-of-3.jsonl   what the first of three shards appends; gone once the cell is finished
<cell>/samples-stored.jsonl   what the store had, where there is one (store.py); the same

A sample counts whichever of these files holds it, so that the number of shards may change from one run to the next.
"""

import contextlib
import fcntl
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from threading import Event
from typing import TypeVar

from fino1 import files
from fino1.cells import SAMPLES_FILE, Sample
from fino1.errors import SpecError
from fino1.evaluate.endpoint import Cancelled
from fino1.evaluate.questions import Question

INDEX = "JOB_COMPLETION_INDEX"  # Kubernetes sets it in the pods of an Indexed Job
LOOK_S = 0.2  # between two tries to take a lock

Key = tuple[str, int]
"""Of a Sample: its question's id, which of the answers to it."""
Item = TypeVar("Item")


@dataclass(frozen=True)
class Shard:
    """Every `count`-th question from number `index` on, which counts from 0."""

    index: int = 0
    count: int = 1

    @property
    def file(self) -> str:
        """The name of the file, in the cell's directory, to which this shard appends."""
        return SAMPLES_FILE if self.count == 1 else f"samples-{self.index}-of-{self.count}.jsonl"

    @property
    def labels(self) -> dict[str, str]:
        """What a line of progress says of this shard; nothing of the whole."""
        return {} if self.count == 1 else {"shard": f"{self.index + 1}/{self.count}"}

    def select(self, items: Sequence[Item]) -> Sequence[Item]:
        """Select this shard's part of a cell's questions, or of its samples in the order of the rows."""
        return items[self.index :: self.count]


WHOLE = Shard()


def find_shard(count: int, environment: Mapping[str, str], key: str = "eval.shards") -> Shard:
    """Find this process's shard of `count`; the whole where no index is set. Raises SpecError, naming `key`, for a bad index."""
    index = environment.get(INDEX)
    if count == 1 or index is None:
        return WHOLE
    if not (index.isascii() and index.isdecimal() and int(index) < count):
        raise SpecError(f"{INDEX}: expected a number from 0 to {count - 1} with {key}={count}, got {index!r}")
    return Shard(int(index), count)


def load(directory: Path, questions: Sequence[Question]) -> dict[Key, Sample]:
    """Read the samples that are there, by key. Torn lines, repeated ones and those of other prompts do not count."""
    # The finished file last: it is whole before the first of the others goes.
    paths = [*sorted(directory.glob("samples-*.jsonl")), directory / SAMPLES_FILE]
    found: dict[Key, Sample] = {}
    for path in paths:
        found = _read(path, questions) | found
    return found


def read_all(path: Path) -> list[Sample]:
    """Read the samples of a finished cell, in the order of the rows."""
    return list(_parse(path))


def tidy(path: Path, questions: Sequence[Question]) -> None:
    """Drop the lines of a file that do not count: a torn last line must be gone before anything is appended."""
    if path.is_file():
        write(path, questions, _read(path, questions))


def write(path: Path, questions: Sequence[Question], samples: Mapping[Key, Sample]) -> None:
    """Write the samples in the order of the rows, unless the file holds just that; concurrent writers write the same."""
    data = b"".join(samples[question.key].to_line() for question in questions if question.key in samples)
    if not path.is_file() or path.read_bytes() != data:
        files.write_bytes(path, data)


def drop_parts(directory: Path) -> None:
    """Remove the shards' and the store's files of a finished cell."""
    for path in directory.glob("samples-*.jsonl"):
        path.unlink(missing_ok=True)


@contextlib.contextmanager
def lock(directory: Path, shard: Shard, stop: Event) -> Iterator[None]:
    """Hold the lock of a shard of a cell; waits while another process holds it. Raises Cancelled on `stop`.

    A process that asks the whole cell and one that asks a shard exclude each other. Runs with *different* numbers of shards
    do not: they may ask a question twice, and one of the answers counts.
    """
    if shard.count == 1:
        locks = [(".lock", fcntl.LOCK_EX)]
    else:
        locks = [(".lock", fcntl.LOCK_SH), (f".lock-{shard.index}-of-{shard.count}", fcntl.LOCK_EX)]
    with contextlib.ExitStack() as stack:
        for name, kind in locks:
            file = stack.enter_context((directory / name).open("ab"))
            _acquire(file.fileno(), kind, stop)
        yield


def _acquire(handle: int, kind: int, stop: Event) -> None:
    while not files.try_lock(handle, kind):
        if stop.wait(LOOK_S):
            raise Cancelled


def _read(path: Path, questions: Sequence[Question]) -> dict[Key, Sample]:
    asked = {question.key: question.prompt_sha256 for question in questions}
    found: dict[Key, Sample] = {}
    for sample in _parse(path):
        if asked.get(sample.key) == sample.prompt_sha256:
            found.setdefault(sample.key, sample)
    return found


def _parse(path: Path) -> Iterable[Sample]:
    """Yield the samples that were written whole."""
    try:
        lines = path.read_bytes().split(b"\n")[:-1]
    except FileNotFoundError:  # never there, or the cell was finished just now
        return
    for line in lines:
        with contextlib.suppress(SpecError):
            yield Sample.parse(line)
