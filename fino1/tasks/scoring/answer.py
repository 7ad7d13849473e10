"""Is this the right answer? Score a completion: its answer and the two verdicts (docs/scoring.md §1).

`score` is the rule reward of PPO and the scorer of the evaluation. It gives a verdict on any text, runs nothing that a model
wrote and asks no other model. In the order of its work:

    question.py         what the question lets one assume of the answer
    parts.py            which part of the completion answers
    extract.py          which number of it answers: that of a container (containers.py) or of the last statement (statements.py)
    truth.py            or which yes or no
    choice.py           or which of the options
    compare.py          whether that number equals the gold: `strict`
    docmath_compat.py   what the public evaluator decides: `docmath_compat`
"""

import math
from collections.abc import Sequence

from fino1.tasks.record import Verdict
from fino1.tasks.scoring import docmath_compat
from fino1.tasks.scoring.choice import find_choice, read_choice
from fino1.tasks.scoring.compare import FRACTION_UP_TO, Gold, compare
from fino1.tasks.scoring.extract import find_answer
from fino1.tasks.scoring.numbers import parse_number
from fino1.tasks.scoring.question import QuestionFacts, read_facts
from fino1.tasks.scoring.truth import find_truth, read_truth


def score(
    completion: str,
    question: str,
    target: float | bool | str,
    *,
    unit: float | None = None,
    table_unit: float | None = None,
    in_percent: bool | None = None,
    percent_from: float = FRACTION_UP_TO,
    step: float | None = None,
    tolerance: tuple[float, float] | None = None,
    options: Sequence[str] | None = None,
) -> Verdict:
    """Judge what a completion answers.

    `target` may be a number or truth value, or their text ("34.7%", "yes"); any other text cannot be scored by rule and
    gives the empty verdict. A truth value has no docmath_compat: the public evaluator cannot read it. Nor has a choice, whose
    row gives its `options` (perhaps none that are known) and whose target is the letter of one of them, or its text.

    A task says of its golds, where it knows: `unit` (1.0: amounts are written out), else what the question states counts (§6);
    `percent_from`, from where on a gold may be in percent (§4); `step`, the unit of their last decimal (§8);
    `tolerance`, a share of the gold and an absolute one, of which the larger holds instead of §8. A row says `table_unit` (§6)
    and `in_percent` (§4).
    """
    if options is not None:
        return _score_choice(completion, str(target), options)
    gold = read_target(target)
    if gold is None:
        return Verdict()
    if isinstance(gold, bool):
        return _score_truth(completion, gold)
    facts = read_facts(question, unit)
    return _score_number(completion, facts, Gold(gold, target, table_unit, in_percent, percent_from, step, tolerance))


def read_target(target: float | bool | str) -> float | bool | None:
    """Read a gold as a finite number or truth value; None where it is neither."""
    if isinstance(target, bool):
        return target
    if isinstance(target, int | float):
        return _to_finite(target)
    truth = read_truth(target.strip().rstrip("."))
    if truth is not None:
        return truth
    number = parse_number(target)
    return None if number is None else _to_finite(number.value)


def _score_number(completion: str, facts: QuestionFacts, gold: Gold) -> Verdict:
    answer = find_answer(completion, facts)
    if answer is None:
        return Verdict()
    text = answer.number.text
    compat = bool(docmath_compat.accepts(text, gold.value))
    value, strict, sign_from_question = compare(answer, gold, facts)
    return Verdict(text, value, strict, compat, sign_from_question)


def _score_truth(completion: str, gold: bool) -> Verdict:
    word = find_truth(completion)
    if word is None:
        return Verdict()
    value = read_truth(word)
    return Verdict(extracted=word, value=value, strict=value == gold)


def _score_choice(completion: str, target: str, options: Sequence[str]) -> Verdict:
    gold, letter = read_choice(target, options), find_choice(completion, options)
    if gold is None or letter is None:
        return Verdict()
    return Verdict(extracted=letter, strict=letter == gold)


def _to_finite(value: float) -> float | None:
    try:
        number = float(value)
    except OverflowError:
        return None
    return number if math.isfinite(number) else None
