"""What does a cell, one model on one task, hold on disk? (docs/design.md C10)

    <work>/cells/<key>/cell.json       settings, provenance and summary; there once the cell is finished
    <work>/cells/<key>/samples.jsonl   one line an answer

The evaluation writes cells and the report reads them. The dataclasses below are the schema of both files.
"""

import functools
import json
import math
import types
import typing
from collections.abc import Mapping, Sequence
from dataclasses import MISSING, Field, asdict, dataclass, field, fields, replace
from pathlib import Path
from typing import Any, Self, TypeVar

from fino1 import files, jsonlines
from fino1.errors import SpecError

CELL_FILE, SAMPLES_FILE = "cell.json", "samples.jsonl"

Kind = TypeVar("Kind")


@dataclass(frozen=True)
class Sample:
    """One answer to a question and the verdict on it: a line of samples.jsonl.

    `reasoning` is what the endpoint sent apart from the text; `unanswered` (`unheard` in the file) counts the attempts that
    were sent and not answered. `strict_by_other_gold` is the verdict by the row's second gold, published or corrected
    (docs/scoring.md §10), `same_program` says of an answer that is a program whether it is the gold one. With several samples
    `number` counts a question's answers from 0, and `same_as` is the number of the first one that the scorer holds equal, None
    where the answer has no vote. `extraction` is what another model read in the completion (evaluate/extractor.py). The seven
    are in the file only where there are some. Token counts are None where the endpoint gave none.
    """

    id: str
    prompt_sha256: str
    question: str
    prompt: str
    completion: str
    extracted: str | None
    value: float | bool | None
    target: str | bool | float
    strict: bool | None
    docmath_compat: bool | None
    sign_from_question: bool
    prompt_tokens: int | None
    completion_tokens: int | None
    seconds: float
    finish_reason: str | None
    cut: bool
    answered_by: str | None
    reasoning: str | None = None
    unanswered: int = field(default=0, metadata={"key": "unheard"})  # finished cells on disk have this key
    strict_by_other_gold: bool | None = None
    same_program: bool | None = None
    number: int = 0
    same_as: int | None = None
    extraction: dict[str, Any] | None = None

    @property
    def key(self) -> tuple[str, int]:
        """Tells the answers of a cell apart: the question's id, which of its answers."""
        return self.id, self.number

    @property
    def truncated(self) -> bool:
        """True if the model ran into its token limit."""
        return self.finish_reason == "length"

    @property
    def right(self) -> bool:
        """True if it counts in k: strictly right, and not truncated."""
        return self.strict is True and not self.truncated

    @property
    def right_by_other_gold(self) -> bool:
        """True if it counts in k where each row that has a second gold is judged by that one."""
        if self.strict_by_other_gold is None:
            return self.right
        return self.strict_by_other_gold and not self.truncated

    @property
    def right_by_extraction(self) -> bool:
        """True if the result that another model read in it is right, and it is not truncated."""
        return (self.extraction or {}).get("strict") is True and not self.truncated

    @property
    def state(self) -> str:
        """One of truncated, right, wrong, unparsed. A truncated answer is called that whatever could be read from it."""
        if self.truncated:
            return "truncated"
        return {True: "right", False: "wrong", None: "unparsed"}[self.strict]

    @property
    def question_key(self) -> tuple[str, str, str]:
        """Equal for the same question in two cells. An id alone may name another row in another revision."""
        return self.id, self.question, json.dumps(self.target)

    @classmethod
    def parse(cls, line: bytes) -> Self:
        """Read a line of samples.jsonl; raises SpecError for one that is torn or no sample."""
        found = jsonlines.parse(line, "line")
        if problems := _find_faults(found, cls):
            raise SpecError(problems)
        return _build(cls, found)

    def to_line(self) -> bytes:
        """Write it as a line of samples.jsonl, in ASCII: a completion may hold half a surrogate pair."""
        values = vars(self)
        written = {key: values[each.name] for each, key in _list_fields(Sample) if values[each.name] != each.default}
        return json.dumps(written).encode() + b"\n"


@dataclass(frozen=True)
class Summary:
    """Counts over a cell's samples, and the sums of their tokens and seconds (of requests, which overlap).

    `docmath_compat` counts as the public DocMath-Eval evaluator does, truncated or not.
    """

    n: int
    k: int
    unparsed: int
    truncated: int
    cut: int
    docmath_compat: int
    prompt_tokens: int
    completion_tokens: int
    seconds: float

    @classmethod
    def count(cls, samples: Sequence[Sample]) -> Self:
        """Count these samples."""
        return cls(
            n=len(samples),
            k=sum(sample.right for sample in samples),
            unparsed=sum(sample.strict is None for sample in samples),
            truncated=sum(sample.truncated for sample in samples),
            cut=sum(sample.cut for sample in samples),
            docmath_compat=sum(sample.docmath_compat is True for sample in samples),
            prompt_tokens=sum(sample.prompt_tokens or 0 for sample in samples),
            completion_tokens=sum(sample.completion_tokens or 0 for sample in samples),
            seconds=round(math.fsum(sample.seconds for sample in samples), 3),
        )


@dataclass(frozen=True)
class Cell:
    """A finished cell. `key` is the digest of `settings`; `cost` is empty in cells written before there was one.

    `samples` are in the order of the task's rows, and empty where only cell.json was read (`find_finished`).
    """

    key: str
    model: str
    task: str
    settings: dict[str, Any]
    provenance: dict[str, Any]
    summary: Summary
    cost: dict[str, Any] = field(default_factory=dict)
    samples: tuple[Sample, ...] = ()

    @property
    def samples_per_question(self) -> int:
        """The number of answers to each question, k of avg@k."""
        return self.settings.get("samples", 1)

    @functools.cached_property
    def answers(self) -> dict[tuple[str, str, str], list[Sample]]:
        """The answers to each question, by Sample.question_key; both in the order of the file."""
        found: dict[tuple[str, str, str], list[Sample]] = {}
        for sample in self.samples:
            found.setdefault(sample.question_key, []).append(sample)
        return found


