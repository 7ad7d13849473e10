"""Is the value of the program that a completion answers with the right one? (docs/scoring.md §11)

`score` has the two verdicts of an answer in words: the program's value is judged as if the completion had printed it.
"""

import re
from collections.abc import Sequence
from dataclasses import replace
from typing import Any

from fino1.tasks.programs.compare import is_same
from fino1.tasks.programs.execute import execute
from fino1.tasks.programs.grammar import ProgramError, parse
from fino1.tasks.record import FINAL, Scorer, Verdict
from fino1.tasks.scoring.parts import take_final_part

_FENCE = re.compile(r"^```[a-z]*$", re.MULTILINE)
_LEAD = re.compile(r"^(?:final )?(?:program|answer|expression)(?: is)?:\s*", re.IGNORECASE)


def find_program(completion: str) -> str:
    """Take the program out of a completion: all of its final part, without code marks, "Program:" and a full stop."""
    text = _FENCE.sub("", take_final_part(completion)).strip().strip("`").strip()
    return _LEAD.sub("", text).removesuffix(".").strip("`* ")


def score(
    scorer: Scorer,
    completion: str,
    question: str,
    target: float | bool | str,
    *,
    cells: Sequence[Sequence[str]] = (),
    program: str = "",
    **basis: Any,
) -> Verdict:
    """Run the completion's program and judge its value with `scorer`. One that cannot be run gives the empty verdict.

    `cells` are the row's table, `program` is its gold program, `basis` what the row says of its gold.
    """
    text = find_program(completion)
    try:
        parsed = parse(text)
        value = execute(parsed, cells)[-1]
    except ProgramError:
        return Verdict()
    verdict = scorer(_print(value), question, target, **basis)
    if verdict.strict is None:  # a truth value where a number is asked for, or the other way round
        verdict = Verdict(value=value, strict=False, docmath_compat=None if isinstance(target, bool) else False)
    return replace(verdict, extracted=text, same_program=is_same(parsed, program))


def is_formed(completion: str) -> bool:
    """True if the text has the final heading once, a blank line behind it, and nothing but thinking before it."""
    before, heading, after = completion.partition(f"{FINAL}\n\n")
    return bool(heading) and FINAL not in before + after


def _print(value: float | bool) -> str:
    """Write a value as an answer in digits, without an exponent."""
    if isinstance(value, bool):
        return "yes" if value else "no"
    return f"{value:.15g}" if "e" not in f"{value:.15g}" else f"{value:.20f}".rstrip("0")
