"""Which rows does a data file hold, and what is wrong with them? (docs/design.md C7)"""

import csv
import io
import json
import math
import re
from collections.abc import Callable
from decimal import Decimal
from pathlib import Path
from typing import Any

from fino1 import exits, weights
from fino1.errors import SpecError, first_line
from fino1.tasks.record import Record, Records

csv.field_size_limit(2**31 - 1)  # a cell may hold a whole report; the package's limit is 131,072 characters
SHOWN = 20  # problems listed of one file
_KINDS = {str: "text", list: "a list", dict: "an object", float: "a number"}


class Problems:
    """The problems of one file, as `FILE:ROW: FIELD: expected X, got Y`; raised together."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.found: list[str] = []

    def add(self, row: int, field: str, expected: str, got: object) -> None:
        """Add that a field of a row is not what it should be."""
        shown = got if isinstance(got, Missing) else json.dumps(got, ensure_ascii=False, default=str)
        self.found.append(f"{self.path}:{row}: {field}: expected {expected}, got {str(shown)[:80]}")

    def raise_all(self) -> None:
        """Raise SpecError with the first of them, if there are any."""
        if self.found:
            raise SpecError(first_problems(self.found, str(self.path)))


def first_problems(problems: list[str], source: str) -> list[str]:
    """Return the first SHOWN problems, and a line that says how many more there are."""
    more = [f"{source}: and {len(problems) - SHOWN} more problems"] if len(problems) > SHOWN else []
    return problems[:SHOWN] + more


class Missing:
    """Stands for a field that is not there."""

    def __str__(self) -> str:
        return "nothing"


def read_text(path: Path, how_to_get: str) -> str:
    """Read a text file. Raises SpecError with how to get the data where there is none."""
    try:
        text = Path(path).read_text(encoding="utf-8-sig")
    except FileNotFoundError as error:
        raise SpecError(f"{path}: expected a data file, got no such file: {how_to_get}") from error
    except IsADirectoryError as error:
        raise SpecError(f"{path}: expected a data file, got a directory: {how_to_get}") from error
    except OSError as error:
        if error.errno in exits.DISK_ERRORS:
            raise
        raise SpecError(f"{path}: expected a data file that can be read, got {error.strerror}") from error
    except UnicodeDecodeError as error:
        raise SpecError(f"{path}: expected UTF-8 text, got byte {error.start}: {error.reason}") from error
    if text.startswith("version https://git-lfs."):
        raise SpecError(f"{path}: expected a data file, got a Git LFS pointer; run `git lfs pull` in its repository")
    return text


def read_json_rows(path: Path, how_to_get: str) -> tuple[list[tuple[int, dict[str, Any]]], Problems]:
    """Read the objects of a JSON array (numbered by index) or JSONL file (numbered by line), and the problems so far."""
    text = read_text(path, how_to_get)
    problems = Problems(path)
    if text.lstrip().startswith("["):
        try:
            numbered: list[tuple[int, Any]] = list(enumerate(json.loads(text)))
        except (ValueError, RecursionError) as error:
            raise SpecError(f"{path}: expected a JSON array, got {error}") from error
    else:
        numbered = _lines(text, problems)
        if len(problems.found) > 1 and _is_one_document(text):
            got = "one document over several lines"
            raise SpecError(f"{path}: expected a JSON array of rows, or one object a line, got {got}")
    may_be_broken = re.search(r"\\u[dD][89a-fA-F]", text) is not None
    for row, value in numbered:
        if not isinstance(value, dict):
            problems.add(row, "row", "an object", value)
        elif may_be_broken and not is_unicode(json.dumps(value, ensure_ascii=False)):
            problems.add(row, "row", "Unicode text", "half a surrogate pair (\\ud800 to \\udfff alone)")
    if not numbered and not problems.found:
        raise SpecError(f"{path}: expected rows, got an empty file")
    return [(row, value) for row, value in numbered if isinstance(value, dict)], problems


def read_records(
    path: Path, how_to_get: str, make: Callable[[int, dict[str, Any], Problems], Record | None]
) -> Records:
    """Read a JSON array or JSONL file; rows of which `make` makes None are left out and counted.

    Raises SpecError naming every bad row (index, or line of JSONL) and field.
    """
    numbered, problems = read_json_rows(path, how_to_get)
    found = [make(number, row, problems) for number, row in numbered]
    problems.raise_all()
    return Records((record for record in found if record is not None), found.count(None))


def read_any(path: Path, how_to_get: str) -> tuple[list[tuple[int, dict[str, Any]]], Problems]:
    """Read the rows of a JSON, JSONL, CSV, TSV or Parquet file, whichever its name ends in, and the problems so far."""
    delimiter = {".csv": ",", ".tsv": "\t"}.get(path.suffix)
    if delimiter is not None:
        return list(read_table(path, delimiter, how_to_get)), Problems(path)
    return (read_parquet(path), Problems(path)) if path.suffix == ".parquet" else read_json_rows(path, how_to_get)


def read_parquet(path: Path) -> list[tuple[int, dict[str, Any]]]:
    """Read the rows of a Parquet file, numbered by index. Raises SpecError for what is none, OSError for the disk's errors."""
    import pyarrow
    from pyarrow import parquet

    try:
        if weights.is_pointer(path):
            raise SpecError(f"{path}: expected Parquet, got a Git LFS pointer; run `git lfs pull` in its repository")
        return list(enumerate(parquet.read_table(path).to_pylist()))
    except (pyarrow.ArrowException, OSError, ValueError, OverflowError) as error:  # the last two of texts and times
        if exits.is_disk_error(error):
            raise
        raise SpecError(f"{path}: expected Parquet, got {first_line(error)}") from error


