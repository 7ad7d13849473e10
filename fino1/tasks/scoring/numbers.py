"""Which numbers stand in a text, and how was each of them written? (docs/scoring.md §4 to §6)

One pass over the text finds runs of digits with their separators. A run is read whole, with the sign and currency before it and
the power and unit behind it, or not at all: then the number is there, and is not `parsed`. Every pattern has bounded or
disjoint repeats, so that the time is linear in the text.
"""

import math
import re
from collections.abc import Iterator
from typing import NamedTuple

from fino1.tasks.scoring.digits import Measure, measure, measure_power
from fino1.tasks.scoring.number import Number, join
from fino1.tasks.scoring.plain import clean
from fino1.tasks.scoring.units import IDEOGRAPHS, IN_UNITS, PLAIN_WORDS, SCALES, read_unit

CURRENCY = (
    r"(?-i:(?:(?<![A-Za-z])(?:US|CA|HK|NZ|[ACSR])?\ ?[$€£¥₹₩]"
    r"|(?<![A-Za-z])(?:USD|EUR|GBP|JPY|CNY|RMB|CHF|CAD|AUD|INR|HKD|SGD|KRW|Rs\.?)(?![A-Za-z])))"
)
_RUN = re.compile(r"[0-9]+(?:[.,'_][0-9]+){0,20}")
_SPACED = re.compile(r"[0-9]{1,3}(?: [0-9]{3}){1,12}(?![0-9])(?:[.,][0-9]+)?")
_DATE = re.compile(
    r"[0-9]{4}[/-][0-9]{1,2}[/-][0-9]{1,2}(?![0-9])|[0-9]{1,2}[/-][0-9]{1,2}[/-][0-9]{2,4}(?![0-9])"
    r"|(?:19|20)[0-9]{2} ?- ?(?:19|20)?[0-9]{2}(?![0-9A-Za-z]|\s?=)"
)
_PREFIX = re.compile(
    rf"""(?P<sign>[-+]\s?|\b(?:minus|negative)\s)? (?P<open>\(\s?)? (?P<inner>-\s?)? (?P<currency>{CURRENCY}\s?)?
    (?P<late_open>\(\s?)? (?P<late_sign>-\s?)? $""",
    re.VERBOSE | re.IGNORECASE,
)
_TRAILING = re.compile(r"-(?=\s*(?:$|[,;)\n]|\.(?![0-9])))")
_TRAILING_CURRENCY = re.compile(rf"\s?{CURRENCY}\s?$")
_CLOSE = re.compile(r"\s?\)")
_FUNCTION = re.compile(
    r"(?:√|\b(?:sqrt|log|ln|exp|abs|max|min)|\b(?:square|cube)d?[ -]roots? of)[-(\s$€£¥]{0,4}$", re.IGNORECASE
)
_ACCOUNTING = re.compile(
    r"(?:^|[:=≈|$\n\"'>\[]|\b(?:is|was|of|by|are|were|be|about|approximately|roughly|to|an?|at|equals|totals?|totaled))\s*$",
    re.IGNORECASE,
)
_REMARKED = re.compile(r"(?:[0-9%]|(?:thousand|million|billion|trillion|percent|dollars|bn|mm)s?)\s*$", re.IGNORECASE)
_STOPS = frozenset([".", ",", ";", ":", "\n", ""])
_NOT_BEFORE_YEARS = frozenset(
    [
        "is",
        "was",
        "are",
        "were",
        "equals",
        "total",
        "totals",
        "totaled",
        "totalled",
        "answer",
        "minus",
        "negative",
        "of",
        "about",
        "approximately",
        "roughly",
        "only",
        "the",
        "a",
        "an",
    ]
)
_DATED = frozenset("/- ")
_SIGNS = frozenset("-+($€£¥₹₩√")
_QUIET = frozenset(",:;0123456789=≈")
"""What may stand before a number and adds nothing to it, as small letters do."""
_SPEAKING = frozenset(["minus", "ative", "ot of"])
"""The last five letters of the words that do: "minus", "negative", "root of"."""
_SCALE = re.compile(r" (thousand|million|billion)(?![A-Za-z0-9_&])")


def find_numbers(text: str, *, years: bool = True) -> list[Number]:
    """Find the numbers of a cleaned text, in order. Dates, and digits inside a word ("Q3"), are none.

    Without `years` those of a sentence's plain words ("from 2014 to 2015") are passed over, which are half of its numbers.
    """
    found: list[Number] = []
    for number in _list_numbers(text, years):
        while found and number.digits_start - found[-1].end <= 14 and (joined := join(found[-1], number, text)):
            number = joined
            found.pop()
        if text[number.digits_start - 1 : number.digits_start] != "/" or (
            found and number.digits_start - found[-1].end < 2
        ):
            found.append(number)
    return found


