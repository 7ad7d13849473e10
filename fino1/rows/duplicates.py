"""Which rows ask the same question of the same page again, word for word or nearly? (docs/rows.md)

Candidates come from MinHash over the whole prompt; whether two are alike is then computed, not estimated. Questions of one page
share its text and differ in a word (owned, leased), and pages of one company differ in figures only. So words alone would call
much of a benchmark alike, and numbers decide too: of the question, the document and the answer.
"""

import hashlib
from collections.abc import Sequence
from collections.abc import Set as AbstractSet

from fino1.rows.row import Row
from fino1.tasks.ngrams import split_words

_PERMUTATIONS, _BANDS = 128, 32  # of two prompts that are 70 % alike, 1 in 6,700 is missed
_SEED = 42
_LETTERS, _WORDS = 5, 3  # of a shingle of the question, and of the document


def find_repeated(rows: Sequence[Row]) -> dict[Row, Row]:
    """Find the rows whose prompt an earlier one has, in the same words: each with that one."""
    first: dict[bytes, Row] = {}
    digests = (hashlib.sha256(" ".join(split_words(row.prompt)).encode()).digest() for row in rows)
    pairs = [(row, first.setdefault(digest, row)) for row, digest in zip(rows, digests, strict=True)]
    return {row: earlier for row, earlier in pairs if row is not earlier}


def find_similar(rows: Sequence[Row], threshold: float) -> dict[Row, Row]:
    """Find the rows that are alike (`is_like`) to an earlier one that is kept: each with that one."""
    from rensa import RMinHash, RMinHashLSH

    index = RMinHashLSH(threshold=threshold, num_perm=_PERMUTATIONS, num_bands=_BANDS)
    kept: list[Row] = []
    found: dict[Row, Row] = {}
    for row in rows:
        sketch = RMinHash(num_perm=_PERMUTATIONS, seed=_SEED)
        sketch.update(sorted(_shingle_document(row) | _shingle_question(row)))
        candidates = (kept[number] for number in sorted(index.query(sketch)))
        like = next((other for other in candidates if is_like(row, other, threshold)), None)
        if like is not None:
            found[row] = like
            continue
        index.insert(len(kept), sketch)
        kept.append(row)
    return found


def is_like(one: Row, other: Row, threshold: float) -> bool:
    """True where questions and answers have the same numbers, and all else is alike by `threshold` (Jaccard)."""
    return (
        _has_same_answer(one, other)
        and _list_numbers(one.question) == _list_numbers(other.question)
        and _compute_jaccard(_shingle_question(one), _shingle_question(other)) >= threshold
        and _compute_jaccard(_list_numbers(one.document), _list_numbers(other.document)) >= threshold
        and _compute_jaccard(_shingle_document(one), _shingle_document(other)) >= threshold
    )


def _has_same_answer(one: Row, other: Row) -> bool:
    """Compare the golds, or where one is not known the numbers of the responses."""
    if one.gold is None or other.gold is None:
        return _list_numbers(one.response) == _list_numbers(other.response)
    return one.gold == other.gold


def _shingle_question(row: Row) -> set[str]:
    text = " ".join(split_words(row.question))
    return {text[i : i + _LETTERS] for i in range(max(1, len(text) - _LETTERS + 1))}


def _shingle_document(row: Row) -> set[str]:
    words = split_words(row.document)
    return {" ".join(words[i : i + _WORDS]) for i in range(max(1, len(words) - _WORDS + 1))}


def _list_numbers(text: str) -> set[str]:
    return {word for word in split_words(text) if word[0].isdigit()}


def _compute_jaccard(one: AbstractSet[str], other: AbstractSet[str]) -> float:
    return len(one & other) / len(one | other) if one | other else 1.0