def read_table(path: Path, delimiter: str, how_to_get: str) -> list[tuple[int, dict[str, str]]]:
    """Read the rows of a CSV or TSV file with a header, numbered from 2 as its lines are where no cell has a line break.

    Raises SpecError for a column that is there twice, and for rows with more cells than the header: theirs are shifted.
    """
    text = read_text(path, how_to_get)
    header, *rows = [*csv.reader(io.StringIO(text, newline=""), delimiter=delimiter)] or [[]]
    names = [name.strip() for name in header]
    problems = Problems(path)
    for name in sorted({name for name in names if name and names.count(name) > 1}):
        problems.add(1, name, "one column of this name", names.count(name))
    filled = [(number, row) for number, row in enumerate(rows, 2) if any(row)]
    for number, row in filled:
        if any(row[len(names) :]):
            problems.add(number, "row", f"{len(names)} cells", len(row))
    if not filled and not problems.found:
        raise SpecError(f"{path}: expected rows, got an empty file")
    problems.raise_all()
    empty = dict.fromkeys(filter(None, names), "")
    return [(number, empty | {k: v for k, v in zip(names, row, strict=False) if k}) for number, row in filled]


def is_unicode(text: str) -> bool:
    """True for text that UTF-8 can hold: no half of a surrogate pair, which JSON may spell."""
    try:
        text.encode()
    except UnicodeEncodeError:
        return False
    return True


def is_finite(value: Any) -> bool:
    """True for a number, no truth value, that is finite as a float: JSON may spell integers of any length."""
    try:
        return isinstance(value, int | float | Decimal) and not isinstance(value, bool) and math.isfinite(value)
    except OverflowError:
        return False


def _lines(text: str, problems: Problems) -> list[tuple[int, Any]]:
    numbered = []
    for number, line in enumerate(text.split("\n"), 1):
        if not line.strip():
            continue
        try:
            numbered.append((number, json.loads(line)))
        except (ValueError, RecursionError) as error:
            problems.add(number, "line", f"a JSON object ({error})", line)
    return numbered


def _is_one_document(text: str) -> bool:
    try:
        json.loads(text)
    except (ValueError, RecursionError):
        return False
    return True


def read_field(
    row: dict[str, Any], name: str, kind: type, problems: Problems, number: int, *, empty: bool = False
) -> Any:
    """Read a field of a row; notes a problem and returns an empty `kind` where it is missing, empty or of another type."""
    value: Any = row
    for part in name.split("."):
        value = value.get(part, Missing()) if isinstance(value, dict) else Missing()
    good = isinstance(value, kind) and not isinstance(value, bool)
    if kind is str and good and not empty and not value.strip():
        good = False
    if not good:
        problems.add(number, name, _KINDS[kind], value)
        return kind()
    return value


def read_strings(row: dict[str, Any], name: str, problems: Problems, number: int) -> tuple[str, ...]:
    """Read a list of texts without the blank ones; notes a problem where it is none."""
    value = read_field(row, name, list, problems, number)
    if not all(isinstance(text, str) for text in value):
        problems.add(number, name, "a list of texts", value)
        return ()
    return tuple(text.strip() for text in value if text.strip(" .\n"))


def read_gold(value: Any, name: str, problems: Problems, number: int, read: Callable[[str], Any]) -> float | bool:
    """Read a gold, a number or truth value; notes a problem and returns 0 where it is neither."""
    found = read(value) if isinstance(value, str) and value.strip() else value
    if isinstance(found, bool):
        return found
    if is_finite(found):
        return float(found)
    problems.add(number, name, "a number or yes/no", value)
    return 0.0


def read_answer(
    row: dict[str, Any], name: str, problems: Problems, number: int, read: Callable[[str], Any]
) -> float | bool | None:
    """Read a gold that may be a text: None for one that is no number and not yes or no. Notes a problem where there is none."""
    value = row.get(name, Missing())
    if isinstance(value, str) and value.strip():
        return read(value)
    return read_gold(value, name, problems, number, read)
