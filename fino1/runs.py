"""Where does a run live, and what has it left there? (DESIGN C6, C13)

    <work>/runs/<name>-<run hash>/   config.json  metrics.jsonl  checkpoints/step-00000020/  model/  done.json
    <work>/cells/<key>/              cell.json  samples.jsonl

Everything appears whole: written under a temporary name, fsynced, renamed.
"""

import hashlib
import json
import os
import shutil
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from fino1 import canonical, load
from fino1.errors import SpecError
from fino1.spec import ModelRef, RunSpec


def directory(work: Path, name: str, spec: RunSpec) -> Path:
    """Which directory belongs to this run?"""
    return work / "runs" / f"{name}-{load.run_hash(spec)}"


def finished(work: Path, name: str) -> Path:
    """Which directory is the finished run `name`, or `NAME-HASH`? Raises SpecError where none or several are."""
    if (work / "runs" / name / "done.json").is_file():
        return work / "runs" / name
    found = sorted(
        done.parent
        for done in (work / "runs").glob(f"{name}-*/done.json")
        if done.parent.name.rpartition("-")[0] == name
    )
    if len(found) == 1:
        return found[0]
    if found:
        names = ", ".join(path.name for path in found)
        raise SpecError(f"run: {name}: expected one finished run in {work / 'runs'}, got {len(found)}: {names}")
    there = ", ".join(sorted(done.parent.name for done in (work / "runs").glob("*/done.json"))) or "none"
    raise SpecError(f"run: {name}: expected a finished run in {work / 'runs'}, got none (finished there: {there})")


def resolve(ref: ModelRef, work: Path, default: str | None = None) -> tuple[str, str | None]:
    """Which directory or hub id holds this model, and at which revision?

    Raises SpecError for a run that is not finished and a path that holds no `config.json`.
    """
    if ref.run is not None:
        return str(finished(work, ref.run) / "model"), None
    if ref.path is not None:
        if not (Path(ref.path) / "config.json").is_file():
            raise SpecError(f"path: {ref.path}: expected a directory with config.json, got none")
        return ref.path, None
    if ref.hub is not None:
        return ref.hub, ref.revision
    if default is None:
        raise SpecError("expected one of hub, path, run, got none")
    return default, None


def pin(document: Any, work: Path, stages: Mapping[str, str]) -> Any:
    """Which document names its input runs by hash? A run's own hash then says what it was made from.

    Every `{run: NAME}` inside becomes `{run: NAME-HASH}`: of the recipe's own `stages` (name → directory name), or of the
    finished run of that name. Raises SpecError as `finished` does.
    """
    if isinstance(document, dict):
        return {
            key: stages.get(value) or finished(work, value).name
            if key == "run" and isinstance(value, str)
            else pin(value, work, stages)
            for key, value in document.items()
        }
    return [pin(item, work, stages) for item in document] if isinstance(document, list) else document


def write_bytes(path: Path, data: bytes) -> None:
    """Write a whole file or nothing: temporary name, fsync, rename, fsync of the directory."""
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_name(f".{path.name}.{os.getpid()}.tmp")
    with temporary.open("wb") as file:
        file.write(data)
        file.flush()
        os.fsync(file.fileno())
    os.replace(temporary, path)
    sync_directory(path.parent)


def write_json(path: Path, document: Any) -> None:
    """As `write_bytes`, of an indented JSON document."""
    write_bytes(path, (json.dumps(document, indent=1, ensure_ascii=False) + "\n").encode())


def write_config(path: Path, spec: RunSpec) -> None:
    """Write `config.json` in its canonical form."""
    write_bytes(path, canonical.dumps(load.config(spec)).encode())


def sync_directory(path: Path) -> None:
    """Make the names in a directory last through a power cut."""
    handle = os.open(path, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


def publish(temporary: Path, final: Path) -> None:
    """Make a directory appear whole under its final name: fsync every file in it, rename, fsync the parent."""
    for path in sorted(temporary.rglob("*")):
        handle = os.open(path, os.O_RDONLY)
        try:
            os.fsync(handle)
        finally:
            os.close(handle)
    sync_directory(temporary)
    if final.exists():
        shutil.rmtree(final)
    os.replace(temporary, final)
    sync_directory(final.parent)


def artefact_hash(directory: Path) -> str:
    """SHA-256 over the names and bytes of all files in a directory, in the order of their names."""
    total = hashlib.sha256()
    for path in sorted(p for p in directory.rglob("*") if p.is_file()):
        with path.open("rb") as file:
            content = hashlib.file_digest(file, "sha256").hexdigest()
        total.update(f"{path.relative_to(directory).as_posix()} {content}\n".encode())
    return total.hexdigest()
