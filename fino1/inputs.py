"""Does a run still read what it began with? Digests of the local files and folders that its config names (docs/design.md C13).

A run's hash knows the paths of its data and models, not their content. `inputs.json` in the run's directory does: key →
{path, sha256}, for every `path` of config.json that was there when the run began, and for the rows of `data.run`.
"""

import contextlib
import hashlib
import json
from pathlib import Path

from fino1 import files, jsonlines, runs
from fino1.errors import SpecError
from fino1.spec import load
from fino1.spec.inputs import names_file
from fino1.spec.run import RunSpec

FILE = "inputs.json"
_OF_A_MODEL = {".json", ".safetensors", ".bin", ".model", ".txt", ".jinja", ".gguf"}
_WHOLE_BYTES = 64 * 2**20  # files up to this size are read whole
_BLOCK_BYTES, _BLOCKS = 2**20, 64  # what is read of larger files


def check(directory: Path, spec: RunSpec, writes: bool = False) -> None:
    """Compare what a run would read with what it began with; where it `writes`, keep the digests of what was not there then.

    A run without a checkpoint has learnt nothing yet: whoever mends a row that it refused starts it again. What is not there now
    is not compared: a finished run does not need it, another says itself what it lacks. Of a run that finished without a
    record it is not known what it read. Raises SpecError with everything that has other content.
    """
    path, is_done = directory / FILE, (directory / "done.json").is_file()
    if is_done and not path.is_file():
        return
    has_begun = is_done or any((directory / "checkpoints").glob("step-*"))
    kept = jsonlines.read_object(path) if has_begun and path.is_file() else {}
    problems, fresh = [], {}
    for key, name in _list_inputs(directory, spec, is_done).items():
        try:
            found = digest(Path(name))
        except (FileNotFoundError, NotADirectoryError):
            continue
        except PermissionError as error:
            problems.append(f"{key}: {name}: expected what can be read, got {error.strerror}")
            continue
        known = kept[key]["sha256"] if key in kept else fresh.setdefault(key, {"path": name, "sha256": found})["sha256"]
        if known != found:
            problems.append(
                f"{key}: {name}: expected what {directory} began with, sha256 {known[:12]}, got other content, sha256 "
                f"{found[:12]}; put the former content back, or start a run under another --name"
            )
    if problems:
        raise SpecError(problems)
    if writes and fresh:
        files.write_json(path, kept | fresh)


def link_to_same(directory: Path, spec: RunSpec) -> None:
    """Make `directory`, where it is missing, a link to that of the run which was begun under another name with these inputs.

    So a run file that got another name in git is not trained again (docs/gitops.md). Does nothing where there is no such run.
    """
    run_hash = directory.name.rpartition("-")[2]
    for other in sorted(directory.parent.glob(f"*-{run_hash}")):
        if directory.exists() or other.is_symlink() or not (other / "config.json").is_file():
            continue
        with contextlib.suppress(SpecError, FileExistsError):  # other content; another node made the link
            check(other, spec)
            directory.symlink_to(other.name)
            print(f"fino1: {directory.name} is the same run as {other.name}, which is not begun anew", flush=True)


def _list_inputs(directory: Path, spec: RunSpec, is_done: bool) -> dict[str, str]:
    """Return key → path of what the config names by path, of task files the rows too, and of the rows of `data.run` once that
    run is finished. Raises SpecError for a task file that is not there or wrong, unless the run `is_done`.
    """
    config = load.config(spec)
    found = runs.inputs(config, "path")
    for key, name in runs.inputs(config, "task").items():
        if is_file := names_file("task", name):
            found[key] = name
        if is_done and is_file and not Path(name).is_file():
            continue
        from fino1 import tasks  # and jinja2, which is not loaded for runs without a task file

        rows = tasks.task(name).rows
        if "path" in rows and f"{key.removesuffix('task')}path" not in found:
            found[f"{key}.rows.path"] = rows["path"]
    if spec.method in runs.ROWS and spec.data.run is not None:
        with contextlib.suppress(SpecError):
            found["data.run"] = str(runs.find_rows(spec.data, spec.method, directory.parents[1]).path)
    return found


def digest(path: Path) -> str:
    """SHA-256 of a file's content, or of names, sizes and contents of the files of a folder that make a model."""
    if path.is_file():
        return files.hash_file(path)
    total = hashlib.sha256()
    members = [*path.iterdir(), *path.glob("additional_chat_templates/*")]
    for member in sorted(m for m in members if m.is_file() and m.suffix in _OF_A_MODEL):
        name, size = member.relative_to(path).as_posix(), member.stat().st_size
        total.update(json.dumps([name, size, _sample(member, size)]).encode())
    return total.hexdigest()


def _sample(path: Path, size: int) -> str:
    """SHA-256 of a file; of a large one of _BLOCKS blocks spread evenly, the first and the last among them."""
    if size <= _WHOLE_BYTES:
        return digest(path)
    total = hashlib.sha256()
    with path.open("rb") as file:
        for block in range(_BLOCKS):
            file.seek(block * (size - _BLOCK_BYTES) // (_BLOCKS - 1))
            total.update(file.read(_BLOCK_BYTES))
    return total.hexdigest()
