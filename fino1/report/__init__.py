"""How good is each model, and how was it trained? One report on finished cells, training runs and searches for paths.

    write_runs(work, names, out, title)      finished runs, by name
    write(cells, training, out, title)       cells and runs, by directory
    → out/index.html, out/leaderboard.md, out/leaderboard.json; out/leaderboard.csv, pairs.csv, published.csv
    write_samples(work, names, out)          the samples of finished runs, for lm-evaluation-harness' tools (lm_eval.py)

The same inputs give the same bytes: no dates, no randomness, no paths of this machine.
"""

from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

from fino1 import exits, files
from fino1.errors import SpecError
from fino1.report import inputs, leaderboard, page, published, tables, text

__all__ = ["write", "write_runs", "write_samples"]


def write_runs(
    work: Path,
    names: Sequence[str],
    out: Path,
    title: str,
    note: str = "",
    skipped: Sequence[str] = (),
    allow_mixed: bool = False,
) -> dict[str, Any]:
    """Write the report on the runs of these names in `work`; cells that are not finished are listed as not run.

    The rest as `write`. Raises SpecError where neither a run nor a reason for its absence is given.
    """
    if not skipped:
        _check_named(names)
    found = inputs.find(work, names)
    skipped = [*skipped, *found.missing]
    return write(found.cells, found.training, out, title, note, skipped, found.models, found.searches, allow_mixed)


def write(
    cells: Sequence[Path],
    training: Mapping[str, Path],
    out: Path,
    title: str,
    note: str = "",
    skipped: Sequence[str] = (),
    models: Sequence[str] | None = None,
    searches: Mapping[str, Path] | None = None,
    allow_mixed: bool = False,
) -> dict[str, Any]:
    """Write the report on these cells and runs into `out` and return what leaderboard.json holds.

    Args:
        cells: directories of finished evaluation cells; rows come in this order.
        training: directories of training runs (metrics.jsonl) by the name to show; may be empty.
        out: directory, made where it is missing. Files are replaced whole, leaderboard.json last.
        title: heading of the page.
        note: what the run shows, plain text; an empty line starts a paragraph.
        skipped: stages that did not run and why, a line each.
        models: a model name for each cell; None shows the one it was first finished under.
        searches: directories of runs of method `paths` by the name to show.
        allow_mixed: cells of a task that differ in more than the model stand in one table, with a column that says in what.

    Raises SpecError for cells that are not finished, missing files, broken lines; all of them at once. Nothing is written then.

    """
    found, metrics, made = inputs.read([Path(cell) for cell in cells], models, training, searches or {})
    board = leaderboard.build(found, allow_mixed)
    compared = published.compare(found, board.rows)
    markdown = [text.write_markdown(board, title, note, skipped, made), *published.write_markdown(compared)]
    _replace(
        Path(out),
        {
            "index.html": page.render(board, found, metrics, title, note, skipped, made, compared),
            "leaderboard.md": "\n\n".join(part.rstrip("\n") for part in markdown) + "\n",
            **tables.write_tables(board, compared),
            "leaderboard.json": board.to_json(),
        }.items(),
    )
    return board.to_dict()


def write_samples(work: Path, names: Sequence[str], out: Path) -> None:
    """Write the cells of these runs in `work` as lm_eval writes its own samples. Raises SpecError as `write_runs`."""
    from fino1.report import lm_eval

    _check_named(names)
    found = inputs.find(work, names)
    if not found.cells:
        raise SpecError(f"--run: expected a run with finished cells, got {', '.join(names)}")
    cells, *_ = inputs.read(found.cells, found.models, {}, {})
    _replace(out, lm_eval.export(cells))


def _check_named(names: Sequence[str]) -> None:
    if not names:
        raise SpecError("--run: expected the name of a finished run, got none")


def _replace(out: Path, texts: Iterable[tuple[str, str]]) -> None:
    """Write each file whole or not at all, even if the power fails."""
    try:
        out.mkdir(parents=True, exist_ok=True)
        for name, content in texts:
            files.write_bytes(out / name, content.encode("utf-8", "replace"))  # names may hold what UTF-8 cannot
    except (FileExistsError, NotADirectoryError) as error:
        raise SpecError(f"{error.filename}: expected a directory, got a file") from error
    except OSError as error:
        if error.errno in exits.DISK_ERRORS:
            raise
        raise SpecError(f"{out}: expected a directory that can be written, got {error}") from error
