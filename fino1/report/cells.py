"""What was measured? Finished cells and training metrics as they lie on disk (DESIGN C10, C11)."""

import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from fino1.errors import SpecError

SHOWN_PROBLEMS = 10  # per file; a file that is not ours at all would otherwise fill the screen
_TEXT, _FLAG, _NULL = (str,), (bool,), (type(None),)
_CELL_FIELDS = {"key": _TEXT, "model": _TEXT, "task": _TEXT, "finished": _FLAG}
_SAMPLE_FIELDS = {
    "id": _TEXT,
    "question": _TEXT,
    "completion": _TEXT + _NULL,
    "strict": _FLAG + _NULL,
    "docmath_compat": _FLAG + _NULL,
    "finish_reason": _TEXT + _NULL,
    "cut": _FLAG,
    "target": (str, bool, int, float),
}
_WORDS = {str: "text", bool: "true or false", int: "a number", float: "a number", type(None): "null"}


@dataclass(frozen=True)
class Sample:
    """One line of samples.jsonl: the fields that decide something by name, the whole line in `fields`."""

    id: str
    question: str
    target: str | bool | float
    strict: bool | None
    docmath_compat: bool | None
    finish_reason: str | None
    cut: bool
    fields: Mapping[str, Any]

    @property
    def truncated(self) -> bool:
        """Did the model run into its token limit?"""
        return self.finish_reason == "length"

    @property
    def right(self) -> bool:
        """Does it count in k? Unparsed and truncated answers never do (C8)."""
        return self.strict is True and not self.truncated

    @property
    def state(self) -> str:
        """What became of the answer, in one word? A truncated answer is called that whatever could be read from it."""
        if self.truncated:
            return "truncated"
        return {True: "right", False: "wrong", None: "unparsed"}[self.strict]

    @property
    def asked(self) -> tuple[str, str, str]:
        """What makes it the same question as another cell's? An id alone may name another row in another revision."""
        return self.id, self.question, json.dumps(self.target)


@dataclass(frozen=True)
class Cell:
    """One finished (model, task) cell."""

    key: str
    model: str
    task: str
    about: Mapping[str, Any]
    samples: tuple[Sample, ...]


def read_cells(paths: Sequence[Path], names: Sequence[str] | None = None) -> list[Cell]:
    """Which cells lie at `paths`, in that order, shown as models `names` where given?

    Raises SpecError with what is wrong in all of them.
    """
    cells: list[Cell] = []
    problems: list[str] = []
    seen: dict[tuple[str, str], Path] = {}
    for i, path in enumerate(paths):
        try:
            cell = read_cell(path)
            cell = cell if names is None else replace(cell, model=names[i])
        except SpecError as error:
            problems += error.problems
            continue
        name = (cell.model, cell.task)
        if name in seen:
            problems.append(
                f"{path / 'cell.json'}: expected one cell of model {cell.model!r} and task {cell.task!r}, "
                f"got a second (the first is {seen[name]})"
            )
        seen.setdefault(name, path)
        cells.append(cell)
    if problems:
        raise SpecError(problems)
    return cells


def read_cell(path: Path) -> Cell:
    """What does the finished cell in the directory `path` hold?"""
    file = path / "cell.json"
    about = _parse(_read(file), str(file))
    problems = _faults(about, _CELL_FIELDS)
    if not problems and not about["finished"]:
        problems = ["finished: expected true, got false (the evaluation has not ended)"]
    if problems:
        raise SpecError(f"{file}: {problem}" for problem in problems)
    file = path / "samples.jsonl"
    samples = _samples(file)
    summary = about.get("summary")
    expected = summary.get("n") if isinstance(summary, dict) else None
    if isinstance(expected, int) and expected != len(samples):
        raise SpecError(f"{file}: expected {expected} samples (summary.n of cell.json), got {len(samples)}")
    return Cell(about["key"], about["model"], about["task"], about, samples)


def read_metrics(run: Path) -> list[dict[str, Any]]:
    """Which lines did the training run in the directory `run` log?"""
    return _lines(run / "metrics.jsonl", lambda line: [])


def _samples(file: Path) -> tuple[Sample, ...]:
    seen: set[str] = set()

    def check(line: dict[str, Any]) -> list[str]:
        problems = _faults(line, _SAMPLE_FIELDS)
        if not problems and line["id"] in seen:
            problems.append(f"id: expected each id once, got {line['id']!r} again")
        seen.add(str(line.get("id")))
        return problems

    lines = _lines(file, check)
    if not lines:
        raise SpecError(f"{file}: expected at least one sample, got none")
    names = [name for name in Sample.__dataclass_fields__ if name != "fields"]
    return tuple(Sample(**{name: line[name] for name in names}, fields=line) for line in lines)


def _lines(file: Path, check: Callable[[dict[str, Any]], list[str]]) -> list[dict[str, Any]]:
    raw = _read(file).split(b"\n")
    if raw[-1] == b"":
        raw.pop()
    lines, problems = [], []
    for number, text in enumerate(raw, 1):
        try:
            line = _parse(text, f"{file}:{number}")
        except SpecError as error:
            problems += error.problems
            continue
        problems += [f"{file}:{number}: {problem}" for problem in check(line)]
        lines.append(line)
    if len(problems) > SHOWN_PROBLEMS:
        problems[SHOWN_PROBLEMS:] = [f"{file}: and {len(problems) - SHOWN_PROBLEMS} more like these"]
    if problems:
        raise SpecError(problems)
    return lines


def _read(file: Path) -> bytes:
    try:
        return file.read_bytes()
    except (FileNotFoundError, NotADirectoryError, IsADirectoryError) as error:
        raise SpecError(f"{file}: expected a file, got {error.strerror.lower()}") from error


def _parse(text: bytes, where: str) -> dict[str, Any]:
    try:
        value = json.loads(text.decode("utf-8"))
    except (ValueError, RecursionError) as error:  # bad UTF-8 and bad JSON are both ValueErrors
        raise SpecError(f"{where}: expected a JSON object, got {_short(text)} ({error})") from error
    if not isinstance(value, dict):
        raise SpecError(f"{where}: expected a JSON object, got {_short(text)}")
    return value


def _faults(found: Mapping[str, Any], fields: Mapping[str, tuple[type, ...]]) -> list[str]:
    problems = []
    for name, types in fields.items():
        words = " or ".join(dict.fromkeys(_WORDS[kind] for kind in types))
        if name not in found:
            problems.append(f"{name}: expected {words}, got nothing")
        elif type(found[name]) not in types:
            problems.append(f"{name}: expected {words}, got {_short(json.dumps(found[name]).encode())}")
    return problems


def _short(text: bytes) -> str:
    shown = text[:60].decode("utf-8", "replace")
    return repr(shown + ("…" if len(text) > 60 else "")) if text else "an empty line"
