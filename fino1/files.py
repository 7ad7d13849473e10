"""Files and directories that appear whole or not at all, and locks between processes (docs/design.md C6, C12).

Each is written under a temporary name, fsynced and renamed.
"""

import contextlib
import fcntl
import hashlib
import json
import os
import secrets
import shutil
import socket
import sys
import time
from collections.abc import Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import IO, Any

from fino1.errors import AttemptError

_LOOK_S = 0.5  # between two tries to take a lock


def try_lock(handle: int, kind: int = fcntl.LOCK_EX) -> bool:
    """Try to lock an open file. Returns False where another process holds the lock; True also where the file system has none."""
    try:
        fcntl.flock(handle, kind | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    except OSError:
        pass
    return True


@contextlib.contextmanager
def lock(folder: Path, wait_s: float) -> Iterator[IO[str]]:
    """Hold the lock of a run's directory, in which one attempt at a time trains (docs/design.md C12).

    Yields the locked file. The kernel releases the lock when this process has ended, however that ends; a fork holds it too until
    it ends or closes the file. Raises AttemptError, naming the holder, where another still has it after `wait_s` seconds.
    """
    with (folder / ".lock").open("a+") as file:
        end, has_warned = time.monotonic() + wait_s, False
        while not try_lock(file.fileno()):
            file.seek(0)
            holder = file.read().strip() or "somebody"
            if time.monotonic() >= end:
                raise AttemptError(f"{folder}: expected no other attempt after {wait_s:.0f} s, got one by {holder}")
            if not has_warned:
                print(f"fino1: waiting for another attempt in {folder}: {holder}", file=sys.stderr, flush=True)
                has_warned = True
            time.sleep(_LOOK_S)
        file.truncate(0)
        since = time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime())
        file.write(f"host {socket.gethostname()}, process {os.getpid()}, since {since}\n")
        file.flush()
        yield file


def write_bytes(path: Path, data: bytes) -> None:
    """Write a whole file or nothing: temporary name, fsync, rename, fsync of the directory."""
    path.parent.mkdir(parents=True, exist_ok=True)
    # Not our process id: every container has a process 1, and they share the volume.
    temporary = path.with_name(f".{path.name}.{secrets.token_hex(6)}.tmp")
    try:
        with temporary.open("wb") as file:
            file.write(data)
            file.flush()
            os.fsync(file.fileno())
        os.replace(temporary, path)
    finally:
        temporary.unlink(missing_ok=True)  # it would take space on a full disk
    sync(path.parent)


def write_json(path: Path, document: Any) -> None:
    """Write an indented JSON document as `write_bytes` does."""
    write_bytes(path, (json.dumps(document, indent=1, ensure_ascii=False) + "\n").encode())


def sync(path: Path) -> None:
    """Make a file's content, or the names in a directory, last through a power cut."""
    handle = os.open(path, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


def publish(moves: Mapping[Path, Path]) -> None:
    """Make directories appear whole under their final names: fsync every file in them, rename, fsync the parents.

    Sixteen files at a time, since a disk takes as long to write its journal for one as for many.
    """
    with ThreadPoolExecutor(16) as pool:
        list(pool.map(sync, (path for folder in moves for path in (folder, *folder.rglob("*")))))
    for temporary, final in moves.items():
        if final.exists():
            shutil.rmtree(final)
        final.parent.mkdir(parents=True, exist_ok=True)
        os.replace(temporary, final)
    for parent in {final.parent for final in moves.values()}:
        sync(parent)


def hash_file(path: Path) -> str:
    """Compute SHA-256 of a file's bytes."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def artefact_hash(directory: Path) -> str:
    """Compute SHA-256 over the names and bytes of all files in a directory, in the order of their names."""
    total = hashlib.sha256()
    for path in sorted(p for p in directory.rglob("*") if p.is_file()):
        total.update(f"{path.relative_to(directory).as_posix()} {hash_file(path)}\n".encode())
    return total.hexdigest()
