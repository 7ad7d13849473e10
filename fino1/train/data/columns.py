"""How are rows in Fino1's columns read, from a file or the hub? (docs/design.md C7)

The columns are those of TheFinAI/Fino1_Reasoning_Path_FinQA: `Question`, `Complex_CoT` and `Response` for SFT, `Open-ended
Verifiable Question` and `Ground-True Answer` for PPO; a verifier's pairs have PPO's, `Response` and perhaps `label`.
formats.py turns SFT's rows of other formats into these.
"""

import os
import re
from collections.abc import Sequence
from decimal import Decimal
from pathlib import Path
from typing import Any, NoReturn

from fino1 import exits
from fino1.errors import SpecError, first_line
from fino1.spec.inputs import DEFAULT_DATA, DataBlock, RowsBlock
from fino1.tasks.record import FINAL, THINKING, Record
from fino1.tasks.rows import first_problems, is_finite, read_json_rows, read_parquet
from fino1.train.data import chains, formats, published
from fino1.train.data.formats import ANSWER, QUESTION, REASONING, Numbered

SFT_COLUMNS = (QUESTION, REASONING, ANSWER)
RL_COLUMNS = ("Open-ended Verifiable Question", "Ground-True Answer")
PAIR_COLUMNS = (*RL_COLUMNS, "Response", "label")
DOCUMENT = "Document"  # a column that rows of method `paths` have: the part of the prompt that may be cut
_CONTEXT = re.compile(r"\A(.*?context:)(.*?)(\bquestion:.*)\Z", re.DOTALL | re.IGNORECASE)
_LABELS = {"True": "true", "1": "true", "False": "false", "0": "false"}  # by the text of what JSON may hold


def read(block: RowsBlock, method: str) -> list[Record]:
    """Read the rows of `block.path` or `block.hub` as records. Raises SpecError naming file, row and field of bad ones."""
    columns = {"sft": SFT_COLUMNS, "verifier": PAIR_COLUMNS}.get(method, RL_COLUMNS)
    given = block.columns if isinstance(block, DataBlock) else {}
    names = {column: given.get(column, column) for column in columns}
    source = block.path or block.hub or DEFAULT_DATA
    raw, problems = load_local(Path(source)) if block.path is not None else (_load_hub(source, block), [])
    if method == "verifier":
        raw = chains.expand(source, raw, names)
    there = {name for _, row in raw for name in row}
    names = formats.match_spelling(published.find_names(names, there), there)
    wanted = [name for column, name in names.items() if column != "label"]
    if there.issuperset(wanted) or not raw:
        return _records(source, raw, problems, names)
    reader = formats.find_reader(there) if method == "sft" else None
    if reader is None:
        _refuse(source, problems, there, wanted, isinstance(block, DataBlock))
    raw, more = formats.translate(source, raw, reader)
    return _records(source, raw, problems + more, {column: column for column in columns}, optional=(REASONING,))


def _refuse(source: str, problems: list[str], there: set[str], wanted: Sequence[str], has_names: bool) -> NoReturn:
    """Raise SpecError for columns that no row has: the file is of another format, or names its columns otherwise."""
    got = ", ".join(sorted(there)) or "none"
    hint = "; data.columns maps other names, data.task reads a benchmark's own format" if has_names else ""
    line = f"{source}: expected columns {', '.join(wanted)}, got {got[:200]}{hint}"
    raise SpecError(first_problems([line, *problems], source))


def load_local(path: Path) -> tuple[Numbered, list[str]]:
    """Rows of a file (JSON arrays and Parquet numbered by index, JSONL by line), and the problems of what is no row.

    Writes no cache, as `datasets` would: `/models` may be read-only.
    """
    kinds = (".json", ".jsonl", ".parquet")
    if not os.path.isfile(path):  # Path.is_file raises for a name that is too long
        raise SpecError(f"{path}: expected a JSON, JSONL or Parquet file, got none")
    if path.suffix not in kinds:
        raise SpecError(f"{path}: expected a name that ends in {', '.join(kinds)}, got {path.suffix or 'none'}")
    if path.suffix != ".parquet":
        numbered, problems = read_json_rows(path, "")
        return numbered, problems.found
    return read_parquet(path), []


def _load_hub(hub: str, block: RowsBlock) -> Numbered:
    import datasets

    try:
        return list(enumerate(datasets.load_dataset(hub, revision=block.revision, split=block.split)))
    except (datasets.exceptions.DatasetNotFoundError, ConnectionError, OSError, ValueError) as error:
        if exits.is_disk_error(error):
            raise
        raise SpecError(f"data.hub: {hub}: expected a dataset that can be read, got {first_line(error)}") from error


def _records(
    source: str, raw: Numbered, problems: list[str], names: dict[str, str], optional: Sequence[str] = ()
) -> list[Record]:
    """Rows as records: `Document`, or the text between `Context:` and `Question:`, is the document; the rest is never cut.

    A pair's label, where it has one, is "true" or "false" in the record's fields. A row may lack the `optional` columns.
    """
    check = _pair_problem if "label" in names else _problem
    records = []
    for number, row in raw:
        found = [
            f"{source}:{number}: {name}: {problem}"
            for column, name in names.items()
            if (name in row or column not in optional) and (problem := check(column, row.get(name)))
        ]
        problems += found
        if found:
            continue
        values = {column: _text(row[name]) for column, name in names.items() if row.get(name) is not None}
        question = next(iter(values.values()))
        head, document, tail = _split(question, row.get(DOCUMENT))
        records.append(
            Record(
                id=f"{number}",
                question=tail,
                target=values.get(RL_COLUMNS[1], ""),
                before=tuple(document.splitlines(keepends=True)),
                fields={"head": head} | ({"label": _LABELS[values["label"]]} if "label" in values else {}),
                cot=values.get("Complex_CoT", ""),
                response=values.get("Response", ""),
            )
        )
    if problems:
        raise SpecError(first_problems(problems, source))
    return records


def _split(question: str, document: Any) -> tuple[str, str, str]:
    """Split a prompt into what is before, in and behind its document, which the row may name."""
    if isinstance(document, str) and document and document in question:
        head, _, tail = question.partition(document)
        return head, document, tail
    parts = _CONTEXT.match(question)
    return parts.groups() if parts else ("", "", question)


def _text(value: Any) -> str:
    return f"{value:f}" if isinstance(value, Decimal) else str(value)


def _problem(column: str, value: Any) -> str:
    """Return what is wrong with this field of a row; "" where nothing is."""
    if not isinstance(value, str):
        right = column == RL_COLUMNS[1] and is_finite(value)
        return "" if right else f"expected text, got {'none' if value is None else repr(value)[:80]}"
    if not value.strip():
        return "expected text, got an empty one"
    if column in SFT_COLUMNS[1:] and (THINKING in value or FINAL in value):
        return f"expected no heading {THINKING!r} or {FINAL!r}, got one"
    return ""


def _pair_problem(column: str, value: Any) -> str:
    """Return what is wrong with this field of a verifier's pair; a response may be any text, and a label may be absent."""
    if column == "label":
        good = value is None or isinstance(value, bool | int) and str(value) in _LABELS
        return "" if good else f"expected true, false or none, got {value!r}"
    if column == "Response":
        return "" if isinstance(value, str) else f"expected text, got {'none' if value is None else repr(value)[:80]}"
    return "" if column == RL_COLUMNS[1] and isinstance(value, bool) else _problem(column, value)
