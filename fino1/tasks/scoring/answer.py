"""Is this the right answer? Extraction and the two verdicts (reference/fino1.md §4.6, DESIGN C8).

`score` is the PPO reward's rule and the evaluation's scorer: total over any text, no eval(), no judge.
"""

import math
import re
from collections.abc import Iterator

from fino1.tasks.record import Verdict
from fino1.tasks.scoring.docmath_compat import docmath_compat
from fino1.tasks.scoring.extract import Found, final_part, find_number
from fino1.tasks.scoring.numbers import Number, clean, parse_number, printed
from fino1.tasks.scoring.question import Asked, asked

RELATIVE = 0.0015
"""§4.6.6, the public DocMath evaluator's own tolerance."""
ABSOLUTE = 1e-5
"""§4.6.6; FinQA's executed answers have five decimals."""
THREE_DIGITS_CAP = 0.009
"""§4.6.6: where both print three digits, 1 % off is refused whatever else holds (correct rounding is at most 0.5 % off)."""
IN_PERCENT_FROM = 1.0
"""§4.6.2: golds from here on may themselves be in percent (37.81139); a fraction below it never is."""
FRACTION_UP_TO = 10.0
"""§4.6.2: where a percentage is asked and no % shown, golds below are fractions, those from here on (1,000 %) in percent."""

_TRUE, _FALSE = {"yes", "true", "y"}, {"no", "false", "n"}
_DENIED = re.compile(r"\b(?:not|isn't|n't|never)\s+(?:a\s)?(true|false)\b", re.IGNORECASE)
_ASSERTED = re.compile(
    r"\banswer\b[^\n.]{0,60}?(?:\bis\b|:)[\s*_:\"'$(]*(?:\\\w{1,10}\{){0,3}\s*(yes|no|true|false)\b", re.IGNORECASE
)
_BOXED = re.compile(r"\\boxed\{\s*(?:\\\w{1,10}\{\s*)?(yes|no|true|false|y|n)\b", re.IGNORECASE)
_LEADING = re.compile(
    r"(?:^|[\n.!?:]\s*)[\s*_>#\"'(-]*(yes|no|true|false)(?=[\s,.;:!)*_\"'-]*(?:$|\n)|\s*[,.;:!*\"')-])", re.IGNORECASE
)
_OPENING = re.compile(
    r"\W*(yes|no)\s+(?:it|its|they|he|she|the|this|that|because|since|as|did|does|do|not|was|were)\b", re.IGNORECASE
)
_ANYWHERE = re.compile(r"\b(yes|true|false)\b", re.IGNORECASE)


def score(completion: str, question: str, target: float | bool | str, *, unit: float | None = None) -> Verdict:
    """What does this completion answer, and is it right?

    `target` may be a number or truth value, or their text ("34.7%", "yes"); any other text cannot be scored by rule and
    gives the empty verdict. `unit` is the gold's unit where the task fixes it (1.0: amounts are written out); by default it
    is what the question states, or unknown (§4.6.4). A truth value has no docmath_compat: there float(gold) raises (§4.3).
    """
    gold = read_target(target)
    if gold is None:
        return Verdict()
    if isinstance(gold, bool):
        return _score_truth(completion, gold)
    return _score_number(completion, question, gold, target, unit)


def read_target(target: float | bool | str) -> float | bool | None:
    """Which number or truth value is this gold? None where it is neither."""
    if isinstance(target, bool):
        return target
    if isinstance(target, int | float):
        return _finite(target)
    text = target.strip().lower().rstrip(".")
    if text in _TRUE | _FALSE:
        return text in _TRUE
    number = parse_number(target)
    return None if number is None else _finite(number.value)


def is_right(
    number: Number, gold: float, asked: Asked, *, gold_step: float, gold_digits: int, down: bool = False
) -> Verdict:
    """Does the printed number equal the gold in any reading that §4.6 allows? Strict verdict and value only."""
    first: float | None = None
    for factor in _factors(number, gold, asked):
        size = float(f"{number.magnitude * factor:.15g}")  # 1.64 % is 0.0164, not 0.016399999999999998
        value = -size if number.negative or (down and asked.change) else size  # §4.6.5
        first = value if first is None else first
        allowed = _tolerance(number, factor, gold, gold_step, gold_digits)
        if abs(value - gold) <= allowed:
            return Verdict(value=value, strict=True)
        if asked.decrease and abs(abs(value) - abs(gold)) <= allowed:  # §4.6.5: the magnitude decides
            return Verdict(value=value, strict=True, sign_from_question=True)
    return Verdict(value=first, strict=False)


