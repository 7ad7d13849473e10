"""The report's tables as CSV, for a spreadsheet or another program: full numbers, a header, a line a row."""

import csv
import io
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from fino1.report.leaderboard import Leaderboard
from fino1.report.published import Comparison


def write_tables(board: Leaderboard, compared: Sequence[Comparison]) -> dict[str, str]:
    """Write the files by name. One without rows is empty, so that none of an earlier report stays."""
    pairs = [vars(pair) | {"reading": pair.reading} for pair in board.pairs]
    files = {"leaderboard.csv": board.rows, "pairs.csv": pairs, "published.csv": map(_flatten, compared)}
    return {name: _write(rows) for name, rows in files.items()}


def _flatten(each: Comparison) -> dict[str, Any]:
    figure = {f"published_{name}": value for name, value in vars(each.figure).items() if name != "task"}
    figure |= {"published_k": each.figure.k, "published_k_is_exact": each.figure.is_exact}
    ours = {name: value for name, value in vars(each).items() if name != "figure"}
    return ours | figure | {"difference": each.difference, "reading": each.reading}


def _write(rows: Iterable[Mapping[str, Any]]) -> str:
    """Write rows; the header has the keys of them all, and what a row has not is empty. "" for no rows."""
    rows = list(rows)
    file = io.StringIO()
    if rows:
        writer = csv.DictWriter(file, list(dict.fromkeys(key for row in rows for key in row)), lineterminator="\n")
        writer.writeheader()
        writer.writerows(rows)
    return file.getvalue()
