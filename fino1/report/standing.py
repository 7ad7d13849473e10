"""Which models can the paired tests not tell apart, and how small a difference could they show at all? One table at a time."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from statistics import median
from typing import Any

from fino1.intervals import least_difference, least_significant
from fino1.report.leaderboard import SIGNIFICANT, Pair, Table

LEGEND = (
    "Models are sorted by accuracy. Those that share a letter are not told apart by the paired tests; rank: one more than the "
    "number of models that are better by these tests, up to the number of those that are not worse. Bars: 95 % intervals. "
    "They say how precise one accuracy is; two that overlap may yet differ in a paired test."
)
_LETTERS = "abcdefghijklmnopqrstuvwxyz"


@dataclass(frozen=True)
class Standing:
    """A row of a table, with the letters of the groups that its model is in, and its best and worst rank."""

    row: Mapping[str, Any]
    groups: tuple[int, ...]
    best: int
    worst: int

    @property
    def letters(self) -> str:
        """The groups as letters: a for the first, aa for the one after z."""
        return " ".join(_LETTERS[i % 26] * (1 + i // 26) for i in self.groups)

    @property
    def rank(self) -> str:
        """The rank, as a range where it is not sure."""
        return f"{self.best}" if self.best == self.worst else f"{self.best}–{self.worst}"


def stand(table: Table, pairs: Sequence[Pair]) -> list[Standing]:
    """Sort a table's rows by accuracy, and group the models that its paired tests do not tell apart."""
    rows = sorted(table.rows, key=lambda row: -row["accuracy"])
    place = {(row["table"], row["model"]): i for i, row in enumerate(rows)}
    better: list[set[int]] = [set() for _ in rows]  # by number of a row: those that are better
    for pair in pairs:
        a, b = (place.get((pair.table, name)) for name in (pair.a, pair.b))
        if a is not None and b is not None and pair.p_holm < SIGNIFICANT:
            low, high = (b, a) if pair.difference > 0 else (a, b)
            better[low].add(high)
    worse = [{j for j, others in enumerate(better) if i in others} for i in range(len(rows))]
    groups = _find_groups([{*range(len(rows))} - {i} - better[i] - worse[i] for i in range(len(rows))])
    return [
        Standing(
            row,
            groups=tuple(j for j, group in enumerate(groups) if i in group),
            best=1 + len(better[i]),
            worst=len(rows) - len(worse[i]),
        )
        for i, row in enumerate(rows)
    ]


def _find_groups(alike: Sequence[set[int]]) -> list[set[int]]:
    """Find the largest sets whose members are all alike, each member of none left out; in the order of their first members.

    Two rows are in one set exactly where they are alike (Bron–Kerbosch 1973 with the pivot of Tomita 2006).
    """
    found: list[set[int]] = []

    def grow(chosen: set[int], open_: set[int], closed: set[int]) -> None:
        if not open_ and not closed:
            found.append(chosen)
            return
        pivot = max(sorted(open_ | closed), key=lambda i: len(open_ & alike[i]))
        for i in sorted(open_ - alike[pivot]):
            grow(chosen | {i}, open_ & alike[i], closed & alike[i])
            open_, closed = open_ - {i}, closed | {i}

    grow(set(), set(range(len(alike))), set())
    return sorted(found, key=sorted)


def describe_power(table: Table, pairs: Sequence[Pair]) -> str:
    """Say which differences the table's tests could show; "" where there is no pair."""
    mine = [pair for pair in pairs if pair.table == table.name]
    if not mine:
        return ""
    n, tests = max(pair.common for pair in mine), len(mine)
    alone = len([pair for pair in mine if pair.p_holm >= SIGNIFICANT])
    k, square = table.rows[0].get("samples", 1), median(pair.mean_square for pair in mine)
    parts = [
        f"n = {n:,} does not tell {alone:,} of {tests:,} pairs apart."
        if alone
        else f"n = {n:,} tells all pairs apart.",
        _describe_least(n, tests, k),
        _describe_usual(n, tests, k, square),
    ]
    return " ".join(parts)


def _describe_least(n: int, tests: int, k: int) -> str:
    """Say which difference is too small for any test: as many questions as it needs, each with one more right answer of k."""
    least, corrected = least_significant(n, SIGNIFICANT), least_significant(n, SIGNIFICANT / tests)
    if least is None:
        return f"No difference on {n:,} questions can have p below {SIGNIFICANT:g}."
    text = f"Below {_points(least / n / k)} ({least:,} questions) no difference can have p below {SIGNIFICANT:g}"
    if tests == 1:
        return f"{text}, even where one model is right on all that the other is."
    strictest = f"below {_points(corrected / n / k)}" if corrected else "at any size"
    return f"{text}; none {strictest} passes the strictest of Holm's {tests:,} steps."


def _describe_usual(n: int, tests: int, k: int, square: float) -> str:
    seen = f"Where just one of two models is right on {100 * square:.0f} % of the questions, the median here,"
    most = square
    if k > 1:
        most = math.sqrt(square)
        seen = f"Where two models differ by {_points(most)} a question (root mean square, the median here),"
    usual, corrected = (least_difference(n, square, SIGNIFICANT / count, most=most) for count in (1, tests))
    if usual is None:
        return f"{seen} no difference is found in four of five cases by a single test."
    text = f"{seen} a single test finds a difference of {_points(usual)} in four of five cases"
    if tests == 1:
        return f"{text}."
    return f"{text}, the strictest step {'none' if corrected is None else 'one of ' + _points(corrected)}."


def _points(share: float) -> str:
    return f"{100 * share:.1f} points"
