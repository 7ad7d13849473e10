"""Ask other questions of the tables of FinQA rows, with the programs that answer them.

A question that names years of the table, or one of its lines, is asked again with other years or another line. Others are made
from the wordings that FinQA's annotators use most. Their programs take their operands from cells with one plain number.
"""

import random
import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

_YEAR = re.compile(r"(?<!\d)(?:19|20)\d\d(?!\d)")
_NUMBER = re.compile(r"(?:\$\s*)?(\d[\d,]*\.?\d*)")  # of a cell that is not negative, no percentage and no range
_OPERAND = re.compile(r"(?<![#_\w.-])\d+(?:\.\d+)?(?![\w%.])")
_ARGUMENTS = re.compile(r"\(([^()]*)\)")
_NOTES = re.compile(r"\([^)]*\)|\s[.:;,]+$")
_MAX_WORDS = 9
_VAGUE = {
    "total",
    "other",
    "net",
    "average",
    "change",
    "basic",
    "diluted",
    "high",
    "low",
}  # lines named by an everyday word
# A question with one of these says no longer which cells it means once its years or its line are others.
_PLACED = re.compile(
    r"\b(highest|largest|greatest|lowest|smallest|maximum|minimum|most|least|first|last|prior|previous|next|following|beginning|end(ing)?)\b"
)
_SIGNED = re.compile(r"\b(difference|increase)\b")  # which has a sign of its own only where the first operand is larger

_CHANGES = (
    ("what was the percentage change in {a} from {y} to {z}?", "subtract({az}, {ay}), divide(#0, {ay})", 5),
    ("what is the growth rate in {a} from {y} to {z}?", "subtract({az}, {ay}), divide(#0, {ay})", 3),
    ("what was the percent of the increase in {a} from {y} to {z}?", "subtract({az}, {ay}), divide(#0, {ay})", 3),
    ("by what percentage did {a} change between {y} and {z}?", "subtract({az}, {ay}), divide(#0, {ay})", 2),
    ("what was the change in {a} from {y} to {z}?", "subtract({az}, {ay})", 3),
    ("what was the difference in {a} between {y} and {z}?", "subtract({az}, {ay})", 2),
    ("what is the net change in {a} in {z} compared to {y}?", "subtract({az}, {ay})", 2),
    ("what was the average {a} in {y} and {z}?", "add({ay}, {az}), divide(#0, const_2)", 3),
    ("what is the total {a} for {y} and {z}?", "add({ay}, {az})", 2),
    ("what is the ratio of {a} in {z} to {y}?", "divide({az}, {ay})", 2),
    ("was {a} in {z} greater than in {y}?", "greater({az}, {ay})", 1),
)
"""Wordings on one line `a` in two years, the program, and how often it comes."""
_SHARES = (
    ("what percentage of {t} was {a} in {y}?", "divide({ay}, {ty})", 5),
    ("what portion of the {t} is related to {a} in {y}?", "divide({ay}, {ty})", 4),
    ("in {y} what was the percent of {a} to the {t}?", "divide({ay}, {ty})", 3),
    ("what was the ratio of {a} to {t} in {y}?", "divide({ay}, {ty})", 2),
)
"""Wordings on a line and a total, in one year."""
_PAIRS = (
    ("in {y} what was the ratio of {a} to {b}?", "divide({ay}, {by})", 3),
    ("what was the sum of {a} and {b} in {y}?", "add({ay}, {by})", 2),
    ("what is the difference between {a} and {b} in {y}?", "subtract({ay}, {by})", 2),
)
"""Wordings on two lines in one year."""


@dataclass(frozen=True)
class Grid:
    """A table's lines by name and its columns by year: `cells` has the plain numbers, as programs write them."""

    lines: tuple[str, ...]
    years: tuple[str, ...]
    cells: dict[tuple[str, str], str]

    def find(self, operand: str) -> tuple[str, str] | None:
        """The line and year of the one cell with this number."""
        found = [place for place, number in self.cells.items() if float(number) == float(operand)]
        return found[0] if len(found) == 1 else None


