"""What was published of the models that we evaluated, and do our figures differ from it by more than chance? (published.yaml)

Published accuracies were counted by DocMath-Eval's rules on rows with a number as answer, so ours stand beside them by the same
rules on the same kind of rows.
"""

import functools
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from fino1.cells import Cell
from fino1.intervals import fisher, holm, newcombe
from fino1.report.leaderboard import SIGNIFICANT, format_p, format_percent
from fino1.report.markdown import escape, write_table
from fino1.spec import yamlfile

LEGEND = (
    "Ours: share accepted by the rules of the public DocMath-Eval evaluator, truncated answers included, of the questions "
    "whose answer is a number. Published: k rebuilt from the printed percentage; ≈ where no k of n gives it, and the nearest "
    "is taken. With several answers to each question their average counts; interval and test take it for that of one answer, "
    "which is on the safe side. Difference: ours less published, in points, with its 95 % interval (Newcombe). p: two-sided "
    "exact test of Fisher; which questions were right in the published evaluation is not known, so the test cannot pair "
    f"them. p (Holm): corrected for all the comparisons made on that task. Ours differs where p (Holm) is below {SIGNIFICANT:g}."
)
HEAD = ("Task", "Model", "Settings", "Reading", "Ours, k/n", "Ours, %", "Published, k/n", "Published, %", "Difference")
HEAD += ("p", "p (Holm)")
_AS_PUBLISHED = {"preset": "paper", "max_tokens": 1024, "temperature": 0, "samples": 1}


@dataclass(frozen=True)
class Figure:
    """A published accuracy: the version it stands in, the model's name there, the percentage as printed, and n."""

    version: str
    printed: str
    task: str
    percent: float
    n: int

    @property
    def k(self) -> int:
        """The number of right answers: the k whose percentage is nearest to the printed one."""
        return round(self.percent * self.n / 100)

    @property
    def is_exact(self) -> bool:
        """False where no k of n has the printed percentage."""
        return f"{100 * self.k / self.n:.2f}" == f"{self.percent:.2f}"

    @property
    def counted(self) -> str:
        """The figure as k/n."""
        return f"{'' if self.is_exact else '≈ '}{self.k:,}/{self.n:,}"


@dataclass(frozen=True)
class Comparison:
    """One of our cells beside the published figure of its model and task; `low` and `high` of the difference, as fractions.

    `table` is the name of the table that it stands in. With several answers to each question `k` is the sum of their shares.
    """

    table: str
    model: str
    task: str
    settings: str
    k: float
    n: int
    figure: Figure
    low: float
    high: float
    p: float
    p_holm: float

    @property
    def difference(self) -> float:
        """Ours less published, as a fraction."""
        return self.k / self.n - self.figure.k / self.figure.n

    @property
    def counted(self) -> str:
        """Ours as k/n."""
        return f"{round(self.k, 1):,}/{self.n:,}"

    @property
    def reading(self) -> str:
        """The result in words."""
        if self.p_holm >= SIGNIFICANT:
            return "no difference shown"
        return "ours higher" if self.difference > 0 else "ours lower"

    @property
    def points(self) -> str:
        """The difference with its interval, in points."""
        found = (f"{100 * share:+.1f}".replace("-", "−") for share in (self.difference, self.low, self.high))
        return "{} ({} to {})".format(*found)


@functools.cache
def read_tables() -> Mapping[str, Any]:
    """Read published.yaml: `tasks` with their n, `models` with their ids, and `tables`, the oldest first."""
    return yamlfile.read_yaml(Path(__file__).with_name("published.yaml"))


def list_figures() -> list[tuple[str | None, Figure]]:
    """List all figures with the model's key, None where nobody can run that model; of the oldest table first."""
    tables = read_tables()
    return [
        (row.get("model"), Figure(table["version"], row["printed"], task, percent, tables["tasks"][task]))
        for table in tables["tables"]
        for row in table["rows"]
        for task, percent in zip(table["columns"], row["percent"], strict=True)
    ]


def find_key(cell: Cell) -> str | None:
    """Find the published model that the cell's is, by hub id or the id at its endpoint, else by its name; None for none."""
    models, identity = read_tables()["models"], cell.settings.get("model", {})
    ids = {identity.get("hub"), identity.get("model_id")} - {None}
    named = cell.model if cell.model in models else None
    return next((key for key, known in models.items() if ids & set(known["ids"])), named)


def compare(cells: Sequence[Cell], rows: Sequence[Mapping[str, Any]]) -> list[Comparison]:
    """Compare each cell that has a published figure with the newest one; `rows` are the leaderboard's, of the same cells."""
    known = {(key, figure.task): figure for key, figure in list_figures() if key}
    found = []
    for cell, row in zip(cells, rows, strict=True):
        figure = known.get((find_key(cell) or "", cell.task))
        accepted = [sample.docmath_compat is True for sample in cell.samples if not isinstance(sample.target, bool)]
        if figure and accepted:
            each = cell.samples_per_question
            k, n = sum(accepted) if each == 1 else sum(accepted) / each, len(accepted) // each
            of = (row["table"], cell.model, cell.task, _describe_settings(cell), k, n, figure)
            p = fisher(round(k), n, figure.k, figure.n)
            found.append(Comparison(*of, *newcombe(k, n, figure.k, figure.n), p=p, p_holm=1.0))
    return _correct(found)


def _correct(found: Sequence[Comparison]) -> list[Comparison]:
    """Correct the p values of each task."""
    corrected: dict[int, float] = {}
    for task in {each.task for each in found}:
        places = [i for i, each in enumerate(found) if each.task == task]
        corrected |= dict(zip(places, holm([found[i].p for i in places]), strict=True))
    return [replace(each, p_holm=corrected[i]) for i, each in enumerate(found)]


def _describe_settings(cell: Cell) -> str:
    """Say in what the cell's settings differ from the published evaluation's."""
    ours = {"preset": cell.provenance.get("preset")} | cell.settings
    other = [
        f"{'prompt' if key == 'preset' else key} {ours[key]}"
        for key, value in _AS_PUBLISHED.items()
        if ours.get(key) not in (None, value)
    ]
    return ", ".join(other) or "as published"


def format_row(each: Comparison) -> tuple[str, ...]:
    """Write a comparison as the cells of a table, in the order of HEAD."""
    return (
        each.task,
        each.model,
        each.settings,
        each.reading,
        each.counted,
        format_percent(each.k / each.n),
        f"{each.figure.counted} ({each.figure.version})",
        f"{each.figure.percent:.2f}",
        each.points,
        format_p(each.p),
        format_p(each.p_holm),
    )


def write_markdown(found: Iterable[Comparison]) -> list[str]:
    """Write the section of leaderboard.md, as its parts; none where nothing is compared."""
    rows = [tuple(map(escape, format_row(each))) for each in found]
    return ["## Beside published numbers", write_table(HEAD, rows, text_columns=4), LEGEND] if rows else []
