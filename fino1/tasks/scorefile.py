"""How are answers from elsewhere judged? The verb `fino1 score --task TASK FILE.jsonl` (docs/scoring.md)."""

import json
import math
from pathlib import Path
from typing import Any, TextIO

from fino1 import tasks
from fino1.errors import SpecError
from fino1.tasks import rows
from fino1.tasks.columns import read_unit
from fino1.tasks.forms import answered_by_program
from fino1.tasks.record import Task
from fino1.tasks.scoring.answer import read_target
from fino1.tasks.scoring.choice import read_choice

HOW_TO_GET = 'one JSON object a line: {"id", "question", "target", "completion"}'
FIELDS = ("id", "question", "target", "completion")


def main(task: str, path: Path, out: TextIO, answer: str = "text") -> None:
    """Write one verdict a line for each answer of `path`.

    Lines {"id", "question", "target", "completion"} give {"id", "extracted", "value", "strict", "docmath_compat"}. One of a
    choice may have `options`, a list of texts. With `answer` "program" a line may have `table`, rows of cells as texts, and the
    gold `program`; its verdict has `same_program`. Raises SpecError with every problem before anything is written.
    """
    problems: list[str] = []
    found: Task | None = None
    lines: list[dict[str, Any]] = []
    try:
        found = tasks.task(task)
        found = answered_by_program(found) if answer == "program" else found
    except SpecError as error:
        problems += error.problems
    try:
        lines = _read(path, found, answer)
    except SpecError as error:
        problems += error.problems
    if problems or found is None:
        raise SpecError(problems)
    for line in lines:
        is_choice = _is_choice(line, found)
        basis: dict[str, Any] = (
            {"options": line.get("options", ())} if is_choice else read_unit(found.unit, line["target"])
        )
        if answer == "program":
            basis |= {"cells": line.get("table", ()), "program": line.get("program", "")}
        verdict = found.score(line["completion"], line["question"], line["target"], **basis)
        shown = {"id": line["id"], "extracted": verdict.extracted, "value": verdict.value}
        shown |= {"strict": verdict.strict, "docmath_compat": verdict.docmath_compat}
        shown |= {"same_program": verdict.same_program} if answer == "program" else {}
        text = json.dumps(shown, ensure_ascii=False)
        out.write((text if rows.is_unicode(text) else json.dumps(shown)) + "\n")


def _is_choice(line: dict[str, Any], task: Task | None) -> bool:
    """True for an answer to a choice: its line has options, or its target is neither a number nor yes or no."""
    if task is None or "choice" not in task.kinds:
        return False
    target = line.get("target")
    return bool(line.get("options")) or (isinstance(target, str) and read_target(target) is None)


def _read(path: Path, task: Task | None, answer: str) -> list[dict[str, Any]]:
    text = rows.read_text(path, HOW_TO_GET)
    problems = rows.Problems(path)
    lines = []
    for number, line in enumerate(text.split("\n"), 1):
        if not line.strip():
            continue
        try:
            row = json.loads(line)
        except (ValueError, RecursionError) as error:
            problems.add(number, "line", "a JSON object", f"{line[:40]} ({error})")
            continue
        if not isinstance(row, dict):
            problems.add(number, "line", "a JSON object", row)
            continue
        _check(row, number, problems, task)
        if answer == "program":
            _check_program(row, number, problems)
        lines.append(row)
    if not lines and not problems.found:
        problems.add(1, "line", HOW_TO_GET, rows.Missing())
    problems.raise_all()
    return lines


def _check(row: dict[str, Any], number: int, problems: rows.Problems, task: Task | None) -> None:
    values = {name: row.get(name, rows.Missing()) for name in FIELDS}
    if isinstance(values["id"], bool) or not isinstance(values["id"], str | int):
        problems.add(number, "id", "text or a whole number", values["id"])
    for name in ("question", "completion"):
        if not isinstance(values[name], str):
            problems.add(number, name, "text", values[name])
    target = values["target"]
    if _is_choice(row, task):
        options = row.get("options", [])
        if not isinstance(options, list) or not all(isinstance(option, str) for option in options):
            problems.add(number, "options", "a list of texts", options)
        elif not isinstance(target, str) or read_choice(target, options) is None:
            problems.add(number, "target", "the letter or the text of an option", target)
        return
    known = isinstance(target, str | int | float) and read_target(target) is not None
    if not known or (isinstance(target, float) and not math.isfinite(target)):
        problems.add(number, "target", "a number or yes/no", target)


def _check_program(row: dict[str, Any], number: int, problems: rows.Problems) -> None:
    """Note a table that is no rows of texts, and a gold program that is no text."""
    table, program = row.get("table", []), row.get("program", "")
    if not isinstance(table, list) or not all(
        isinstance(line, list) and all(isinstance(cell, str) for cell in line) for line in table
    ):
        problems.add(number, "table", "rows of texts", table)
    if not isinstance(program, str):
        problems.add(number, "program", "text", program)
