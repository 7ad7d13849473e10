"""What does free text state last? Sentences and table rows, from the end backwards (docs/scoring.md §3)"""

import re

from fino1.tasks.scoring import table
from fino1.tasks.scoring.choose import are_one, choose
from fino1.tasks.scoring.context import find_candidates
from fino1.tasks.scoring.number import Number
from fino1.tasks.scoring.question import QuestionFacts
from fino1.tasks.scoring.refusal import is_refusal, is_refused

_BREAK = re.compile(r"[\n.!?;](?:(?<=\n)\n*|[\"')\]]{0,2}\s+)")
_ABBREVIATED = (
    "vs.",
    "approx.",
    "inc.",
    "no.",
    ".e.",
    ".g.",
    ".s.",
    "mio.",
    "mrd.",
    "corp.",
    "co.",
    "ltd.",
    "i.e.",
    "e.g.",
)
_OPENS = frozenset("ABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789(*\"'$£€-")
_LIST_MARK = re.compile(r"\s*\(?[0-9]{1,2}[.):]\s+(?=[^\s0-9])")
_MARKS = frozenset("0123456789( ")
_LETTERS = re.compile(r"[A-Za-z=≈]")
_WORDS = re.compile(r"[a-z]{4,}")
_BEGUN = re.compile(r"[A-Za-z]{2}|[=≈+]")
_YEAR = re.compile(r"\b(?:19|20)[0-9]{2}\b")
_NAKED = re.compile(r"[^A-Za-z]{1,40}(?:[A-Za-z]{1,12}[^A-Za-z]{0,6})?")
"""A line that may be a number with its unit and nothing else."""


def split(text: str) -> list[str]:
    """Split a cleaned text into sentences and lines, without list marks and those that hold nothing."""
    pieces, begin = [], 0
    for mark in _BREAK.finditer(text):
        start, end = mark.span()
        if text[start] == "\n":
            pieces.append(text[begin:start])
        elif _ends_sentence(text, start, end):
            pieces.append(text[begin : start + (text[start] != ";")])
        else:
            continue
        begin = end
    pieces.append(text[begin:])
    return [_drop_list_mark(piece) for piece in pieces if piece and not piece.isspace()]


def _drop_list_mark(piece: str) -> str:
    mark = _LIST_MARK.match(piece) if piece[0] in _MARKS else None
    return piece[mark.end() :] if mark else piece


def _ends_sentence(text: str, start: int, end: int) -> bool:
    """True if a full stop ends a sentence: it stands behind a word, is no abbreviation's, and something new begins."""
    if text[start - 1 : start].isspace() and text[start] in ".;":  # " . ", as FinQA spaces its text
        return True
    if "\n" in text[start:end]:
        return True
    before = text[max(0, start - 6) : start + 1].lower()
    if text[start] == ";" or before[-2:-1] in {" ", ".", ""} or before.endswith(_ABBREVIATED):
        return False
    return end == len(text) or text[end] in _OPENS


def take_first_sentence(text: str) -> str:
    """Take the first sentence or line of a cleaned text."""
    for mark in _BREAK.finditer(text):
        start, end = mark.span()
        if text[start] == "\n" or _ends_sentence(text, start, end):
            return _drop_list_mark(text[: start + (text[start] in ".!?")])
    return _drop_list_mark(text) if text else ""


def find_last_statement(text: str, facts: QuestionFacts) -> tuple[Number, str, str] | None:
    """Find the last statement of a number in a cleaned text: the number, its sentence and what follows the sentence."""
    sentences = split(text)
    stated = _Statements(sentences, facts)
    place = stated.find()
    if place is None:
        return None
    number, sentence = stated.choose(place), sentences[place]
    if number is None or not number.parsed or (is_refusal(text) and is_refused(sentences, place, sentence, facts)):
        return None
    return number, sentence, sentences[place + 1] if place + 1 < len(sentences) else ""


