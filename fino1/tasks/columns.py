"""Which records do rows give whose columns a task file names? (docs/tasks.md)"""

import hashlib
import json
import re
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from fino1.spec.taskfile import ColumnsBlock, Kind, TaskFile
from fino1.tasks import rows
from fino1.tasks.record import LETTERS, Record, Records
from fino1.tasks.scoring.answer import read_target
from fino1.tasks.scoring.choice import read_choice
from fino1.tasks.scoring.numbers import parse_number
from fino1.tasks.scoring.truth import read_truth

LEFT_OUT = "that the task leaves out"
SCALES = {"one": 1.0, "thousand": 1e3, "million": 1e6, "billion": 1e9, "trillion": 1e12}
_TRUTHS = {0: False, 1: True}
_LETTERED = re.compile(r"\s*\(?([A-J])[).:]\s+(.*)", re.DOTALL)


def read(path: Path, file: TaskFile, name: str) -> Records:
    """Read the rows of a file by the columns that the task file names; those that it leaves out are counted.

    Raises SpecError naming every bad row (index, or line of JSONL, CSV and TSV) and column.
    """
    numbered, problems = rows.read_any(path, file.how_to_get or f"get the rows of {name} from {file.source}")
    asked = [(number, row) for number, row in numbered if not _is_left_out(row, file)]
    found = [make_record(number, row, file, name, problems) for number, row in asked]
    problems.raise_all()
    return Records((record for record in found if record), len(numbered) - len(asked) + found.count(None), LEFT_OUT)


def make_record(number: int, row: dict[str, Any], file: TaskFile, name: str, problems: rows.Problems) -> Record | None:
    """Make the record of a row; None for one whose answer is of another kind and that the file leaves out."""
    columns = file.columns
    options = _read_options(row, columns, problems, number)
    kinds = _list_kinds(row, file, bool(options), problems, number)
    gold = find(row, columns.answer)
    target = next((found for kind in kinds if (found := read_answer(gold, kind, options)) is not None), None)
    if target is None:
        if kinds and (not file.skip_other_answers or gold is None or gold == ""):
            expected = " or ".join(EXPECTED[kind] for kind in kinds)
            problems.add(number, columns.answer, expected, rows.Missing() if gold is None else gold)
        return None
    needed = (columns.id, columns.kind, columns.unit, columns.page, *(columns.document or ()), *columns.others.values())
    for column in needed:
        if column is not None and _is_missing(row, column):
            problems.add(number, column, "text", rows.Missing())
    before, table, after = _read_document(row, columns, problems, number)
    unit = _find_unit(row, file, problems, number)
    cot, response = (_read_text(row, column) for column in (columns.cot, columns.response))
    return Record(
        id=_read_text(row, columns.id) or f"{name}-{number}",
        question=rows.read_field(row, columns.question, str, problems, number).strip(),
        target=target,
        before=before,
        table=table,
        after=after,
        page=_read_text(row, columns.page) or _name_page(row, columns),
        fields={own: _read_text(row, column) for own, column in columns.others.items()},
        cot=cot,
        response=response or (_write_response(target, options) if cot else ""),
        basis={"options": options}
        if isinstance(target, str)
        else read_unit(unit, gold)
        if isinstance(target, float)
        else {},
    )


EXPECTED: dict[Kind, str] = {
    "number": "a number",
    "yes/no": "yes/no",
    "choice": "the letter or the text of an option",
}


def find(row: Any, name: str) -> Any:
    """Find the value of a column, whose name may lead into objects by dots; None where there is none."""
    if isinstance(row, dict) and name in row:
        return row[name]
    for part in name.split("."):
        row = row.get(part) if isinstance(row, dict) else None
    return row


def read_answer(gold: Any, kind: Kind, options: Sequence[str] = ()) -> float | bool | str | None:
    """Read a gold of this kind: a number, a truth value, or the letter of an option; None where it is none."""
    if kind == "choice":
        if isinstance(gold, int) and not isinstance(gold, bool):
            return LETTERS[gold] if 0 <= gold < len(options) else None
        return read_choice(gold, options) if isinstance(gold, str) else None
    if isinstance(gold, bool):
        return gold if kind == "yes/no" else None
    if kind == "yes/no":
        truth = read_truth(gold.strip().rstrip(".")) if isinstance(gold, str) else None
        number = read_target(gold) if truth is None and isinstance(gold, str | int | float) else None
        return truth if truth is not None else _TRUTHS.get(number) if number is not None else None
    found = read_target(gold) if isinstance(gold, str) and gold.strip() else gold
    return float(found) if rows.is_finite(found) else None


def read_unit(unit: str | None, gold: Any) -> dict[str, float | bool]:
    """Return what a row's unit says of its gold, unless the gold says it itself ("2.9 %", "$36.1 billion")."""
    number = parse_number(gold) if isinstance(gold, str) else None
    if number is not None and not number.plain:
        return {"in_percent": False} if number.percent else {}
    if unit in ("percent", "fraction"):
        return {"in_percent": unit == "percent"}
    return {"table_unit": SCALES[unit]} if unit in SCALES else {}


