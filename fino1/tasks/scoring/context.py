"""Which of a sentence's numbers can be an answer, and what do the words around one say about it?

A date, a label or an operand is no answer, a bound is none either (docs/scoring.md §3); "decreased by" makes a number
negative (§7). Each number is looked at with the few words before and behind it, so that the time is linear in the text.
"""

import re

from fino1.tasks.scoring.number import Number, is_year
from fino1.tasks.scoring.numbers import find_numbers
from fino1.tasks.scoring.operands import find_operands, is_bound, read_lead
from fino1.tasks.scoring.question import QuestionFacts

_MONTHS = frozenset(
    [
        "jan", "january", "feb", "february", "mar", "march", "apr", "april", "may", "jun", "june", "jul", "july", "aug",
        "august", "sep", "sept", "september", "oct", "october", "nov", "november", "dec", "december",
    ]
)  # fmt: skip
_LABELS = frozenset(
    [
        "note", "notes", "item", "items", "table", "page", "step", "steps", "level", "levels", "tier", "section", "article",
        "fin", "no", "asc", "sfas", "fas", "class", "series", "figure", "equation", "eq", "form", "part", "chapter",
        "option", "footnote", "phase", "topic", "exhibit", "schedule", "row", "column", "question", "line", "day", "week",
        "month", "quarter",
    ]
)  # fmt: skip
_INDEXES = frozenset(["s&p", "russell", "fortune", "nasdaq", "jones", "ftse", "nikkei"])
_COMPOUND = re.compile(
    r"(?:st|nd|rd|th)(?![a-z])|\s(?:decimals?|significant|digits)(?![a-z])"
    r"|-(?:year|month|day|week|quarter|for-|k\b|q\b|point|fold|percentage)",
    re.IGNORECASE,
)
_MONTH_BEHIND = re.compile(r"(?:st|nd|rd|th)?\s(?:of\s)?([A-Za-z]{3,9})\b")
_LIST_MARK = re.compile(r"[.):]\s+(?=[^\s0-9])")
_TO_ONE = re.compile(r"[\s.x-]{0,3}(?:to|:)[\s-]?", re.IGNORECASE)
_DURATION = re.compile(
    r"\s?(?:fiscal |calendar )?(?:years?|months?|days?|quarters?|weeks?|hours?)(?![a-z])", re.IGNORECASE
)
_VALUE_MARKS = frozenset("=≈:$")
_STATES = frozenset(["is", "was", "are", "were", "equals", "total", "totals", "totaled", "totalled", "answer"])
_YEAR_BEFORE = frozenset(
    [
        "in", "during", "year", "years", "fy", "fiscal", "since", "through", "until", "end", "ended", "ending", "early",
        "late", "mid", "calendar", "both", "for", "vs", "vs.", "versus",
    ]
)  # fmt: skip
_NOTHING = re.compile(
    r"\bno (?:net |overall |percentage |percent |such )?(?:change|increase|decrease|difference|growth|movement|variation)\b"
    r"|\b(?<!not )unchanged\b|\b(?:is|was|were|are|remained|stayed|been|remains|held|kept) (?:flat|constant|the same)\b"
    r"|^\W*flat\W*$|\bneither an? increase nor an? decrease\b"
    r"|\bneither (?:increased|rose|grew) nor (?:decreased|fell|declined)\b|\bnil\b"
    r"|\b(?:did|does|has|had|have)(?: not|n't) change",
    re.IGNORECASE,
)
_NOTHING_HINTS = ("neither ", "no ", "unchanged", "flat", "nil", "not change", "n't change", "the same", "constant")
_LEVEL = frozenset(["at", "from", "in", "of"])


def find_candidates(sentence: str, facts: QuestionFacts) -> list[Number]:
    """Find the numbers of a sentence that can be an answer: no dates, labels, durations, operands of a calculation.

    A bound ("over 94") is there where nothing else is, and not `parsed`: no number answers then.
    """
    if not facts.year:
        numbers = find_numbers(sentence, years=False)
        if len(numbers) == 1 and _is_alone(numbers[0], sentence):
            return numbers
        if found := _find_candidates(sentence, facts, numbers):
            return found
    if "20" not in sentence and "19" not in sentence and not facts.year:
        return []
    return _find_candidates(sentence, facts, find_numbers(sentence))


def _is_alone(number: Number, sentence: str) -> bool:
    """True if the sentence is this number and nothing else, and it may not be a year or fraction."""
    return (
        not number.start
        and (number.end == len(sentence) or sentence[number.end :] == ".")
        and not number.fraction
        and not is_year(number)
    )


