"""Which numbers stand in a text, and how was each of them written? (docs/scoring.md §4 to §6)

Every pattern here has bounded or disjoint repeats: a completion is untrusted text and must be read in linear time.
"""

import math
import re
from dataclasses import dataclass

_MINUS = "\u2212\u2010\u2011\u2012\u2013\u2014\u2015\ufe63\uff0d"
_SPACE = "\u00a0\u2000\u2001\u2002\u2003\u2004\u2005\u2006\u2007\u2008\u2009\u200a\u202f\u205f\u3000\t"
_CHARACTERS = {
    **{ord(char): "-" for char in _MINUS},
    **{ord(char): " " for char in _SPACE},
    **{ord(char): "'" for char in "\u2018\u2019\u2032"},
    **{ord(char): None for char in "\u200b\u200c\u200d\u2060\ufeff"},
    **{code: chr(code - 0xFEE0) for code in range(0xFF01, 0xFF5F) if code != 0xFF0D},
}

_LATEX = [
    (re.compile(r"\\[dtc]?frac\s?\{([^{}]{1,60})\}\s?\{([^{}]{1,60})\}"), r"\1/\2"),
    (re.compile(r"\\!"), ""),
    (re.compile(r"(?<=[0-9])(?:\\[,;: ]|\\thinspace ?)(?=[0-9])"), ""),
    (re.compile(r"\{,\}"), ","),
    (re.compile(r"\^\{(-?[0-9]{1,4})\}"), r"^\1"),
    (re.compile(r"\\(?:text|mathrm|mathbf|textbf|textit|mathit|operatorname|boxed|fbox|mbox|underline)\s?(?=\{)"), ""),
    (re.compile(r"\\(?:times|cdot)(?![a-z])"), "×"),
    (re.compile(r"\\div(?![a-z])"), "÷"),
    (re.compile(r"\\(?:approx|simeq|sim)(?![a-z])"), "≈"),
    (re.compile(r"\\(?:left|right|[bB]igg?[lr]?)(?![a-z])"), ""),
    (re.compile(r"\\([%$&#_])"), r"\1"),
    (re.compile(r"\\(?:[a-zA-Z]{1,20}|.)"), " "),
    (re.compile(r"[{}]"), ""),
]

_CURRENCY = r"(?:(?:US|CA|HK|NZ|[ACSR])?\ ?[$€£¥₹]|(?:USD|EUR|GBP|JPY|CNY|RMB|CHF|CAD|AUD|INR|HKD)(?![A-Za-z]))"
_DIGITS = r"(?:[0-9]{1,3}(?:,[0-9]{2,3}){0,12},[0-9]{3}(?![0-9])|[0-9]{1,3}(?:[ '][0-9]{3}){1,12}(?![0-9])|[0-9]+)"
_NUMBER = re.compile(
    rf"""(?<![A-Za-z0-9_.,^/'&])
    (?P<sign>[-+]\s?|(?:minus|negative)\s)?
    (?P<open>\(\s?)? (?P<inner>-\s?)?
    (?P<currency>{_CURRENCY}\s?)?
    (?P<late_open>\(\s?)? (?P<late_sign>-\s?)?
    (?P<number>{_DIGITS}(?:\.[0-9]+|,[0-9]{{1,2}}(?![0-9,.]))?|\.[0-9]+)
    (?P<exponent>[eE][-+]?[0-9]{{1,3}}(?![A-Za-z0-9_])|\s?[×x*]\s?10\s?\^\s?\(?-?[0-9]{{1,3}}\)?)?
    (?P<trailing>-(?=\s*(?:$|[,;)\n]|\.(?![0-9]))))?
    (?P<close>\s?\))?
    (?P<unit>\s?\$?\s?%(?:-?\s?points?)?
      |[\s-]?(?:percent(?:age)?(?:[\s-]points?)?|per\scent|pct|ppts?|pp)(?![A-Za-z])
      |[\s-]?(?:bps?|basis[\s-]points?)(?![A-Za-z])
      |[\s-]?\(?(?:in\s)?(?:thousand|million|billion|trillion)s?(?![A-Za-z])
      |\s?(?:mm|mn|mln|bn|tn|trn)(?![A-Za-z0-9])
      |[kmbt](?![\w'&]) |\s(?-i:[KMBT])(?![\w'&])
    )?
    (?P<late_close>\s?\))? (?P<late_percent>\s?%)?""",
    re.VERBOSE | re.IGNORECASE,
)
_SCALES = {"k": 1e3, "th": 1e3, "m": 1e6, "b": 1e9, "t": 1e12}
_ACCOUNTING = re.compile(
    r"(?:^|[:=≈|$\n]|\b(?:is|was|of|by|are|were|be|about|approximately|roughly|to|an?|at|equals|totals?|totaled))\s*$",
    re.IGNORECASE,
)
_REMARKED = re.compile(r"(?:[0-9%]|(?:thousand|million|billion|trillion|percent|dollars|bn|mm)s?)\s*$", re.IGNORECASE)


@dataclass(frozen=True)
class Number:
    """One number as printed: `magnitude` without its sign and before percent or scale words are applied."""

    text: str
    magnitude: float
    negative: bool
    step: float
    """Unit of the last printed digit, in the same unit as `magnitude`; 0 for an exact fraction."""
    digits: int
    """Printed significant digits."""
    percent: bool = False
    basis_points: bool = False
    scale: float = 1.0
    """Factor of the scale word; 1 where there is none."""
    money: bool = False
    start: int = 0
    digits_start: int = 0
    end: int = 0

    @property
    def decimals(self) -> bool:
        """True if at least one decimal is printed."""
        return self.step < 1

    @property
    def plain(self) -> bool:
        """True if it is printed without percent, basis points or a scale word."""
        return not self.percent and not self.basis_points and self.scale == 1.0

    @property
    def value(self) -> float:
        """The number by itself: percent as a fraction, scale words multiplied out."""
        factor = 1e-4 if self.basis_points else 1e-2 if self.percent else self.scale
        return (-1 if self.negative else 1) * self.magnitude * factor


