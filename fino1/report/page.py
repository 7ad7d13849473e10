"""How does the report look to a reader? One HTML file that needs nothing else.

Questions and completions are untrusted: jinja2 escapes every value, the script (page.js) makes text nodes of what it shows,
and should that ever fail, the page forbids itself any script but its own, any request and any picture
(Content-Security-Policy).
"""

import base64
import hashlib
import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import jinja2
from markupsafe import Markup

from fino1.report import curves, samples
from fino1.report.cells import Cell
from fino1.report.leaderboard import LEGEND, PAIRS_LEGEND, Leaderboard, percent, probability

_HERE = Path(__file__).parent
_SIGNS = {"right": "✓", "wrong": "✗", "unparsed": "?", "truncated": "…"}


def render(
    board: Leaderboard,
    cells: Sequence[Cell],
    metrics: Mapping[str, Sequence[Mapping[str, Any]]],
    title: str,
    note: str,
    skipped: Sequence[str],
) -> str:
    """Which page shows all this?"""
    environment = jinja2.Environment(
        loader=jinja2.FileSystemLoader(_HERE),
        autoescape=True,
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        keep_trailing_newline=True,
        finalize=lambda value: samples.visible(value) if type(value) is str else value,
    )
    environment.filters |= {"percent": percent, "probability": probability}
    script = (_HERE / "page.js").read_text(encoding="utf-8")
    digest = hashlib.sha256(script.encode()).digest()
    return environment.get_template("page.html.j2").render(
        title=title,
        paragraphs=[part.strip() for part in note.split("\n\n") if part.strip()],
        board=board,
        legend=LEGEND,
        pairs_legend=PAIRS_LEGEND,
        charts=curves.charts(metrics),
        runs=list(metrics),
        swatch=curves.swatch,
        data=samples.embed({"labels": samples.LABELS, "signs": _SIGNS, "tasks": samples.tasks(cells)}),
        samples=sum(len(cell.samples) for cell in cells),
        origins=[_origin(cell) for cell in cells],
        skipped=skipped,
        style=Markup((_HERE / "page.css").read_text(encoding="utf-8")),
        script=Markup(script),
        script_hash=base64.b64encode(digest).decode(),
    )


def _origin(cell: Cell) -> dict[str, str]:
    about = {name: cell.about.get(name) for name in ("settings", "provenance", "summary")}
    return {
        "model": cell.model,
        "task": cell.task,
        "key": cell.key,
        "text": json.dumps(about, indent=2, sort_keys=True, ensure_ascii=False),
    }
