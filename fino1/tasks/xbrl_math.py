"""XBRL-Math: a textbook formula, its explanation and a question with all numbers (docs/scoring.md §12)."""

import csv
import re
from pathlib import Path

from fino1.errors import SpecError
from fino1.tasks import rows
from fino1.tasks.record import Record, Records
from fino1.tasks.scoring.answer import read_target

HOW_TO_GET = (
    "get the Task7-XBRL-financial_math files from https://github.com/Open-Finance-Lab/Regulations_Challenge_COLING_2025"
)

_FIELDS = ("Formula Name", "Formula", "Explanation")


def read(path: Path) -> Records:
    """Read the test TSV (one question a row) or the wide validation CSV (Question 1..n, Answer 1..n).

    Raises SpecError naming every bad row (its line, header = 1) and field.
    """
    text = rows.read_text(path, HOW_TO_GET)
    header = text.partition("\n")[0]
    delimiter = "\t" if "\t" in header else ","
    columns = [column.strip() for column in next(csv.reader([header], delimiter=delimiter))]
    pairs = [("Question", "Answer")] if "Question" in columns else _find_numbered_columns(columns)
    missing = [column for column in (*_FIELDS, *(name for pair in pairs for name in pair)) if column not in columns]
    if missing or not pairs:
        raise SpecError([f"{path}:1: {name}: expected a column, got nothing" for name in missing or ["Question"]])
    problems = rows.Problems(path)
    records = Records(
        _make_record(number, row, pair, problems)
        for number, row in rows.read_table(path, delimiter, HOW_TO_GET)
        for pair in pairs
    )
    problems.raise_all()
    return records


def _find_numbered_columns(columns: list[str]) -> list[tuple[str, str]]:
    numbers = [column.split()[1] for column in columns if re.fullmatch(r"Question [0-9]+", column)]
    return [(f"Question {number}", f"Answer {number}") for number in numbers]


def _make_record(number: int, row: dict[str, str], pair: tuple[str, str], problems: rows.Problems) -> Record:
    name, formula, explanation = (rows.read_field(row, column, str, problems, number).strip() for column in _FIELDS)
    question = _strip_marks(rows.read_field(row, pair[0], str, problems, number))
    target = rows.read_gold(row.get(pair[1], ""), pair[1], problems, number, read_target)
    suffix = pair[0].removeprefix("Question").strip()
    return Record(
        id=f"xbrl-{number}" + (f"-{suffix}" if suffix else ""),
        question=question,
        target=target,
        page=f"formula:{name}",
        fields={"formula": formula, "explanation": explanation, "name": name},
    )


def _strip_marks(question: str) -> str:
    """Take off the question's list number and literal quotes (§12: a leading "1." and double quotes in the cells)."""
    return re.sub(r"^\s*[0-9]{1,2}\.\s*", "", question).strip().strip('" ').strip()
