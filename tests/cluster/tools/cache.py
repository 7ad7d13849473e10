"""Where are built and downloaded things kept, so that they are made once, whole, and by one process at a time?

`${XDG_CACHE_HOME:-~/.cache}/fino1/cluster/<name>-<version>/`: the version is part of the name, so nothing is ever
replaced, and removing the folder is always safe.
"""

import fcntl
import hashlib
import os
import shutil
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

_BEGAN = time.monotonic()


class ToolError(Exception):
    """A tool could not be had on this machine; the message says why and what would help."""


def say(text: str) -> None:
    """Tell the person who waits what happens, with the seconds since the start (stderr: stdout is for answers)."""
    print(f"[{time.monotonic() - _BEGAN:5.0f} s] {text}", file=sys.stderr, flush=True)


def root() -> Path:
    """Which folder holds everything that we build or download?"""
    base = os.environ.get("XDG_CACHE_HOME") or str(Path.home() / ".cache")
    return Path(base) / "fino1" / "cluster"


def sha256(file: Path) -> str:
    """What is the file's SHA-256, in hex?"""
    with file.open("rb") as stream:
        return hashlib.file_digest(stream, "sha256").hexdigest()


def entry(name: str, make: Callable[[Path], None]) -> Path:
    """Which folder holds `name`? Made by `make(empty folder)` where it is missing: temporary folder, rename.

    `make` may use the folder `scratch` beside its target for what is not to be kept; see `scratch`.
    """
    done = root() / name
    if done.is_dir():
        return done
    with lock(name):
        if done.is_dir():  # another process made it while we waited
            return done
        making = root() / f".{name}.making"
        shutil.rmtree(making, ignore_errors=True)  # left by a process that was killed: we hold the lock, so it is dead
        try:
            (making / "keep").mkdir(parents=True)
            (making / "scratch").mkdir()
            make(making / "keep")
            (making / "keep").rename(done)
        finally:
            shutil.rmtree(making, ignore_errors=True)
    return done


def scratch(keep: Path) -> Path:
    """Where may a `make` put what it needs only while it runs? On the same disk, removed whatever happens."""
    return keep.parent / "scratch"


@contextmanager
def lock(name: str) -> Iterator[None]:
    """One process at a time has `name` for this block; the others wait, and say so."""
    root().mkdir(parents=True, exist_ok=True)
    with (root() / f".{name}.lock").open("w") as stream:
        try:
            fcntl.flock(stream, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            say(f"waiting for another process: {name}")
            fcntl.flock(stream, fcntl.LOCK_EX)
        yield
