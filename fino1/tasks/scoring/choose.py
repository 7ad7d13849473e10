"""Which of a sentence's numbers is the one that is asked for? (docs/scoring.md §3)

Rules narrow the numbers down one after the other; a rule that would keep none is passed over. Where several different
numbers are left at the end, none is chosen.
"""

import re

from fino1.tasks.scoring.number import Number
from fino1.tasks.scoring.question import QuestionFacts

_RESULT = re.compile(
    r"[=≈]|\b(?:equals?|equal to|gives?|giving|yields?|yielding|results? in|resulting in|comes? (?:out )?to|amount(?:s|ed)? to"
    r"|works? out (?:to|at)|we get)(?![a-z])",
    re.IGNORECASE,
)
_CONCLUSION = re.compile(
    r"(?:^|[,;:(]\s*|\s)(?:so|thus|therefore|hence|giving|leaving|making|for an?|meaning|representing|i\.e\.)\s"
    r"|,\s*(?:an?|the)\s",
    re.IGNORECASE,
)
_KEY = "change|difference|increase|decrease|decline|growth|total|sum|average|mean|ratio|percentage|proportion|return|margin|rate"
_KEYED = re.compile(
    rf"\b(?:{_KEY})\b[^.;,=0-9]{{0,60}}?(?:\b(?:of|is|was|by|equals|be)\s|:)\s*(?:about|approximately|roughly|an?)?\s*\W{{0,3}}$",
    re.IGNORECASE,
)
_REASON = re.compile(
    r"\b(?:made up of|consisting of|comprising|composed of|including|since|because|based on|computed|calculated|derived|where)\b",
    re.I,
)
_COPULA = re.compile(r"\b(?:is|was|are|were|be)\s(?:about |approximately |roughly |only )?[$€£¥(\s-]*$", re.IGNORECASE)
_OF_TWO_YEARS = frozenset({"change", "changed", "difference", "increase", "decrease", "decline", "variation"})
_CLAUSE = re.compile(
    r",\s|;\s|\s(?=(?:while|whereas|although|though|even though|but|despite|following|after|compared|versus)\s)",
    re.IGNORECASE,
)
_OTHER_YEAR = re.compile(r"\s(?:in|for|during) (?:fy ?|fiscal )?((?:19|20)[0-9]{2})\b", re.IGNORECASE)
_SO = re.compile(r"\b(?:so|thus|therefore|hence)\b", re.IGNORECASE)
_YEAR_MARK = re.compile(r"[(;,|]\s?(?:in |for |fy ?|fiscal )?((?:19|20)[0-9]{2})\s?[:-]\s?[$€£¥(\s-]*$", re.IGNORECASE)
_YEAR_BEHIND = re.compile(r"^[^0-9.;,|:]{0,40}?\b((?:19|20)[0-9]{2})\b")
_A_YEAR = re.compile(r"\b(?:19|20)[0-9]{2}\b")
_YEAR_BEFORE = re.compile(r"\b((?:19|20)[0-9]{2})\b[^0-9.;]{0,30}$")


def choose(numbers: list[Number], sentence: str, facts: QuestionFacts) -> Number | None:
    """Choose the number of the sentence that is asked for; None where that is not clear."""
    if len(numbers) == 1:
        return numbers[0]
    if are_one(numbers):
        hedged = len({number.negative for number in numbers}) > 1 and re.search(r"\bor\b|\beither\b|±|\+/-", sentence)
        return None if hedged else _take_most_precise(numbers)
    for narrow in (
        _keep_leading_year,
        _keep_respective,
        _drop_other_years,
        _keep_before_reason,
        _keep_after_result,
        _keep_asked_kind,
        _keep_final_copula,
        _keep_keyed,
        _keep_concluding,
        _keep_asked_year,
        _keep_asked_noun,
    ):
        kept = narrow(numbers, sentence, facts)
        if kept and are_one(kept):
            return _add_percent(_take_most_precise(kept), numbers)
        numbers = kept or numbers
    return None


def _add_percent(chosen: Number | None, numbers: list[Number]) -> Number | None:
    """Take the same digits with their % sign, where the sentence shows it elsewhere ("37.81 % (137.81 - 100 = 37.81)")."""
    if chosen is None or not chosen.plain:
        return chosen
    same = [number for number in numbers if number.percent and number.magnitude == chosen.magnitude]
    return same[0] if same and same[0].negative == chosen.negative else chosen


def _keep_after_result(numbers: list[Number], sentence: str, facts: QuestionFacts) -> list[Number]:
    """Keep numbers behind the last "=", "gives", "which is": percentages only where one may be asked."""
    if not facts.percent and not facts.ratio:
        numbers = [number for number in numbers if not number.percent] or numbers
    return _keep_behind([mark.end() for mark in _RESULT.finditer(sentence)], numbers)


def _keep_behind(marks: list[int], numbers: list[Number]) -> list[Number]:
    """Keep numbers behind the last of these places that has any behind it."""
    places = [mark for mark in marks if mark <= numbers[-1].start]
    return [number for number in numbers if number.start >= places[-1]] if places else []


def _keep_before_reason(numbers: list[Number], sentence: str, facts: QuestionFacts) -> list[Number]:
    """Keep numbers said before the sentence turns to its parts or reasons ("…, made up of", "…, since")."""
    reason = _REASON.search(sentence)
    return [number for number in numbers if reason and number.end <= reason.start()]


