"""Where is a run on disk, and which files does it leave there? (docs/design.md C6, C13)

    <work>/runs/<name>-<run hash>/   config.json  inputs.json  metrics.jsonl  checkpoints/step-00000020/  model/  done.json
    <work>/cells/<key>/              cell.json  samples.jsonl

Each file and directory appears whole: it is written under a temporary name, fsynced and renamed.
"""

import json
import os
import re
import tempfile
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from fino1 import exits, files, jsonlines
from fino1.errors import SpecError

if TYPE_CHECKING:  # a report finds runs, and needs no pydantic
    from fino1.spec.inputs import DataBlock, ModelRef
    from fino1.spec.run import RunSpec

CELLS_FILE = "cells.json"
"""Which cells an evaluation has: their keys, models and tasks, in one order; there from its start."""
ROWS = {"sft": "rows.jsonl", "ppo": "rl.jsonl"}
"""Method → file that a run of method `paths` leaves for it."""


def directory(work: Path, name: str, spec: "RunSpec") -> Path:
    """Return the run's directory. Raises SpecError for a name that no run may have."""
    from fino1.spec import load
    from fino1.spec.fields import NAME

    if not re.fullmatch(NAME, name):
        raise SpecError(f"--name: expected at most 34 lower-case letters, digits, - and ., got {name!r}")
    return work / "runs" / f"{name}-{load.run_hash(spec)}"


def check_work(work: Path) -> None:
    """Make the work directory. Raises SpecError where it cannot be made or written, OSError where the disk is to blame."""
    try:
        work.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryFile(dir=work):
            pass
    except OSError as error:
        if error.errno in exits.DISK_ERRORS:
            raise
        raise SpecError(f"--work: {work}: expected a directory that can be written, got {error.strerror}") from error


def finished(work: Path, name: str, key: str = "run") -> Path:
    """Find the directory of the finished run NAME or NAME-HASH. Raises SpecError, naming `key`, for none and for several."""
    found = find(work, name, "done.json")
    if len(found) == 1:
        return found[0]
    if found:
        names = ", ".join(path.name for path in found)
        raise SpecError(
            f"{key}: {name}: expected one finished run in {work / 'runs'}, got {len(found)}: {names}; name one of them"
        )
    names = ", ".join(sorted(done.parent.name for done in (work / "runs").glob("*/done.json"))) or "none"
    raise SpecError(f"{key}: {name}: expected a finished run in {work / 'runs'}, got none (finished there: {names})")


def find(work: Path, name: str, file: str) -> list[Path]:
    """List the directories of runs NAME-HASH that hold this file, or only NAME, where that is the name of one."""
    folder = work / "runs"
    there = sorted(os.listdir(folder)) if folder.is_dir() else []
    alike = [folder / each for each in there if name in (each, each.rpartition("-")[0])]
    found = [path for path in alike if (path / file).is_file()]
    return [path for path in found if path.name == name] or found


def read_cells(directory: Path) -> dict[str, list[str]]:
    """Read which cells an evaluation has, finished or not: `cells` (keys), `models` and `tasks`, in one order.

    A run of version 0.1 has no CELLS_FILE: of that the keys and models are read. Raises SpecError for a run that has not begun.
    """
    listed = directory / CELLS_FILE
    path = listed if listed.is_file() else directory / "done.json"
    found = jsonlines.read_object(path)
    kept = {key: found.get(key) for key in ("cells", "models", "tasks") if key in found or key != "tasks"}
    for key, texts in kept.items():
        is_list = isinstance(texts, list) and all(isinstance(text, str) for text in texts)
        if not is_list or len(texts) != len(kept["cells"]):
            got = json.dumps(texts)[:60]
            raise SpecError(f"{path}: {key}: expected a list of texts, one for each cell, got {got}")
    return kept


def resolve(ref: "ModelRef", work: Path, default: str | None = None, key: str = "") -> tuple[str, str | None]:
    """Find the directory or hub id that holds this model, and the revision.

    Raises SpecError, naming `key`, for a run that is not finished or left no model, and a path that holds no `config.json`.
    """
    key = f"{key}." if key else ""
    if ref.run is not None:
        folder = finished(work, ref.run, f"{key}run") / "model"
        if not (folder / "config.json").is_file():
            raise SpecError(f"{key}run: {ref.run}: expected a run that trained a model, got one that left none")
        return str(folder), None
    if ref.path is not None:
        if not (Path(ref.path) / "config.json").is_file():
            is_adapter = (Path(ref.path) / "adapter_config.json").is_file()
            got = "an adapter; merge it into its base model" if is_adapter else "none"
            raise SpecError(f"{key}path: {ref.path}: expected a directory with config.json, got {got}")
        return ref.path, None
    if ref.hub is not None:
        return ref.hub, ref.revision
    if default is None:
        raise SpecError(f"{key.rstrip('.') or 'model'}: expected one of hub, path, run, got none")
    return default, None


def find_rows(block: "DataBlock", method: str, work: Path) -> "DataBlock":
    """Return the block with the path of its run's rows for SFT or PPO; without a run as it is.

    Raises SpecError for a run that is not finished or wrote no rows.
    """
    if block.run is None:
        return block
    path = finished(work, block.run, "data.run") / ROWS[method]
    if not path.is_file():
        raise SpecError(f"data.run: {block.run}: expected a run of method paths, got one without {ROWS[method]}")
    return block.model_copy(update={"run": None, "path": str(path)})


def inputs(document: Any, kind: str = "run", path: str = "") -> dict[str, str]:
    """Return what a document takes as input: key → NAME or NAME-HASH of every `{run: NAME}` inside; of every `path`, the path.

    With `kind` task every task file, by its path or its text.
    """
    from fino1.spec.inputs import TASK_IDS

    if isinstance(document, dict):
        items: Iterable[tuple[Any, Any]] = document.items()
    else:
        items = enumerate(document) if isinstance(document, list) else ()
    found = {}
    for key, value in items:
        here = f"{path}.{key}" if path else str(key)
        is_one = key == kind and isinstance(value, str) and (kind != "task" or value not in TASK_IDS)
        found |= {here: value} if is_one else inputs(value, kind, here)
    return found


def pin(document: Any, work: Path, stages: Mapping[str, str], source: str) -> Any:
    """Name a document's input runs by hash, so that the run's own hash says what it was made from.

    Every `{run: NAME}` inside becomes `{run: NAME-HASH}`: of the recipe's `stages` (name → directory name), or of the
    finished run of that name. Raises SpecError, naming `source`, with every run that is not there.
    """
    problems, names = [], {}
    for key, name in inputs(document).items():
        try:
            names[name] = stages.get(name) or finished(work, name, key).name
        except SpecError as error:
            problems += [f"{source}: {text}" for text in error.problems]
    if problems:
        raise SpecError(problems)
    return _renamed(document, names)


def _renamed(document: Any, names: Mapping[str, str]) -> Any:
    if isinstance(document, dict):
        return {
            key: names[value] if key == "run" and isinstance(value, str) else _renamed(value, names)
            for key, value in document.items()
        }
    return [_renamed(item, names) for item in document] if isinstance(document, list) else document


def write_config(path: Path, spec: "RunSpec") -> None:
    """Write `config.json` in its canonical form."""
    from fino1.spec import canonical, load

    files.write_bytes(path, canonical.dumps(load.config(spec)).encode())
