"""What do the words around a number say about it?

A date, a label or an operand is no answer (docs/scoring.md §3); "decreased by" makes a number negative (§7).
"""

import re

from fino1.tasks.scoring.numbers import Number, find_numbers
from fino1.tasks.scoring.question import QuestionFacts

_MONTHS = (
    r"(?:jan(?:uary)?|feb(?:ruary)?|mar(?:ch)?|apr(?:il)?|may|june?|july?|aug(?:ust)?|sept?(?:ember)?|oct(?:ober)?|nov(?:ember)?"
    r"|dec(?:ember)?)"
)
_DATE = re.compile(
    rf"\b[0-9]{{1,4}}[/-][0-9]{{1,2}}[/-][0-9]{{2,4}}\b"
    rf"|\b{_MONTHS}\.?\s[0-9]{{1,2}}(?:st|nd|rd|th)?\b(?!\.[0-9])(?:\s?,?\s?(?:19|20)[0-9]{{2}}\b)?"
    rf"|\b[0-9]{{1,2}}(?:st|nd|rd|th)?\s(?:of\s)?{_MONTHS}\b|\b(?:19|20)[0-9]{{2}}\s?-\s?(?:19|20)?[0-9]{{2}}\b(?!\s?=)"
    r"|\b(?:s\s?&\s?p|russell|fortune|nasdaq|dow jones|ftse|nikkei)\s[0-9]{2,4}\b|\[[0-9]{1,3}\]"
    r"|^\s*\(?[0-9]{1,2}[.):]\s+(?=[^\s0-9])|(?<=[0-9x])\s?(?:to|:)\s?1(?:\.0)?(?![.,]?[0-9])",
    re.IGNORECASE | re.MULTILINE,
)
_LABEL = re.compile(
    r"\b(?:notes?|items?|table|page|steps?|levels?|tier|section|article|fin|no|asc|sfas|fas|class|series|figure|equation|eq|form"
    r"|part|chapter|option|footnote|phase|topic|exhibit|schedule|row|column|question|line|day|week|month|quarter)\.?\s?\#?$|\#$",
    re.IGNORECASE,
)
_COMPOUND = re.compile(
    r"(?:st|nd|rd|th)(?![a-z])|\s(?:decimals?|significant|digits)(?![a-z])"
    r"|-(?:year|month|day|week|quarter|for-|k\b|q\b|point|fold|percentage)",
    re.IGNORECASE,
)
_DURATION = re.compile(
    r"\s?(?:fiscal |calendar )?(?:years?|months?|days?|quarters?|weeks?|hours?)(?![a-z])", re.IGNORECASE
)
_RESULT = re.compile(
    r"(?:[=≈:$]|\b(?:is|was|are|were|equals|totals?|totaled|totalled|answer))\s*(?:about|approximately|roughly|exactly)?\s*$",
    re.I,
)
_YEAR_BEFORE = re.compile(
    r"(?:\b(?:in|during|years?|fy|fiscal|since|through|until|end(?:ed|ing)?|early|late|mid|calendar|both|as of|for|vs\.?|versus)"
    r"|')\s?$",
    re.IGNORECASE,
)
_OPERATOR = re.compile(
    r"^[\s)]*(?:[-+×*÷/^]|\sx\s|plus|minus|times|divided by|multiplied by|less)[\s($€£¥-]*$|^\s?-\s?[$€£¥]?$",
    re.IGNORECASE,
)
_FILLER = r"\s*(?:about|approximately|roughly|around|only|the|a|an|just)?\s*[($€£¥]*\s*$"
_OPERAND = re.compile(
    r"\b(?P<word>from|between|than|versus|vs\.?|compared (?:to|with)|relative to|against|out of|subtract(?:ing|ed)?"
    r"|divid(?:e|ing|ed)|multipl(?:y|ying|ied)|add(?:ing|ed)?|sum of|ratio of|not|isn't|wasn't)" + _FILLER,
    re.IGNORECASE,
)
_PARTNER = {
    "from": "to",
    "between": "and",
    "subtract": "from",
    "divid": "by",
    "multipl": "by",
    "add": "and|to",
    "sum of": "and",
}
_NEUTRAL = r"change|changed|difference|variation|return|growth rate|percentage|ratio|result"
_DOWN_VERB = (
    r"decreased|declined|fell|dropped|shrank|shrunk|reduced|lowered|contracted|slid|slipped|diminished|down|lower|decreasing"
    r"|declining"
)
_DOWN_NOUN = r"decrease|decline|drop|reduction|fall|loss|deficit|shortfall|contraction"
_UP = (
    r"increas(?:e|ed|es|ing)|grew|grown|growth|rose|rise|risen|gain(?:ed)?|higher|up|improve(?:d|ment)?|outperformed|surplus"
    r"|above"
)
_DIRECTION = re.compile(
    rf"\b(?:(?P<neutral>{_NEUTRAL})|(?P<verb>{_DOWN_VERB})|(?P<noun>{_DOWN_NOUN})|(?P<up>{_UP}))\b", re.IGNORECASE
)
_BEHIND = re.compile(
    rf"^[\s)]*(?:(?:points?|dollars|per share|in total)\s)?[\s(,]*(?:which is\s)?(?:an?\s)?(?:[a-z-]+\s)?"
    rf"(?:(?P<down>{_DOWN_NOUN}|{_DOWN_VERB}|less)|(?P<up>{_UP}))\b",
    re.IGNORECASE,
)


