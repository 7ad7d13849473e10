"""Which model is how good, and which differences are real? The table, as JSON and as Markdown."""

import html
import json
import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from itertools import combinations
from typing import Any

from fino1.intervals import holm, mcnemar, wilson
from fino1.report.cells import Cell

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
        """What does the test say, in words?"""
        if self.p_holm >= SIGNIFICANT:
            return "no difference shown"
        return f"{self.a if self.only_a > self.only_b else self.b} better"

    @property
    def questions(self) -> str:
        """On how many questions was it made, and of how many each, where they were not asked the same?"""
        if self.common == self.n_a == self.n_b:
            return f"{self.common:,}"
        return f"{self.common:,} of {self.n_a:,} and {self.n_b:,}"


@dataclass(frozen=True)
class Leaderboard:
    """The rows of leaderboard.json, the paired tests, and the pairs that cannot be tested (said, never dropped)."""

    rows: list[dict[str, Any]]
    pairs: list[Pair]
    disjoint: list[str]

    def document(self) -> dict[str, Any]:
        """What does leaderboard.json hold?"""
        return {"rows": self.rows, "pairs": [{"task": p.task, "a": p.a, "b": p.b, "p": p.p} for p in self.pairs]}

    def json(self) -> str:
        """How is it written?"""
        return json.dumps(self.document(), indent=2, ensure_ascii=True, allow_nan=False) + "\n"


def build(cells: Sequence[Cell]) -> Leaderboard:
    """Which table follows from these cells? (rows in the order given)"""
    pairs: list[Pair] = []
    disjoint: list[str] = []
    for task in dict.fromkeys(cell.task for cell in cells):
        tested = []
        for a, b in combinations([cell for cell in cells if cell.task == task], 2):
            if pair := _pair(a, b):
                tested.append(pair)
            else:
                disjoint.append(f"{task}: {a.model} and {b.model} were asked no question in common, so no paired test")
        corrected = holm([pair["p"] for pair in tested])
        pairs += [Pair(**pair, p_holm=p) for pair, p in zip(tested, corrected, strict=True)]
    return Leaderboard([_row(cell) for cell in cells], pairs, disjoint)


def _row(cell: Cell) -> dict[str, Any]:
    n = len(cell.samples)
    k = sum(sample.right for sample in cell.samples)
    low, high = wilson(k, n)
    return {
        "model": cell.model,
        "task": cell.task,
        "k": k,
        "n": n,
        "unparsed": sum(sample.strict is None for sample in cell.samples),
        "truncated": sum(sample.truncated for sample in cell.samples),
        "accuracy": k / n,
        "low": low,
        "high": high,
        "cut": sum(sample.cut for sample in cell.samples),
        "docmath_compat": sum(sample.docmath_compat is True for sample in cell.samples) / n,
        "key": cell.key,
    }


def _pair(a: Cell, b: Cell) -> dict[str, Any] | None:
    of_b = {sample.asked: sample.right for sample in b.samples}
    both = [(sample.right, of_b[sample.asked]) for sample in a.samples if sample.asked in of_b]
    if not both:
        return None
    only_a = sum(x and not y for x, y in both)
    only_b = sum(y and not x for x, y in both)
    counts = {"n_a": len(a.samples), "n_b": len(b.samples), "common": len(both), "only_a": only_a, "only_b": only_b}
    return {"task": a.task, "a": a.model, "b": b.model, **counts, "p": mcnemar(only_a, only_b)}


def percent(share: float) -> str:
    """How is a share of 0…1 written? (one decimal, as is right for up to some thousand questions)"""
    return f"{100 * share:.1f}"


def probability(p: float) -> str:
    """How is a p value written?"""
    if p < 0.0001:
        return "< 0.0001"
    return f"{p:.2f}" if p >= 0.1 else f"{p:.3f}" if p >= 0.001 else f"{p:.4f}"


def markdown(board: Leaderboard, title: str, note: str, skipped: Sequence[str]) -> str:
    """How does the table read in Markdown?"""
    parts = [f"# {_inline(title)}"]
    if note:
        parts.append(note.strip().replace("<", "&lt;"))
    parts += _rows_table(board) if board.rows else ["No finished evaluation."]
    parts += _pairs_table(board)
    if skipped:
        parts += ["## Not run", "\n".join(f"- {_inline(line)}" for line in skipped)]
    return "\n\n".join(parts) + "\n"


def _rows_table(board: Leaderboard) -> list[str]:
    rows = (
        (
            _inline(row["model"]),
            _inline(row["task"]),
            f"{row['k']:,}/{row['n']:,}",
            percent(row["accuracy"]),
            f"{percent(row['low'])}–{percent(row['high'])}",
            f"{row['unparsed']:,}",
            f"{row['truncated']:,}",
            f"{row['cut']:,}",
            percent(row["docmath_compat"]),
        )
        for row in board.rows
    )
    return ["## Accuracy", _table(_ROW_HEAD, rows, text_columns=2), LEGEND]


def _pairs_table(board: Leaderboard) -> list[str]:
    if not board.pairs and not board.disjoint:
        return []
    parts = ["## Paired tests"]
    rows = [
        (
            *map(_inline, (pair.task, pair.a, pair.b, pair.reading)),
            pair.questions,
            f"{pair.only_a:,}",
            f"{pair.only_b:,}",
            _inline(probability(pair.p)),
            _inline(probability(pair.p_holm)),
        )
        for pair in board.pairs
    ]
    if rows:
        parts += [_table(_PAIR_HEAD, rows, text_columns=4), PAIRS_LEGEND]
    if board.disjoint:
        parts.append("\n".join(f"- {_inline(line)}" for line in board.disjoint))
    return parts


def _table(head: Sequence[str], rows: Iterable[Sequence[str]], text_columns: int) -> str:
    rule = [":--"] * text_columns + ["--:"] * (len(head) - text_columns)
    return "\n".join("| " + " | ".join(line) + " |" for line in (head, rule, *rows))


def _inline(text: str) -> str:
    """Names and error messages come from outside: one line, nothing in it is markup."""
    plain = html.escape(" ".join(text.split()), quote=False)
    return re.sub(r"([\\`*_\[\]|])", r"\\\1", plain)
