"""What is in the directory of a data set, and how does it appear whole? (docs/rows.md, docs/design.md C6)

sft.jsonl           rows for SFT                                      and sft.parquet
rl.jsonl            rows for PPO, of other pages                      and rl.parquet
preferences.jsonl   a right chain and a failed one, of one question   and preferences.parquet
matches.jsonl       rows that are left out as evaluated ones or near duplicates; not for publishing
summary.json        counts at each step, where the rows come from
README.md           the same as a dataset card
"""

import contextlib
import errno
import fcntl
import io
import json
import os
import secrets
import shutil
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from fino1 import exits, files
from fino1.errors import SpecError
from fino1.rows.row import Row
from fino1.rows.split import Parts
from fino1.tasks.record import solution
from fino1.train.data.columns import DOCUMENT, RL_COLUMNS, SFT_COLUMNS

CONFIGS = ("sft", "rl", "preferences")
MATCHES, SUMMARY, CARD = "matches.jsonl", "summary.json", "README.md"
NAMES = frozenset({MATCHES, SUMMARY, CARD, *(f"{name}.{kind}" for name in CONFIGS for kind in ("jsonl", "parquet"))})
PUBLISHED = NAMES - {MATCHES}  # matches hold the text of evaluation sets

_ABOUT = ("id", "task", "page", "table", "source")
COLUMNS = {
    "sft": (*_ABOUT, *SFT_COLUMNS, DOCUMENT, "shows_gold"),
    "rl": (*_ABOUT, *RL_COLUMNS, DOCUMENT),
    "preferences": (*_ABOUT, "part", "prompt", "chosen", "rejected"),
}
Line = dict[str, Any]


def list_lines(parts: Parts) -> dict[str, list[Line]]:
    """List the lines of the three files."""
    both = sorted(
        ((row, part) for part, rows in (("sft", parts.sft), ("rl", parts.ppo)) for row in rows if row.rejected),
        key=lambda pair: pair[0].rank,
    )
    return {
        "sft": [_write_sft(row) for row in parts.sft],
        "rl": [_write_rl(row) for row in parts.ppo],
        "preferences": [_write_pair(row, part) for row, part in both if not row.shows_gold],
    }


def _describe(row: Row) -> Line:
    return {name: getattr(row, name) for name in _ABOUT}


def _write_sft(row: Row) -> Line:
    values = (row.prompt, row.cot, row.response, row.document, row.shows_gold)
    return _describe(row) | dict(zip((*SFT_COLUMNS, DOCUMENT, "shows_gold"), values, strict=True))


def _write_rl(row: Row) -> Line:
    return _describe(row) | dict(zip((*RL_COLUMNS, DOCUMENT), (row.prompt, row.gold, row.document), strict=True))


def _write_pair(row: Row, part: str) -> Line:
    assert row.rejected is not None
    texts = {"prompt": row.prompt, "chosen": row.completion, "rejected": solution(*row.rejected)}
    return _describe(row) | {"part": part} | texts


def encode(lines: Mapping[str, Sequence[Line]], matches: Iterable[Line], summary: Line, card: str) -> dict[str, bytes]:
    """Return the files' content by name."""
    found = {f"{name}.jsonl": _encode_lines(lines[name]) for name in CONFIGS}
    found |= {f"{name}.parquet": _encode_parquet(name, lines[name]) for name in CONFIGS}
    text = json.dumps(summary, indent=1, ensure_ascii=False) + "\n"
    return found | {MATCHES: _encode_lines(matches), SUMMARY: text.encode(), CARD: card.encode()}


def _encode_lines(lines: Iterable[Line]) -> bytes:
    return b"".join(json.dumps(line).encode() + b"\n" for line in lines)


def _encode_parquet(name: str, lines: Sequence[Line]) -> bytes:
    import pyarrow
    from pyarrow import parquet

    kinds = {"shows_gold": pyarrow.bool_()}
    schema = pyarrow.schema([(column, kinds.get(column, pyarrow.string())) for column in COLUMNS[name]])
    file = io.BytesIO()
    parquet.write_table(pyarrow.Table.from_pylist(list(lines), schema=schema), file)
    return file.getvalue()


def check_directory(directory: Path) -> None:
    """Refuse a directory that cannot be made, or has something else in it, before anything is read or computed."""
    try:
        if directory.exists() and not directory.is_dir():
            raise SpecError(f"--output: {directory}: expected a directory, got a file")
        directory.parent.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        if error.errno in exits.DISK_ERRORS:
            raise
        raise SpecError(f"--output: {directory}: expected a place that can be written, got {error.strerror}") from error
    if not os.access(directory.resolve().parent, os.W_OK):
        raise SpecError(f"--output: {directory}: expected a place that can be written, got {os.strerror(errno.EACCES)}")
    there = directory.iterdir() if directory.exists() else ()
    others = sorted(path.name for path in there if path.name not in NAMES or not path.is_file())
    if others:
        raise SpecError(
            f"--output: {directory}: expected a directory that `fino1 rows` wrote, or none, got one with {others[0]}"
        )


def write(directory: Path, found: Mapping[str, bytes], overwrite: bool) -> bool:
    """Make the directory appear whole; returns False where it holds just this already.

    Raises SpecError for one with other content, unless it may `overwrite`.
    """
    with _lock(directory.resolve().parent):
        return _write(directory, found, overwrite)


@contextlib.contextmanager
def _lock(parent: Path) -> Iterator[None]:
    """Wait until no other process writes a data set in this directory, where its file system has locks."""
    handle = os.open(parent, os.O_RDONLY)
    try:
        with contextlib.suppress(OSError):
            fcntl.flock(handle, fcntl.LOCK_EX)
        yield
    finally:
        os.close(handle)


def _write(directory: Path, found: Mapping[str, bytes], overwrite: bool) -> bool:
    check_directory(directory)
    there = {path.name: path.read_bytes() for path in directory.iterdir()} if directory.exists() else {}
    if there == found:
        return False
    if there and not overwrite:
        raise SpecError(
            f"--output: {directory}: expected what it holds already, got other rows; --overwrite replaces it"
        )
    directory = directory.resolve()
    temporary = directory.with_name(f".{directory.name}.{secrets.token_hex(6)}.tmp")
    try:
        temporary.mkdir()
        for name, data in found.items():
            (temporary / name).write_bytes(data)
        files.publish({temporary: directory})
    finally:
        shutil.rmtree(temporary, ignore_errors=True)
    return True