def _keep_final_copula(numbers: list[Number], sentence: str, facts: QuestionFacts) -> list[Number]:
    """Keep the last number, where it alone is stated by a verb ("the average of 10, 20 and 30 is 20")."""
    stated = [number for number in numbers if _COPULA.search(sentence[max(0, number.start - 24) : number.start])]
    return stated if stated == numbers[-1:] else []


def _keep_asked_kind(numbers: list[Number], sentence: str, facts: QuestionFacts) -> list[Number]:
    """Keep percentages where a percentage is asked, money or plain numbers where it is not."""
    if facts.percent:
        return [number for number in numbers if number.percent or number.basis_points]
    return [number for number in numbers if number.percent is facts.ratio]


def _keep_asked_year(numbers: list[Number], sentence: str, facts: QuestionFacts) -> list[Number]:
    """Keep numbers stated for the one year the question names."""
    if len(facts.years) != 1 or facts.words & _OF_TWO_YEARS:
        return []
    (year,) = facts.years
    kept = []
    for number in numbers:
        stated = _YEAR_BEHIND.search(sentence[number.end : number.end + 60]) or _YEAR_BEFORE.search(
            sentence[max(0, number.start - 60) : number.start]
        )
        if stated and stated[1] == year:
            kept.append(number)
    return kept


def _drop_other_years(numbers: list[Number], sentence: str, facts: QuestionFacts) -> list[Number]:
    """Keep numbers that are not marked as another year's: "(2017: $1,389 million)", "a decrease of 2 % in 2016"."""
    kept = []
    years_are_named = len(facts.years) > (1 if facts.words & _OF_TWO_YEARS else 0)
    for number in numbers:
        before = _YEAR_MARK.search(sentence[max(0, number.start - 24) : number.start])
        behind = _OTHER_YEAR.match(sentence, number.end) if years_are_named else None
        if all(mark is None or mark[1] in facts.years for mark in (before, behind)):
            kept.append(number)
    return kept


def _keep_leading_year(numbers: list[Number], sentence: str, facts: QuestionFacts) -> list[Number]:
    """Keep the year that a sentence begins with, where a year is asked ("2018, with 73.2 % against 72.2 % in 2019")."""
    leads = facts.year and not sentence[: numbers[0].start].strip(" \"'(*") and not _SO.search(sentence)
    return numbers[:1] if leads else []


def _keep_respective(numbers: list[Number], sentence: str, facts: QuestionFacts) -> list[Number]:
    """Keep the number at the place of the asked year ("in 2018 and 2017 it was 94 and 90, respectively")."""
    years = _A_YEAR.findall(sentence) if "respectively" in sentence else []
    if (
        len(facts.years) != 1
        or facts.words & _OF_TWO_YEARS
        or len(years) != len(numbers)
        or len(set(years)) < len(years)
    ):
        return []
    return [number for number, year in zip(numbers, years, strict=True) if year in facts.years]


def _keep_asked_noun(numbers: list[Number], sentence: str, facts: QuestionFacts) -> list[Number]:
    """Keep numbers of the clause that names what is asked about ("despite a decrease in revenue of 2 %, income rose 7.31 %")."""
    ends = [0, *(mark.end() for mark in _CLAUSE.finditer(sentence)), len(sentence)]
    clauses = list(zip(ends, ends[1:], strict=False))
    named = [(len(facts.nouns & set(re.findall(r"[a-z]{4,}", sentence[a:b].lower()))), a, b) for a, b in clauses]
    most, begin, end = max(named)
    if not most or sum(count == most for count, _, _ in named) > 1:
        return []
    return [number for number in numbers if begin <= number.start < end]


def _keep_keyed(numbers: list[Number], sentence: str, facts: QuestionFacts) -> list[Number]:
    """Keep numbers introduced by a word that the question uses too ("the change was", "a total of")."""
    kept = []
    for number in numbers:
        match = _KEYED.search(sentence[max(0, number.start - 90) : number.start])
        if match and match[0].split()[0].lower()[:6] in {word[:6] for word in facts.words}:
            kept.append(number)
    return kept


def _keep_concluding(numbers: list[Number], sentence: str, facts: QuestionFacts) -> list[Number]:
    """Keep numbers of the clause that draws the conclusion ("…, so the change is", "…, a change of")."""
    return _keep_behind([mark.end() - 1 for mark in _CONCLUSION.finditer(sentence)], numbers)


def are_one(numbers: list[Number]) -> bool:
    """True if all are one number in several notations (0.153 and 15.3 %, within rounding)."""
    return all(_is_same(numbers[0], other) for other in numbers[1:])


def _is_same(left: Number, right: Number) -> bool:
    coarse = max(abs(number.value) * 0.5 * number.step / (number.magnitude or 1) for number in (left, right))
    return abs(abs(left.value) - abs(right.value)) <= max(coarse * 1.01, 1e-9 * abs(left.value))


def _take_most_precise(numbers: list[Number]) -> Number | None:
    if not numbers:
        return None
    return max(reversed(numbers), key=lambda number: (number.negative, number.scale > 1, number.digits, number.percent))
