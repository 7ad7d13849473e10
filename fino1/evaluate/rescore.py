"""Which answers were bought before, under an earlier scorer or with fewer samples, and what does this one say of them?

The scorer's version and the number of samples are parts of a cell's key (docs/design.md C10), and no answer depends on them.
An evaluation takes answers from the same cell under earlier versions and other numbers (`adopt`); `fino1 evaluate --rescore`
judges a run's finished cells and asks nobody (`main`).
"""

import dataclasses
import threading
from collections.abc import Iterator, Sequence
from pathlib import Path

from fino1 import cells, exits, files, jsonlines, runs
from fino1.cells import CELL_FILE, SAMPLES_FILE, Cell, Sample, Summary
from fino1.errors import SpecError
from fino1.evaluate import questions, samples
from fino1.evaluate.cell import PlannedCell, digest_results
from fino1.evaluate.journal import open_journal
from fino1.evaluate.questions import Rows
from fino1.evaluate.samples import Shard
from fino1.evaluate.store import Store
from fino1.evaluate.verdicts import judge_again
from fino1.evaluate.votes import mark_equal
from fino1.spec import canonical
from fino1.spec.evaluation import MOST_SAMPLES, EvalTask
from fino1.spec.run import RunSpec
from fino1.tasks import scoring

Table = tuple[Rows, EvalTask]


def adopt(cell: PlannedCell, shard: Shard, stop: threading.Event) -> PlannedCell:
    """Take over a shard's answers from cells that were asked the same, judged again. Raises Cancelled on `stop`.

    Returns the cell; where one with as many samples was finished under an earlier scorer, with the provenance of its answers.
    """
    if not cell.questions:
        return cell
    earlier = list(_list_earlier(cell))
    for path in earlier if cell.store else []:
        cell.store.fetch(path)
    there = [found for path in earlier if (found := cells.find_finished(path))]
    finished = next((each for each in there if each.settings.get("samples") == cell.settings.get("samples")), None)
    if finished is not None:
        cell = dataclasses.replace(cell, provenance=finished.provenance | {"rescored": finished.key})
    if not _find_earlier(cell, shard, earlier):
        return cell
    cell.directory.mkdir(parents=True, exist_ok=True)
    with samples.lock(cell.directory, shard, stop):
        path = cell.directory / shard.file
        samples.tidy(path, cell.questions)
        found = _find_earlier(cell, shard, earlier)
        with open_journal(path, cell.store) as journal:
            journal.append(b"".join(sample.to_line() for sample in found))
    return cell


def _list_earlier(cell: PlannedCell) -> Iterator[Path]:
    """Yield the directories of cells that were asked the same, of the latest scorer first.

    They differ in the scorer's version, or in the number of samples; not in 1 sample, whose answer had no seed. In an object
    store only in the version: a request for each number would be too many.
    """
    counts = range(2, MOST_SAMPLES + 1) if "samples" in cell.settings and not cell.store else ()
    for version in range(int(scoring.SCORER_VERSION), 0, -1):
        settings = cell.settings | {"scorer": str(version)}
        keys = [canonical.digest(settings), *(canonical.digest(settings | {"samples": count}) for count in counts)]
        yield from (cell.directory.with_name(key) for key in dict.fromkeys(keys) if key != cell.key)


def _find_earlier(cell: PlannedCell, shard: Shard, earlier: list[Path]) -> list[Sample]:
    """Find the samples that the cell lacks in earlier ones, and judge them."""
    left, found = cell.find_remaining(shard), []
    for path in earlier if left else []:
        there = samples.load(path, left)
        found += [judge_again(cell.task, q.record, there[q.key]) for q in left if q.key in there]
        left = [question for question in left if question.key not in there]
    return found


