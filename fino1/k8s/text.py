"""How is an answer printed? For people as a table, for programs as JSON or YAML."""

import json
import sys
from collections.abc import Mapping, Sequence
from typing import Any

from fino1.spec.yamlfile import as_yaml

_ANSI = {"bold": 1, "dim": 2, "red": 31, "green": 32, "yellow": 33, "cyan": 36}
_STYLES = {  # of a run's phase
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
    rows: Sequence[Mapping[str, Any]], columns: Sequence[str], *, styles: Mapping[str, str] = _STYLES
) -> None:
    """Print rows under headings (the keys, in capitals), with colours on a terminal only.

    `styles` gives the style of a cell by its text (`{"Failed": "red"}`).
    """
    headings = [column.upper() for column in columns]
    lines = [headings, *([str(row.get(column, "")) for column in columns] for row in rows)]
    widths = [max(map(len, cells)) for cells in zip(*lines, strict=True)]
    by_text = {**dict.fromkeys(headings, "bold"), **styles} if sys.stdout.isatty() else {}
    for cells in lines:
        padded = [f"{cell:<{width}}" for cell, width in zip(cells, widths, strict=True)]
        padded[-1] = padded[-1].rstrip()
        codes = [_ANSI.get(by_text.get(cell, "")) for cell in cells]
        styled = (f"\x1b[{code}m{text}\x1b[0m" if code else text for text, code in zip(padded, codes, strict=True))
        print("  ".join(styled).rstrip())
