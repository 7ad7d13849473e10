"""ConvFinQA: conversations about a page of FinQA; the last turn is asked (docs/scoring.md §12)."""

import re
from dataclasses import replace
from pathlib import Path
from typing import Any

from fino1.tasks import finqa, rows
from fino1.tasks.record import Record, Records
from fino1.tasks.scoring.answer import read_target
from fino1.tasks.scoring.numbers import parse_number

HOW_TO_GET = "get {train,dev}.json or {train,dev}_turn.json out of data.zip from https://github.com/czyssrs/ConvFinQA"


def read(path: Path) -> Records:
    """Read whole conversations, of which the last turn is asked, or a file that has a row for each turn.

    Raises SpecError naming every bad row (index, or line of JSONL) and field. The test files hide their answers.
    """
    return rows.read_records(path, HOW_TO_GET, _make_record)


def _make_record(number: int, row: dict[str, Any], problems: rows.Problems) -> Record:
    found = row.get("annotation")
    annotation = found if isinstance(found, dict) else {}
    names = ("cur_dial", "exe_ans") if "cur_dial" in annotation else ("dialogue_break", "exe_ans_list")
    turns, gold_name = (f"annotation.{name}" for name in names)
    asked = [finqa.clean_question(turn) for turn in rows.read_strings(row, turns, problems, number)] or [""]
    gold, program = _find_gold(annotation)
    if gold is None:
        problems.add(number, gold_name, "answers (the test files hide them: take train or dev)", rows.Missing())
    target = 0.0 if gold is None else rows.read_gold(gold, gold_name, problems, number, read_target)
    identity = rows.read_field(row, "id", str, problems, number)
    page = finqa.read_page(row, problems, number)
    name = re.sub(r"\A(?:Single|Double)_|(?:-[0-9]+)?(?:_[0-9]+)?\Z", "", identity)  # as FinQA names it
    record = finqa.make_record(finqa.Asked(identity, asked[-1], target, program), page, name)
    if not record.cot:
        record = _pick_number(record, page)
    earlier = "\n".join(f"{i}. {turn}" for i, turn in enumerate(asked[:-1], 1))
    return replace(record, fields={**record.fields, "earlier": earlier})


def _find_gold(annotation: dict[str, Any]) -> tuple[Any, str]:
    """Find the last turn's gold, None where there is none, and its program."""
    if "cur_dial" in annotation:
        gold, program = annotation.get("exe_ans"), annotation.get("cur_program")
    else:
        golds, programs = (annotation.get(name) for name in ("exe_ans_list", "turn_program"))
        gold = golds[-1] if isinstance(golds, list) and golds else None
        program = programs[-1] if isinstance(programs, list) and programs else ""
    return gold, program if isinstance(program, str) else ""


def _pick_number(record: Record, page: finqa.Page) -> Record:
    """Work out a turn that asks for a number of the page: its program is that number."""
    number = parse_number(record.fields["program"])
    if number is None or isinstance(record.target, bool) or number.value != record.target:
        return record
    label = next((line[0].strip() for line in page.table for cell in line[1:] if _has(cell, number.magnitude)), "")
    where = f" in the row {label}" if label else ""
    return replace(record, cot=f"The report gives {number.text}{where}.", response=f"The answer is {number.text}.")


def _has(cell: str, magnitude: float) -> bool:
    number = parse_number(cell)
    return number is not None and number.magnitude == magnitude
