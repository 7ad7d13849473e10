"""Does the number of an answer equal the gold? (docs/scoring.md §4 units, §6 scale words, §7 signs, §8 tolerance)

The printed number may be in one of several units; each is a factor to the question's unit. It is right where in one of them
it is within the tolerance of the gold.
"""

from collections.abc import Sequence
from functools import lru_cache
from typing import NamedTuple

from fino1.tasks.scoring.digits import read_precision
from fino1.tasks.scoring.extract import Answer
from fino1.tasks.scoring.number import Number
from fino1.tasks.scoring.numbers import parse_number
from fino1.tasks.scoring.question import QuestionFacts

RELATIVE = 0.0015
"""§8: the public DocMath evaluator's own tolerance."""
ABSOLUTE = 1e-5
"""§8: FinQA's executed answers have five decimals."""
THREE_DIGITS_CAP = 0.009
"""§8: where both print three digits, 1 % off is refused whatever else holds (correct rounding is at most 0.5 % off)."""
FRACTION_UP_TO = 10.0
"""§4: where nothing else says what a gold is, golds below are fractions, those from here on (37.81139) in percent."""


class Gold(NamedTuple):
    """A gold answer, and what its task or row says of it (§4, §6, §8)."""

    value: float
    target: float | str
    """As it is printed."""
    table_unit: float | None = None
    """The unit of the row's table, by which scale words are judged where the question states no unit; None if unknown."""
    in_percent: bool | None = None
    """True where the row's gold is in percent, False where it is a fraction; None where the row does not say."""
    percent_from: float = FRACTION_UP_TO
    """Where the row does not say: golds from here on may be in percent."""
    step: float | None = None
    """Unit of its last decimal where the task fixes it (FinQA: 1e-5); None where the printed digits say it."""
    tolerance: tuple[float, float] | None = None
    """What the task allows instead of §8: a share of the gold and an absolute difference; None: §8."""


def compare(answer: Answer, gold: Gold, facts: QuestionFacts) -> tuple[float | None, bool, bool]:
    """Compare the number with the gold in every unit it may be in.

    Returns its value (in the unit that fits, else in the first), whether it is right, and whether only by the question's sign.
    """
    number = answer.number
    is_bracketed_year = facts.year and number.text.startswith("(")
    is_negative = (number.negative and not is_bracketed_year) or (
        answer.is_decrease and facts.change and not facts.year
    )
    is_counted = _is_counted(gold.value, facts)
    near = 0.0 if is_counted else _compute_near(gold)
    farthest = 1.0 if gold.step is None else gold.step + ABSOLUTE
    first: float | None = None
    for factor in _list_factors(answer, gold, facts):
        size = number.magnitude
        if factor != 1.0:
            size = float(f"{size * factor:.15g}")  # 1.64 % is 0.0164, not 0.016399999999999998
        value = -size if is_negative else size
        first = value if first is None else first
        if abs(value - gold.value) <= near:  # nearly always where it is right: the digits need not be read
            return value, True, False
        if abs(abs(value) - abs(gold.value)) > near + farthest + number.step * factor:
            continue
        allowed = near if is_counted or gold.tolerance else _compute_tolerance(number, factor, gold)
        if abs(value - gold.value) <= allowed:
            return value, True, False
        if facts.decrease and abs(abs(value) - abs(gold.value)) <= allowed:  # §7: the magnitude decides
            return value, True, True
    return first, False, False


def _compute_near(gold: Gold) -> float:
    """Compute the difference that is allowed whatever digits are printed."""
    if gold.tolerance is None:
        return RELATIVE * abs(gold.value)
    share, absolute = gold.tolerance
    return max(share * abs(gold.value), absolute) * (1 + 1e-9)


def _is_counted(gold: float, facts: QuestionFacts) -> bool:
    """True if the gold is a year, or a whole count of years, which must be met exactly (docs/scoring.md §8)."""
    return gold == int(gold) and (facts.year_count or (facts.year and 1900 <= gold < 2100))


