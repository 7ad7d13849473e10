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
    "max.",
    "min.",
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
_LABEL = re.compile(r"[^.!?]{4,60}")
_YEAR_LABEL = re.compile(r"[\s(*-]*(?:fy|fiscal|in|for)?\s?((?:19|20)[0-9]{2})\s?:\s", re.IGNORECASE)
_YEAR = re.compile(r"\b(?:19|20)[0-9]{2}\b")
_PART = 100
"""Characters at the end of a line that are split first."""
_NAKED = re.compile(r"[^A-Za-z]{1,40}(?:[A-Za-z]{1,12}[^A-Za-z]{0,6})?")
"""A line that may be a number with its unit and nothing else."""


def _split_line(text: str, begin: int, end: int) -> list[str]:
    """Split a line of a cleaned text into its sentences, without list marks and those that hold nothing."""
    pieces = []
    for mark in _BREAK.finditer(text, begin, end):
        start, following = mark.span()
        if _ends_sentence(text, start, following):
            pieces.append(text[begin : start + (text[start] in ".!?")])
            begin = following
    pieces.append(text[begin:end])
    return [_drop_list_mark(piece) for piece in pieces if piece and not piece.isspace()]


def _drop_list_mark(piece: str) -> str:
    mark = _LIST_MARK.match(piece) if piece[0] in _MARKS else None
    return piece[mark.end() :] if mark else piece


def _ends_sentence(text: str, start: int, end: int) -> bool:
    """True if a full stop ends a sentence: it stands behind a word, is no abbreviation's, and something new begins."""
    if text[start] == "\n" or (
        text[start] in ".;" and text[start - 1 : start].isspace()
    ):  # " . ", as FinQA spaces its text
        return True
    if text[end - 1] == "\n" or "\n" in text[start:end]:
        return True
    before = text[max(0, start - 6) : start + 1].lower()
    if text[start] == ";" or before[-2:-1] in {" ", ".", ""} or before.endswith(_ABBREVIATED):
        return False
    return end == len(text) or text[end] in _OPENS


def take_first_sentence(text: str) -> str:
    """Take the first sentence or line of a cleaned text."""
    for mark in _BREAK.finditer(text):
        start, end = mark.span()
        if _ends_sentence(text, start, end):
            return _drop_list_mark(text[: start + (text[start] in ".!?")])
    return _drop_list_mark(text) if text else ""


def find_last_statement(text: str, facts: QuestionFacts) -> tuple[Number, str, str] | None:
    """Find the last statement of a number in a cleaned text: the number, its sentence and what follows the sentence."""
    stated = _Statements(text, facts)
    place = stated.find()
    if place is None:
        return None
    number, sentence = stated.choose(place), stated.sentences[place]
    if number is None or not number.parsed:
        return None
    if is_refusal(text) and is_refused(stated.read_all()[::-1], len(stated.sentences) - 1 - place, sentence, facts):
        return None
    return number, sentence, stated.sentences[place - 1] if place else ""


def _is_row(sentence: str) -> bool:
    return sentence.lstrip().startswith("|")


