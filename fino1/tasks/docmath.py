"""DocMath-Eval: a number computed from a long document with tables (docs/scoring.md §12)."""

import re
from pathlib import Path
from typing import Any

from fino1.tasks import rows
from fino1.tasks.record import Record, Records
from fino1.tasks.scoring.answer import read_target

HOW_TO_GET = "get a _testmini split from the Hugging Face hub, yale-nlp/DocMath-Eval, as JSON or JSONL"


def read(path: Path) -> Records:
    """Read a JSON array or JSONL file in DocMath-Eval's schema.

    Raises SpecError naming every bad row (index, or line of JSONL) and field. The `_test` splits hide their answers.
    """
    return rows.read_records(path, HOW_TO_GET, _make_record)


def _make_record(number: int, row: dict[str, Any], problems: rows.Problems) -> Record:
    truth = row.get("ground_truth", rows.Missing())
    if truth is None:
        problems.add(number, "ground_truth", "a number (the _test splits hide it: take _testmini)", truth)
        truth = 0.0
    solution, original, source = (row.get(name) for name in ("python_solution", "original_question_id", "source"))
    return Record(
        id=rows.read_field(row, "question_id", str, problems, number),
        question=rows.read_field(row, "question", str, problems, number).strip(),
        target=rows.read_gold(truth, "ground_truth", problems, number, read_target),
        before=rows.read_strings(row, "paragraphs", problems, number),
        page=_find_page(original) if isinstance(original, str) else "",
        fields={
            "python_solution": solution if isinstance(solution, str) else "",
            "source": source if isinstance(source, str) else "",
        },
    )


def _find_page(original: str) -> str:
    """Return the source's page: SimpShort re-annotates FinQA, whose ids end in the question's number ("….pdf-2", §12)."""
    return re.sub(r"(?<=\.pdf)-[0-9]+$", "", original.removeprefix("finqa-"))
