"""How accurate is each model, and which differences are significant? The leaderboard, which JSON, Markdown and the page show."""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import combinations
from typing import Any

from fino1.cells import Cell
from fino1.intervals import holm, mcnemar, sign_flip, wilson
from fino1.report import comparable, extracted, several
from fino1.report.comparable import Group

SIGNIFICANT = 0.05

LEGEND = (
    "k of n: strictly right answers of all questions asked. Unparsed and truncated answers are in n and never in k; an "
    "answer that is both counts in both columns. Interval: 95 %, {interval}. Cut: the document was shortened to fit the "
    "model. DocMath-compatible: share accepted by the rules of the public DocMath-Eval evaluator, truncated answers "
    "included, for comparison with published numbers only."
)
PROGRAMS_LEGEND = (
    "Program accuracy: the share of all answers that are the gold program, up to the order of what is added or "
    "multiplied."
)
PAIRS_LEGEND = (
    "Paired on the questions that both models were asked (x of y and z: x in common, a was asked y, b was asked z). "
    "p: exact two-sided McNemar test; of several answers to each question a sign-flip test. p (Holm): corrected for all the "
    f"comparisons made in that table. A model is called better where p (Holm) is below {SIGNIFICANT:g}."
)


@dataclass(frozen=True)
class Pair:
    """Two models in one table: how they did on the questions (same id, text and target) that both were asked.

    `only_a` counts those that a alone gets right, or of several answers more often than b. `difference` is the mean of the
    questions' differences in accuracy, a's less b's, as a fraction, and `mean_square` that of their squares.
    """

    task: str
    table: str
    a: str
    b: str
    n_a: int
    n_b: int
    common: int
    only_a: int
    only_b: int
    difference: float
    mean_square: float
    p: float
    p_holm: float

    @property
    def reading(self) -> str:
        """The result in words."""
        if self.p_holm >= SIGNIFICANT:
            return "no difference shown"
        return f"{self.a if self.difference > 0 else self.b} better"

    @property
    def questions(self) -> str:
        """The number of common questions, and of each model's where they were not asked the same."""
        if self.common == self.n_a == self.n_b:
            return f"{self.common:,}"
        return f"{self.common:,} of {self.n_a:,} and {self.n_b:,}"


@dataclass(frozen=True)
class Table:
    """Rows that stand together, and what they share: label and text. Where cells are mixed, a row's `differs` says the rest."""

    task: str
    name: str
    facts: dict[str, str]
    rows: list[dict[str, Any]]

    @property
    def is_mixed(self) -> bool:
        """True if its rows differ in more than the model."""
        return len({row["table"] for row in self.rows}) > 1

    @property
    def k(self) -> str:
        """The number of answers to each question, "k" where its rows differ in it, "" where there is one."""
        found = {row.get("samples", 1) for row in self.rows}
        return "" if found == {1} else str(*found) if len(found) == 1 else "k"

    @property
    def has_programs(self) -> bool:
        """True if some of its rows are answered by programs that have a gold one."""
        return any("same_program" in row for row in self.rows)

    @property
    def shares(self) -> dict[str, str]:
        """What there is besides the accuracy, of several answers and of extractions: its key in a row and its heading."""
        found = {name: f"{name}@{self.k}" for name in ("maj", "pass")} if self.k else {}
        found |= extracted.HEADINGS if any("extracted" in row for row in self.rows) else {}
        return {name: f"{heading}, % (95 %)" for name, heading in found.items()}


@dataclass(frozen=True)
class Leaderboard:
    """The rows of leaderboard.json, the paired tests, and in words what cannot be tested or compared.

    Of `comparable` no table is mixed, and each row and pair names its own; `tables` are those that are shown.
    """

    rows: list[dict[str, Any]]
    comparable: list[Table]
    tables: list[Table]
    pairs: list[Pair]
    disjoint: list[str]
    golds: tuple[str, ...] = ()
    """What differs by FinQA's other golds, a line each."""
    apart: tuple[str, ...] = ()
    """Tasks whose cells differ in more than the model, a line each."""

    @property
    def legends(self) -> list[str]:
        """What explains the rows."""
        has_several = any(table.k for table in self.tables)
        interval = "Wilson where there is one answer to each question" if has_several else "Wilson"
        found = [LEGEND.format(interval=interval)]
        if has_several:
            found.append(several.LEGEND)
        if any("extracted" in row for row in self.rows):
            found.append(extracted.LEGEND)
        if any(table.has_programs for table in self.tables):
            found.append(PROGRAMS_LEGEND)
        return found

    def to_dict(self) -> dict[str, Any]:
        """Return what leaderboard.json holds."""
        tables = [{"name": table.name, "task": table.task, "facts": table.facts} for table in self.comparable]
        pairs = [
            {"task": p.task, "table": p.table, "a": p.a, "b": p.b, "p": p.p, "p_holm": p.p_holm} for p in self.pairs
        ]
        return {"tables": tables, "rows": self.rows, "pairs": pairs}

    def to_json(self) -> str:
        """Write leaderboard.json."""
        return json.dumps(self.to_dict(), indent=2, ensure_ascii=True, allow_nan=False) + "\n"


