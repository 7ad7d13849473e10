"""How do files out of a tar stream get onto this disk, whole or not at all, and nowhere else than meant?"""

import shutil
import tarfile
import tempfile
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from types import SimpleNamespace

from fino1 import files
from fino1.errors import ClusterError, SpecError


@dataclass(frozen=True)
class Fetched:
    """The result of a fetch: the directories written, how many files in them, and their bytes."""

    directories: tuple[Path, ...]
    files: int
    size: int

    @property
    def runs(self) -> list[str]:
        """The names of those that are runs'."""
        return [path.name for path in self.directories if path.parent.name == "runs"]


def unpack(chunks: Iterable[bytes], work: Path, *directories: str) -> Fetched:
    """Write what comes below `work`, as runs of this machine lie there; what is there of the same run is replaced.

    Raises SpecError where checkpoints would be lost by that, ClusterError for a stream that is no such archive.
    """
    work.mkdir(parents=True, exist_ok=True)
    temporary = Path(tempfile.mkdtemp(prefix=".fetch-", dir=work))
    try:
        count, size = _extract(iter(chunks), temporary, directories)
        for run in temporary.glob("runs/*"):
            final = work / "runs" / run.name
            if (final / "checkpoints").is_dir() and not (run / "checkpoints").is_dir():
                wanted = "none with checkpoints, which would be lost; use --all, or another --to"
                raise SpecError(f"--to: {final}: expected {wanted}")
        return Fetched(tuple(_publish(temporary, work, directories)), count, size)
    finally:
        shutil.rmtree(temporary, ignore_errors=True)


def _extract(chunks: Iterator[bytes], temporary: Path, directories: Sequence[str]) -> tuple[int, int]:
    """Write all files of the archive; returns how many, and their bytes. To the end: there it is known if the command failed."""
    count = size = 0
    # tarfile is content with more or less than it asks for
    source = SimpleNamespace(read=lambda size: next(chunks, b""))
    try:
        with tarfile.open(fileobj=source, mode="r|") as tar:  # type: ignore[call-overload]
            for member in tar:
                path = temporary / _check_path(member, directories)
                path.parent.mkdir(parents=True, exist_ok=True)
                content = tar.extractfile(member)
                assert content is not None, member
                with path.open("xb") as file:  # only the content: no owner, mode or link that the pod has chosen
                    shutil.copyfileobj(content, file, 1 << 20)
                count, size = count + 1, size + member.size
    except (tarfile.TarError, FileExistsError, NotADirectoryError, IsADirectoryError) as error:
        raise ClusterError(f"runs/{directories[0]}: expected a tar archive of it from the pod, got: {error}") from error
    for _ in chunks:
        pass
    return count, size


def _check_path(member: tarfile.TarInfo, directories: Sequence[str]) -> PurePosixPath:
    """The path of a file below a run's own directory or a cell's; any other is refused: the pod is not trusted."""
    path = PurePosixPath(member.name)
    is_below = len(path.parts) > 2 and ".." not in path.parts and not path.is_absolute()
    is_ours = is_below and (path.parts[0] == "cells" or path.parts[0] == "runs" and path.parts[1] in directories)
    if not (is_ours and member.isreg()) or "\\" in member.name:
        raise ClusterError(f"runs/{directories[0]}: expected files of this run or of cells, got {member.name!r}")
    return path


def _publish(temporary: Path, work: Path, directories: Sequence[str]) -> Iterator[Path]:
    """Move the directories to their places, cells first: what names them comes last. A finished cell is never replaced."""
    cells = {path: work / "cells" / path.name for path in sorted(temporary.glob("cells/*"))}
    files.publish({path: to for path, to in cells.items() if not (to / "cell.json").is_file()})
    runs = {path: work / "runs" / name for name in directories if (path := temporary / "runs" / name).is_dir()}
    files.publish(runs)
    yield from (*cells.values(), *runs.values())