def parse_number(text: str) -> Number | None:
    """Read a text that is one number with its unit and nothing else; None where it is not."""
    text = _TRAILING_CURRENCY.sub("", clean(text).strip().rstrip("."))
    numbers = find_numbers(text) if len(text) <= 80 else []
    if len(numbers) != 1 or not numbers[0].parsed:
        return None
    return None if text[: numbers[0].start].strip() or text[numbers[0].end :].strip(" $)") else numbers[0]


def _list_numbers(text: str, years: bool) -> Iterator[Number]:
    last = 0
    for run in _RUN.finditer(text):
        start, end = run.span()
        if start < last or (not years and end - start == 4 and _is_year_of_words(text, start, end)):
            continue
        following = text[end : end + 1]
        if following in _DATED and following and (date := _DATE.match(text, start)):
            last = date.end()
            continue
        if following == " " and end - start <= 3 and (spaced := _SPACED.match(text, start)):
            end = spaced.end()
        if text[start - 1 : start] == "." and not text[start - 2 : start - 1].isalnum():
            start -= 1
        if start >= last and (text[start - 1 : start] == " " or _begins(text, start)):
            number = _read_common(text, start, end) or _read(text, start, end, last)
            last = number.end
            yield number


def _is_year_of_words(text: str, start: int, end: int) -> bool:
    """True for 1900 to 2099 behind a plain word in lower case, without a unit; not behind "was", which makes it a value."""
    if (
        text[start : start + 2] not in {"19", "20"}
        or text[start - 1 : start] != " "
        or not text[start - 2 : start - 1].islower()
    ):
        return False
    following = text[end : end + 1]
    if following == " ":
        if text[end + 1 : text.find(" ", end + 1)] not in PLAIN_WORDS:
            return False
    elif following not in _STOPS and following != ")":
        return False
    return text[text.rfind(" ", 0, start - 1) + 1 : start - 1] not in _NOT_BEFORE_YEARS


def _read_common(text: str, start: int, end: int) -> Number | None:
    """Read a number as most are written, "94", "-$4,123 million" or "12.3%" behind a word; None for all others."""
    money = text[start - 1 : start] == "$"
    begin = start - money
    negative = text[begin - 1 : begin] == "-"
    begin -= negative
    if begin and (
        text[begin - 1] != " "
        or not (text[begin - 2].islower() or text[begin - 2] in _QUIET)
        or text[max(0, begin - 6) : begin - 1].lower() in _SPEAKING
    ):
        return None
    close, scale, percent = end, 1.0, text[end : end + 1] == "%"
    if percent:
        close += 1
    elif text[end : end + 1] == " " and (word := _SCALE.match(text, end)):
        close, scale = word.end(), SCALES[word[1]]
    following = text[close : close + 1]
    if following == " ":
        if text[close + 1 : text.find(" ", close + 1)] not in PLAIN_WORDS or IN_UNITS.match(text, close):
            return None
    elif following not in _STOPS:
        return None
    magnitude, step, digits = measure(text[start:end])
    return Number(
        text[begin:close], magnitude, negative, step, digits, percent, False, scale, money, begin, start, close, False,
        magnitude == magnitude,
    )  # fmt: skip


def _begins(text: str, start: int) -> bool:
    """True if a number may begin here: not within a word or behind a power sign, nor a short year such as '15."""
    if not start:
        return True
    before = text[start - 1]
    if before in _SIGNS:
        return True
    if before in IDEOGRAPHS or "\u3040" <= before <= "\u9fff":
        return True
    if before.isalpha():
        word = re.search(r"[A-Za-z]{1,3}$", text[max(0, start - 4) : start])
        return bool(word) and word[0] in {"FY", "USD", "EUR", "GBP", "JPY", "CNY", "RMB", "CHF", "INR", "Rs"}
    if before == "'":
        return not (text[start : start + 2].isdigit() and text[start + 2 : start + 3] in {"", " ", ",", ".", ")"})
    return before not in "_.,^&" and not before.isdigit()


def _read(text: str, start: int, end: int, floor: int) -> Number:
    """Read one run of digits with all that belongs to it. `floor` is the end of the number before."""
    measured, end = measure_power(text[start:end], text, end)
    return _finish(text, _read_prefix(text, start, floor), start, end, measured)


