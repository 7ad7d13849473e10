r"""Where in a completion does the final answer stand? (reference/fino1.md §4.6.8)

Order: the text after the last `## Final Response`; in it the last "the answer is X", else the last \boxed{X}, else the
last statement of a number. Where several numbers could be meant, none is taken: unparsed, never a guess.
"""

import re
from dataclasses import dataclass

from fino1.tasks.record import FINAL
from fino1.tasks.scoring.context import countable, is_down
from fino1.tasks.scoring.numbers import Number, clean
from fino1.tasks.scoring.question import Asked

_REACH = 6000
"""Characters looked at from the end: an answer stands near it, and the time per completion stays bounded."""
_ANSWER = re.compile(
    r"\banswer\b(?:\s(?:to|for)\s[^\n.:]{1,80}?)?(?:\s(?:therefore|thus|then|would|will|should))?[\s*_]{0,4}"
    r"(?:\b(?:is|was|be|equals)\b|:|=|≈)[\s*_:$]*"
    r"|^\#{1,6}[^\n]{0,20}\banswer\b[\s*_:]*\n\s*",
    re.IGNORECASE | re.MULTILINE,
)
_SENTENCE = re.compile(
    r"(?<=[^\s.][.!?])(?<!\bvs\.)(?<!approx\.)(?<!\bInc\.)(?<!\bNo\.)(?<!\.[eg]\.)(?<!\.S\.)\s+(?=[A-Z0-9(*\"'$])|\n+|\s[.;]\s+"
)
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
_JOIN = re.compile(
    r"^[\s)]*(?:or|and|to|through|-|/|&|~|,)[\s(]*(?:or|and|is|it|maybe|perhaps|possibly|about)?[\s(]*$", re.I
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
_YEAR_BEHIND = re.compile(r"^[^0-9.;,|:]{0,40}?\b((?:19|20)[0-9]{2})\b")
_YEAR_BEFORE = re.compile(r"\b((?:19|20)[0-9]{2})\b[^0-9.;]{0,30}$")
_LIST_MARK = re.compile(r"^\s*\(?[0-9]{1,2}[.):]\s+(?=[^\s0-9])", re.MULTILINE)
_FRACTION = re.compile(
    r"(?<![\w./%])\(?(-?[0-9]{1,9}(?:\.[0-9]{1,9})?)\)?\s?/\s?\(?([0-9]{1,9}(?:\.[0-9]{1,9})?)\)?(?![\w/%]|\.[0-9])"
)


@dataclass(frozen=True)
class Found:
    """The number that answers, and whether the words around it make it a decrease (§4.6.5)."""

    number: Number
    down: bool = False


def final_part(completion: str) -> str:
    """Which part of a completion is its answer? All of it where the final heading is absent."""
    if "</think>" in completion:
        completion = completion.rpartition("</think>")[2] or completion
    lines = (re.sub(r" {2,}", " ", line.strip()) for line in completion.rpartition(FINAL)[2][-_REACH:].splitlines())
    return "\n".join(line for line in lines if line)  # runs of white space would make the patterns below quadratic


def find_number(completion: str, asked: Asked) -> Found | None:
    """Which number answers, if exactly one does?"""
    text = final_part(completion)
    for find in (_after_phrase, _in_box):
        done, found = find(text, asked)
        if done:
            return found
    return _last_statement(clean(text), asked)


def _after_phrase(text: str, asked: Asked) -> tuple[bool, Found | None]:
    """§4.6.8: the last "the answer is X". The flag says whether the phrase was there with a number after it."""
    phrases = [phrase.end() for phrase in _ANSWER.finditer(text)]
    if not phrases:
        return False, None
    sentence = _SENTENCE.split(clean(text[phrases[-1] : phrases[-1] + 600]).strip(), maxsplit=1)[0]
    numbers = countable(sentence, asked)
    if not numbers:
        fraction = _fraction(sentence)
        return fraction is not None, fraction
    chosen = choose(numbers, sentence, asked)
    if chosen is None and not _JOIN.search(sentence[numbers[0].end : numbers[1].start]):
        chosen = numbers[0]  # "94, which is 1.6 % of revenue": the phrase points at the first
    return True, _found(chosen, sentence)


def _in_box(text: str, asked: Asked) -> tuple[bool, Found | None]:
    r"""§4.6.8: the last \boxed{X}, with a unit written just behind it ("% outside the box")."""
    start = text.rfind("\\boxed{")
    if start < 0:
        return False, None
    opening, depth, end = start + len("\\boxed{"), 1, start + len("\\boxed{")
    while end < len(text) and depth:
        depth += (text[end] == "{") - (text[end] == "}")
        end += 1
    content = text[opening : end - 1]
    left = re.split(r"\n|(?<=[.!?])\s", text[max(0, start - 200) : start])[-1]
    sentence = clean(left) + "\x02" + clean(content) + re.split(r"\n|[.,;(]\s?|[=≈]", clean(text[end : end + 40]))[0]
    box = sentence.index("\x02")
    limit = box + 1 + len(clean(content))
    numbers = [
        number for number in countable(sentence.replace("\x02", " "), asked) if box <= number.digits_start < limit
    ]
    if not numbers:
        fraction = _fraction(clean(content))
        return fraction is not None, fraction
    return True, _found(choose(numbers, sentence, asked), sentence)


def _last_statement(text: str, asked: Asked) -> Found | None:
    """§4.6.8: the last statement of a number with its unit, operands, years and list numbers left out."""
    sentences = [sentence for sentence in _SENTENCE.split(_LIST_MARK.sub("", text)) if sentence and sentence.strip()]
    stated = [(sentence, countable(sentence, asked)) for sentence in sentences]
    stated = [(sentence, numbers) for sentence, numbers in stated if numbers]
    stated = [(sentence, numbers) for sentence, numbers in stated if not _other_kind(numbers, asked)] or stated
    if not stated:
        return _fraction(sentences[-1]) if sentences else None
    bare = [
        numbers[0] for sentence, numbers in stated if re.fullmatch(r"[\W_]*", sentence.replace(numbers[0].text, ""))
    ]
    if len(bare) > 1 and len(_distinct(bare)) > 1:
        return None  # a list of naked numbers asserts nothing
    sentence, numbers = stated[-1]
    chosen = choose(numbers, sentence, asked)
    if chosen is not None and (len(stated) == 1 or len(sentences) == 1 or _speaks(sentence, asked)):
        return _found(chosen, sentence)
    # The last sentence is ambiguous or explains: does just one number answer in the question's own words?
    answers = [(choose(some, words, asked), words) for words, some in stated if _speaks(words, asked)]
    clear = [(number, words) for number, words in answers if number is not None]
    if chosen is None and len(_distinct([number for number, _ in clear])) != 1:
        return None
    if chosen is None:
        return _found(*clear[-1])
    return _found(chosen, sentence)


def _other_kind(numbers: list[Number], asked: Asked) -> bool:
    """Are all of them percentages where none is asked, or amounts where one is?"""
    if asked.percent:
        return all(number.money or number.scale != 1 for number in numbers)
    return not asked.ratio and not asked.basis_points and all(number.percent for number in numbers)


def _speaks(sentence: str, asked: Asked) -> bool:
    words = set(re.findall(r"[a-z]{4,}", sentence.lower()))
    return bool(words & asked.words)


def choose(numbers: list[Number], sentence: str, asked: Asked) -> Number | None:
    """Which of the sentence's numbers is the asked one? None where that cannot be told."""
    if len(_distinct(numbers)) <= 1:
        hedged = len({number.negative for number in numbers}) > 1 and re.search(r"\bor\b|\beither\b|±|\+/-", sentence)
        return None if hedged else _most_precise(numbers)
    for narrow in (_before_reason, _after_result, _of_kind, _final_copula, _keyed, _concluding, _of_year):
        kept = narrow(numbers, sentence, asked)
        if kept and len(_distinct(kept)) == 1:
            return _with_percent(_most_precise(kept), numbers)
        numbers = kept or numbers
    return None


def _with_percent(chosen: Number | None, numbers: list[Number]) -> Number | None:
    """The same digits with their % sign, where the sentence shows it elsewhere ("37.81 % (137.81 - 100 = 37.81)")."""
    if chosen is None or not chosen.plain:
        return chosen
    same = [number for number in numbers if number.percent and number.magnitude == chosen.magnitude]
    return same[0] if same and same[0].negative == chosen.negative else chosen


def _after_result(numbers: list[Number], sentence: str, asked: Asked) -> list[Number]:
    """Numbers behind the last "=", "gives", "which is"."""
    marks = [mark.end() for mark in _RESULT.finditer(sentence)]
    for mark in reversed(marks):
        if kept := [number for number in numbers if number.start >= mark]:
            return kept
    return []


def _before_reason(numbers: list[Number], sentence: str, asked: Asked) -> list[Number]:
    """Numbers said before the sentence turns to its parts or reasons ("…, made up of", "…, since")."""
    reason = _REASON.search(sentence)
    return [number for number in numbers if reason and number.end <= reason.start()]


def _final_copula(numbers: list[Number], sentence: str, asked: Asked) -> list[Number]:
    """The last number, where it alone is stated by a verb ("the average of 10, 20 and 30 is 20")."""
    stated = [number for number in numbers if _COPULA.search(sentence[max(0, number.start - 24) : number.start])]
    return stated if stated == numbers[-1:] else []


def _of_kind(numbers: list[Number], sentence: str, asked: Asked) -> list[Number]:
    """Percentages where a percentage is asked, money or plain numbers where it is not."""
    if asked.percent:
        return [number for number in numbers if number.percent or number.basis_points]
    return [number for number in numbers if number.percent is asked.ratio]


def _of_year(numbers: list[Number], sentence: str, asked: Asked) -> list[Number]:
    """Numbers stated for the one year the question names."""
    if len(asked.years) != 1 or asked.words & _OF_TWO_YEARS:
        return []
    (year,) = asked.years
    kept = []
    for number in numbers:
        stated = _YEAR_BEHIND.search(sentence[number.end : number.end + 60]) or _YEAR_BEFORE.search(
            sentence[max(0, number.start - 60) : number.start]
        )
        if stated and stated[1] == year:
            kept.append(number)
    return kept


def _keyed(numbers: list[Number], sentence: str, asked: Asked) -> list[Number]:
    """Numbers named by a word that the question uses too ("the change was", "a total of")."""
    kept = []
    for number in numbers:
        match = _KEYED.search(sentence[max(0, number.start - 90) : number.start])
        if match and match[0].split()[0].lower()[:6] in {word[:6] for word in asked.words}:
            kept.append(number)
    return kept


def _concluding(numbers: list[Number], sentence: str, asked: Asked) -> list[Number]:
    """Numbers of the clause that draws the conclusion ("…, so the change is", "…, a change of")."""
    marks = list(_CONCLUSION.finditer(sentence))
    for mark in reversed(marks):
        if kept := [number for number in numbers if number.start >= mark.end() - 1]:
            return kept
    return []


def _distinct(numbers: list[Number]) -> list[Number]:
    """Numbers that are not the same one in another notation (0.153 and 15.3 %, within rounding)."""
    kept: list[Number] = []
    for number in numbers:
        if not any(_same(number, other) for other in kept):
            kept.append(number)
    return kept


def _same(left: Number, right: Number) -> bool:
    coarse = max(abs(number.value) * 0.5 * number.step / (number.magnitude or 1) for number in (left, right))
    return abs(abs(left.value) - abs(right.value)) <= max(coarse * 1.01, 1e-9 * abs(left.value))


def _most_precise(numbers: list[Number]) -> Number | None:
    if not numbers:
        return None
    return max(reversed(numbers), key=lambda number: (number.negative, number.scale > 1, number.digits, number.percent))


def _fraction(text: str) -> Found | None:
    r"""A bare fraction such as \frac{3}{4}, where nothing else is there."""
    matches = _FRACTION.findall(text)
    if len(matches) != 1 or float(matches[0][1]) == 0:
        return None
    value = float(matches[0][0]) / float(matches[0][1])
    shown = f"{matches[0][0]}/{matches[0][1]}"
    return Found(Number(shown, abs(value), value < 0, step=0.0, digits=1))


def _found(number: Number | None, sentence: str) -> Found | None:
    return None if number is None else Found(number, is_down(sentence, number))
