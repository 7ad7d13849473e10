"""BizBench: the six of its eight tasks that are answered by a number (docs/scoring.md §12)."""

import hashlib
from pathlib import Path
from typing import Any

from fino1.tasks import rows
from fino1.tasks.record import Record, Records
from fino1.tasks.scoring.answer import read_target

HOW_TO_GET = "get a split from the Hugging Face hub, kensho/bizbench, as JSON or JSONL"
NUMERIC = ("FinCode", "CodeFinQA", "CodeTAT-QA", "SEC-NUM", "TAT-QA", "ConvFinQA")
"""The two others ask for a letter (FinKnow) and for code (FormulaEval)."""


def read(path: Path) -> Records:
    """Read a JSON array or JSONL file in BizBench's schema: its numeric tasks, of which SEC-NUM's texts are left out too.

    Raises SpecError naming every bad row (index, or line of JSONL) and field.
    """
    return rows.read_records(path, HOW_TO_GET, _make_record)


def _make_record(number: int, row: dict[str, Any], problems: rows.Problems) -> Record | None:
    name = rows.read_field(row, "task", str, problems, number)
    if name and name not in NUMERIC:
        return None
    question = rows.read_field(row, "question", str, problems, number).strip()
    target = rows.read_answer(row, "answer", problems, number, read_target)
    if target is None:
        return None
    context, program = (row.get(field) if isinstance(row.get(field), str) else "" for field in ("context", "program"))
    return Record(
        id=f"{name}-{number}",
        question=question,
        target=target,
        before=tuple(line for line in context.splitlines() if line.strip()),
        page=f"context:{hashlib.sha256(context.encode()).hexdigest()[:16]}" if context else "",
        fields={"name": name, "python_solution": program},
    )