class _Statements:
    """The sentences that state a number, read from the last one (place 0) backwards as far as needed."""

    def __init__(self, text: str, facts: QuestionFacts) -> None:
        self.sentences: list[str] = []
        self.facts = facts
        self._text = text
        self._begin = len(text) + 1
        """Where the lines begin that have been split into sentences."""
        self._numbers: dict[int, list[Number]] = {}
        self._chosen: dict[int, Number | None] = {}

    def has(self, place: int) -> bool:
        """True if there is a sentence at this place; reads the text up to it."""
        while len(self.sentences) <= place and self._begin > 0:
            end = self._begin
            self._begin = self._text.rfind("\n", 0, end - 1) + 1
            stop = self._text.rfind(". ", self._begin, end - _PART) if end - self._begin > _PART else -1
            if stop > 0 and _ends_sentence(
                self._text, stop, stop + 2
            ):  # the beginning of a long line is mostly not read
                self._begin = stop + 2
            self.sentences.extend(reversed(_split_line(self._text, self._begin, end)))
        return len(self.sentences) > place

    def read_all(self) -> list[str]:
        """Return all sentences, the last one first."""
        self.has(len(self._text))
        return self.sentences

    def numbers(self, place: int) -> list[Number]:
        """Return the candidates of a sentence; of a table's row those of the cell that is asked for."""
        found = self._numbers.get(place)
        if found is None:
            sentence = self.sentences[place]
            if self._is_other_year(sentence):
                return self._numbers.setdefault(place, [])
            if _is_row(sentence):
                self.sentences[place] = sentence = table.take_cell(self._list_rows(place), self.facts)
            found = self._numbers[place] = find_candidates(sentence, self.facts)
        return found

    def _list_rows(self, place: int) -> list[str]:
        """List a table's row and those above it."""
        last = place
        while last - place < table.LONGEST and self.has(last + 1) and _is_row(self.sentences[last + 1]):
            last += 1
        return self.sentences[place : last + 1]

    def choose(self, place: int) -> Number | None:
        """Choose the number that a sentence answers with; None where that is not clear."""
        if place not in self._chosen:
            self._chosen[place] = choose(self.numbers(place), self.sentences[place], self.facts)
        return self._chosen[place]

    def find(self) -> int | None:
        """Find the sentence that answers; None where there is none, or several could."""
        last = self._find_last()
        if last is None or (self._is_bare(last) and not self._is_headed(last) and self._is_list()):
            return None  # a list of naked numbers asserts nothing
        number = self.choose(last)
        if number is not None and not self._breaks_off(last):
            return last
        # The last sentence is ambiguous or breaks off: does just one number answer in the question's own words?
        places = [place for place in range(len(self.read_all())) if self._is_strong(place)]
        places = [place for place in places if not self._is_other_kind(place)] or places
        clear = [place for place in places if self._has_question_words(place) and self.choose(place) is not None]
        if number is not None:
            return next((place for place in clear if place != last), last)
        return clear[0] if clear and are_one([self.choose(place) for place in clear]) else None

    def _find_last(self) -> int | None:
        """Find the last sentence with a number of the kind that is asked for, else of another kind, else with a weak one."""
        others, weak, place = [], [], 0
        while self.has(place):
            if self._is_strong(place):
                if not self._is_other_kind(place):
                    return self._find_asked_year(place)
                others.append(place)
            elif self.numbers(place):
                weak.append(place)
            place += 1
        return next(iter(others + weak), None)

    def _find_asked_year(self, last: int) -> int:
        """Find the sentence before that is about the one asked year, where the last is about another; else the last."""
        if len(self.facts.years) != 1 or self.facts.change or not self._is_astray(last):
            return last
        place = last + 1
        while self.has(place):
            if not self.facts.years.isdisjoint(_YEAR.findall(self.sentences[place])) and self._is_strong(place):
                return place if not self._is_other_kind(place) else last
            place += 1
        return last

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

    def _is_headed(self, place: int) -> bool:
        """True if the line above is a label without a number that names what is asked about."""
        return (
            self.has(place + 1)
            and _LABEL.fullmatch(self.sentences[place + 1]) is not None
            and not self.numbers(place + 1)
            and not self.facts.nouns.isdisjoint(_WORDS.findall(self.sentences[place + 1].lower()))
        )

    def _is_other_year(self, sentence: str) -> bool:
        """True if a line is labelled as another year's than the question asks about ("2017: $1,389 million")."""
        label = _YEAR_LABEL.match(sentence) if self.facts.years and not self.facts.year else None
        return label is not None and label[1] not in self.facts.years and len(set(_YEAR.findall(sentence))) < 2

    def _is_list(self) -> bool:
        naked = (place for place, sentence in enumerate(self.read_all()) if _NAKED.fullmatch(sentence))
        return not are_one(
            [self.numbers(place)[0] for place in naked if self._is_strong(place) and self._is_bare(place)]
        )

    def _breaks_off(self, place: int) -> bool:
        """True if the text ends in this sentence's last number, without a stop, and what it says is not what is asked."""
        sentence, number = self.sentences[place], self.numbers(place)[-1]
        if place or not sentence.rstrip().endswith(number.text):
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
