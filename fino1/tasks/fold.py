"""Which part of a benchmark's rows is used? Parts never share a table or a page, so one file gives rows to train and to ask."""

import hashlib
from collections.abc import Sequence

from fino1.tasks.record import Record


def take(records: Sequence[Record], fold: str | None, limit: int | None) -> list[Record]:
    """Take the first `limit` records of part `fold` ("k/n", 1 ≤ k ≤ n); all where both are None."""
    if fold is None:
        return list(records[:limit])
    part, parts = (int(number) for number in fold.split("/"))
    return [record for record in records if _hash(group(record)) % parts == part - 1][:limit]


def group(record: Record) -> str:
    """Return what records of one part share: the table, else the page, else the record's own id."""
    return record.fields.get("table_hash") or record.page or record.id


def _hash(text: str) -> int:
    return int.from_bytes(hashlib.sha256(text.encode()).digest())