def read_grid(table: Sequence[Sequence[str]]) -> Grid | None:
    """Read a table of several columns, or else lines, that are headed alike but for a year; None for another."""
    for lines in (table, list(zip(*table, strict=False))):
        years = {j: found[0] for j, cell in enumerate(lines[0]) if j and len(found := _YEAR.findall(str(cell))) == 1}
        titles = {re.sub(r"[\d\W]+", " ", str(lines[0][j])).strip() for j in years}
        if len(years) < 2 or len(set(years.values())) < len(years) or len(titles) > 1:
            continue
        names = [_name(str(line[0])) for line in lines]
        cells = {
            (name, year): number
            for name, line in zip(names[1:], lines[1:], strict=True)
            if name and names.count(name) == 1
            for j, year in years.items()
            if j < len(line) and (number := _read_number(str(line[j])))
        }
        present = tuple(dict.fromkeys(name for name, _ in cells))
        return Grid(present, tuple(sorted(years.values())), cells) if present else None
    return None


def _read_number(cell: str) -> str | None:
    """A cell's number as programs write it; None for 0, and for what may be a year.

    2013 and 2014 are mostly dashes in FinQA: U+2013 and U+2014, without what escaped them.
    """
    match = _NUMBER.fullmatch(cell.strip())
    number = match and match[1].replace(",", "")
    return number if number and float(number) and not _YEAR.fullmatch(number) else None


def _name(text: str) -> str:
    """A line's name as a question says it; none for one that is long, vague, or has a year."""
    name = " ".join(_NOTES.sub(" ", text.lower()).split()).strip(" .:;,-")
    is_clear = re.search("[a-z]{3}", name) and not _YEAR.search(name) and name not in _VAGUE
    return name if is_clear and len(name.split()) <= _MAX_WORDS else ""


def reword(row: dict[str, Any], grid: Grid) -> list[dict[str, str]]:
    """Ask a row's question of other years as far apart, and of each other line, where its words and its program allow it."""
    question, operands = row["question"].lower(), list(dict.fromkeys(_OPERAND.findall(row["program"])))
    arguments = ",".join(_ARGUMENTS.findall(row["program"])).split(",")
    others = {each.strip() for each in arguments} - set(operands)
    places = {operand: grid.find(operand) for operand in operands}
    is_bound = _PLACED.search(question) or set(_OPERAND.findall(question)) & set(grid.cells.values())
    if not operands or None in places.values() or is_bound or not all(re.match("#|const_", each) for each in others):
        return []
    used, lines = {place[1] for place in places.values()}, {place[0] for place in places.values()}
    spans = _shift(used, grid.years) if set(_YEAR.findall(question)) == used else [{year: year for year in used}]
    line = next(iter(lines)) if len(lines) == 1 else None
    pattern = line and rf"(?<!\w){re.escape(line)}(?!\w)"
    names = grid.lines if pattern and len(re.findall(pattern, question)) == 1 else [line]
    found = []
    for name in names:
        text = re.sub(pattern, lambda _, name=name: name, question) if len(names) > 1 else question
        for years in spans:
            new = {
                operand: grid.cells.get((name or places[operand][0], years[places[operand][1]])) for operand in operands
            }
            moved = _YEAR.sub(lambda match, years=years: years.get(match[0], match[0]), text)
            if None not in new.values() and moved != question:
                program = _OPERAND.sub(lambda match, new=new: new[match[0]], row["program"])
                found.append({"question": moved, "program": program})
    return found


def _shift(used: set[str], years: Sequence[str]) -> list[dict[str, str]]:
    """All years in use moved by as many; the table must have them."""
    offsets = sorted({int(year) - int(min(used)) for year in years})
    spans = [{year: str(int(year) + offset) for year in used} for offset in offsets]
    return [span for span in spans if set(span.values()) <= set(years)]


def make(grid: Grid, rng: random.Random) -> dict[str, str] | None:
    """Make one question; None where the table has no cells for the wording chosen."""
    wordings = [*_CHANGES, *_SHARES, *_PAIRS]
    wording, program, _ = rng.choices(wordings, [weight for *_, weight in wordings])[0]
    y, z = sorted(rng.sample(grid.years, 2))
    a, b = rng.sample(grid.lines, 2) if len(grid.lines) > 1 else (grid.lines[0], None)
    t = next((name for name in grid.lines[grid.lines.index(a) + 1 :] if "total" in name), None)  # the nearest below
    names = {"a": a, "b": b, "t": t}
    cells = {
        f"{key}{at}": grid.cells.get((name, year)) for key, name in names.items() for at, year in (("y", y), ("z", z))
    }
    if any(f"{{{key}}}" in program and number is None for key, number in cells.items()):
        return None
    first, second = (float(cells[key]) for key in re.findall(r"{(\w+)}", program)[:2])
    if ("{ty}" in program and first > second) or (_SIGNED.search(wording) and first < second):
        return None
    return {"question": wording.format(**names, y=y, z=z), "program": program.format(**cells)}
