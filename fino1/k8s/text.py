"""How is an answer printed? For people as a table, for programs as JSON or YAML."""

import json
import sys
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from fino1.spec.yamlfile import as_yaml

_DRAWN = 200  # rows that rich lays out; a thousand would take it 0.8 s
PHASE_STYLES = {
    "Succeeded": "green",
    "Failed": "red",
    "Running": "cyan",
    "Restarting": "yellow",
    "Pending": "yellow",
    "Queued": "yellow",
    "Suspended": "dim",
}


def print_structured(data: Any, form: str) -> None:
    """Print `data` as `json` or `yaml`."""
    print(json.dumps(data, indent=2, ensure_ascii=False) if form == "json" else as_yaml([data]).rstrip())


def print_table(
    rows: Sequence[Mapping[str, Any]], columns: Sequence[str], *, styles: Mapping[str, str] | None = None
) -> None:
    """Print rows under headings (the keys, in capitals), with colours on a terminal only.

    `styles` gives the style of a cell by its text (`{"Failed": "red"}`).
    """
    if not sys.stdout.isatty() or len(rows) > _DRAWN:
        widths = [max(len(c), *(len(str(row.get(c, ""))) for row in rows)) if rows else len(c) for c in columns]
        for cells in [[c.upper() for c in columns], *([str(row.get(c, "")) for c in columns] for row in rows)]:
            print("  ".join(f"{cell:<{width}}" for cell, width in zip(cells, widths, strict=True)).rstrip())
        return
    from rich.console import Console
    from rich.table import Table
    from rich.text import Text

    drawn = Table(*(c.upper() for c in columns), box=None, pad_edge=False, header_style="bold")
    for row in rows:
        texts = [str(row.get(column, "")) for column in columns]
        drawn.add_row(*(Text(text, style=(styles or {}).get(text, "")) for text in texts))
    Console().print(drawn)


def print_unread(lines: Iterable[str]) -> None:
    """Print what could not be read for want of a right."""
    for line in lines:
        print(f"not read: {line}")
