"""TAT-QA: questions on a table and the paragraphs around it, answered by a number (docs/scoring.md §12)."""

import hashlib
import json
from pathlib import Path
from typing import Any

from fino1.tasks import rows
from fino1.tasks.columns import read_unit
from fino1.tasks.record import Record, Records
from fino1.tasks.scoring.answer import read_target

HOW_TO_GET = "get dataset_raw/tatqa_dataset_{train,dev,test_gold}.json from https://github.com/NExTplusplus/TAT-QA"
_SCALES = ("thousand", "million", "billion")


def read(path: Path) -> Records:
    """Read a file of contexts, each with its questions: those that are answered by a number or yes or no.

    Questions with several spans or a text are left out and counted. Raises SpecError naming every bad row (index, or line of
    JSONL) and field.
    """
    numbered, problems = rows.read_json_rows(path, HOW_TO_GET)
    found = [made for number, row in numbered for made in _make_records(number, row, problems)]
    problems.raise_all()
    return Records((record for record in found if record is not None), found.count(None))


def _make_records(number: int, row: dict[str, Any], problems: rows.Problems) -> list[Record | None]:
    lines = rows.read_field(row, "table.table", list, problems, number)
    table = [["" if cell is None else str(cell) for cell in line] for line in lines if isinstance(line, list)]
    paragraphs = [each for each in rows.read_field(row, "paragraphs", list, problems, number) if isinstance(each, dict)]
    texts = [str(each.get("text", "")).strip() for each in sorted(paragraphs, key=_read_order)]
    table_hash = hashlib.sha256(json.dumps(table).encode()).hexdigest()[:16]
    shared: dict[str, Any] = {
        "before": tuple(text for text in texts if text),
        "table": tuple("|".join(cell.strip() for cell in line) for line in table),
        "page": f"tatqa:{rows.read_field(row, 'table.uid', str, problems, number)}",
        "fields": {"table_hash": table_hash},
    }
    questions = rows.read_field(row, "questions", list, problems, number)
    by_place = {"questions": {str(place): asked for place, asked in enumerate(questions)}}
    return [_make_record(by_place, f"questions.{place}", shared, problems, number) for place in by_place["questions"]]


def _read_order(paragraph: dict[str, Any]) -> int:
    order = paragraph.get("order")
    return order if isinstance(order, int) else 0


def _make_record(
    row: dict[str, Any], where: str, shared: dict[str, Any], problems: rows.Problems, number: int
) -> Record | None:
    identity = rows.read_field(row, f"{where}.uid", str, problems, number)
    question = rows.read_field(row, f"{where}.question", str, problems, number).strip()
    asked = row["questions"][where.rpartition(".")[2]]
    answer, scale = (asked.get(name) if isinstance(asked, dict) else None for name in ("answer", "scale"))
    if answer is None:
        expected = "an answer (the test file hides them: take tatqa_dataset_test_gold.json)"
        problems.add(number, f"{where}.answer", expected, rows.Missing())
        return None
    if scale not in (None, "", "percent", *_SCALES):
        problems.add(number, f"{where}.scale", "thousand, million, billion, percent or none", scale)
        return None
    given = answer[0] if isinstance(answer, list) and len(answer) == 1 else answer
    target = read_target(given) if isinstance(given, str | int | float) else None
    if target is None:
        return None
    basis = {} if isinstance(target, bool) else read_unit(scale, given)
    if target != round(target, 2):
        basis["step"] = 1e-4  # it was not computed
    return Record(id=identity, question=question, target=target, basis=basis, **shared)