def clean(text: str) -> str:
    """Reduce LaTeX and Markdown to plain text. Unicode minus, dashes and spaces become ASCII (§5)."""
    text = text.translate(_CHARACTERS)
    if "\\" in text or "{" in text:
        text = text.replace("\\$", "$").replace("$$", " ")
        for pattern, replacement in _LATEX:
            text = pattern.sub(replacement, text)
    return text.replace("**", "").replace("__", "").replace("`", "")


def find_numbers(text: str) -> list[Number]:
    """Find the finite numbers of a cleaned text, in order."""
    found = (_read_match(match, text) for match in _NUMBER.finditer(text))
    return [number for number in found if number is not None]


def parse_number(text: str) -> Number | None:
    """Read a text that is one number with its unit and nothing else; None where it is not."""
    text = clean(text).strip().rstrip(".").strip()
    match = _NUMBER.match(text)
    if match is None or text[match.end() :].strip(" $)") or len(text) > 80:
        return None
    return _read_match(match, text)


def read_precision(text: str) -> tuple[float, int]:
    """Return the unit of the last printed digit and the count of significant digits of a plain decimal.

    `text` has digits, a point and an exponent only. The lone ".0" that Python gives every whole float is not counted.
    """
    mantissa, _, exponent = text.lower().partition("e")
    whole, _, decimals = mantissa.partition(".")
    decimals = "" if set(decimals) == {"0"} and len(decimals) == 1 else decimals
    digits = (whole + decimals).lstrip("0")
    return 10.0 ** (int(exponent or 0) - len(decimals)), len(digits)


def _read_match(match: re.Match[str], text: str) -> Number | None:
    raw = match["number"]
    if len(raw) > 60:
        return None
    mantissa = _drop_groups(raw)
    exponent = _read_exponent(match["exponent"])
    magnitude = float(mantissa) * 10.0**exponent if exponent <= 300 else math.inf
    if not math.isfinite(magnitude):
        return None
    whole, _, decimals = mantissa.partition(".")
    unit = (match["unit"] or "").strip(" -$()").lower()
    late_percent = bool(match["late_percent"])
    opened, closed = match["open"] or match["late_open"], match["close"] or match["late_close"]
    bracketed = bool(opened and closed) and _is_accounting(match, text)
    signed = _is_minus(match, text)
    negative = bool(signed or match["inner"] or match["late_sign"] or match["trailing"] or bracketed)
    start, end = match.start(), match.end()
    if match["open"] and not closed:  # a bracket that only begins a remark
        start = match.end("open")
    if closed and not opened:  # a bracket that ends the sentence's, not the number's
        end = match.start("close") if match["close"] else match.start("late_close")
        late_percent = False
        unit = "" if match["close"] else unit
    shown = text[start:end].strip()
    if signed and not shown.startswith(("-", "(")):
        shown = "-" + text[match.end("sign") : end].strip()
    return Number(
        text=shown,
        magnitude=magnitude,
        negative=negative,
        step=10.0 ** (exponent - len(decimals)),
        digits=len((whole + decimals).lstrip("0")),
        percent=late_percent or unit.startswith(("%", "per", "pct", "pp")),
        basis_points=unit.startswith(("bp", "basis")),
        scale=_read_scale(unit),
        money=bool(match["currency"]),
        start=start,
        digits_start=match.start("number"),
        end=end,
    )


def _drop_groups(raw: str) -> str:
    if re.fullmatch(r"[0-9]+,[0-9]{1,2}", raw):  # 12,3: a decimal comma, no group has one or two digits
        return raw.replace(",", ".")
    return re.sub(r"[, ']", "", raw)


def _read_exponent(text: str | None) -> int:
    if not text:
        return 0
    return int(re.sub(r"^(?:[eE]|\s?[×xX*]\s?10\s?\^\s?\(?)", "", text).rstrip(")"))


def _read_scale(unit: str) -> float:
    unit = unit.removeprefix("(").removeprefix("in ")
    if not unit or unit.startswith(("%", "p", "bp", "ba")):
        return 1.0
    return _SCALES.get(unit[:2], _SCALES.get(unit[:1], 1.0))


def _is_minus(match: re.Match[str], text: str) -> bool:
    """True if the sign is a minus. "change is - 3.2 %" has one; "- 94 million was paid" is a list item, "answer - 94" a dash."""
    sign = (match["sign"] or "").lower()
    if sign.strip() not in {"-", "minus", "negative"}:
        return False
    if sign != "- ":
        return True
    before = text[max(0, match.start() - 24) : match.start()]
    if not before.strip(" ") or before.rstrip(" ").endswith("\n"):
        return not re.match(r"[^\n]*[A-Za-z]", text[match.end() : match.end() + 200])
    return bool(_ACCOUNTING.search(before))


def _is_accounting(match: re.Match[str], text: str) -> bool:
    """True if these brackets mean a minus. In "0.5 (50%)" and "the rate (12%) rose" they only add a remark (§5)."""
    before = text[max(0, match.start() - 24) : match.start()]
    if match["late_open"] and match["currency"]:
        return True
    return bool(_ACCOUNTING.search(before)) or (bool(match["currency"]) and not _REMARKED.search(before))
