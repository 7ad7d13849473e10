"""DocFinQA: FinQA's questions, asked of the whole annual report (docs/scoring.md §12)."""

import hashlib
from pathlib import Path
from typing import Any

from fino1.tasks import rows
from fino1.tasks.docmath import PROMPTS
from fino1.tasks.record import Record, Records, Task
from fino1.tasks.scoring.answer import read_target, score

HOW_TO_GET = "get {train,dev,test}.json from the Hugging Face hub, kensho/DocFinQA"


def read(path: Path) -> Records:
    """Read a JSON array or JSONL file in DocFinQA's schema; answers that are neither numbers nor yes or no are left out.

    Raises SpecError naming every bad row (index, or line of JSONL) and field.
    """
    return rows.read_records(path, HOW_TO_GET, _make_record)


def _make_record(number: int, row: dict[str, Any], problems: rows.Problems) -> Record | None:
    context = rows.read_field(row, "Context", str, problems, number)
    question = rows.read_field(row, "Question", str, problems, number).strip()
    target = rows.read_answer(row, "Answer", problems, number, read_target)
    if target is None:
        return None
    program = row.get("Program")
    return Record(
        id=f"docfinqa-{number}",
        question=question,
        target=target,
        before=tuple(line.strip() for line in context.splitlines() if line.strip()),
        page=f"report:{hashlib.sha256(context.encode()).hexdigest()[:16]}",
        fields={"python_solution": program if isinstance(program, str) else ""},
    )


TASK = Task(name="docfinqa", read=read, prompts=PROMPTS, score=score)
