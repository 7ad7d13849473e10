"""What is a number that was read from a text, and which neighbours make one number? (docs/scoring.md §5, §6)"""

import re
from typing import NamedTuple

_OVER = re.compile(r"\)?\s?[/÷]\s?[-( ]{0,3}(?:[A-Z]{3}|[A-Z]{0,2}[$€£¥₹])?[-( ]{0,3}")
_JUXTAPOSED = re.compile(r"\s?(?:\s?dollars?)?\s?(?:and\s)?", re.IGNORECASE)


class Number(NamedTuple):
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
    """Factor of the scale word, 0.01 for cents, 0.1 for ‰; 1 where there is none."""
    money: bool = False
    start: int = 0
    digits_start: int = 0
    end: int = 0
    fraction: bool = False
    """Written as one number over another, such as 3/4."""
    parsed: bool = True
    """False where it is malformed or has a unit that is not known: `magnitude` is NaN then."""
    weak: bool = False
    """Any number that is not weak answers before it: it is a fraction, or looks like a year or a duration (context.py)."""

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
        factor = 1e-4 if self.basis_points else self.scale * 1e-2 if self.percent else self.scale
        return (-1 if self.negative else 1) * self.magnitude * factor


def join(left: Number, right: Number, text: str) -> Number | None:
    """Join two numbers that are one: 3/4, 1 1/2, "94 million 500 thousand"; None where they are two."""
    gap = text[left.end : right.digits_start]
    if right.fraction and gap in {" ", "-", " and "}:
        return _mix(left, right)
    if gap == ":" or "/" in gap or "÷" in gap:
        is_ratio = right.magnitude != 1 and left.digits < 4 if gap == ":" else bool(_OVER.fullmatch(gap))
        return _divide(left, right) if is_ratio else None
    if not left.parsed or not right.parsed or right.negative:
        return None
    if left.scale > 1 and 0.01 <= right.scale < left.scale and right.value < left.scale and _JUXTAPOSED.fullmatch(gap):
        if right.plain and gap.strip() or right.percent:
            return None
        return _add(left, right, text)
    return None


def _divide(left: Number, right: Number) -> Number | None:
    """Return the fraction of two numbers; None where they have units that differ."""
    is_same = left.scale == right.scale and not (left.percent or left.basis_points or right.basis_points)
    if not is_same or left.fraction or not right.magnitude:
        return None
    value = left.magnitude / right.magnitude
    signs = [
        number.negative and not number.text.startswith("(") for number in (left, right)
    ]  # brackets are no minus here
    shown = f"{'-' if signs[0] != signs[1] else ''}{left.magnitude:.12g}/{right.magnitude:.12g}"
    return left._replace(
        text=shown, magnitude=value, negative=signs[0] != signs[1], step=0.0, digits=1, percent=right.percent, scale=1.0,
        money=False, end=right.end, fraction=True, parsed=value == value,
    )  # fmt: skip


def _mix(left: Number, right: Number) -> Number | None:
    """Return a mixed number such as 1 1/2; None where the two are no such number."""
    whole = left.plain and not left.fraction and left.step == 1 and left.digits <= 3
    if not whole or not 0 < right.magnitude < 1 or len(right.text) > 5:
        return None
    return right._replace(
        text=f"{left.text} {right.text}", magnitude=left.magnitude + right.magnitude, negative=left.negative, start=left.start,
        digits_start=left.digits_start, money=left.money, digits=3, fraction=False,
    )  # fmt: skip


def _add(left: Number, right: Number, text: str) -> Number:
    magnitude = left.magnitude + right.magnitude * right.scale / left.scale
    digits = len(f"{magnitude:.12g}".replace(".", "").strip("0"))
    return left._replace(
        text=text[left.start : right.end].strip(), magnitude=float(f"{magnitude:.15g}"), digits=digits, end=right.end,
        step=right.step * right.scale / left.scale,
    )  # fmt: skip


def is_year(number: Number) -> bool:
    """True if it looks like a year: four digits from 1900 to 2099, and nothing else."""
    return (
        1900 <= number.magnitude < 2100
        and number.digits == 4
        and number.step == 1
        and len(number.text.strip("()")) == 4
        and number.plain
        and not number.money
        and not number.negative
    )
