"""How do files out of a tar stream get onto this disk, whole or not at all, and nowhere else than meant?"""

import shutil
import tarfile
import tempfile
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path, PurePosixPath

from fino1 import files
from fino1.errors import ClusterError, SpecError

_AREAS = ("runs", "cells")


@dataclass(frozen=True)
class Fetched:
    """What has come."""

    directories: tuple[Path, ...]
    files: int
    size: int


class _Reader:
    """Chunks as a file that tarfile reads."""

    def __init__(self, chunks: Iterable[bytes]) -> None:
        self._chunks, self._rest = iter(chunks), b""

    def read(self, size: int) -> bytes:
        """Exactly so many bytes, fewer only at the end."""
        parts, left = [], size
        while left:
            if not self._rest:
                self._rest = next(self._chunks, b"")
                if not self._rest:
                    break
            parts.append(self._rest[:left])
            self._rest = self._rest[left:]
            left -= len(parts[-1])
        return b"".join(parts)

    def drain(self) -> None:
        """Read to the end: it is there that a failure is told."""
        for _ in self._chunks:
            pass


def unpack(chunks: Iterable[bytes], work: Path, directory: str) -> Fetched:
    """Lay what comes under `work`, as a run of this machine lies there; what is there of the same run is replaced.

    Raises SpecError where checkpoints would be lost by that, ClusterError for a stream that is no such archive.
    """
    final = work / "runs" / directory
    work.mkdir(parents=True, exist_ok=True)
    temporary = Path(tempfile.mkdtemp(prefix=".fetch-", dir=work))
    try:
        reader = _Reader(chunks)
        count, size = _extract(reader, temporary, directory)
        reader.drain()
        if (final / "checkpoints").is_dir() and not (temporary / "runs" / directory / "checkpoints").is_dir():
            raise SpecError(
                f"--to: {final}: expected none with checkpoints, which would be lost; use --all, or another --to"
            )
        found = [path for area in _AREAS for path in sorted((temporary / area).glob("*"))]
        return Fetched(tuple(_publish(found, temporary, work)), count, size)
    finally:
        shutil.rmtree(temporary, ignore_errors=True)


def _extract(reader: _Reader, temporary: Path, directory: str) -> tuple[int, int]:
    """Write all files of the archive; how many, and how many bytes."""
    count = size = 0
    try:
        with tarfile.open(fileobj=reader, mode="r|", bufsize=1 << 20) as tar:  # type: ignore[call-overload]
            for member in tar:
                path = temporary / _checked(member, directory)
                path.parent.mkdir(parents=True, exist_ok=True)
                source = tar.extractfile(member)
                assert source is not None, member
                with path.open("xb") as file:
                    shutil.copyfileobj(source, file, 1 << 20)
                count, size = count + 1, size + member.size
    except (tarfile.TarError, FileExistsError, NotADirectoryError, IsADirectoryError) as error:
        raise ClusterError(f"runs/{directory}: expected a tar archive of it from the pod, got: {error}") from error
    return count, size


def _checked(member: tarfile.TarInfo, directory: str) -> PurePosixPath:
    """Where does this file belong? Below the run's own directory or a cell's, or it is refused: the pod is not trusted."""
    path = PurePosixPath(member.name)
    is_below = len(path.parts) > 2 and ".." not in path.parts and not path.is_absolute()
    is_ours = is_below and (path.parts[:2] == ("runs", directory) or path.parts[0] == "cells")
    if not (is_ours and member.isreg()) or "\\" in member.name:
        raise ClusterError(f"runs/{directory}: expected files of this run or of cells, got {member.name!r}")
    return path


def _publish(found: Iterable[Path], temporary: Path, work: Path) -> Iterator[Path]:
    """Move each directory to its place, cells first: what names them comes last. A finished cell is never replaced."""
    for path in sorted(found, key=lambda path: path.parent.name != "cells"):
        final = work / path.relative_to(temporary)
        if path.parent.name != "cells" or not (final / "cell.json").is_file():
            final.parent.mkdir(parents=True, exist_ok=True)
            files.publish(path, final)
        yield final
