"""Who is how good, by how much, and how did they get there? Finished cells and training runs → one readable report.

    write(cells, runs, out, title) → out/index.html, out/leaderboard.md, out/leaderboard.json

The same inputs give the same bytes: no dates, no randomness, no paths of this machine.
"""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from fino1 import files
from fino1.errors import SpecError
from fino1.report import cells as _cells
from fino1.report import leaderboard, page

__all__ = ["write"]


def write(
    cells: Sequence[Path],
    runs: Mapping[str, Path],
    out: Path,
    title: str,
    note: str = "",
    skipped: Sequence[str] = (),
    names: Sequence[str] | None = None,
) -> dict[str, Any]:
    """Write the report on these cells and runs into `out` and return what leaderboard.json holds.

    Args:
        cells: directories of finished evaluation cells (C10); rows come in this order.
        runs: directories of training runs (metrics.jsonl) by the name to show; may be empty.
        out: directory, made where it is missing. Files are replaced whole, leaderboard.json last.
        title: heading of the page.
        note: what the run shows, plain text; an empty line starts a paragraph.
        skipped: what was asked for and not run, a line each.
        names: a model name for each cell; None shows the one it was first finished under.

    Raises:
        SpecError: a cell that is not finished, a missing file, a broken line; all of them at once. Nothing is written.

    """
    found, metrics = _read(cells, names, runs)
    board = leaderboard.build(found)
    _replace(
        Path(out),
        {
            "index.html": page.render(board, found, metrics, title, note, skipped),
            "leaderboard.md": leaderboard.markdown(board, title, note, skipped),
            "leaderboard.json": board.json(),
        },
    )
    return board.document()


def _read(
    cells: Sequence[Path], names: Sequence[str] | None, runs: Mapping[str, Path]
) -> tuple[list[_cells.Cell], dict[str, list[dict[str, Any]]]]:
    """What is to be shown? All that is wrong with it is said at once."""
    problems: list[str] = []
    found: list[_cells.Cell] = []
    try:
        found = _cells.read_cells([Path(cell) for cell in cells], names)
    except SpecError as error:
        problems += error.problems
    metrics: dict[str, list[dict[str, Any]]] = {}
    for name, run in runs.items():
        try:
            metrics[name] = _cells.read_metrics(Path(run))
        except SpecError as error:
            problems += error.problems
    if problems:
        raise SpecError(problems)
    return found, metrics


def _replace(out: Path, texts: Mapping[str, str]) -> None:
    """Each file appears whole or not at all, also when the power goes (C6)."""
    try:
        out.mkdir(parents=True, exist_ok=True)
    except (FileExistsError, NotADirectoryError) as error:
        raise SpecError(f"{out}: expected a directory, got a file") from error
    for name, text in texts.items():
        files.write_bytes(out / name, text.encode("utf-8", "replace"))  # names may hold what UTF-8 cannot
