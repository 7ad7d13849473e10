"""Does the number of an answer equal the gold? (docs/scoring.md §4 units, §6 scale words, §7 signs, §8 tolerance)

The printed number may be in one of several units; each is a factor to the question's unit. It is right where in one of them
it is within the tolerance of the gold.
"""

from collections.abc import Iterator

from fino1.tasks.record import Verdict
from fino1.tasks.scoring.extract import Answer
from fino1.tasks.scoring.numbers import Number, parse_number, read_precision
from fino1.tasks.scoring.question import QuestionFacts

RELATIVE = 0.0015
"""§8: the public DocMath evaluator's own tolerance."""
ABSOLUTE = 1e-5
"""§8: FinQA's executed answers have five decimals."""
THREE_DIGITS_CAP = 0.009
"""§8: where both print three digits, 1 % off is refused whatever else holds (correct rounding is at most 0.5 % off)."""
IN_PERCENT_FROM = 1.0
"""§4: golds from here on may themselves be in percent (37.81139); a fraction below it never is."""
FRACTION_UP_TO = 10.0
"""§4: where a percentage is asked and no % shown, golds below are fractions, those from here on (1,000 %) in percent."""


def compare(answer: Answer, gold: float, target: float | str, facts: QuestionFacts) -> Verdict:
    """Compare the number with the gold in every unit it may be in. `target` is the gold as it is printed.

    The verdict has `strict`, `value` (in the unit that fits, else in the first) and `sign_from_question` only.
    """
    number = answer.number
    step, digits = _read_gold_precision(target, gold)
    first: float | None = None
    for factor in _list_factors(number, gold, facts):
        size = float(f"{number.magnitude * factor:.15g}")  # 1.64 % is 0.0164, not 0.016399999999999998
        is_negative = number.negative or (answer.is_decrease and facts.change)  # §7
        value = -size if is_negative else size
        first = value if first is None else first
        allowed = _compute_tolerance(number, factor, gold, step, digits)
        if abs(value - gold) <= allowed:
            return Verdict(value=value, strict=True)
        if facts.decrease and abs(abs(value) - abs(gold)) <= allowed:  # §7: the magnitude decides
            return Verdict(value=value, strict=True, sign_from_question=True)
    return Verdict(value=first, strict=False)


def _list_factors(number: Number, gold: float, facts: QuestionFacts) -> Iterator[float]:
    """Yield the units that the printed number may be in. The first is what it says by itself."""
    if number.basis_points:
        yield from _list_basis_point_factors(facts)
    elif number.percent:
        yield from _list_percent_factors(gold, facts)
    elif number.scale != 1.0:
        yield from _list_scale_factors(number, facts)
    else:
        yield from _list_plain_factors(number, gold, facts)


def _list_basis_point_factors(facts: QuestionFacts) -> Iterator[float]:
    """Yield the factors of basis points: ÷ 10,000, and the unit that the question names (docs/scoring.md §4)."""
    if facts.basis_points:
        yield 1.0
    yield 1e-4
    if facts.percent:
        yield 1e-2


def _list_percent_factors(gold: float, facts: QuestionFacts) -> Iterator[float]:
    """Yield the factors of a number with %: ÷ 100, and 1 for a ratio, whose gold may be in percent (docs/scoring.md §4)."""
    yield 1e-2
    if facts.ratio and abs(gold) >= IN_PERCENT_FROM:
        yield 1.0


def _list_scale_factors(number: Number, facts: QuestionFacts) -> Iterator[float]:
    """Yield the factors of a scale word: exact where the gold's unit is known, else for each table unit (docs/scoring.md §6)."""
    if facts.unit is not None:
        yield number.scale / facts.unit
        return
    yield 1.0
    for table_unit in (1.0, 1e3, 1e6, 1e9):
        if table_unit != number.scale and table_unit <= number.scale * 1e3:
            yield number.scale / table_unit


def _list_plain_factors(number: Number, gold: float, facts: QuestionFacts) -> Iterator[float]:
    """Yield the factors of a number without a unit: 1, and what the question justifies (docs/scoring.md §4, §6)."""
    yield 1.0
    if facts.percent and abs(gold) < FRACTION_UP_TO:
        yield 1e-2
    if facts.percent and abs(gold) >= FRACTION_UP_TO and not number.money:
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


def _read_gold_precision(target: float | str, gold: float) -> tuple[float, int]:
    """Return the unit of the gold's last printed decimal, and its significant digits (docs/scoring.md §8).

    A float has lost its trailing zeros, and every gold at hand is rounded to two decimals at least: 0.5 is 0.50.
    """
    if isinstance(target, str) and (number := parse_number(target)) is not None and number.plain:
        step, digits = number.step, number.digits
    else:
        step, digits = read_precision(repr(abs(gold)))
    return (0.01 if step == 0.1 and abs(gold) < 1 else step), digits