def _score_number(completion: str, question: str, gold: float, target: float | str, unit: float | None) -> Verdict:
    wanted = asked(question)
    if unit is not None:
        wanted = Asked(**{**vars(wanted), "unit": unit})
    found: Found | None = find_number(completion, wanted)
    if found is None:
        return Verdict()
    step, digits = _printed_gold(target, gold)
    verdict = is_right(found.number, gold, wanted, gold_step=step, gold_digits=digits, down=found.down)
    return Verdict(
        extracted=found.number.text,
        value=verdict.value,
        strict=verdict.strict,
        docmath_compat=bool(docmath_compat(found.number.text, gold)),
        sign_from_question=verdict.sign_from_question,
    )


def _factors(number: Number, gold: float, asked: Asked) -> Iterator[float]:
    """Which units may the printed number be in, as factors to the question's? The first is what it says by itself."""
    if number.basis_points:
        yield from _basis_point_factors(asked)
    elif number.percent:
        yield from _percent_factors(gold, asked)
    elif number.scale != 1.0:
        yield from _scale_factors(number, asked)
    else:
        yield from _plain_factors(number, gold, asked)


def _basis_point_factors(asked: Asked) -> Iterator[float]:
    """§4.6.2: basis points ÷ 10,000, and in the unit the question names."""
    if asked.basis_points:
        yield 1.0
    yield 1e-4
    if asked.percent:
        yield 1e-2


def _percent_factors(gold: float, asked: Asked) -> Iterator[float]:
    """§4.6.2: a shown % is a fraction; where the question is about a ratio the gold may itself be in percent."""
    yield 1e-2
    if asked.ratio and abs(gold) >= IN_PERCENT_FROM:
        yield 1.0


def _scale_factors(number: Number, asked: Asked) -> Iterator[float]:
    """§4.6.4: a scale word multiplies where the gold's unit is known; else the gold is in unknown table units."""
    if asked.unit is not None:
        yield number.scale / asked.unit
        return
    yield 1.0
    for table_unit in (1.0, 1e3, 1e6, 1e9):
        if table_unit != number.scale and table_unit <= number.scale * 1e3:
            yield number.scale / table_unit


def _plain_factors(number: Number, gold: float, asked: Asked) -> Iterator[float]:
    """§4.6.2 and §4.6.4 for a number without a unit: only the question can justify another reading."""
    yield 1.0
    if asked.percent and abs(gold) < FRACTION_UP_TO:
        yield 1e-2
    if asked.percent and abs(gold) >= FRACTION_UP_TO and not number.money:
        yield 1e2
    if asked.basis_points:
        yield 1e-4
    if asked.unit is not None and asked.unit > 1 and number.magnitude >= asked.unit:
        yield 1 / asked.unit  # written out in full


def _tolerance(number: Number, factor: float, gold: float, gold_step: float, gold_digits: int) -> float:
    """§4.6.6: the largest of four, with its two exceptions (gold 0; three digits on both sides)."""
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


def _printed_gold(target: float | str, gold: float) -> tuple[float, int]:
    """Unit of the gold's last printed decimal and its significant digits (§4.6.6).

    A float has lost its trailing zeros, and every gold at hand is rounded to two decimals at least: 0.5 is 0.50.
    """
    if isinstance(target, str) and (number := parse_number(target)) is not None and number.plain:
        step, digits = number.step, number.digits
    else:
        step, digits = printed(repr(abs(gold)))
    return (0.01 if step == 0.1 and abs(gold) < 1 else step), digits


def _finite(value: float) -> float | None:
    try:
        number = float(value)
    except OverflowError:
        return None
    return number if math.isfinite(number) else None


def _score_truth(completion: str, gold: bool) -> Verdict:
    """§4.6.7: yes/no, true/false; "greater" and "higher" say neither."""
    word = find_truth(completion)
    if word is None:
        return Verdict()
    value = word in _TRUE
    return Verdict(extracted=word, value=value, strict=value == gold)


def find_truth(completion: str) -> str | None:
    """Which yes or no answers, in the order of §4.6.8? None where both or neither are said."""
    text = final_part(completion)
    whole = clean(text).strip(" \n.!*_\"'()#:$").lower()
    if whole in _TRUE | _FALSE:
        return whole
    for pattern in (_ASSERTED, _BOXED):
        if words := pattern.findall(text):
            return words[-1].lower()
    if opening := _OPENING.match(text):
        return opening[1].lower()
    text = _DENIED.sub(lambda match: "false" if match[1].lower() == "true" else "true", clean(text))
    leading = [word.lower() for word in _LEADING.findall(text)]
    words = leading or [word.lower() for word in _ANYWHERE.findall(text)]
    return words[-1] if len({word in _TRUE for word in words}) == 1 else None
