"""How does the report look in a browser? One HTML file that needs nothing else.

Questions and completions are untrusted: jinja2 escapes every value, the script (page.js) makes text nodes of what it shows,
and its Content-Security-Policy forbids any script but its own, any request and any picture.
"""

import base64
import hashlib
import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

import jinja2
from markupsafe import Markup

from fino1.cells import Cell
from fino1.report import curves, samples, searches
from fino1.report.leaderboard import LEGEND, PAIRS_LEGEND, Leaderboard, format_p, format_percent
from fino1.report.searches import Search

_HERE = Path(__file__).parent
_SIGNS = {"right": "✓", "wrong": "✗", "unparsed": "?", "truncated": "…"}


def render(
    board: Leaderboard,
    cells: Sequence[Cell],
    metrics: Mapping[str, Sequence[Mapping[str, Any]]],
    title: str,
    note: str,
    skipped: Sequence[str],
    found: Sequence[Search],
) -> str:
    """Return the text of index.html."""
    script = (_HERE / "page.js").read_text(encoding="utf-8")
    digest = hashlib.sha256(script.encode()).digest()
    template = _make_environment().get_template("page.html.j2")
    return template.render(
        title=title,
        paragraphs=[part.strip() for part in note.split("\n\n") if part.strip()],
        board=board,
        legend=LEGEND,
        pairs_legend=PAIRS_LEGEND,
        searches=found,
        causes=searches.CAUSES,
        charts=curves.draw_charts(metrics),
        runs=list(metrics),
        swatch=curves.draw_swatch,
        data=samples.embed({"labels": samples.LABELS, "signs": _SIGNS, "tasks": samples.list_tasks(cells)}),
        samples=sum(cell.summary.n for cell in cells),
        origins=[_describe_origin(cell) for cell in cells],
        skipped=skipped,
        style=Markup((_HERE / "page.css").read_text(encoding="utf-8")),
        script=Markup(script),
        script_hash=base64.b64encode(digest).decode(),
    )


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
    environment.filters |= {"percent": format_percent, "probability": format_p}
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