class _Statements:
    """The sentences that state a number, read from the last one on as far as needed."""

    def __init__(self, sentences: list[str], facts: QuestionFacts) -> None:
        self.sentences = sentences
        self.facts = facts
        self._numbers: dict[int, list[Number]] = {}
        self._chosen: dict[int, Number | None] = {}

    def numbers(self, place: int) -> list[Number]:
        """Return the candidates of a sentence; of a table's row those of the cell that is asked for."""
        found = self._numbers.get(place)
        if found is None:
            sentence = self.sentences[place]
            if sentence.lstrip().startswith("|"):
                self.sentences[place] = sentence = table.take_cell(self.sentences, place, self.facts)
            found = self._numbers[place] = find_candidates(sentence, self.facts)
        return found

    def choose(self, place: int) -> Number | None:
        """Choose the number that a sentence answers with; None where that is not clear."""
        if place not in self._chosen:
            self._chosen[place] = choose(self.numbers(place), self.sentences[place], self.facts)
        return self._chosen[place]

    def find(self) -> int | None:
        """Find the sentence that answers; None where there is none, or several could."""
        last = self._find_last()
        if last is None or (self._is_bare(last) and self._is_list()):
            return None  # a list of naked numbers asserts nothing
        number = self.choose(last)
        if number is not None and not self._breaks_off(last):
            return last
        # The last sentence is ambiguous or breaks off: does just one number answer in the question's own words?
        places = [place for place in reversed(range(len(self.sentences))) if self._is_strong(place)]
        places = [place for place in places if not self._is_other_kind(place)] or places
        clear = [place for place in places if self._has_question_words(place) and self.choose(place) is not None]
        if number is not None:
            return next((place for place in clear if place != last), last)
        return clear[0] if clear and are_one([self.choose(place) for place in clear]) else None

    def _find_last(self) -> int | None:
        """Find the last sentence with a number of the kind that is asked for, else of another kind, else with a weak one."""
        others, weak = [], []
        for place in range(len(self.sentences) - 1, -1, -1):
            if self._is_strong(place):
                if not self._is_other_kind(place):
                    return place
                others.append(place)
            elif self.numbers(place):
                weak.append(place)
        return next(iter(others + weak), None)

    def _is_strong(self, place: int) -> bool:
        """True if a sentence has a number that is more than a year or a fraction, and no bound on something else."""
        is_parsed = False
        for number in self.numbers(place):
            if not number.weak:
                if number.parsed:
                    return True
                is_parsed = True
        return is_parsed and self._has_question_words(place)

    def _is_bare(self, place: int) -> bool:
        numbers = self.numbers(place)
        return len(numbers) == 1 and not _LETTERS.search(self.sentences[place].replace(numbers[0].text, ""))

    def _is_list(self) -> bool:
        naked = (place for place, sentence in enumerate(self.sentences) if _NAKED.fullmatch(sentence))
        return not are_one(
            [self.numbers(place)[0] for place in naked if self._is_strong(place) and self._is_bare(place)]
        )

    def _breaks_off(self, place: int) -> bool:
        """True if the text ends in this sentence's last number, without a stop, and what it says is not what is asked."""
        sentence, number = self.sentences[place], self.numbers(place)[-1]
        if place < len(self.sentences) - 1 or not sentence.rstrip().endswith(number.text):
            return False
        has_words = bool(_BEGUN.search(sentence[: number.start]))
        return has_words and (not self._has_question_words(place) or self._is_astray(place))

    def _is_astray(self, place: int) -> bool:
        """True if a sentence is about other years than the question."""
        years = set(_YEAR.findall(self.sentences[place]))
        return bool(self.facts.years and years and not years & self.facts.years)

    def _is_other_kind(self, place: int) -> bool:
        """True if all are percentages where none is asked, or amounts where one is."""
        facts = self.facts
        if facts.percent:
            return all([number.money or number.scale > 1 for number in self.numbers(place)])
        if facts.ratio or facts.basis_points:
            return False
        return all([number.percent for number in self.numbers(place)])

    def _has_question_words(self, place: int) -> bool:
        return not self.facts.words.isdisjoint(_WORDS.findall(self.sentences[place].lower()))