def build(cells: Sequence[Cell], allow_mixed: bool = False) -> Leaderboard:
    """Build the leaderboard of these cells, its rows in the order given.

    Cells that differ in anything but the model have a table each, or with `allow_mixed` share their task's; no pair is made of
    them.
    """
    pairs: list[Pair] = []
    disjoint: list[str] = []
    groups = comparable.group(cells)
    for group in groups:
        tested = []
        counted = [(cell, several.count_right(cell)) for cell in group.cells]
        for (a, of_a), (b, of_b) in combinations(counted, 2):
            if pair := _test_pair(a, b, of_a, of_b):
                tested.append({"table": group.name, **pair})
            else:
                disjoint.append(
                    f"{group.name}: {a.model} and {b.model} were asked no question in common, so no paired test"
                )
        corrected = holm([pair["p"] for pair in tested])
        pairs += [Pair(**pair, p_holm=p) for pair, p in zip(tested, corrected, strict=True)]
    of_cell = {id(cell): _make_row(cell, group) for group in groups for cell in group.cells}
    rows = [of_cell[id(cell)] for cell in cells]
    golds = tuple(line for cell in cells if (line := _compare_golds(cell)))
    apart = [_make_table([group], rows) for group in groups]
    tables = [
        _make_table([group for group in groups if group.task == task], rows)
        for task in dict.fromkeys(group.task for group in groups)
    ]
    return Leaderboard(rows, apart, tables if allow_mixed else apart, pairs, disjoint, golds, _list_apart(groups))


def _make_table(groups: Sequence[Group], rows: Sequence[dict[str, Any]]) -> Table:
    names = {group.name for group in groups}
    mine = [row for row in rows if row["table"] in names]
    name = groups[0].name if len(names) == 1 else groups[0].task
    return Table(groups[0].task, name, _list_facts(comparable.share(groups), mine), mine)


def _list_facts(settings: Mapping[str, str], rows: Sequence[Mapping[str, Any]]) -> dict[str, str]:
    """List what stands above a table: questions, settings that say something, and the share of answers that were cut off."""
    asked = sorted({row.get("questions", row["n"]) for row in rows})
    n, truncated = sum(row["n"] for row in rows), sum(row["truncated"] for row in rows)
    said = {label: text for label, text in settings.items() if text != comparable.UNSAID.get(label, "none")}
    return {
        "questions": "–".join(f"{each:,}" for each in dict.fromkeys((asked[0], asked[-1]))),
        **said,
        "truncated": f"{format_percent(truncated / n)} % of the answers",
    }


def _list_apart(groups: Sequence[Group]) -> tuple[str, ...]:
    """Say of each task with several groups that their cells are not compared."""
    tasks = dict.fromkeys(group.task for group in groups if group.differs)
    return tuple(
        f"{task}: not compared with each other, since they differ in more than the model: "
        + "; ".join(group.differs for group in groups if group.task == task)
        for task in tasks
    )


def _make_row(cell: Cell, group: Group) -> dict[str, Any]:
    s = cell.summary
    low, high = wilson(s.k, s.n)
    row = {
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
        "table": group.name,
        "differs": group.differs,
    }
    if "extraction" in cell.settings:
        row |= extracted.summarize(cell)
    if any(sample.same_program is not None for sample in cell.samples):
        row["same_program"] = sum(sample.same_program is True and not sample.truncated for sample in cell.samples) / s.n
    return row | several.summarize(cell) if cell.samples_per_question > 1 else row


def _compare_golds(cell: Cell) -> str:
    """Say what the cell's figure is by the other golds of its rows, published or corrected; "" where it is the same."""
    k, n = sum(sample.right_by_other_gold for sample in cell.samples), cell.summary.n
    if not cell.samples or k == cell.summary.k:
        return ""
    used, other = ("corrected", "published") if cell.settings.get("gold") == "corrected" else ("published", "corrected")
    of_used, of_other = (f"{right:,}/{n:,} ({format_percent(right / n)} %)" for right in (cell.summary.k, k))
    return f"{cell.task}: {cell.model}: {of_used} by the {used} golds, {of_other} by the {other} ones"


def _test_pair(a: Cell, b: Cell, of_a: Mapping[Any, int], of_b: Mapping[Any, int]) -> dict[str, Any] | None:
    """Test two cells by the number of right answers to each question; None where they have none in common."""
    k = a.samples_per_question
    gaps = [right - of_b[key] for key, right in of_a.items() if key in of_b]
    if not gaps:
        return None
    only_a, only_b = sum(gap > 0 for gap in gaps), sum(gap < 0 for gap in gaps)
    return {
        "task": a.task,
        "a": a.model,
        "b": b.model,
        "n_a": len(of_a),
        "n_b": len(of_b),
        "common": len(gaps),
        "only_a": only_a,
        "only_b": only_b,
        "difference": sum(gaps) / (k * len(gaps)),
        "mean_square": sum(gap * gap for gap in gaps) / (k * k * len(gaps)),
        "p": mcnemar(only_a, only_b) if k == 1 else sign_flip(gaps),
    }


def format_percent(share: float) -> str:
    """Write a share of 0…1 in percent, with one decimal, as is right for up to some thousand questions."""
    return f"{100 * share:.1f}"


def format_interval(row: Mapping[str, Any], of: str = "") -> str:
    """Write the interval of a row's accuracy in percent, or of `maj_` and `pass_`."""
    return f"{format_percent(row[of + 'low'])}–{format_percent(row[of + 'high'])}"


def format_p(p: float) -> str:
    """Write a p value."""
    if p < 0.0001:
        return "< 0.0001"
    return f"{p:.2f}" if p >= 0.1 else f"{p:.3f}" if p >= 0.001 else f"{p:.4f}"
