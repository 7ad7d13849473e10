"""How are answers from elsewhere judged? The verb `fino1 score --task TASK FILE.jsonl` (docs/scoring.md)."""

import json
import math
from pathlib import Path
from typing import Any, TextIO

from fino1 import tasks
from fino1.errors import SpecError
from fino1.tasks import rows
from fino1.tasks.record import Task
from fino1.tasks.scoring.answer import read_target

HOW_TO_GET = 'one JSON object a line: {"id", "question", "target", "completion"}'
FIELDS = ("id", "question", "target", "completion")


def main(task: str, path: Path, out: TextIO) -> None:
    """Write one verdict a line for each answer of `path`.

    Lines {"id", "question", "target", "completion"} give {"id", "extracted", "value", "strict", "docmath_compat"}. Raises
    SpecError with every problem before anything is written.
    """
    problems: list[str] = []
    found: Task | None = None
    lines: list[dict[str, Any]] = []
    try:
        found = tasks.task(task)
    except SpecError as error:
        problems += error.problems
    try:
        lines = _read(path)
    except SpecError as error:
        problems += error.problems
    if problems or found is None:
        raise SpecError(problems)
    for line in lines:
        verdict = found.score(line["completion"], line["question"], line["target"])
        shown = {"id": line["id"], "extracted": verdict.extracted, "value": verdict.value}
        shown |= {"strict": verdict.strict, "docmath_compat": verdict.docmath_compat}
        text = json.dumps(shown, ensure_ascii=False)
        out.write((text if rows.is_unicode(text) else json.dumps(shown)) + "\n")


def _read(path: Path) -> list[dict[str, Any]]:
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
        _check(row, number, problems)
        lines.append(row)
    if not lines and not problems.found:
        problems.add(1, "line", HOW_TO_GET, rows.Missing())
    problems.raise_all()
    return lines


def _check(row: dict[str, Any], number: int, problems: rows.Problems) -> None:
    values = {name: row.get(name, rows.Missing()) for name in FIELDS}
    if isinstance(values["id"], bool) or not isinstance(values["id"], str | int):
        problems.add(number, "id", "text or a whole number", values["id"])
    for name in ("question", "completion"):
        if not isinstance(values[name], str):
            problems.add(number, name, "text", values[name])
    target = values["target"]
    known = isinstance(target, str | int | float) and read_target(target) is not None
    if not known or (isinstance(target, float) and not math.isfinite(target)):
        problems.add(number, "target", "a number or yes/no", target)