def split_options(text: str) -> tuple[str, ...]:
    """Split lines such as "A. text" into the options; a line without the next letter goes on with the one before it."""
    found: list[str] = []
    for line in text.replace("\\n", "\n").split("\n"):
        lettered = _LETTERED.fullmatch(line)
        if lettered and lettered[1] == LETTERS[len(found) : len(found) + 1]:
            found.append(lettered[2].strip())
        elif found and line.strip():
            found[-1] += f"\n{line.strip()}"
    return tuple(found)


def _is_missing(row: dict[str, Any], column: str) -> bool:
    """True where a row has no such column: a null is a value, a name that is misspelt is not."""
    holder, _, last = column.rpartition(".")
    inner = find(row, holder) if holder else row
    return column not in row and not (isinstance(inner, dict) and last in inner)


def _is_left_out(row: dict[str, Any], file: TaskFile) -> bool:
    for column, values in file.leave_out.items():
        value = _read_text(row, column)
        if value in values if values else value:
            return True
    return False


def _read_text(row: dict[str, Any], column: str | None) -> str:
    """Return a column as text; "" where there is none."""
    value = None if column is None else find(row, column)
    if value is None:
        return ""
    return value.strip() if isinstance(value, str) else json.dumps(value, ensure_ascii=False, default=str)


def _list_kinds(
    row: dict[str, Any], file: TaskFile, has_options: bool, problems: rows.Problems, number: int
) -> list[Kind]:
    """List of which kinds a row's answer may be, in the order in which they are tried; none where its column names no kind."""
    if file.columns.kind is None:
        kinds: list[Kind] = ["choice"] if has_options or file.answer.kind == ["choice"] else ["number", "yes/no"]
        return [kind for kind in kinds if kind in file.answer.kind]
    said = _read_text(row, file.columns.kind)
    if said in file.answer.kinds:
        return [file.answer.kinds[said]]
    if not file.skip_other_answers:
        problems.add(number, file.columns.kind, f"one of {', '.join(file.answer.kinds)}", said)
    return []


def _read_options(row: dict[str, Any], columns: ColumnsBlock, problems: rows.Problems, number: int) -> tuple[str, ...]:
    """Read the options: a list, a map of letters, lettered lines, or a column each; () where the row has none."""
    if columns.options is None:
        return ()
    found = [find(row, column) for column in columns.options]
    if len(found) == 1:
        (value,) = found
        if isinstance(value, dict):
            value = [value[letter] for letter in sorted(value)]
        found = split_options(value) if isinstance(value, str) and value.strip() else value or []
    if not isinstance(found, list | tuple) or len(found) > len(LETTERS):
        problems.add(number, columns.options[0], f"at most {len(LETTERS)} options", found)
        return ()
    return tuple(str(option).strip() for option in found if option is not None and str(option).strip())


def _find_unit(row: dict[str, Any], file: TaskFile, problems: rows.Problems, number: int) -> str | None:
    said = _read_text(row, file.columns.unit).lower()
    if said in ("", *SCALES, "percent", "fraction"):
        return said or file.answer.unit
    problems.add(number, str(file.columns.unit), f"{', '.join(SCALES)}, percent, fraction or none", said)
    return None


def _read_document(
    row: dict[str, Any], columns: ColumnsBlock, problems: rows.Problems, number: int
) -> tuple[tuple[str, ...], tuple[str, ...], tuple[str, ...]]:
    """Read the lines before the first table, those of the tables, and those behind."""
    before: list[str] = []
    table: list[str] = []
    after: list[str] = []
    for column in columns.document or ():
        value = find(row, column)
        parts = value.splitlines() if isinstance(value, str) else value
        if not isinstance(parts, list | None):
            problems.add(number, column, "a text, a list of texts or a table", value)
        elif parts and all(isinstance(line, list) for line in parts):
            table += ["|".join("" if cell is None else str(cell).strip() for cell in line) for line in parts]
        else:
            (after if table else before).extend(line.strip() for part in parts or () for line in str(part).splitlines())
    return tuple(filter(None, before)), tuple(table), tuple(filter(None, after))


def _name_page(row: dict[str, Any], columns: ColumnsBlock) -> str:
    """Name the document by its hash; "" where there is none."""
    texts = [_read_text_whole(find(row, column)) for column in columns.document or ()]
    whole = "\n".join(text for text in texts if text)
    return f"report:{hashlib.sha256(whole.encode()).hexdigest()[:16]}" if whole.strip() else ""


def _read_text_whole(value: Any) -> str:
    return value if isinstance(value, str) else "" if value is None else json.dumps(value, ensure_ascii=False)


def _write_response(target: float | bool | str, options: Sequence[str]) -> str:
    if isinstance(target, bool):
        return f"The answer is {'yes' if target else 'no'}."
    if isinstance(target, str):
        return f"The answer is {target}. {options[LETTERS.index(target)]}" if options else f"The answer is {target}."
    return f"The answer is {target:.15g}."
