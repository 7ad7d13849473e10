"""Where do cells lie besides this machine's disk? At `eval.store`, a URL that fsspec opens (docs/endpoints.md#a-store).

    <store>/cells/<key>/samples-<digest>.jsonl      answers of an unfinished cell, an object for each batch
    <store>/cells/<key>/samples.jsonl, cell.json    a finished cell, as on the disk; cell.json comes last

The cell's directory on this machine comes first: an answer is there before it is in the store, and in the store before another
question takes its place. `fetch` makes both hold the same, whichever of them was lost or could not be reached before.
"""

import hashlib
import itertools
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any, TypeVar

from fino1 import cells, exits, files
from fino1.cells import CELL_FILE, SAMPLES_FILE, Sample
from fino1.errors import SpecError, ToolError, first_line
from fino1.evaluate.endpoint import Cancelled

STORED_FILE = "samples-stored.jsonl"  # on this machine: the answers that the store has of an unfinished cell
PATIENCE_S = 600.0  # how long a store may be away
FIRST_PAUSE_S, LONGEST_PAUSE_S = 0.5, 30.0
_NO_STORES = {
    **dict.fromkeys(("file", "local"), "cells on a disk lie in --work"),
    **dict.fromkeys(("http", "https"), "fsspec cannot delete there"),
    "memory": "it ends with the process",
}
_REFUSED = (FileNotFoundError, PermissionError, NotImplementedError)
_MISTAKES = (
    "NoCredentialsError",
    "PartialCredentialsError",
    "NoRegionError",
    "InvalidEndpointDiscoveryConfigurationError",
)

Result = TypeVar("Result")


class StoreLost(ToolError):
    """The store did not answer for PATIENCE_S: worth another attempt of the run, which finds its answers on the disk."""

    exit_code = exits.ENDPOINT_LOST


class Store:
    """The cells of an evaluation in an object store. Every method raises SpecError for what trying again cannot mend (no
    bucket, no permission), StoreLost, and Cancelled where `stop` is set while the store is away.
    """

    def __init__(self, url: str, stop: threading.Event) -> None:
        """Open the store and write into it."""
        self._url, self._stop = url.rstrip("/"), stop
        self._files, root = _open(self._url)
        self._root = root.rstrip("/")
        self._put(f"{self._root}/.fino1", b"")  # a wrong bucket or key shows before anything is bought

    def fetch(self, directory: Path) -> None:
        """Bring what the store has of a cell into its directory, and into the store what only the directory has."""
        names = self._list(directory.name)
        while CELL_FILE not in names:
            if cells.find_finished(directory) is not None:
                return self.finish(directory)
            found = self._read(directory.name, [name for name in names if name.startswith("samples-")])
            if found is not None:
                return self._share(directory, found)
            names = self._list(directory.name)  # another process has finished the cell and removed its batches
        if cells.find_finished(directory) is None:
            for name in (SAMPLES_FILE, CELL_FILE):
                files.write_bytes(
                    directory / name, self._call(lambda n=name: self._files.cat_file(self._at(directory, n)))
                )
        self._drop_batches(directory, names)
        return None

    def put(self, key: str, lines: bytes) -> None:
        """Write a batch of a cell's answers as an object, whose name follows from them: to repeat it changes nothing."""
        digest = hashlib.sha256(lines).hexdigest()[:24]
        self._put(f"{self._root}/cells/{key}/samples-{digest}.jsonl", lines)

    def finish(self, directory: Path) -> None:
        """Write a finished cell, and remove the batches that it was made of."""
        for name in (SAMPLES_FILE, CELL_FILE):
            self._put(self._at(directory, name), (directory / name).read_bytes())
        self._drop_batches(directory, self._list(directory.name))

    def _share(self, directory: Path, stored: bytes) -> None:
        """Keep the store's answers beside the directory's own, and put those of them into the store that it lacks."""
        known = set(stored.splitlines(keepends=True))
        own = {line: None for path in sorted(directory.glob("samples*.jsonl")) for line in _read_whole(path)}
        if stored:
            files.write_bytes(directory / STORED_FILE, stored)
        if missing := b"".join(line for line in own if line not in known):
            self.put(directory.name, missing)

    def _drop_batches(self, directory: Path, names: list[str]) -> None:
        if batches := [self._at(directory, name) for name in names if name.startswith("samples-")]:
            self._call(lambda: self._files.rm(batches))

    def _at(self, directory: Path, name: str) -> str:
        return f"{self._root}/cells/{directory.name}/{name}"

    def _put(self, path: str, data: bytes) -> None:
        self._call(lambda: self._files.pipe_file(path, data))

    def _list(self, key: str) -> list[str]:
        def look() -> list[str]:
            try:
                return sorted(
                    path.rpartition("/")[2] for path in self._files.ls(f"{self._root}/cells/{key}", detail=False)
                )
            except FileNotFoundError:
                return []

        return self._call(look)

    def _read(self, key: str, names: list[str]) -> bytes | None:
        """Read batches; None where one has gone meanwhile."""

        def read() -> bytes | None:
            paths = [f"{self._root}/cells/{key}/{name}" for name in names]
            found = list(self._files.cat(paths, on_error="return").values()) if paths else []
            if any(isinstance(each, FileNotFoundError) for each in found):
                return None
            if failure := next((each for each in found if isinstance(each, Exception)), None):
                raise failure
            return b"".join(found)

        return self._call(read)

    def _call(self, use: Callable[[], Result]) -> Result:
        """Use the store, again and again while it does not answer."""
        end = time.monotonic() + PATIENCE_S
        for attempt in itertools.count():
            try:
                return use()
            except Exception as error:  # noqa: BLE001, each kind of store has errors of its own
                said = f"{self._url}: {first_line(error)}"
                if isinstance(error, _REFUSED) or type(error).__name__ in _MISTAKES:
                    raise SpecError(f"eval.store: expected a store that can be written and read, got {said}") from error
                pause = min(FIRST_PAUSE_S * 2**attempt, LONGEST_PAUSE_S)
                if time.monotonic() + pause > end:
                    raise StoreLost(f"eval.store: no answer for {PATIENCE_S:.0f} s: {said}") from error
                if self._stop.wait(pause):
                    raise Cancelled from error
        raise AssertionError


def _open(url: str) -> tuple[Any, str]:
    scheme = url.partition("://")[0]
    if scheme in _NO_STORES:
        raise SpecError(f"eval.store: expected an object store such as s3://…, got {url}; {_NO_STORES[scheme]}")
    import fsspec

    try:
        return fsspec.core.url_to_fs(url, use_listings_cache=False, skip_instance_cache=True)
    except (ImportError, TypeError, ValueError) as error:
        hint = " (pip install 'fino1[s3]')" if scheme in ("s3", "s3a") else ""
        raise SpecError(
            f"eval.store: expected a URL that fsspec can open here, got {url}: {first_line(error)}{hint}"
        ) from error


def _read_whole(path: Path) -> list[bytes]:
    """Read the lines of a file that hold a sample."""
    found = []
    for line in path.read_bytes().splitlines(keepends=True):
        try:
            Sample.parse(line)
        except SpecError:
            continue
        found.append(line)
    return found
