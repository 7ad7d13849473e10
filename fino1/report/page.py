"""How does the report look in a browser? One HTML file that needs nothing else.

Questions and completions are untrusted: jinja2 escapes every value, the script (page.js) makes text nodes of what it shows,
and its Content-Security-Policy forbids any script but its own, any request and any picture.
"""

import base64
import hashlib
import json
import math
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import jinja2
from markupsafe import Markup

from fino1.cells import Cell
from fino1.report import costs, curves, published, samples, searches, standing
from fino1.report.leaderboard import PAIRS_LEGEND, Leaderboard, Pair, Table, format_interval, format_p, format_percent
from fino1.report.published import Comparison
from fino1.report.searches import Search

_HERE = Path(__file__).parent
_SCRIPTS = ("board.js", "diff.js", "page.js")  # in one script element, whose names are its own
_SIGNS = {"right": "✓", "wrong": "✗", "unparsed": "?", "truncated": "…"}


@dataclass(frozen=True)
class Order:
    """A table's models in order, on an axis from `first` to `last` percent; `published` by model."""

    table: Table
    standings: list[standing.Standing]
    power: str
    published: dict[str, float]
    ticks: range
    first: int
    last: int

    def place(self, percent: float) -> float:
        """Return where on the axis a percentage is, in percent of its length."""
        return 100 * (percent - self.first) / (self.last - self.first)


def render(
    board: Leaderboard,
    cells: Sequence[Cell],
    metrics: Mapping[str, Sequence[Mapping[str, Any]]],
    title: str,
    note: str,
    skipped: Sequence[str],
    found: Sequence[Search],
    compared: Sequence[Comparison],
) -> str:
    """Return the text of index.html."""
    texts = [(_HERE / name).read_text(encoding="utf-8") for name in _SCRIPTS]
    script = "(() => {\n" + "\n".join(texts) + "})();\n"
    data, parts = samples.collect(cells)
    digest = hashlib.sha256(script.encode()).digest()
    template = _make_environment().get_template("page.html.j2")
    return template.render(
        title=title,
        paragraphs=[part.strip() for part in note.split("\n\n") if part.strip()],
        board=board,
        searches=found,
        charts=curves.draw_charts(metrics),
        runs=list(metrics),
        data={"labels": samples.LABELS, "signs": _SIGNS} | data,
        parts=parts,
        is_cut=data["chars"] < samples.COMPLETION_CHARS[0],
        orders=[_draw_order(table, board.pairs, compared) for table in board.comparable if len(table.rows) > 1],
        compared=compared,
        costs=costs.draw_costs(board.comparable, cells),
        samples=sum(cell.summary.n for cell in cells),
        origins=[_describe_origin(cell) for cell in cells],
        skipped=skipped,
        style=Markup((_HERE / "page.css").read_text(encoding="utf-8")),
        script=Markup(script),
        script_hash=base64.b64encode(digest).decode(),
    )


def _draw_order(table: Table, pairs: Sequence[Pair], compared: Sequence[Comparison]) -> Order:
    """Place a table's models on an axis from the ten below the lowest interval to the one above the highest."""
    shown = {each.model: each.figure.percent for each in compared if each.table == table.name}
    low = min([100 * row["low"] for row in table.rows] + list(shown.values()))
    high = max([100 * row["high"] for row in table.rows] + list(shown.values()))
    first, last = 10 * math.floor(low / 10), 10 * max(math.ceil(high / 10), math.floor(low / 10) + 1)
    ticks = range(first, last + 1, 10 if last - first <= 60 else 20)
    return Order(table, standing.stand(table, pairs), standing.describe_power(table, pairs), shown, ticks, first, last)


def _make_environment() -> jinja2.Environment:
    environment = jinja2.Environment(
        loader=jinja2.FileSystemLoader(_HERE),
        autoescape=True,
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        keep_trailing_newline=True,
        finalize=lambda value: samples.show_controls(value) if type(value) is str else value,
    )
    legends = {"pairs": PAIRS_LEGEND, "standing": standing.LEGEND, "published": published.LEGEND, "costs": costs.LEGEND}
    environment.globals |= {"legends": legends, "causes": searches.CAUSES, "swatch": curves.draw_swatch}
    environment.filters |= {"percent": format_percent, "probability": format_p, "interval": format_interval}
    environment.filters["embed"] = samples.embed
    environment.filters["shorten"] = lambda text: samples.shorten(text, searches.TEXT_CHARS)
    return environment


def _describe_origin(cell: Cell) -> dict[str, str]:
    origin = {"settings": cell.settings, "provenance": cell.provenance, "summary": asdict(cell.summary)}
    return {
        "model": cell.model,
        "task": cell.task,
        "key": cell.key,
        "text": json.dumps(origin, indent=2, sort_keys=True, ensure_ascii=False),
    }
