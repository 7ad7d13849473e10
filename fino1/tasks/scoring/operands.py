"""Which numbers does a sentence only calculate with, and which does it name as a bound? (docs/scoring.md §3)"""

import re

from fino1.tasks.scoring.number import Number, is_year
from fino1.tasks.scoring.question import QuestionFacts

_OPERATOR = re.compile(
    r"[\s)]*(?:[-+×*÷/^]|\sx\s|plus|minus|times|divided by|multiplied by|less)[\s($€£¥-]*|\s?-\s?[$€£¥]?", re.IGNORECASE
)
_FILLERS = frozenset(
    [
        "about", "approximately", "roughly", "around", "only", "the", "a", "an", "just", "approx", "approx.", "-", "€", "£",
        "¥", "₹", "~", "≈",
    ]
)  # fmt: skip
_MOVED = frozenset(
    [
        "by", "of", "rose", "grew", "increased", "up", "gained", "added", "climbed", "fell", "declined",
        "decreased", "dropped", "down", "increase", "decrease",
    ]
)  # fmt: skip
_LEVELS = frozenset(
    ["income", "profit", "profits", "earnings", "loss", "cash", "margin", "margins", "balance", "return"]
)
"""Words of questions that ask for an amount of their own, and for its change only where they say so."""
_CLOSED = re.compile("[.;=≈]")
_OPERANDS = {
    **dict.fromkeys(
        ["than", "versus", "vs", "vs.", "against", "not", "isn't", "wasn't", "cannot", "never", "hardly"]
        + ["compared to", "compared with", "relative to", "out of", "cannot be", "can't be", "not be", "instead of"]
        + ["cannot have been", "can't have been", "not have been", "not equal to", "not equal", "unlikely to be", "other than"]
        + ["different from", "no means", "cannot possibly be", "no longer", "not exactly", "not quite", "impossible to be"],
        "",
    ),
    **dict.fromkeys(("adding", "added", "add"), "and to"),
    **dict.fromkeys(("subtract", "subtracting", "subtracted"), "from"),
    **dict.fromkeys(("divide", "divid", "dividing", "divided"), "by"),
    **dict.fromkeys(("multiply", "multiplying", "multiplied"), "by"),
    "from": "to", "between": "and", "sum of": "and", "ratio of": "",
}  # fmt: skip
"""What comes before an operand, and the words before its partner."""
_OPERAND_ENDS = frozenset(operand.split()[-1] for operand in _OPERANDS)
_BOUNDS = frozenset(
    [
        "over", "above", "below", "under", "beyond", "surpasses", "surpassed", "tops", "topped", "exceeds",
        "exceed", "exceeded", "exceeding", "minimum", "maximum", "max", "max.", "min", "min.", "at least",
        "at most", "the least", "the most", "more than", "less than", "fewer than", "greater than",
        "higher than", "lower than", "larger than", "smaller than", "bigger than", "or equal to", "up to",
        "and including", "much as", "many as", "high as", "low as", "large as", "little as", "few as",
        "north of", "south of", "shy of", "short of", "capped at", "excess of", "minimum of", "maximum of",
        "upwards of", "no more", "no less", "anything but",
    ]
)  # fmt: skip
_BOUND_ENDS = frozenset(bound.split()[-1] for bound in _BOUNDS)
_BOUND_BEHIND = re.compile(
    r"(?:\sor (?:so|thereabouts))?(?:[\s,]{0,2}(?:or|and) (?:more|less|higher|lower|greater|above|below|fewer|over|under|up)\b"
    r"|\s(?:is|was|would be) (?:wrong|incorrect|not (?:the )?(?:(?:correct|right) )?(?:answer|correct|right))\b"
    r"|\s(?:cannot|can't) be (?:right|correct)\b"
    r"|\s?(?:\+|plus\b)(?!\s?[0-9($])|\s?(?:±|\+/-)|\s(?:and )?upwards?\b"
    r"|[\s,(]{1,3}(?:at (?:the )?(?:very )?(?:least|most)|minimum|maximum)\b)",
    re.IGNORECASE,
)
_BOUND_MARKS = frozenset("≥≤<>±≠")
_BOUND_FIRST = frozenset(" ,+±")


