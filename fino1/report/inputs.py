"""What does a report read? Finished runs by name, their cells and metrics; with the checks of these files."""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from fino1 import cells, jsonlines, runs
from fino1.cells import CELL_FILE, Cell
from fino1.errors import SpecError
from fino1.report import comparable
from fino1.report.searches import Search, read_search


@dataclass(frozen=True)
class Inputs:
    """Directories of finished cells, each with the model's name to show, training runs and searches for paths with theirs."""

    cells: list[Path] = field(default_factory=list)
    models: list[str] = field(default_factory=list)
    training: dict[str, Path] = field(default_factory=dict)
    searches: dict[str, Path] = field(default_factory=dict)


def find(work: Path, names: Sequence[str]) -> Inputs:
    """Find the finished runs of these names. A cell is shown under the run's name for its model."""
    found = Inputs()
    for name in names:
        directory = runs.finished(work, name)
        done = json.loads((directory / "done.json").read_text(encoding="utf-8"))
        if done["method"] == "eval":
            found.cells.extend(work / "cells" / key for key in done["cells"])
            found.models.extend(done["models"])
        else:
            named = found.searches if done["method"] == "paths" else found.training
            named[directory.name.rpartition("-")[0]] = directory
    return found


def read(
    paths: Sequence[Path], models: Sequence[str] | None, training: Mapping[str, Path], searches: Mapping[str, Path]
) -> tuple[list[Cell], dict[str, list[dict[str, Any]]], list[Search]]:
    """Read cells, in that order, metrics of training runs, and searches. Raises SpecError with all that is wrong with them."""
    problems: list[str] = []
    found = _read_cells(paths, models, problems)
    metrics: dict[str, list[dict[str, Any]]] = {}
    for name, directory in training.items():
        try:
            metrics[name] = read_metrics(directory)
        except SpecError as error:
            problems += error.problems
    made: list[Search] = []
    for name, directory in searches.items():
        try:
            made.append(read_search(name, directory))
        except SpecError as error:
            problems += error.problems
    if problems:
        raise SpecError(problems)
    return found, metrics, made


def read_metrics(run: Path) -> list[dict[str, Any]]:
    """Read what a training run logged; raises SpecError for a broken line."""
    return jsonlines.read_lines(run / "metrics.jsonl")


def _read_cells(paths: Sequence[Path], models: Sequence[str] | None, problems: list[str]) -> list[Cell]:
    found: list[Cell] = []
    first: dict[tuple[str, str], Path] = {}
    for i, path in enumerate(paths):
        try:
            cell = cells.read_cell(path)
        except SpecError as error:
            problems += error.problems
            continue
        cell = cell if models is None else replace(cell, model=models[i])
        if (earlier := first.setdefault((cell.model, comparable.identify(cell)), path)) is not path:
            problems.append(
                f"{path / CELL_FILE}: expected one cell of model {cell.model!r} and task {cell.task!r} under the same "
                f"settings, got a second (the first is {earlier})"
            )
        found.append(cell)
    return found
