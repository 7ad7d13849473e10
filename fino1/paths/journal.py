"""Which calls were made for a task's questions, and what did they cost? (docs/paths.md)

<work>/paths/<key>/calls.jsonl          what a process without shards appends
<work>/paths/<key>/calls-0-of-3.jsonl   what the first of three shards appends

A call is on disk before its reply is used. Its key is the SHA-256 of everything that it depends on, so a call counts
whichever file holds it, and whatever the run that made it was like otherwise.
"""

import contextlib
import json
import os
import threading
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Self

from fino1 import files, jsonlines
from fino1.errors import SpecError
from fino1.evaluate.budget import Cost, Tariff
from fino1.evaluate.endpoint import Answer
from fino1.evaluate.journal import FULL, reserve, write_whole
from fino1.evaluate.samples import Shard
from fino1.paths.search import Role

_TYPES: dict[str, tuple[type, ...]] = {
    **dict.fromkeys(("key", "item", "role", "prompt", "text"), (str,)),
    **dict.fromkeys(("finish_reason", "answered_by", "reasoning"), (str, type(None))),
    **dict.fromkeys(("prompt_tokens", "completion_tokens"), (int, type(None))),
    "unanswered": (int,),
    "seconds": (int, float),
}


@dataclass(frozen=True)
class Call:
    """A request that was answered: a line of the journal. `item` is the id of its question."""

    key: str
    item: str
    role: Role
    prompt: str
    text: str
    finish_reason: str | None
    prompt_tokens: int | None
    completion_tokens: int | None
    answered_by: str | None
    reasoning: str | None
    unanswered: int
    seconds: float

    @classmethod
    def of(cls, key: str, item: str, role: Role, prompt: str, answer: Answer) -> Self:
        """Make the line of an answer."""
        return cls(
            key=key,
            item=item,
            role=role,
            prompt=prompt,
            text=answer.text,
            finish_reason=answer.finish_reason,
            prompt_tokens=answer.prompt_tokens,
            completion_tokens=answer.completion_tokens,
            answered_by=answer.model,
            reasoning=answer.reasoning,
            unanswered=answer.unanswered,
            seconds=round(answer.seconds, 4),
        )

    def count_answer(self, tariff: Tariff) -> Cost:
        """Compute what its answer cost."""
        usage = self.prompt_tokens, self.completion_tokens
        return tariff.count_answer(self.prompt, self.text + (self.reasoning or ""), usage)

    def count_unanswered(self, tariff: Tariff) -> Cost:
        """Compute what the attempts before it that were not answered may have cost."""
        return tariff.count_unanswered(self.prompt, self.unanswered)


class Journal:
    """The calls for the questions of one task. Safe to use from several threads; one process at a time writes a file."""

    def __init__(self, directory: Path, tariffs: Mapping[Role, Tariff]) -> None:
        """Read all calls to models of these roles that are there.

        Of a line only the reply is kept, what it cost, and what the attempts before it cost that were not answered.
        """
        self._directory, self._tariffs = directory, tariffs
        self._found: dict[str, tuple[str, Cost, Cost]] = {}
        self._lock, self._syncing = threading.Lock(), threading.Lock()
        self._written = self._synced = 0  # calls that were appended, and how many of the first of them are on disk
        self._error: OSError | None = None
        self._full: OSError | None = None  # why nothing more may be asked
        self._reserve: Path | None = None
        self.load()

    def load(self) -> None:
        """Read what other processes have written since."""
        for path in sorted(self._directory.glob("calls*.jsonl")):
            for call in read(path):
                self._keep(call)

    def find(self, key: str) -> str | None:
        """Return the reply to this call; None where it was not made."""
        return self._found[key][0] if key in self._found else None

    def sum_costs(self, keys: Iterable[str]) -> Cost:
        """Add up what these calls cost, whichever run made them."""
        return sum((cost for key in keys for cost in self._found[key][1:]), Cost())

    def sum_answers(self, keys: Iterable[str]) -> Cost:
        """Add up what the answers to these calls cost: the same whatever went wrong before they came."""
        return sum((self._found[key][1] for key in keys), Cost())

    def append(self, call: Call, name: str) -> None:
        """Add a call to the file of this name, on disk when this returns. Raises OSError where it is not, and where it is but
        the disk is full.
        """
        line = json.dumps(asdict(call)).encode() + b"\n"  # in ASCII: a reply may hold half a surrogate pair
        with (self._directory / name).open("ab") as file:
            with self._lock, self._once():
                self._write(file.fileno(), line)
                self._written += 1
                mine = self._written
            with self._syncing, self._once():
                if self._synced < mine:  # else the sync for another call that waited was for this one too
                    written = self._written
                    os.fdatasync(file.fileno())
                    self._synced = written
        self._keep(call)
        if self._full:
            raise self._full

    def _write(self, handle: int, line: bytes) -> None:
        """Append a line; where the disk is full, into the room that is reserved for the calls under way."""
        size = os.fstat(handle).st_size
        try:
            write_whole(handle, line)
        except OSError as error:
            if error.errno not in FULL or self._reserve is None:
                raise
            self._reserve.unlink(missing_ok=True)
            os.ftruncate(handle, size)  # half a line may be there
            write_whole(handle, line)
            self._full = self._full or error

    @contextlib.contextmanager
    def reserve(self, name: str, size: int) -> Iterator[None]:
        """Hold so many bytes for the calls under way when the disk fills up. Raises OSError where it has not so many left."""
        self._reserve = self._directory / f".{name}.reserve"
        try:
            reserve(self._reserve, size)
            yield
        finally:
            self._reserve.unlink(missing_ok=True)
            self._reserve = None

    @contextlib.contextmanager
    def _once(self) -> Iterator[None]:
        """Raise the error that an earlier call met: the file may end in half a line, which nothing may follow."""
        if self._error:
            raise self._error
        try:
            yield
        except OSError as error:
            self._error = error
            raise

    def tidy(self, name: str) -> None:
        """Make the file of this name, without the torn line at its end: nothing may be appended to that."""
        path = self._directory / name
        data = path.read_bytes() if path.exists() else None
        whole = data[: data.rfind(b"\n") + 1] if data else b""
        if whole != data:
            files.write_bytes(path, whole)
        path.open("ab").close()  # raises where it may not be written, before a call is paid for

    def _keep(self, call: Call) -> None:
        if call.key not in self._found and call.role in self._tariffs:
            tariff = self._tariffs[call.role]
            self._found[call.key] = call.text, call.count_answer(tariff), call.count_unanswered(tariff)


def name_of(shard: Shard) -> str:
    """Return the name of the file to which this shard appends."""
    return "calls.jsonl" if shard.count == 1 else f"calls-{shard.index}-of-{shard.count}.jsonl"


def read(path: Path) -> Iterator[Call]:
    """Yield the calls of a file that were written whole."""
    for number, line in enumerate(path.read_bytes().split(b"\n")[:-1], 1):
        yield _parse(f"{path}:{number}", line)


def _parse(where: str, line: bytes) -> Call:
    """Read a line. Raises SpecError for one that is no call: it may have been paid for, so it is not passed over."""
    found: dict[str, Any] = jsonlines.parse(line, where)
    problems = [f"{where}: {problem}" for problem in jsonlines.find_faults(found, _TYPES)]
    problems += [f"{where}: {name}: expected no such field of a call" for name in sorted(found.keys() - _TYPES.keys())]
    if problems:
        raise SpecError(problems)
    return Call(**found)
