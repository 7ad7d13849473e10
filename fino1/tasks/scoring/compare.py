"""Does the number of an answer equal the gold? (docs/scoring.md §4 units, §6 scale words, §7 signs, §8 tolerance)

The printed number may be in one of several units; each is a factor to the question's unit. It is right where in one of them
it is within the tolerance of the gold.
"""

from collections.abc import Iterator
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


def compare(answer: Answer, gold: Gold, facts: QuestionFacts) -> tuple[float | None, bool, bool]:
    """Compare the number with the gold in every unit it may be in.

    Returns its value (in the unit that fits, else in the first), whether it is right, and whether only by the question's sign.
    """
    number = answer.number
    step, digits = _read_gold_precision(gold)
    first: float | None = None
    for factor in _list_factors(answer, gold, facts):
        size = float(f"{number.magnitude * factor:.15g}")  # 1.64 % is 0.0164, not 0.016399999999999998
        is_negative = number.negative or (answer.is_decrease and facts.change and not facts.year)  # §7
        value = -size if is_negative else size
        first = value if first is None else first
        allowed = (
            0.0 if _is_counted(gold.value, facts) else _compute_tolerance(number, factor, gold.value, step, digits)
        )
        if abs(value - gold.value) <= allowed:
            return value, True, False
        if facts.decrease and abs(abs(value) - abs(gold.value)) <= allowed:  # §7: the magnitude decides
            return value, True, True
    return first, False, False


def _is_counted(gold: float, facts: QuestionFacts) -> bool:
    """True if the gold is a year, or a whole count of years, which must be met exactly (docs/scoring.md §8)."""
    return gold == int(gold) and (facts.year_count or (facts.year and 1900 <= gold < 2100))


def _list_factors(answer: Answer, gold: Gold, facts: QuestionFacts) -> Iterator[float]:
    """Yield the units that the printed number may be in. The first is what it says by itself."""
    number = answer.number
    if number.basis_points:
        yield from _list_basis_point_factors(facts)
    elif number.percent:
        yield from (number.scale * factor for factor in _list_percent_factors(gold, facts))
    elif number.scale != 1.0:
        yield from _list_scale_factors(number, gold, facts)
    else:
        yield from _list_plain_factors(answer, gold, facts)


def _list_basis_point_factors(facts: QuestionFacts) -> Iterator[float]:
    """Yield the factors of basis points: ÷ 10,000, and the unit that the question names (docs/scoring.md §4)."""
    if facts.basis_points:
        yield 1.0
    yield 1e-4
    if facts.percent:
        yield 1e-2


def _list_percent_factors(gold: Gold, facts: QuestionFacts) -> Iterator[float]:
    """Yield the factors of a number with %: ÷ 100, or 1 where the gold is in percent itself (docs/scoring.md §4)."""
    if gold.in_percent is not True:
        yield 1e-2
    if gold.in_percent or (
        gold.in_percent is None and facts.ratio and not facts.amount and abs(gold.value) >= gold.percent_from
    ):
        yield 1.0


def _list_scale_factors(number: Number, gold: Gold, facts: QuestionFacts) -> Iterator[float]:
    """Yield the factors of a scale word: exact where the gold's unit is known, else for each table unit (docs/scoring.md §6)."""
    unit = gold.table_unit if facts.unit is None else facts.unit
    if number.scale < 1:  # cents
        yield number.scale
        if facts.cents:
            yield 1.0
    elif unit is not None:
        yield number.scale / unit
    else:
        yield 1.0
        for table_unit in (1.0, 1e3, 1e6, 1e9):
            if table_unit != number.scale and table_unit <= number.scale * 1e3:
                yield number.scale / table_unit


def _list_plain_factors(answer: Answer, gold: Gold, facts: QuestionFacts) -> Iterator[float]:
    """Yield the factors of a number without a unit: 1, and what the question justifies (docs/scoring.md §4, §6)."""
    number = answer.number
    in_percent = abs(gold.value) >= FRACTION_UP_TO if gold.in_percent is None else gold.in_percent
    yield 1.0
    if not in_percent and (facts.percent or answer.same_percent or (facts.bare_percent and not number.money)):
        yield 1e-2
    if in_percent and facts.percent and not number.money:
        yield 1e2
    if facts.basis_points:
        yield 1e-4
    if facts.unit is not None and facts.unit > 1 and number.magnitude >= facts.unit:
        yield 1 / facts.unit  # written out in full


def _compute_tolerance(number: Number, factor: float, gold: float, gold_step: float, gold_digits: int) -> float:
    """Compute the allowed difference: the largest of four tolerances, with two exceptions (docs/scoring.md §8)."""
    if gold == 0:
        return ABSOLUTE
    allowed = max(RELATIVE * abs(gold), min(ABSOLUTE, 0.5 * abs(gold)))  # for a gold of 1e-5, 0 is no right answer
    if gold_step < 1:
        allowed = max(allowed, 0.5 * gold_step)
    if number.digits >= 3 or (number.percent and number.decimals):
        allowed = max(allowed, 0.5 * number.step * factor)
    if number.digits >= 3 and gold_digits >= 3:
        allowed = min(allowed, THREE_DIGITS_CAP * abs(gold))
    return allowed * (1 + 1e-9) + 1e-12 * abs(gold)


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
