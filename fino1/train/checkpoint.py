"""How is a run's state saved and found again, whatever happens in between? (docs/design.md C6)

A checkpoint is a directory `step-00000020`. It is written as `.step-00000020.tmp`, its files and sizes are listed in
`manifest.json`, everything is fsynced, and it is renamed. What has the final name is whole; a manifest that disagrees with the
files (a damaged disk, a hand that touched them) makes a checkpoint invalid, and the next older one is taken.

A run resumes with as many ranks as wrote its checkpoint. Every rank's random numbers and its share of each batch are in it:
another number of ranks would end with other weights, so it is refused.
"""

import json
import os
import re
import shutil
import signal
import threading
from collections.abc import Callable
from pathlib import Path
from types import FrameType

from fino1 import files
from fino1.errors import SpecError

MANIFEST = "manifest.json"
_NAME = re.compile(r"step-(\d{8})")


class Stopped(Exception):  # noqa: N818, no error: the run was asked to stop and its state is on disk
    """The run was terminated after its checkpoint was written: exit code 143."""


class StopSignal:
    """SIGTERM and SIGINT set `event`, which the training loop looks at, and do nothing else.

    Made once the ranks have met: one that waits for the others in torch would not look at it until they come.
    """

    def __init__(self) -> None:
        self.event = threading.Event()
        for number in (signal.SIGTERM, signal.SIGINT):
            signal.signal(number, self._receive)

    @property
    def received(self) -> bool:
        """True once a signal came."""
        return self.event.is_set()

    def _receive(self, number: int, frame: FrameType | None) -> None:
        self.event.set()


def step_of(path: Path) -> int:
    """Number of steps after which this checkpoint was written."""
    match = _NAME.fullmatch(path.name)
    assert match, f"{path} is no checkpoint"
    return int(match[1])


def all_valid(directory: Path) -> list[Path]:
    """The whole checkpoints in `directory`, oldest first."""
    return [path for path in _all(directory) if _is_valid(path)]


def newest(directory: Path, world_size: int) -> Path | None:
    """The newest whole checkpoint, or None. Raises SpecError where another number of ranks than `world_size` wrote it."""
    path = next(reversed(all_valid(directory)), None)
    if path is not None and (ranks := json.loads((path / MANIFEST).read_text())["world_size"]) != world_size:
        raise SpecError(
            f"{path}: expected to go on with {ranks} rank{'s' if ranks > 1 else ''} (nodes × processes_per_node), as it "
            f"was begun, got {world_size}; start it with as many, or begin anew: under another name, or without {directory}"
        )
    return path


def agree_on_newest(directory: Path, world_size: int) -> Path | None:
    """As `newest`, the same on every rank: rank 0's view (a shared file system may show another rank an older one)."""
    from accelerate.utils import broadcast_object_list  # takes seconds, which the launcher need not wait

    chosen = [newest(directory, world_size)]
    broadcast_object_list(chosen)
    return chosen[0]


def save(
    directory: Path,
    step: int,
    keep: int,
    write: Callable[[Path], None],
    *,
    world_size: int = 1,
    is_main: bool = True,
    barrier: Callable[[], None] = lambda: None,
) -> Path:
    """Write the checkpoint of `step`, then leave the `keep` newest.

    Every rank calls this; `write(path)` puts a rank's files into the temporary directory, which one rank (`is_main`) makes
    before and publishes after. Raises what the disk's refusal raises, and leaves no half a checkpoint then.
    """
    final = directory / f"step-{step:08d}"
    temporary = directory / f".{final.name}.tmp"
    if is_main:
        directory.mkdir(parents=True, exist_ok=True)
        clear_temporary(directory)
        temporary.mkdir()
    barrier()
    try:
        write(temporary)
        barrier()
        if is_main:
            sizes = {p.relative_to(temporary).as_posix(): p.stat().st_size for p in temporary.rglob("*") if p.is_file()}
            (temporary / MANIFEST).write_text(json.dumps({"step": step, "world_size": world_size, "files": sizes}))
            files.publish({temporary: final})
            prune(directory, keep)
    except Exception:
        if is_main:
            shutil.rmtree(temporary, ignore_errors=True)
        raise
    barrier()
    return final


def prune(directory: Path, keep: int) -> None:
    """Leave the `keep` newest whole checkpoints, and what is newer than the oldest of them."""
    kept = all_valid(directory)[-keep:]
    for path in _all(directory):
        if kept and path < kept[0]:
            shutil.rmtree(path)


def clear_temporary(directory: Path) -> None:
    """Remove what interrupted writes left behind in `directory`."""
    for leftover in directory.glob(".*.tmp"):
        if leftover.is_dir():
            shutil.rmtree(leftover)
        else:
            leftover.unlink()


def publish_model(temporary: Path, final: Path) -> None:
    """Make a model's directory appear whole, for all to read: safetensors leaves its files to their owner alone."""
    mask = os.umask(0)
    os.umask(mask)
    for path in temporary.rglob("*"):
        path.chmod((0o777 if path.is_dir() else 0o666) & ~mask)
    files.publish({temporary: final})


def _all(directory: Path) -> list[Path]:
    return sorted(path for path in directory.glob("step-*") if _NAME.fullmatch(path.name))


def _is_valid(path: Path) -> bool:
    try:
        manifest = json.loads((path / MANIFEST).read_text())
        whole = all((path / name).stat().st_size == size for name, size in manifest["files"].items())
        return whole and isinstance(manifest["world_size"], int)
    except (OSError, ValueError, KeyError, TypeError, AttributeError):
        return False