def find_finished(directory: Path) -> Cell | None:
    """Read cell.json of a finished cell; None where the cell is not there or not finished."""
    try:
        cell = _read_heading(directory / CELL_FILE)
    except SpecError:
        return None
    return cell if cell.key == directory.name and (directory / SAMPLES_FILE).is_file() else None


def read_cell(directory: Path) -> Cell:
    """Read a finished cell with its samples. Raises SpecError with what is wrong, such as a summary that they do not give."""
    cell = _read_heading(directory / CELL_FILE)
    samples = _read_samples(directory / SAMPLES_FILE)
    _check_summary(cell.summary, samples, directory / SAMPLES_FILE)
    _check_numbers(cell.samples_per_question, samples, directory / SAMPLES_FILE)
    return replace(cell, samples=samples)


def write_cell(directory: Path, cell: Cell) -> None:
    """Write cell.json, which says that the cell is finished; samples.jsonl must be there."""
    names = ("key", "model", "task", "settings", "provenance")
    heading = {name: getattr(cell, name) for name in names}
    heading |= {"summary": asdict(cell.summary), "cost": cell.cost, "finished": True}
    files.write_json(directory / CELL_FILE, heading)


def _read_heading(file: Path) -> Cell:
    found = jsonlines.read_object(file)
    problems = jsonlines.find_faults(found, {"finished": (bool,)})
    if not problems and not found["finished"]:
        problems = ["finished: expected true, got false (the evaluation has not ended)"]
    problems = problems or _find_faults(found, Cell)
    if not problems:
        problems = [f"summary.{problem}" for problem in _find_faults(found["summary"], Summary)]
    if problems:
        raise SpecError(f"{file}: {problem}" for problem in problems)
    return _build(Cell, found | {"summary": _build(Summary, found["summary"]), "samples": ()})


def _read_samples(file: Path) -> tuple[Sample, ...]:
    seen: set[tuple[str, int]] = set()

    def check(line: dict[str, Any]) -> list[str]:
        if problems := _find_faults(line, Sample):
            return problems
        key = line["id"], line.get("number", 0)
        if key in seen:
            problems.append(
                f"id: expected each id once, got {key[0]!r} again" + (f" (number {key[1]})" if key[1] else "")
            )
        seen.add(key)
        return problems

    lines = jsonlines.read_lines(file, check)
    if not lines:
        raise SpecError(f"{file}: expected at least one sample, got none")
    return tuple(_build(Sample, line) for line in lines)


def _check_summary(summary: Summary, samples: Sequence[Sample], file: Path) -> None:
    counted = Summary.count(samples)
    if counted.n != summary.n:
        raise SpecError(f"{file}: expected {summary.n} samples (summary.n of {CELL_FILE}), got {counted.n}")
    pairs = {name: (value, getattr(counted, name)) for name, value in vars(summary).items()}
    problems = [
        f"{file}: expected {name}={said} (summary of {CELL_FILE}), got {got}"
        for name, (said, got) in pairs.items()
        if said != got
    ]
    if problems:
        raise SpecError(problems)


def _check_numbers(each: int, samples: Sequence[Sample], file: Path) -> None:
    """Raise SpecError where a question has not the answers 0 … each − 1."""
    numbers: dict[str, list[int]] = {}
    for sample in samples:
        numbers.setdefault(sample.id, []).append(sample.number)
    wrong = next((name for name, there in numbers.items() if sorted(there) != list(range(each))), None)
    if wrong is not None:
        got = f"those numbered {', '.join(map(str, sorted(numbers[wrong])))} to {wrong!r}"
        raise SpecError(
            f"{file}: expected {each} answers to each question (settings.samples of {CELL_FILE}), got {got}"
        )


def _find_faults(found: Mapping[str, Any], cls: type) -> list[str]:
    """List the fields of a dataclass that are missing or of another type; those with a default may be missing."""
    allowed = _list_types(cls)
    return jsonlines.find_faults(
        found, {name: kinds for name, (kinds, required) in allowed.items() if required or name in found}
    )


@functools.cache
def _list_types(cls: type) -> dict[str, tuple[tuple[type, ...], bool]]:
    """List for each key of a dataclass's file the types as which `json` reads it, and whether it must be there."""
    hints = typing.get_type_hints(cls)
    return {
        key: (_convert(hints[each.name]), each.default is MISSING and each.default_factory is MISSING)
        for each, key in _list_fields(cls)
        if each.name != "samples"  # in a file of their own
    }


@functools.cache
def _list_fields(cls: type) -> list[tuple[Field, str]]:
    """List a dataclass's fields, each with the key that it has in the file."""
    return [(each, each.metadata.get("key", each.name)) for each in fields(cls)]


def _convert(hint: Any) -> tuple[type, ...]:
    kinds = typing.get_args(hint) if isinstance(hint, types.UnionType) else (hint,)
    found = (typing.get_origin(kind) or kind for kind in kinds)
    return tuple(each for kind in found for each in {float: (int, float), Summary: (dict,)}.get(kind, (kind,)))


def _build(cls: type[Kind], found: Mapping[str, Any]) -> Kind:
    """Make the dataclass of a line or file without faults; keys that it has no field for are left out."""
    return cls(**{each.name: found[key] for each, key in _list_fields(cls) if key in found})