def main(spec: RunSpec, name: str, work: Path) -> int:
    """Judge the finished cells of a run again and note them as the run's; returns the exit code 0. Nobody is asked.

    Raises SpecError for a run without a finished cell, and for rows that are not those that were asked.
    """
    directory = runs.directory(work, name, spec)
    listed = runs.read_cells(directory)
    store = Store(spec.eval.store, threading.Event()) if spec.eval.store else None
    for key in listed["cells"] if store else []:
        store.fetch(work / "cells" / key)
    former = [cells.find_finished(work / "cells" / key) for key in listed["cells"]]
    if not any(former):
        raise SpecError(
            f"--rescore: {directory}: expected a run with finished cells, got none; start it without --rescore"
        )
    tables = [(questions.read(task, spec.seed), task) for task in spec.eval.tasks]
    keys = []
    for key, model, cell in zip(listed["cells"], listed["models"], former, strict=True):
        if cell is None:
            print(f"{model}: {key[:12]}: not finished, so not judged again", flush=True)
        keys.append(key if cell is None else _rescore(work / "cells", cell, model, tables))
    for key, cell in zip(keys, former, strict=True) if store else []:
        if cell is not None:
            store.finish(work / "cells" / key)
    _note(directory, listed | {"cells": keys}, work / "cells")
    return exits.DONE


def _note(directory: Path, listed: dict[str, list[str]], folder: Path) -> None:
    """Write into a run's files which cells it has now."""
    files.write_json(directory / runs.CELLS_FILE, listed)
    path = directory / "done.json"
    if path.is_file():
        found = [cell for key in listed["cells"] if (cell := cells.find_finished(folder / key))]
        changed = {"cells": listed["cells"], "artefact_sha256": digest_results(found)}
        files.write_json(path, jsonlines.read_object(path) | changed)


def _rescore(folder: Path, cell: Cell, model: str, tables: Sequence[Table]) -> str:
    """Judge a finished cell again; returns the key of the cell with the scorer's verdicts of now."""
    cell = cells.read_cell(folder / cell.key)
    rows = _find_rows(cell, tables)
    records = questions.name_records(rows.records)
    strange = next((sample.id for sample in cell.samples if sample.id not in records), None)
    if strange is not None:
        raise SpecError(f"--rescore: {rows.where}: expected the rows that {model} was asked, got none named {strange}")
    judged = tuple(judge_again(rows.task, records[sample.id], sample) for sample in cell.samples)
    if cell.settings.get("samples", 1) > 1:
        judged = tuple(mark_equal(rows.task, records, {sample.key: sample for sample in judged}).values())
    settings = cell.settings | {"scorer": scoring.SCORER_VERSION}
    key, summary = canonical.digest(settings), Summary.count(judged)
    print(
        f"{model} on {cell.task}: {summary.k}/{summary.n} right, before {cell.summary.k}/{cell.summary.n}", flush=True
    )
    if key != cell.key and cells.find_finished(folder / key) is not None:
        return key  # a run that was started again has judged it
    if judged != cell.samples or key != cell.key:
        (folder / key / CELL_FILE).unlink(missing_ok=True)  # a kill here leaves a cell that has all its answers
        files.write_bytes(folder / key / SAMPLES_FILE, b"".join(sample.to_line() for sample in judged))
        note = {"rescored": cell.key} if key != cell.key else {}
        provenance = cell.provenance | note
        fresh = dataclasses.replace(cell, key=key, settings=settings, summary=summary, provenance=provenance)
        cells.write_cell(folder / key, fresh)
    return key


def _find_rows(cell: Cell, tables: Sequence[Table]) -> Rows:
    """Find the rows that a cell was asked. Raises SpecError where the run file's tasks have none of this content."""
    wanted = {key: cell.settings.get(key) for key in ("task", "task_file", "dataset", "limit", "fold")}
    for rows, asked in tables:
        found = {"task": rows.task.name, "dataset": rows.identity, "limit": asked.limit, "fold": asked.fold}
        if found | {"task_file": rows.task.decides or None} == wanted and asked.gold == cell.settings.get(
            "gold", "published"
        ):
            return rows
    raise SpecError(
        f"--rescore: eval.tasks: expected rows of {cell.task} with the content that was asked, got others; "
        "put the former content back, or start the run again, which asks the new rows"
    )
