"""FinQA: questions on one page of an annual report, answered by a number or yes/no (docs/scoring.md §11, §12)."""

import hashlib
import json
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Literal

from fino1.tasks import rows
from fino1.tasks.basis import read_basis
from fino1.tasks.corrections import find_correction
from fino1.tasks.programs.explain import Solution, show, solve
from fino1.tasks.record import Record, Records
from fino1.tasks.scoring.answer import read_target
from fino1.tasks.scoring.question import read_facts

HOW_TO_GET = "get dataset/{train,dev,test}.json from https://github.com/czyssrs/FinQA"
KNOWN_BAD: frozenset[str] = frozenset()
"""Ids of rows with a gold reported wrong, left out when read (§10; reports: FinQA#15). Empty so far."""

Evidence = Literal["page", "facts"]


def read(path: Path, evidence: Evidence | None = None) -> Records:
    """Read a FinQA file: the original schema, the simplified rows, or rows with retrieved facts.

    `evidence` is what the document holds beside the table: the page, or the facts, be they retrieved or named in `gold_inds`;
    None: the facts where the row has retrieved ones, else the page. Raises SpecError naming every bad row (index, or line of
    JSONL) and field.
    """
    numbered, problems = rows.read_json_rows(path, HOW_TO_GET)
    records = [_make_record(number, row, problems, evidence) for number, row in numbered]
    problems.raise_all()
    return Records(record for record in records if record.id not in KNOWN_BAD)


@dataclass(frozen=True)
class Page:
    """A page of a report: its table, and the text before and after it."""

    table: list[list[str]]
    before: tuple[str, ...]
    after: tuple[str, ...]

    @property
    def table_hash(self) -> str:
        """Names the table, whichever data set has it."""
        return hashlib.sha256(json.dumps(self.table).encode()).hexdigest()[:16]


@dataclass(frozen=True)
class Asked:
    """A question on a page with its gold and the program that gives it; `analyst` is the answer that the annotator wrote."""

    id: str
    question: str
    gold: float | bool
    program: str
    analyst: str = ""


def make_record(asked: Asked, page: Page, name: str) -> Record:
    """Make the record of a question on the page of this name; ConvFinQA has the same pages and programs."""
    solution = _solve_checked(asked.program, page.table, asked.gold)
    return Record(
        id=asked.id,
        question=asked.question,
        target=asked.gold,
        before=page.before,
        table=tuple("|".join(cell.strip() for cell in line) for line in page.table),
        after=page.after,
        page=name,
        fields={"program": asked.program, "table_hash": page.table_hash},
        cot=" ".join(solution.steps) if solution else "",
        response=_write_response(asked.question, asked.gold) if solution else "",
        basis=read_basis(
            asked.question, asked.program, asked.analyst, asked.gold, page.table, page.before + page.after
        ),
    )


def read_page(row: dict[str, Any], problems: rows.Problems, number: int, evidence: Evidence | None = None) -> Page:
    """Read the table and the text around it, or the facts; None: the facts where the row has retrieved ones."""
    table = _read_cells(row, problems, number)
    if evidence == "facts" and "facts" not in row:
        return Page(table, _read_evidence(row, problems, number), ())
    if "facts" in row and evidence != "page":
        return Page(table, _drop_table_facts(rows.read_strings(row, "facts", problems, number)), ())
    before, after = (rows.read_strings(row, name, problems, number) for name in ("pre_text", "post_text"))
    return Page(table, before, after)


def _read_cells(row: dict[str, Any], problems: rows.Problems, number: int) -> list[list[str]]:
    """Read the table's cells as text; null, and pandas' NaN, is an empty one."""
    lines = rows.read_field(row, "table", list, problems, number)
    wrong = [
        line for line in lines if not isinstance(line, list) or any(isinstance(cell, list | dict) for cell in line)
    ]
    if wrong:
        problems.add(number, "table", "rows of texts and numbers", wrong[0])
        return []
    return [["" if cell is None or cell != cell else str(cell) for cell in line] for line in lines]


def _read_evidence(row: dict[str, Any], problems: rows.Problems, number: int) -> tuple[str, ...]:
    """Read the sentences that the row names as its evidence; rows of the table are there in full."""
    named = rows.read_field(row, "qa.gold_inds", dict, problems, number)
    if not all(isinstance(text, str) for text in named.values()):
        problems.add(number, "qa.gold_inds", "texts by their places", named)
        return ()
    return tuple(text.strip() for place, text in named.items() if place.startswith("text_") and text.strip(" .\n"))


def clean_question(question: str) -> str:
    """Take out the line breaks of a question, which some rows spell with one backslash or two."""
    return question.replace("\\\\n", " ").replace("\\n", " ").strip()


def _make_record(number: int, row: dict[str, Any], problems: rows.Problems, evidence: Evidence | None) -> Record:
    nested = "qa." if "qa" in row else ""
    question = rows.read_field(row, f"{nested}question", str, problems, number)
    inner = row["qa"] if nested and isinstance(row["qa"], dict) else row
    gold_name = "exe_ans" if "exe_ans" in inner or nested else "answer"
    gold = rows.read_gold(inner.get(gold_name, rows.Missing()), nested + gold_name, problems, number, read_target)
    page = read_page(row, problems, number, evidence)
    identity = row.get("id") if isinstance(row.get("id"), str) else None
    program = inner.get("program") if isinstance(inner.get("program"), str) else ""
    analyst = inner.get("answer") if nested and isinstance(inner.get("answer"), str) else ""
    asked = Asked(identity or f"row-{row.get('row', number)}", clean_question(question), gold, program, analyst)
    name = identity.rpartition("-")[0] or identity if identity else f"table:{page.table_hash}"
    return replace(make_record(asked, page, name), other_gold=find_correction(identity, gold))


def _drop_table_facts(facts: tuple[str, ...]) -> tuple[str, ...]:
    """Drop facts that end in ";": they restate rows of the table, which is there in full."""
    return tuple(fact for fact in facts if not fact.endswith(";"))


def _solve_checked(program: str, table: list[list[str]], gold: float | bool) -> Solution | None:
    """Solve the program; None where that fails or does not give the gold (five decimals, §11)."""
    if not program:
        return None
    try:
        solution = solve(program, table)
    except ValueError:
        return None
    if isinstance(gold, bool) or isinstance(solution.result, bool):
        return solution if solution.result is gold else None
    return solution if abs(solution.result - gold) <= 1.1e-5 + 1e-9 * abs(gold) else None


def _write_response(question: str, gold: float | bool) -> str:
    """Write the gold in the question's own terms: as a percentage where one is asked for."""
    if isinstance(gold, bool):
        return f"The answer is {'yes' if gold else 'no'}."
    if read_facts(question).percent and 0 < abs(gold) < 1:
        return f"The answer is {gold * 100:.2f}%."
    return f"The answer is {show(gold)}."