def find_candidates(sentence: str, facts: QuestionFacts) -> list[Number]:
    """Find the numbers of a sentence that can be an answer: no dates, labels, durations, operands of a calculation."""
    dated = _DATE.sub(lambda match: " " * len(match[0]), sentence)
    numbers = [number for number in find_numbers(dated) if not _is_label(number, dated)]
    weak = [number for number in numbers if _is_weak(number, dated, facts)]
    numbers = [number for number in numbers if not _is_date(number, dated, facts)]
    if len(weak) < len(numbers):
        numbers = [number for number in numbers if number not in weak]
    operands = _find_operands(numbers, dated, facts)
    return [number for index, number in enumerate(numbers) if index not in operands]


def is_decrease(sentence: str, number: Number) -> bool:
    """True if the words around a number make it a decrease: decreased by, decline of, lower (§7).

    The word behind the number decides ("15 % lower"), else the nearest one before it; a neutral word ("a change of") passes
    on to the verb before it. "decreased to 94" states a level, no change.
    """
    behind = _BEHIND.match(sentence[number.end : number.end + 60])
    if behind:
        return bool(behind["down"])
    before = sentence[max(0, number.digits_start - 300) : number.digits_start]
    if re.search(r"\bto\s+(?:about |approximately |only )?[$€£¥(]*\s*$", before):
        return False
    words = list(_DIRECTION.finditer(before))
    passed_on = False
    for word in reversed(words):
        if word["neutral"]:
            passed_on = True
        elif word["verb"] or word["up"]:
            return bool(word["verb"])
        elif not passed_on:
            return True
    return False


def _is_label(number: Number, text: str) -> bool:
    """True if it is a list number or part of a name: "S&P 500", "Note 5", "1st"."""
    whole = number.plain and not number.money and number.step >= 1
    before, after = text[max(0, number.digits_start - 16) : number.digits_start], text[number.end :]
    if whole and (_LABEL.search(before) or _COMPOUND.match(after)):
        return True
    return bool(re.match(r"\s?/\s?\(?[0-9$]", after)) and not number.percent


def _is_year(number: Number) -> bool:
    return (
        number.plain
        and not number.money
        and not number.negative
        and number.digits == 4
        and len(number.text.strip("()")) == 4
        and (1900 <= number.magnitude < 2100 and number.step == 1)
    )


def _is_date(number: Number, text: str, facts: QuestionFacts) -> bool:
    """True if it is a year: "in 2015", or one the question names. Behind "=" or "was" it is a value."""
    if not _is_year(number):
        return False
    before = text[max(0, number.start - 24) : number.digits_start]
    if facts.year or _RESULT.search(before) or text.strip(" .*") == number.text:
        return False
    return bool(_YEAR_BEFORE.search(before)) or number.text.strip("()") in facts.years


def _is_weak(number: Number, text: str, facts: QuestionFacts) -> bool:
    """True if any other number is preferred: it looks like a year, or is a duration that is not asked for."""
    if _is_year(number):
        return not facts.year and not _RESULT.search(text[max(0, number.start - 24) : number.digits_start])
    return number.plain and not number.money and not facts.duration and bool(_DURATION.match(text[number.end :]))


def _find_operands(numbers: list[Number], text: str, facts: QuestionFacts) -> set[int]:
    """Find the indexes of numbers that only restate what was calculated with."""
    found: set[int] = set()
    partner, last = "", -1
    for index, number in enumerate(numbers):
        previous = numbers[index - 1].end if index else 0
        gap = text[previous : number.digits_start]
        if index and _OPERATOR.match(gap):
            found |= {index - 1, index}
            continue
        word = _OPERAND.search(gap[-60:])
        if (
            last == index - 1
            and partner
            and re.search(rf"^[^.;=≈]{{0,60}}\b(?:{partner})" + _FILLER, gap, re.IGNORECASE)
        ):
            found.add(index)
            partner = ""
        elif word:
            found.add(index)
            partner = next((end for start, end in _PARTNER.items() if word["word"].lower().startswith(start)), "")
            last = index
        elif (
            index
            and facts.change
            and re.search(r"^[^.;,=≈]{0,30}\bto" + _FILLER, gap, re.IGNORECASE)
            and index - 1 not in found
        ):
            found.add(index)  # "rose by 94 to 5,829": the level reached
    return found