def read_lead(text: str, floor: int, number: Number) -> list[str]:
    """List the last words before a number's digits, in lower case, without currency signs and fillers ("about")."""
    at = number.digits_start
    piece = text[max(floor, at - 48) : at].lower()
    if "(" in piece or "$" in piece:
        piece = piece.replace("(", " ").replace("$", " ")
    words = piece.split()[-5:]
    while words and words[-1] in _FILLERS:
        words.pop()
    return words


def is_bound(number: Number, text: str, lead: list[str]) -> bool:
    """True if the text names a bound and no value: "over 94", "at least 94", "≥ 94", "94 or more"."""
    before = text[max(0, number.start - 8) : number.start].rstrip(" ($€£¥")[-2:]
    if before[-1:] in _BOUND_MARKS and (before[-1] != ">" or before[0] not in "-="):
        return True
    tail = text[max(0, number.digits_start - 5) : number.digits_start]
    if "+/-" in tail and tail.rstrip().endswith("+/-"):
        return True
    if lead and lead[-1] in _BOUND_ENDS and any([" ".join(lead[-words:]) in _BOUNDS for words in (1, 2, 3)]):
        return not (lead[-1] == "over" and is_year(number))
    after = text[number.end : number.end + 1]
    return after in _BOUND_FIRST and bool(_BOUND_BEHIND.match(text, number.end))


def find_operands(
    numbers: list[Number], kept: list[int], leads: list[list[str]], text: str, facts: QuestionFacts
) -> set[int]:
    """Find the indexes of numbers that only restate what was calculated with."""
    found: set[int] = set()
    partners: list[str] = []
    origin: int | None = None
    asks_move = facts.change and (facts.movement or facts.words.isdisjoint(_LEVELS))
    last = -1
    for place, index in enumerate(kept):
        number = numbers[index]
        previous = kept[place - 1] if place else None
        floor = numbers[previous].end if previous is not None else 0
        gap = text[floor : number.digits_start]
        if previous is not None and len(gap) <= 24 and _OPERATOR.fullmatch(gap):
            found |= {previous, index}
            continue
        if previous is not None and gap == " to " and previous not in found and _is_range(leads[previous]):
            found |= {previous, index}  # "7 to 8 %": a range
            continue
        lead = leads[index] if index == 0 or previous == index - 1 else read_lead(text, floor, number)
        word = _find_operand_word(lead, facts)
        if last == place - 1 and lead and lead[-1] in partners and len(gap) <= 70 and not _CLOSED.search(gap):
            moves = origin is not None and not _MOVED.isdisjoint([*leads[origin], *gap.split()])
            if moves and not asks_move and len(facts.years) < 2:
                continue  # "rose from 90 to 94": where no change is asked, the level reached answers
            found.add(index)
            partners = []
        elif word is not None:
            found.add(index)
            partners, last, origin = _OPERANDS[word].split(), place, index if word == "from" else None
        elif previous is not None and asks_move and lead[-1:] == ["to"] and previous not in found:
            if "," in gap or len(gap) > 40 or _CLOSED.search(gap):
                continue
            found.add(index)  # "rose by 94 to 5,829": the level reached
    return found


def _is_range(lead: list[str]) -> bool:
    """True if "X to Y" behind these words is a range, and no way that something went."""
    return "range" in lead or _MOVED.isdisjoint(lead)


def _find_operand_word(lead: list[str], facts: QuestionFacts) -> str | None:
    if facts.year and lead and lead[-1] == "in":
        lead = lead[:-1]
    if not lead or lead[-1] not in _OPERAND_ENDS or (pair := " ".join(lead[-2:])) in _BOUNDS:
        return None
    return next((word for word in (" ".join(lead[-3:]), pair, lead[-1]) if word in _OPERANDS), None)
