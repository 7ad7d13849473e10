"""How accurate is each model, and which differences are significant? The leaderboard as JSON and as Markdown."""

import json
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import combinations
from typing import Any

from fino1.cells import Cell
from fino1.intervals import holm, mcnemar, wilson
from fino1.report.markdown import escape as _escape
from fino1.report.markdown import write_table as _write_table

SIGNIFICANT = 0.05

LEGEND = (
    "k of n: strictly right answers of all questions asked. Unparsed and truncated answers are in n and never in k; an "
    "answer that is both counts in both columns. Interval: 95 %, Wilson. Cut: the document was shortened to fit the "
    "model. DocMath-compatible: share accepted by the rules of the public DocMath-Eval evaluator, truncated answers "
    "included, for comparison with published numbers only."
)
PAIRS_LEGEND = (
    "Paired on the questions that both models were asked (x of y and z: x in common, a was asked y, b was asked z). "
    "p: exact two-sided McNemar test. p (Holm): corrected for all the comparisons made on that task. "
    f"A model is called better where p (Holm) is below {SIGNIFICANT:g}."
)
_ROW_HEAD = ("Model", "Task", "k/n", "Accuracy, %", "95 % interval, %", "Unparsed", "Truncated", "Cut")
_ROW_HEAD += ("DocMath-compatible, %",)
_PAIR_HEAD = ("Task", "a", "b", "Reading", "Questions", "Only a right", "Only b right", "p", "p (Holm)")


@dataclass(frozen=True)
class Pair:
    """Two models on one task: how they did on the questions (same id, text and target) that both were asked."""

    task: str
    a: str
    b: str
    n_a: int
    n_b: int
    common: int
    only_a: int
    only_b: int
    p: float
    p_holm: float

    @property
    def reading(self) -> str:
        """The result in words."""
        if self.p_holm >= SIGNIFICANT:
            return "no difference shown"
        return f"{self.a if self.only_a > self.only_b else self.b} better"

    @property
    def questions(self) -> str:
        """The number of common questions, and of each model's where they were not asked the same."""
        if self.common == self.n_a == self.n_b:
            return f"{self.common:,}"
        return f"{self.common:,} of {self.n_a:,} and {self.n_b:,}"


@dataclass(frozen=True)
class Leaderboard:
    """The rows of leaderboard.json, the paired tests, and the pairs that cannot be tested, in words."""

    rows: list[dict[str, Any]]
    pairs: list[Pair]
    disjoint: list[str]
    golds: tuple[str, ...] = ()
    """What differs by FinQA's other golds, a line each."""

    def to_dict(self) -> dict[str, Any]:
        """Return what leaderboard.json holds."""
        return {"rows": self.rows, "pairs": [{"task": p.task, "a": p.a, "b": p.b, "p": p.p} for p in self.pairs]}

    def to_json(self) -> str:
        """Write leaderboard.json."""
        return json.dumps(self.to_dict(), indent=2, ensure_ascii=True, allow_nan=False) + "\n"


def build(cells: Sequence[Cell]) -> Leaderboard:
    """Build the leaderboard of these cells, its rows in the order given."""
    pairs: list[Pair] = []
    disjoint: list[str] = []
    for task in dict.fromkeys(cell.task for cell in cells):
        tested = []
        for a, b in combinations([cell for cell in cells if cell.task == task], 2):
            if pair := _test_pair(a, b):
                tested.append(pair)
            else:
                disjoint.append(f"{task}: {a.model} and {b.model} were asked no question in common, so no paired test")
        corrected = holm([pair["p"] for pair in tested])
        pairs += [Pair(**pair, p_holm=p) for pair, p in zip(tested, corrected, strict=True)]
    golds = tuple(line for cell in cells if (line := _compare_golds(cell)))
    return Leaderboard([_make_row(cell) for cell in cells], pairs, disjoint, golds)


def _make_row(cell: Cell) -> dict[str, Any]:
    s = cell.summary
    low, high = wilson(s.k, s.n)
    return {
        "model": cell.model,
        "task": cell.task,
        "k": s.k,
        "n": s.n,
        "unparsed": s.unparsed,
        "truncated": s.truncated,
        "accuracy": s.k / s.n,
        "low": low,
        "high": high,
        "cut": s.cut,
        "docmath_compat": s.docmath_compat / s.n,
        "key": cell.key,
    }


