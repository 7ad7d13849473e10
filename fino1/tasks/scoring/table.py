"""Which cell of a Markdown table is asked for? (docs/scoring.md §3)"""

import re
from collections.abc import Sequence

from fino1.tasks.scoring.question import QuestionFacts

_MOVEMENTS = frozenset(["change", "difference", "increase", "decrease", "variance", "variation", "growth", "delta"])
_WORDS = re.compile(r"[a-z]{4,}|[0-9]{4}")
LONGEST = 100
"""Rows of a table that are looked through for its header."""
_RULE = re.compile(r"[\s|:-]+")


def take_cell(rows: Sequence[str], facts: QuestionFacts) -> str:
    """Take the cell of the first row that stands under a header with the question's words or year; all of it where none does.

    The rows above it follow, the header last.
    """
    row = rows[0]
    header = _cells(rows[-1])
    cells = _cells(row)
    if len(rows) == 1 or len(header) != len(cells) or _RULE.fullmatch(row):
        return row
    asked = facts.words | facts.years | (_MOVEMENTS if facts.movement else frozenset())
    named = [
        index
        for index, title in enumerate(header)
        if (index or title in facts.years) and not asked.isdisjoint(_WORDS.findall(title.lower()))
    ]
    if facts.movement and len(named) > 1:
        named = [index for index in named if not _MOVEMENTS.isdisjoint(_WORDS.findall(header[index].lower()))] or named
        named = [index for index in named if facts.percent is ("%" in header[index] or "%" in cells[index])] or named
    keyed = [index for index in named if re.search("[A-Za-z]{4,}", header[index])]
    chosen = keyed if len(keyed) == 1 else named
    if len(chosen) != 1:
        return row
    label = f"{cells[0]} " if chosen[0] else ""
    return f"{label}{header[chosen[0]]}: {cells[chosen[0]]}"


def _cells(line: str) -> list[str]:
    return [cell.strip() for cell in line.strip().strip("|").split("|")]
