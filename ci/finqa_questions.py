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
_NOTES = re.compile(r"\([^)]*\)|\s[.:;,]+$")
_MAX_WORDS = 9

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
        found = [place for place, number in self.cells.items() if float(number) == float(operand.replace(",", ""))]
        return found[0] if len(found) == 1 else None


def read_grid(table: Sequence[Sequence[str]]) -> Grid | None:
    """Read a table with a year for each of at least two columns, or for each of at least two lines; None for another."""
    for lines in (table, list(zip(*table, strict=False))):
        years = {j: found[0] for j, cell in enumerate(lines[0]) if j and len(found := _YEAR.findall(str(cell))) == 1}
        if len(years) < 2 or len(set(years.values())) < len(years):
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
    """A cell's number as programs write it; None for 0, a year, and a dash, which FinQA has as 2013 or 2014."""
    match = _NUMBER.fullmatch(cell.strip())
    number = match and match[1].replace(",", "")
    return number if number and float(number) and not _YEAR.fullmatch(number) else None


def _name(text: str) -> str:
    """A line's name as a question says it; none for one that is long or no words."""
    name = " ".join(_NOTES.sub(" ", text.lower()).split()).strip(" .:;,-")
    return name if re.search("[a-z]{3}", name) and len(name.split()) <= _MAX_WORDS else ""


def move(row: dict[str, Any], grid: Grid) -> list[dict[str, str]]:
    """Ask a row's question of each other choice of years, and of each other line, that the question can be reworded for."""
    operands = list(dict.fromkeys(_OPERAND.findall(row["program"])))
    places = {operand: grid.find(operand) for operand in operands}
    if not operands or None in places.values():
        return []
    found = []
    question, lines = row["question"].lower(), {place[0] for place in places.values()}
    used, named = sorted({place[1] for place in places.values()}), set(_YEAR.findall(question))
    can_move_years = named == set(used)
    line = next(iter(lines)) if len(lines) == 1 and question.count(next(iter(lines))) == 1 else None
    for name in grid.lines if line else [None]:
        for years in _choices(grid.years, len(used)) if can_move_years else [used]:
            moved = dict(zip(used, years, strict=True))
            new = {o: grid.cells.get((name or places[o][0], moved[places[o][1]])) for o in operands}
            if None in new.values() or (years == used and name in (None, line)):
                continue
            text = _YEAR.sub(lambda match, moved=moved: moved.get(match[0], match[0]), question)
            text = text.replace(line, name) if line else text
            program = _OPERAND.sub(lambda match, new=new: new[match[0]], row["program"])
            found.append({"question": text, "program": program})
    return found


def _choices(years: Sequence[str], count: int) -> list[list[str]]:
    """Ascending choices of `count` neighbouring years."""
    return [list(years[i : i + count]) for i in range(len(years) - count + 1)]


def make(grid: Grid, rng: random.Random) -> dict[str, str] | None:
    """Make one question; None where the table has no cells for the wording chosen."""
    wordings = [*_CHANGES, *_SHARES, *_PAIRS]
    wording, program, _ = rng.choices(wordings, [weight for *_, weight in wordings])[0]
    y, z = sorted(rng.sample(grid.years, 2))
    a, b = rng.sample(grid.lines, 2) if len(grid.lines) > 1 else (grid.lines[0], None)
    t = rng.choice([name for name in grid.lines if "total" in name and name != a] or [None])
    names = {"a": a, "b": b, "t": t}
    places = {
        f"{key}{at}": grid.cells.get((name, year)) for key, name in names.items() for at, year in (("y", y), ("z", z))
    }
    if any(f"{{{key}}}" in program and number is None for key, number in places.items()):
        return None
    if "{ty}" in program and float(places["ay"]) > float(places["ty"]):
        return None
    return {"question": wording.format(**names, y=y, z=z), "program": program.format(**places)}
