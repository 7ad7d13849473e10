"""Which text repeats passages of another? Compared by n-grams of words (docs/rows.md).

Reports repeat themselves from year to year word for word, and only the figures tell one page from the next. So what is measured
is how many of a document's figures stand in a shared n-gram, not how many of its words.
"""

import functools
import re
from collections import defaultdict
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass

from fino1.tasks.record import Record

N = 8  # words; with 13, the usual number, tables share nothing once a line of them has moved
MIN_FIGURES = 5  # in documents with fewer every word counts
SHOWN_CHARACTERS = 400
_WORD = re.compile(r"\d[\d,]*(?:\.\d+)?(?![^\W_])|[^\W_]+")  # FinQA spells ’s as 2019s
_FIGURE = re.compile(r"(?!(?:19|20)\d\d\Z)(?:\d{3,}|\d+\.\d+)")


@dataclass(frozen=True)
class Passage:
    """How much of another text a text repeats (0 to 1), and the most telling passage of it as each of them has it."""

    share: float
    text: str
    other_text: str


@functools.lru_cache(maxsize=64)  # the same page is asked for again and again
def split_words(text: str) -> tuple[str, ...]:
    """Split a text into its words in lower case, numbers without thousands separators."""
    return tuple(word.lower().replace(",", "") for word in _WORD.findall(text))


class Words:
    """The words of a text, and where they stand."""

    def __init__(self, text: str) -> None:
        self.text = text
        self.words = split_words(text)

    @functools.cached_property
    def _spans(self) -> list[tuple[int, int]]:
        return [match.span() for match in _WORD.finditer(self.text)]

    def ngrams(self) -> Iterator[tuple[str, ...]]:
        """Yield the n-grams in the order of the text."""
        return (self.words[i : i + N] for i in range(len(self.words) - N + 1))

    def cut(self, start: int, end: int) -> str:
        """Return the text from word `start` to before word `end`, at most SHOWN_CHARACTERS of it."""
        return self.text[self._spans[start][0] : self._spans[end - 1][1]][:SHOWN_CHARACTERS]


class Index:
    """The n-grams of some records, each of which is its document, or where it has none its question."""

    def __init__(self, records: Iterable[Record]) -> None:
        self._records = [(record, Words(write_document(record) or record.question)) for record in records]
        self._counted = [_list_counted(words.words) for _, words in self._records]
        self._places: dict[tuple[str, ...], list[tuple[int, int]]] = defaultdict(list)
        for number, (_, words) in enumerate(self._records):
            for place, ngram in enumerate(words.ngrams()):
                self._places[ngram].append((number, place))

    def find(self, text: Words, least: float = 0.0) -> tuple[Record, Passage] | None:
        """Find the record of which a text repeats most; None where that is less than `least`, or no n-gram is shared."""
        found: dict[int, set[int]] = defaultdict(set)
        for ngram in set(text.ngrams()):
            for number, place in self._places.get(ngram, ()):
                found[number].update(range(place, place + N))
        shares = {number: len(covered & self._counted[number]) for number, covered in found.items()}
        if not shares:
            return None
        best = min(shares, key=lambda number: (-shares[number] / len(self._counted[number]), number))
        record, words = self._records[best]
        share = shares[best] / len(self._counted[best])
        if share < least:
            return None
        return record, Passage(share, *_cut_telling(text, words, self._counted[best]))


def write_document(record: Record) -> str:
    """Write the document of a record as one text."""
    return "\n".join((*record.before, *record.table, *record.after))


def compare(text: str, other: str) -> Passage:
    """Compare two texts; without a shared n-gram the passage is empty."""
    found = Index([Record(id="", question=other, target="")]).find(Words(text))
    return found[1] if found else Passage(0.0, "", "")


def list_figures(words: Sequence[str]) -> set[int]:
    """List the places of the figures."""
    return {place for place, word in enumerate(words) if is_figure(word)}


def is_figure(word: str) -> bool:
    """True for a number that says something: three digits and no year, or a decimal point."""
    return _FIGURE.fullmatch(word) is not None


def _list_counted(words: Sequence[str]) -> set[int]:
    figures = list_figures(words)
    return figures if len(figures) >= MIN_FIGURES else set(range(len(words)))


def _cut_telling(text: Words, other: Words, counted: set[int]) -> tuple[str, str]:
    """Cut the shared passage with most counted words out of both texts, which share an n-gram."""
    places: dict[tuple[str, ...], int] = {}
    for place, ngram in enumerate(other.ngrams()):
        places.setdefault(ngram, place)
    passages, behind = [], 0
    for ours, ngram in enumerate(text.ngrams()):
        if ours < behind or ngram not in places:
            continue
        start, length = places[ngram], N
        while text.words[ours + length : ours + length + 1] == other.words[start + length : start + length + 1] != ():
            length += 1
        behind = ours + length - N + 1
        telling = len(counted.intersection(range(start, start + length)))
        passages.append((telling, length, -start, ours))
    _, length, start, ours = max(passages)
    return text.cut(ours, ours + length), other.cut(-start, -start + length)
