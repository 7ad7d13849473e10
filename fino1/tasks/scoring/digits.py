"""What does a run of digits and separators mean? Groups, decimals, powers (docs/scoring.md §5)"""

import math
import re
from typing import NamedTuple

_FORM = re.compile(
    r"""(?P<plain>[0-9]*\.?[0-9]+)
    |(?P<point>[1-9][0-9]{0,2}(?:,[0-9]{3})+(?:\.[0-9]+)?|[1-9][0-9]?(?:,[0-9]{2})+,[0-9]{3}(?:\.[0-9]+)?
      |[0-9]{1,3}(?:['_\ ][0-9]{3})+(?:\.[0-9]+)?)
    |(?P<comma>[0-9]+,[0-9]{1,2}|0,[0-9]+|[1-9][0-9]{0,2}(?:\.[0-9]{3})+,[0-9]+|[1-9][0-9]{0,2}(?:['\ ][0-9]{3})+,[0-9]+)
    |(?P<dots>[1-9][0-9]{0,2}(?:\.[0-9]{3}){2,})""",
    re.VERBOSE,
)
_SEPARATORS = {"plain": "", "point": ",'_ ", "comma": ".' ", "dots": "."}
_POWER_FIRST = frozenset("eE×x*·⋅∙^")
_EXPONENT = re.compile(
    r"[eE]([-+]?[0-9]{1,3})(?![A-Za-z0-9_])|\s?[×x*·⋅∙]\s?10\s?(?:\^|\*\*)\s?\(?([-+]?[0-9]{1,3})\)?"
)
_POWER = re.compile(r"\s?(?:\^|\*\*)\s?\(?([-+]?[0-9]{1,4})\)?(?![0-9]|\.[0-9])")


class Measure(NamedTuple):
    """What a run of digits means: NaN for one that is malformed or too large."""

    magnitude: float
    step: float
    """Unit of the last printed digit; 0 for a power."""
    digits: int
    """Significant digits."""


def measure(raw: str) -> Measure:
    """Read a run of digits with its separators."""
    return _measure(raw if raw.isdigit() else _drop_groups(raw), 0)


def measure_power(raw: str, text: str, end: int) -> tuple[Measure, int]:
    """Read a run with the power that may stand behind it in `text`, from `end` on; returns where that ends too."""
    if text[end : end + 2].lstrip(" ")[:1] not in _POWER_FIRST:
        return _measure(_drop_groups(raw), 0), end
    exponent = 0
    if match := _EXPONENT.match(text, end):
        exponent, end = int(match[1] or match[2]), match.end()
    found = _measure(_drop_groups(raw), exponent)
    if text[end : end + 2].strip(" ")[:1] in {"^", "*"} and (power := _POWER.match(text, end)):
        return Measure(_raise(found.magnitude, int(power[1])), 0.0, found.digits), power.end()
    return found, end


def read_precision(text: str) -> tuple[float, int]:
    """Return the unit of the last printed digit and the count of significant digits of a plain decimal.

    `text` has digits, a point and an exponent only. The lone ".0" that Python gives every whole float is not counted.
    """
    mantissa, _, exponent = text.lower().partition("e")
    whole, _, decimals = mantissa.partition(".")
    decimals = "" if set(decimals) == {"0"} and len(decimals) == 1 else decimals
    digits = (whole + decimals).lstrip("0")
    return 10.0 ** (int(exponent or 0) - len(decimals)), len(digits)


def _drop_groups(raw: str) -> str | None:
    """Return the digits with a decimal point; None where the separators fit no notation."""
    if raw.isdigit():
        return raw
    whole, _, decimals = raw.partition(".")
    if whole.isdigit() and decimals.isdigit():
        return raw
    form = _FORM.fullmatch(raw)
    if form is None or len(raw) > 60:
        return None
    for separator in _SEPARATORS[form.lastgroup or ""]:
        raw = raw.replace(separator, "")
    return raw.replace(",", ".")


def _measure(mantissa: str | None, exponent: int) -> Measure:
    """Compute magnitude, step and significant digits; NaN for a number that is malformed or too large."""
    if mantissa is None or len(mantissa) > 60 or exponent > 300:
        return Measure(math.nan, 1.0, 0)
    whole, _, decimals = mantissa.partition(".")
    magnitude = float(f"{mantissa}e{exponent}") if exponent else float(mantissa)
    return Measure(magnitude, 10.0 ** (exponent - len(decimals)), len((whole + decimals).lstrip("0")))


def _raise(base: float, exponent: int) -> float:
    try:
        return base**exponent
    except (OverflowError, ZeroDivisionError):
        return math.nan
