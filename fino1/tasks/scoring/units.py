"""What unit stands behind a number? Percent, basis points, scale words, cents (docs/scoring.md §4, §6)."""

import re
from typing import NamedTuple

_THOUSAND = "kusd keur kgbp thousand thousands thou k tsd tausend grand"
_MILLION = "musd meur mgbp million millions mil mill mils mills mio mln mlns mn mm m millionen millones milhoes"
_BILLION = "billion billions bil bill bils bills bln blns bn b mrd mia milliard milliards milliarden billones"
_TRILLION = "trillion trillions tril trln tn trn t bio"
SCALES = {
    **dict.fromkeys(["hundred", "hundreds"], 1e2),
    **dict.fromkeys(["myriad", "myriads"], 1e4),
    **dict.fromkeys(["dozen", "dozens"], 12.0),
    **dict.fromkeys(_THOUSAND.split(), 1e3),
    **dict.fromkeys(["lakh", "lakhs", "lac", "lacs"], 1e5),
    **dict.fromkeys(_MILLION.split(), 1e6),
    **dict.fromkeys(["crore", "crores", "cr", "crs"], 1e7),
    **dict.fromkeys(_BILLION.split(), 1e9),
    **dict.fromkeys(_TRILLION.split(), 1e12),
    **dict.fromkeys(["quadrillion", "quadrillions"], 1e15),
}
_NOUNS = frozenset({"mills", "bills"})
"""Short or double-meaning words: scale words only behind money, or glued to the digits."""
IDEOGRAPHS = dict(zip("十百千万萬만亿億억兆", (10.0, 1e2, 1e3, 1e4, 1e4, 1e4, 1e8, 1e8, 1e8, 1e12), strict=True))
_CURRENCIES = frozenset(
    [
        "usd", "eur", "gbp", "jpy", "cny", "rmb", "chf", "cad", "aud", "inr", "hkd", "sgd", "krw", "brl", "mxn", "sek",
        "nok", "dkk", "rs", "us",
    ]
)  # fmt: skip
_GLUED = _CURRENCIES | {
    "x", "s", "st", "nd", "rd", "th", "y", "q", "d", "h", "yr", "yrs", "kg", "km", "ft", "shares", "years", "year", "days",
    "months",
}  # fmt: skip
"""What may be written against the digits and changes nothing."""

_PERCENT = re.compile(
    r"\s?\$?\s?%(?:-?\s?points?)?|[\s-]?(?:percent(?:age)?(?:[\s-]points?)?|per\scent|pct|ppts?|pp|p\.p\.)(?![A-Za-z])",
    re.IGNORECASE,
)
_POINTS = re.compile(r"[\s-]?(?:bps?|basis[\s-]points?)(?![A-Za-z])", re.IGNORECASE)
_CENTS = re.compile(r"\s?¢|[\s-]?(?:cents?|cts?|pence)(?![A-Za-z])", re.IGNORECASE)
_PERMILLE = re.compile(r"\s?‰|[\s-]?(?:per\s?mille|per\s?mil)(?![A-Za-z])", re.IGNORECASE)
_WORD = re.compile(
    r"(?P<gap>[\s-]?\(?(?:in\s)?(?:(?:us|usd|eur|gbp|inr)\s)?(?:[$€£¥₹]\s?)?)(?P<word>[A-Za-z]{1,20})(?![A-Za-z0-9_&])",
    re.IGNORECASE,
)
_LETTERS = re.compile(r"[A-Za-z]{1,20}")
_ZEROS = re.compile(
    r"\s?(?:\((?:in\s)?|in\s)[$€£¥₹]?\s?'?(000)(?:,?(000))?'?s?\b(?:\s(?:omitted|of dollars))?", re.IGNORECASE
)
IN_UNITS = re.compile(r" in (?:us |usd |[$€£] ?)?(?:thousand|million|billion|'?000)", re.IGNORECASE)
_IDEOGRAPH = re.compile(f"\\s?[{''.join(IDEOGRAPHS)}]{{1,3}}")
PLAIN_WORDS = frozenset(
    [
        "to",
        "and",
        "was",
        "is",
        "from",
        "in",
        "of",
        "for",
        "the",
        "were",
        "with",
        "or",
        "as",
        "by",
        "than",
        "had",
        "at",
        "on",
        "are",
        "which",
    ]
)
"""What often follows a number that has no unit."""
_GAPS = frozenset(" -(")
_PERCENT_FIRST = frozenset("%$‰¢ pPbBcC")
_SCALE_FIRST = frozenset("$€£¥₹(") | frozenset(IDEOGRAPHS)
_INTERESTING = frozenset(" -%‰¢(\t\n") | frozenset(IDEOGRAPHS)