def _find_candidates(sentence: str, facts: QuestionFacts, numbers: list[Number]) -> list[Number]:
    if facts.movement and (zero := _find_nothing(sentence, numbers)):
        return [zero]
    if not numbers:
        return numbers
    leads: list[list[str]] = []
    kept: list[int] = []
    weak: set[int] = set()
    floor = 0
    for i, number in enumerate(numbers):
        leads.append(lead := read_lead(sentence, floor, number))
        floor = number.end
        if _is_label(numbers, i, sentence, lead):
            continue
        if is_year(number) and not facts.year and not _is_value(sentence, number, lead):
            if _is_date(number, sentence, facts, lead):
                continue
            weak.add(i)
        elif number.fraction or _is_other_duration(number, sentence, facts):
            weak.add(i)
        kept.append(i)
    if facts.year and (years := [i for i in kept if is_year(numbers[i])]):
        kept = years
    if weak and len(weak) < len(kept):
        kept = [i for i in kept if i not in weak]
    if operands := find_operands(numbers, kept, leads, sentence, facts):
        kept = [i for i in kept if i not in operands]
    exact = []
    for i in kept:
        if not is_bound(numbers[i], sentence, leads[i]):
            exact.append(numbers[i]._replace(weak=True) if i in weak else numbers[i])
    return exact or [numbers[i]._replace(magnitude=float("nan"), parsed=False) for i in kept]


def _is_label(numbers: list[Number], index: int, text: str, lead: list[str]) -> bool:
    """True if it is a day, a list number or part of a name: "December 31", "S&P 500", "Note 5", "1st", "[3]"."""
    number = numbers[index]
    if not number.plain or number.money or not number.parsed:
        return False
    if number.magnitude == 1 and index and _TO_ONE.fullmatch(text[numbers[index - 1].end : number.digits_start]):
        return text[number.end : number.end + 1] not in {":", "/"}
    if number.step < 1 or number.fraction:
        return False
    word = lead[-1].strip(".#(*\"'") if lead else ""
    small = number.digits <= 2 and number.magnitude < 100
    if (
        word in _LABELS
        or word in _INDEXES
        or (small and word in _MONTHS)
        or text[number.digits_start - 1 : number.digits_start] == "#"
    ):
        return True
    if word == "p" and len(lead) > 1 and lead[-2] in {"&", "s&"}:
        return True
    after = text[number.end : number.end + 1]
    if after in {"s", "n", "r", "t", "-", " "} and _COMPOUND.match(text, number.end):
        return True
    if not small:
        return (
            number.digits <= 3
            and after == "]"
            and text[number.start - 1 : number.start] == "["
            and text.strip() != f"[{number.text}]"
        )
    return _is_small_label(number, text, after)


def _is_small_label(number: Number, text: str, after: str) -> bool:
    if after == "]" and text[number.start - 1 : number.start] == "[":
        return text.strip() != f"[{number.text}]"
    if (match := _MONTH_BEHIND.match(text, number.end)) and match[1].lower() in _MONTHS:
        return True
    if after in {".", ")", ":"} and not text[max(0, number.start - 8) : number.start].rpartition("\n")[2].strip(" ("):
        return bool(_LIST_MARK.match(text, number.end))
    return False


def _is_value(text: str, number: Number, lead: list[str]) -> bool:
    """True if "=", ":" or "was" stands before it, so that it is a value whatever it looks like."""
    before = text[max(0, number.digits_start - 8) : number.digits_start].rstrip(" ")[-1:]
    if before == ":" and text[number.end : number.end + 1] == " ":
        return not text[number.end + 1 : number.end + 2].isalpha()
    return before in _VALUE_MARKS or bool(lead) and lead[-1] in _STATES


def _is_date(number: Number, text: str, facts: QuestionFacts, lead: list[str]) -> bool:
    """True if what looks like a year is one: "in 2015", or one that the question names."""
    if text[number.digits_start - 1 : number.digits_start].isalpha():
        return True
    word = lead[-1].strip("'(") if lead else ""
    if word in _YEAR_BEFORE or number.text.strip("()") in facts.years:
        return text.strip(" .*") != number.text
    day = len(lead) > 1 and word.rstrip(",").isdigit() and lead[-2].rstrip(".") in _MONTHS
    return day or word.rstrip(".,") in _MONTHS or lead[-2:] == ["as", "of"]


def _is_other_duration(number: Number, text: str, facts: QuestionFacts) -> bool:
    """True if it counts years, months or days and the question does not ask for these."""
    return (
        text[number.end : number.end + 1] == " "
        and not facts.duration
        and number.plain
        and not number.money
        and bool(_DURATION.match(text, number.end))
    )


def _find_nothing(sentence: str, numbers: list[Number]) -> Number | None:
    """Find the zero that "no change", "unchanged", "flat" or "nil" states, where no number of the sentence states another."""
    lower = sentence.lower()
    for hint in _NOTHING_HINTS:
        if hint in lower:
            break
    else:
        return None
    match = _NOTHING.search(sentence)
    if match is None:
        return None
    for index, number in enumerate(numbers):
        lead = read_lead(sentence, numbers[index - 1].end if index else 0, number)
        if not is_year(number) and not (lead and lead[-1] in _LEVEL):
            return None
    return Number(
        match[0].strip(), 0.0, False, 1.0, 1, start=match.start(), digits_start=match.start(), end=match.end()
    )