def _list_factors(answer: Answer, gold: Gold, facts: QuestionFacts) -> Sequence[float]:
    """List the units that the printed number may be in. The first is what it says by itself."""
    number = answer.number
    if number.basis_points:
        return _list_basis_point_factors(facts)
    if number.percent:
        factors = _list_percent_factors(gold, facts)
        return factors if number.scale == 1.0 else [number.scale * factor for factor in factors]
    if number.scale != 1.0:
        return _list_scale_factors(number, gold, facts)
    return _list_plain_factors(answer, gold, facts)


def _list_basis_point_factors(facts: QuestionFacts) -> Sequence[float]:
    """List the factors of basis points: ÷ 10,000, and the unit that the question names (docs/scoring.md §4)."""
    return [*([1.0] if facts.basis_points else []), 1e-4, *([1e-2] if facts.percent else [])]


def _list_percent_factors(gold: Gold, facts: QuestionFacts) -> Sequence[float]:
    """List the factors of a number with %: ÷ 100, or 1 where the gold is in percent itself (docs/scoring.md §4)."""
    if facts.basis_points:
        return (1.0 if gold.in_percent else 1e-2, 1e2)
    if gold.in_percent is not None:
        return (1.0,) if gold.in_percent else (1e-2,)
    may_be_percent = facts.ratio and not facts.amount and abs(gold.value) >= gold.percent_from
    return (1e-2, 1.0) if may_be_percent else (1e-2,)


def _list_scale_factors(number: Number, gold: Gold, facts: QuestionFacts) -> Sequence[float]:
    """List the factors of a scale word: exact where the gold's unit is known, else for each table unit (docs/scoring.md §6)."""
    unit = gold.table_unit if facts.unit is None else facts.unit
    scale = number.scale
    if scale < 1:  # cents
        return (scale, 1.0) if facts.cents else (scale,)
    if unit is not None:
        return (scale / unit,)
    return _list_table_factors(scale)


@lru_cache
def _list_table_factors(scale: float) -> Sequence[float]:
    return [1.0, *(scale / each for each in (1.0, 1e3, 1e6, 1e9) if each != scale and each <= scale * 1e3)]


def _list_plain_factors(answer: Answer, gold: Gold, facts: QuestionFacts) -> Sequence[float]:
    """List the factors of a number without a unit: 1, and what the question justifies (docs/scoring.md §4, §6)."""
    number = answer.number
    in_percent = abs(gold.value) >= FRACTION_UP_TO if gold.in_percent is None else gold.in_percent
    factors = [1.0]
    if not in_percent and (facts.percent or answer.same_percent or (facts.bare_percent and not number.money)):
        factors.append(1e-2)
    if in_percent and facts.percent and not number.money:
        factors.append(1e2)
    if facts.basis_points:
        factors.append(1e-4)
    if facts.unit is not None and facts.unit > 1 and number.magnitude >= facts.unit:
        factors.append(1 / facts.unit)  # written out in full
    return factors


def _compute_tolerance(number: Number, factor: float, gold: Gold) -> float:
    """Compute the allowed difference: the largest of four tolerances, with two exceptions (docs/scoring.md §8)."""
    size = abs(gold.value)
    if not size:
        return ABSOLUTE
    allowed = max(RELATIVE * size, min(ABSOLUTE, 0.5 * size))  # for a gold of 1e-5, 0 is no right answer
    step, digits = _read_gold_precision(gold)
    if step < 1:
        allowed = max(allowed, 0.5 * step)
    if number.digits >= 3 or (number.percent and number.decimals):
        allowed = max(allowed, 0.5 * number.step * factor)
    if number.digits >= 3 and digits >= 3:
        allowed = min(allowed, THREE_DIGITS_CAP * size)
    return allowed * (1 + 1e-9) + 1e-12 * size


def _read_gold_precision(gold: Gold) -> tuple[float, int]:
    """Return the unit of the gold's last printed decimal, and its significant digits (docs/scoring.md §8).

    A float has lost its trailing zeros, and every gold at hand is rounded to two decimals at least: 0.5 is 0.50.
    """
    target = gold.target
    if isinstance(target, str) and (number := parse_number(target)) is not None and number.plain:
        step, digits = number.step, number.digits
    else:
        step, digits = read_precision(repr(abs(gold.value)))
    if gold.step is not None:
        return gold.step, digits
    return (0.01 if step == 0.1 and abs(gold.value) < 1 else step), digits