class Unit(NamedTuple):
    """What stands behind a number: its `end`, and a factor."""

    end: int
    scale: float = 1.0
    """Factor of the scale words, 0.01 for cents, 0.1 for ‰ (which is a percentage too); 1 where there is none."""
    percent: bool = False
    basis_points: bool = False
    known: bool = True
    """False for a scale word that is not known, and for letters against the digits that are no unit."""


def read_unit(text: str, end: int, *, money: bool) -> Unit:
    """Read the unit that begins at `end`, just behind a number's digits."""
    char = text[end : end + 1]
    if not char or not (char in _INTERESTING or char.isalpha()):
        return Unit(end) if char != "$" else _read_percent(text, end) or Unit(end)
    if char == "\n":
        return Unit(end)
    if char == " " and text[end + 1 : text.find(" ", end + 1)] in PLAIN_WORDS and not IN_UNITS.match(text, end):
        return Unit(end)
    first = text[end + 1 : end + 2] if char in _GAPS else char
    if first.isdigit():
        return Unit(end)
    if first in _PERCENT_FIRST and (unit := _read_percent(text, end)):
        return unit
    return (first in _SCALE_FIRST or first.isalpha()) and _read_scale(text, end, money) or Unit(end)


def _read_percent(text: str, end: int) -> Unit | None:
    if match := _PERCENT.match(text, end):
        return Unit(match.end(), percent=True)
    if match := _POINTS.match(text, end):
        return Unit(match.end(), basis_points=True)
    if match := _PERMILLE.match(text, end):
        return Unit(match.end(), scale=0.1, percent=True)
    if match := _CENTS.match(text, end):
        return Unit(match.end(), scale=0.01)
    return None


def _read_scale(text: str, end: int, money: bool) -> Unit | None:
    """Read scale words: "hundred million" is their product."""
    first = text[end + 1 : end + 2]
    if not first.isascii() or not first.isalpha() or first in "iI" or text[end : end + 1] in IDEOGRAPHS:
        if match := _IDEOGRAPH.match(text, end):
            return Unit(match.end(), scale=_multiply(IDEOGRAPHS[char] for char in match[0].strip()))
        if match := _ZEROS.match(text, end):
            return Unit(match.end(), scale=1e6 if match[2] else 1e3)
    factors: list[float] = []
    at = end
    while len(factors) < 3 and (match := _WORD.match(text, at)):
        factor = _find_factor(match, money=money or any(mark in match["gap"] for mark in "$€£¥₹"))
        if factor is None and not factors and match["word"].lower() in _CURRENCIES and match["gap"].strip(" -(") == "":
            at, money = match.end(), True  # "94 USD million"
            match = _WORD.match(text, at)
            factor = _find_factor(match, money=True) if match else None
            if not match or factor is None:
                return None
        if factor is None:
            break
        if factor != factor:  # NaN: a scale word that is not known
            return Unit(match.end(), known=False)
        factors.append(factor)
        at = match.end() + _count_stop(text, match)
    if factors:
        return Unit(at, scale=_multiply(factors))
    glued = _LETTERS.match(text, end)
    is_known = glued is None or (glued[0].lower() in _GLUED and not text[glued.end() : glued.end() + 1].isdigit())
    return None if is_known else Unit(end, known=False)


def _find_factor(match: re.Match[str], *, money: bool) -> float | None:
    """Return the factor of a word, NaN for a scale word that is not known; None where it is no scale word."""
    shown, glued = match["word"], not match["gap"]
    word = shown.lower()
    if len(word) == 1:
        is_scale = (
            word in SCALES
            and (glued or (match["gap"] == " " and (shown.isupper() or money)))
            and not _is_possessive(match)
        )
        return SCALES[word] if is_scale else None
    if word in SCALES:
        return SCALES[word] if money or glued or word not in _NOUNS else None
    return float("nan") if word.endswith(("illion", "illions", "illiard", "illiards", "illiarden")) else None


def _is_possessive(match: re.Match[str]) -> bool:
    return match.string[match.end() : match.end() + 1] in {"'", "&"}


def _count_stop(text: str, match: re.Match[str]) -> int:
    """Return 1 where the point of an abbreviation follows ("Mio. EUR"), else 0."""
    short = len(match["word"]) <= 4 and match["word"].lower() not in {"k", "m", "b", "t"}
    return int(short and text[match.end() : match.end() + 1] == "." and text[match.end() + 1 : match.end() + 2] == " ")


def _multiply(factors: object) -> float:
    product = 1.0
    for factor in factors:  # type: ignore[attr-defined]
        product *= factor
    return product