class _Prefix(NamedTuple):
    """What stands before the digits of a number, from `begin` on."""

    begin: int
    sign: str = ""
    opened: int = 0
    """Where the content of an opening bracket begins; 0 where there is none."""
    bracket_inside: bool = False
    """True for "$(1,234)"."""
    inner_minus: bool = False
    money: bool = False


def _read_prefix(text: str, start: int, floor: int) -> _Prefix | None:
    """Read sign, currency and opening bracket before the digits; None where there are none."""
    before, earlier = text[start - 1 : start], text[start - 2 : start - 1]
    is_spaced = before == " " and (
        earlier in _SIGNS or earlier.isupper() or earlier == "." or _ends_in_word(text, start - 1)
    )
    if not is_spaced and before not in _SIGNS and not before.isalpha():
        return None
    piece = text[max(floor, start - 16) : start]
    match = _PREFIX.search(piece)
    if match is None:
        return None
    offset = start - len(piece)
    opened = match.end("open") if match["open"] else match.end("late_open") if match["late_open"] else -offset
    return _Prefix(
        offset + match.start(), (match["sign"] or "").lower(), offset + opened, bool(match["late_open"]),
        bool(match["inner"] or match["late_sign"]), bool(match["currency"]),
    )  # fmt: skip


def _ends_in_word(text: str, end: int) -> bool:
    """True if "minus", "negative" or "root of" ends here."""
    return text[max(0, end - 5) : end].lower() in _SPEAKING


def _finish(text: str, prefix: _Prefix | None, start: int, end: int, measured: Measure) -> Number:
    """Read what stands behind the digits, up to `end`, and make the number."""
    begin, sign, opened, bracket_inside, is_negative, money = prefix or _Prefix(start)
    if text[end : end + 1] == "-" and _TRAILING.match(text, end):
        is_negative, end = True, end + 1
    closed = _CLOSE.match(text, end) if opened else None
    unit = read_unit(text, closed.end() if closed else end, money=money)
    late = _CLOSE.match(text, unit.end) if opened and not closed else None
    if unit.end > end and text[unit.end : unit.end + 1] == "-" and _TRAILING.match(text, unit.end):  # "7.3%-"
        is_negative, unit = True, unit._replace(end=unit.end + 1)
    end = late.end() if late else unit.end
    is_parsed = unit.known and measured.magnitude == measured.magnitude
    if prefix is not None:
        signed = _is_minus(sign, text, begin, end)
        is_negative |= signed or bool((closed or late) and _is_accounting(text, begin, money and bracket_inside, money))
        is_parsed = is_parsed and not _is_argument(text, begin, start)
        if opened and not closed and not late:
            begin = opened
        elif sign.startswith("-") and not signed:
            begin += len(sign)
    shown = text[begin:end].strip()
    if is_negative and shown[:3].lower() in {"min", "neg"}:
        shown = "-" + shown.partition(" ")[2]
    return Number(
        shown, measured.magnitude if is_parsed else math.nan, is_negative, measured.step, measured.digits, unit.percent,
        unit.basis_points, unit.scale, money or unit.scale == 0.01, begin, start, end, False, is_parsed,
    )  # fmt: skip


def _is_argument(text: str, begin: int, start: int) -> bool:
    """True if the number is what a root or function is taken of."""
    before = text[max(0, begin - 20) : start]
    return ("√" in before or "(" in before or " of" in before) and bool(_FUNCTION.search(before))


def _is_minus(sign: str, text: str, start: int, end: int) -> bool:
    """True if the sign is a minus. "change is - 3.2 %" has one; "- 94 million was paid" is a list item, "answer - 94" a dash."""
    if sign.strip() not in {"-", "minus", "negative"}:
        return False
    if sign != "- ":
        return True
    before = text[max(0, start - 24) : start]
    if not before.strip(" ") or before.rstrip(" ").endswith("\n"):
        return not re.match(r"[^\n]*[A-Za-z]", text[end : end + 200])
    return bool(_ACCOUNTING.search(before))


def _is_accounting(text: str, start: int, inside_currency: bool, money: bool) -> bool:
    """True if these brackets mean a minus. In "0.5 (50%)" and "the rate (12%) rose" they only add a remark (§5)."""
    if inside_currency:
        return True
    before = text[max(0, start - 24) : start]
    return bool(_ACCOUNTING.search(before)) or (money and not _REMARKED.search(before))