def _compare_golds(cell: Cell) -> str:
    """Say what the cell's figure is by the other golds of its rows, published or corrected; "" where it is the same."""
    k, n = sum(sample.right_by_other_gold for sample in cell.samples), cell.summary.n
    if not cell.samples or k == cell.summary.k:
        return ""
    used, other = ("corrected", "published") if cell.settings.get("gold") == "corrected" else ("published", "corrected")
    of_used, of_other = (f"{right:,}/{n:,} ({format_percent(right / n)} %)" for right in (cell.summary.k, k))
    return f"{cell.task}: {cell.model}: {of_used} by the {used} golds, {of_other} by the {other} ones"


def _test_pair(a: Cell, b: Cell) -> dict[str, Any] | None:
    of_b = {sample.question_key: sample.right for sample in b.samples}
    both = [(s.right, of_b[s.question_key]) for s in a.samples if s.question_key in of_b]
    if not both:
        return None
    only_a = sum(x and not y for x, y in both)
    only_b = sum(y and not x for x, y in both)
    counts = {"n_a": a.summary.n, "n_b": b.summary.n, "common": len(both), "only_a": only_a, "only_b": only_b}
    return {"task": a.task, "a": a.model, "b": b.model, **counts, "p": mcnemar(only_a, only_b)}


def format_percent(share: float) -> str:
    """Write a share of 0…1 in percent, with one decimal, as is right for up to some thousand questions."""
    return f"{100 * share:.1f}"


def format_p(p: float) -> str:
    """Write a p value."""
    if p < 0.0001:
        return "< 0.0001"
    return f"{p:.2f}" if p >= 0.1 else f"{p:.3f}" if p >= 0.001 else f"{p:.4f}"


def write_markdown(board: Leaderboard, title: str, note: str, skipped: Sequence[str], found: Sequence[str] = ()) -> str:
    """Write leaderboard.md; `found` has a line for each search for reasoning paths."""
    parts = [f"# {_escape(title)}"]
    if note:
        parts.append(note.strip().replace("<", "&lt;"))
    parts += _write_rows(board) if board.rows else ["No finished evaluation."]
    parts += _write_pairs(board)
    if found:
        parts += ["## Reasoning paths", "\n".join(f"- {_escape(line)}" for line in found)]
    if skipped:
        parts += ["## Not run", "\n".join(f"- {_escape(line)}" for line in skipped)]
    return "\n\n".join(parts) + "\n"


def _write_rows(board: Leaderboard) -> list[str]:
    rows = (
        (
            _escape(row["model"]),
            _escape(row["task"]),
            f"{row['k']:,}/{row['n']:,}",
            format_percent(row["accuracy"]),
            f"{format_percent(row['low'])}–{format_percent(row['high'])}",
            f"{row['unparsed']:,}",
            f"{row['truncated']:,}",
            f"{row['cut']:,}",
            format_percent(row["docmath_compat"]),
        )
        for row in board.rows
    )
    parts = ["## Accuracy", _write_table(_ROW_HEAD, rows, text_columns=2), LEGEND]
    return [*parts, "\n".join(f"- {_escape(line)}" for line in board.golds)] if board.golds else parts


def _write_pairs(board: Leaderboard) -> list[str]:
    if not board.pairs and not board.disjoint:
        return []
    parts = ["## Paired tests"]
    rows = [
        (
            *map(_escape, (pair.task, pair.a, pair.b, pair.reading)),
            pair.questions,
            f"{pair.only_a:,}",
            f"{pair.only_b:,}",
            _escape(format_p(pair.p)),
            _escape(format_p(pair.p_holm)),
        )
        for pair in board.pairs
    ]
    if rows:
        parts += [_write_table(_PAIR_HEAD, rows, text_columns=4), PAIRS_LEGEND]
    if board.disjoint:
        parts.append("\n".join(f"- {_escape(line)}" for line in board.disjoint))
    return parts
