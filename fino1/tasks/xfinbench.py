"""XFinBench: statements, choices and calculations of finance courses, but those with a picture (docs/scoring.md §12)."""

import re
from pathlib import Path
from typing import Any

from fino1.spec.taskfile import Kind
from fino1.tasks import columns, rows
from fino1.tasks.record import Record, Records

HOW_TO_GET = (
    "get a split from the Hugging Face hub, Zhihan/XFinBench, or a CSV from https://github.com/Zhihan72/XFinBench"
)
KINDS: dict[str, Kind] = {"bool": "yes/no", "mcq": "choice", "calcu": "number"}
_UNIT = re.compile(r"\(Unit:\s*([^()]*)\)", re.IGNORECASE)
_PERCENT, _FRACTION = re.compile(r"\bpercent|%", re.IGNORECASE), re.compile(r"\bdecimal\b", re.IGNORECASE)


def read(path: Path) -> Records:
    """Read a CSV, Parquet or JSON file in XFinBench's columns; questions with a figure are left out and counted.

    Raises SpecError naming every bad row and column.
    """
    numbered, problems = rows.read_any(path, HOW_TO_GET)
    found = [_make_record(number, row, problems) for number, row in numbered]
    problems.raise_all()
    return Records((record for record in found if record is not None), found.count(None), "with a picture")


def _make_record(number: int, row: dict[str, Any], problems: rows.Problems) -> Record | None:
    if row.get("figure"):
        return None
    task, gold = row.get("task", rows.Missing()), row.get("ground_truth")
    question = rows.read_field(row, "question", str, problems, number).strip()
    identity = rows.read_field(row, "id", str, problems, number)
    kind = KINDS.get(str(task))
    if kind is None:
        problems.add(number, "task", f"one of {', '.join(KINDS)}", task)
        return None
    options = columns.split_options(str(row.get("choice") or "")) if kind == "choice" else ()
    if kind == "choice" and not options:
        problems.add(number, "choice", 'lines such as "A. text"', row.get("choice", rows.Missing()))
    target = None if gold in (None, "") else columns.read_answer(gold, kind, options)
    if target is None:
        got = rows.Missing() if gold in (None, "") else gold
        problems.add(number, "ground_truth", f"{columns.EXPECTED[kind]} (older test sets hide it)", got)
        return None
    basis = (
        {"options": options} if options else columns.read_unit(_find_unit(question), gold) if kind == "number" else {}
    )
    return Record(id=identity, question=question, target=target, basis=basis, fields={"kind": str(task)})


def _find_unit(question: str) -> str | None:
    """Find the unit that a question ends with, such as "(Unit: dollar)"; None where it has none."""
    said = _UNIT.findall(question)
    if not said:
        return None
    if _PERCENT.search(said[-1]):
        return "percent"
    if _FRACTION.search(said[-1]):
        return "fraction"
    return next((name for name in columns.SCALES if re.search(rf"\b{name}s?\b", said[-1], re.IGNORECASE)), "one")
