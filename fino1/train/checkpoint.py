"""How is a run's state saved and found again, whatever happens in between? (DESIGN C6)

A checkpoint is a directory `step-00000020`. It is written as `.step-00000020.tmp`, its files and sizes are listed in
`manifest.json`, everything is fsynced, and it is renamed. What has the final name is whole; a manifest that disagrees with the
files (a damaged disk, a hand that touched them) makes a checkpoint invalid, and the next older one is taken.
"""

import errno
import json
import os
import re
import shutil
import signal
from collections.abc import Callable
from pathlib import Path
from types import FrameType

from fino1 import runs

MANIFEST = "manifest.json"
_NAME = re.compile(r"step-(\d{8})")
_DISK = {errno.ENOSPC, errno.EROFS, errno.EIO, errno.EDQUOT}


class Stopped(Exception):  # noqa: N818, no error: the run was asked to stop and its state is on disk
    """The run was terminated after its checkpoint was written: exit code 143."""


class StopSignal:
    """Has this process been asked to stop? SIGTERM and SIGINT only set `received`; the training loop looks at it."""

    def __init__(self) -> None:
        self.received = False
        for number in (signal.SIGTERM, signal.SIGINT):
            signal.signal(number, self._receive)

    def _receive(self, number: int, frame: FrameType | None) -> None:
        self.received = True


def step_of(path: Path) -> int:
    """After how many steps was this checkpoint written?"""
    match = _NAME.fullmatch(path.name)
    assert match, f"{path} is no checkpoint"
    return int(match[1])


def all_valid(directory: Path) -> list[Path]:
    """Which checkpoints in `directory` are whole, oldest first?"""
    return [path for path in sorted(directory.glob("step-*")) if _NAME.fullmatch(path.name) and _is_valid(path)]


def newest(directory: Path) -> Path | None:
    """Which checkpoint does a run go on from?"""
    return next(reversed(all_valid(directory)), None)


def save(
    directory: Path,
    step: int,
    keep: int,
    write: Callable[[Path], None],
    *,
    is_main: bool = True,
    barrier: Callable[[], None] = lambda: None,
) -> Path:
    """Write the checkpoint of `step`, then leave the `keep` newest.

    Every rank calls this; `write(path)` puts a rank's files into the temporary directory, which one rank (`is_main`) makes
    before and publishes after. Raises OSError where the disk refuses.
    """
    final = directory / f"step-{step:08d}"
    temporary = directory / f".{final.name}.tmp"
    if is_main:
        directory.mkdir(parents=True, exist_ok=True)
        clear_temporary(directory)
        temporary.mkdir()
    barrier()
    write(temporary)
    barrier()
    if is_main:
        files = {p.relative_to(temporary).as_posix(): p.stat().st_size for p in temporary.rglob("*") if p.is_file()}
        (temporary / MANIFEST).write_text(json.dumps({"step": step, "files": files}))
        runs.publish(temporary, final)
        for old in all_valid(directory)[:-keep]:
            shutil.rmtree(old)
    barrier()
    return final


def clear_temporary(directory: Path) -> None:
    """Remove what an interrupted write left behind."""
    for leftover in directory.glob(".step-*.tmp"):
        shutil.rmtree(leftover)


def is_disk_error(error: BaseException) -> bool:
    """Is this the disk's fault (full, read-only, unreadable)? Libraries wrap it, so causes and texts are looked at too."""
    seen: BaseException | None = error
    while seen is not None:
        if isinstance(seen, OSError) and seen.errno in _DISK:
            return True
        if any(os.strerror(number) in str(seen) for number in _DISK):
            return True
        seen = seen.__cause__ or seen.__context__
    return False


def _is_valid(path: Path) -> bool:
    try:
        files = json.loads((path / MANIFEST).read_text())["files"]
        return all((path / name).stat().st_size == size for name, size in files.items())
    except (OSError, ValueError, KeyError, TypeError, AttributeError):
        return False
