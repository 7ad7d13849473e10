"""What does a report read? Finished runs by name, their cells and metrics; with the checks of these files."""

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
    missing: list[str] = field(default_factory=list)
    """Cells of evaluations that have not ended, in words."""


def find(work: Path, names: Sequence[str]) -> Inputs:
    """Find the finished runs of these names, and evaluations that have finished cells.

    A cell is shown under the run's name for its model; one that is not finished is missing.
    """
    found = Inputs()
    for name in names:
        directory = _find_evaluation(work, name) or runs.finished(work, name)
        done = directory / "done.json"
        method = jsonlines.read_object(done)["method"] if done.is_file() else "eval"
        if method == "eval":
            _add_cells(found, work, directory)
        else:
            named = found.searches if method == "paths" else found.training
            named[directory.name.rpartition("-")[0]] = directory
    return found


def _find_evaluation(work: Path, name: str) -> Path | None:
    """Find the one evaluation NAME or NAME-HASH that has begun, where none of that name has finished."""
    found = runs.find(work, name, runs.CELLS_FILE)
    return found[0] if len(found) == 1 and not (found[0] / "done.json").is_file() else None


def _add_cells(found: Inputs, work: Path, directory: Path) -> None:
    listed = runs.read_cells(directory)
    tasks = listed.get("tasks", [""] * len(listed["cells"]))
    block = jsonlines.read_object(directory / "config.json")["eval"]
    k = block.get("samples", 1)
    lack = "are answered" if k == 1 else f"have their {k} answers"
    lack += " with an extraction" if "extraction" in block else ""
    for key, model, task in zip(listed["cells"], listed["models"], tasks, strict=True):
        if (directory / "done.json").is_file() or cells.find_finished(work / "cells" / key):
            found.cells.append(work / "cells" / key)
            found.models.append(model)
        else:
            found.missing.append(f"{model} on {task}: missing, not all of its questions {lack}")


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
