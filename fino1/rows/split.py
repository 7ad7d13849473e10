"""Which rows are for SFT and which for PPO? No page, table or document is in both (docs/rows.md)."""

import hashlib
from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass

from fino1.rows.row import Row
from fino1.tasks.ngrams import MIN_FIGURES, list_figures, split_words


@dataclass(frozen=True)
class Parts:
    """The rows of both parts; `unused` are of pages that PPO has and no rows for PPO."""

    sft: list[Row]
    ppo: list[Row]
    unused: list[Row]


def split(rows: Sequence[Row], share: float) -> Parts:
    """Give about `share` of the pages to PPO, by a hash of each: neither the order nor a clock or seed matters."""
    parts = Parts([], [], [])
    for group in _group(rows):
        if not (_draw(group) < share and any(row.is_for_ppo for row in group)):
            parts.sft.extend(group)
            continue
        for row in group:
            (parts.ppo if row.is_for_ppo else parts.unused).append(row)
    for part in (parts.sft, parts.ppo, parts.unused):
        part.sort(key=lambda row: row.rank)
    return parts


def _list_keys(row: Row) -> list[str]:
    """List what other rows of its page may share with a row. A page may stand under other names, its table under others still."""
    document = split_words(row.document)
    is_page = len(list_figures(document)) >= MIN_FIGURES  # else it may be what every prompt says
    words = " ".join(document if is_page else split_words(row.question))
    named = [f"{kind} {value}" for kind, value in (("page", row.page), ("table", row.table)) if value]
    return [*named, f"text {hashlib.sha256(words.encode()).hexdigest()}"]


def _group(rows: Sequence[Row]) -> list[list[Row]]:
    """Group rows that share a key, directly or through others."""
    parent: dict[str, str] = {}

    def find_root(key: str) -> str:
        while parent.setdefault(key, key) != key:
            parent[key] = parent[parent[key]]
            key = parent[key]
        return key

    keys = [_list_keys(row) for row in rows]
    for first, *others in keys:
        for other in others:
            parent[find_root(other)] = find_root(first)
    groups: dict[str, list[Row]] = defaultdict(list)
    for row, (first, *_) in zip(rows, keys, strict=True):
        groups[find_root(first)].append(row)
    return list(groups.values())


def _draw(group: Sequence[Row]) -> float:
    """Draw a number from 0 to 1 that follows from the group's pages, or where they have no name from its text."""
    key = min(_list_keys(row)[0] for row in group)
    return int.from_bytes(hashlib.sha256(key.encode()).digest()) / 2**256
