"""What does a FinQA row say of its gold: in which unit is it, and is it a fraction or a percentage? (docs/scoring.md §4, §6)"""

import re
from collections.abc import Mapping, Sequence

from fino1.tasks.scoring.numbers import find_numbers, parse_number
from fino1.tasks.scoring.question import read_facts

_STEP = re.compile(r"([a-z_]+)\(([^()]*)\)")
_HUNDRED = frozenset({"const_100", "100"})
_UNIT = re.compile(
    r"(?:\(|\bin\b|\b(?:dollars|amounts|us|usd|\$))[^()|.;0-9]{0,30}?\b(thousand|million|billion)s?\b"
    r"|\b(thousand|million|billion)s of (?:us |u\.s\. )?(?:dollars|shares)\b|^\W*(thousand|million|billion)s\W*$"
)
_UNITS = {"thousand": 1e3, "million": 1e6, "billion": 1e9}


def read_basis(
    question: str, program: str, answer: str, gold: float | bool, table: Sequence[Sequence[str]], page: Sequence[str]
) -> Mapping[str, float | bool]:
    """Return what the row says, as arguments of the scorer: `in_percent` and `table_unit`, each where it is known."""
    if isinstance(gold, bool):
        return {}
    steps = _STEP.findall(program)
    found: dict[str, float | bool | None] = {"in_percent": _is_in_percent(steps, answer, gold)}
    if found["in_percent"] is None and read_facts(question).unit is None:
        found["table_unit"] = _find_unit(steps, table, page)
    return {name: value for name, value in found.items() if value is not None}


def _is_in_percent(steps: Sequence[tuple[str, str]], answer: str, gold: float) -> bool | None:
    """True if the gold is in percent, False if a fraction: by the program, else by the analyst's answer. None if unknown."""
    arguments = [[argument.strip() for argument in inside.split(",")] for _, inside in steps]
    if steps and steps[-1][0] in {"multiply", "add", "subtract"}:
        scaled = [
            op == "multiply" and not _HUNDRED.isdisjoint(given) for (op, _), given in zip(steps, arguments, strict=True)
        ]
        if any(scaled):
            return True
    shown = parse_number(answer)
    if shown is not None and shown.percent and shown.magnitude:
        near_gold, near_fraction = (abs(abs(value) - shown.magnitude) <= max(0.6 * shown.step, 0.02 * shown.magnitude)
                                    for value in (gold, gold * 100))  # fmt: skip
        if near_gold != near_fraction:
            return near_gold
    is_quotient = bool(steps) and steps[-1][0] == "divide" and not any("const_" in each for each in arguments[-1])
    return False if is_quotient or (steps and all("%" in each for each in arguments[-1])) else None


def _find_unit(steps: Sequence[tuple[str, str]], table: Sequence[Sequence[str]], page: Sequence[str]) -> float | None:
    """Return the unit of the program's amounts, where the row names one only; None where it names none or several."""
    if any(op in {"multiply", "divide", "exp"} and "const_1000" in inside for op, inside in steps):
        return None  # the program changes the unit
    cells = {number.magnitude for row in table for cell in row[1:] for number in find_numbers(cell)}
    amounts = {
        number.magnitude for _, inside in steps for each in inside.split(",") if (number := parse_number(each.strip()))
    }
    headers = " | ".join([*(table[0] if table else ()), *(row[0] for row in table[1:] if row)]).lower()
    if not steps or any(op.startswith("table_") for op, _ in steps) or amounts <= cells:
        named = _list_units(headers) or _list_units(" ".join(page).lower())
    else:
        named = _list_units(headers) | _list_amount_units(amounts, page)
    return max(named) if len(named) == 1 and named != {1.0} else None


def _list_units(text: str) -> set[float]:
    return {_UNITS[word] for words in _UNIT.findall(text) for word in words if word}


def _list_amount_units(amounts: set[float], page: Sequence[str]) -> set[float]:
    """List the units in which sentences of the page give the program's amounts; 1 where one has no scale word."""
    numbers = (number for sentence in page for number in find_numbers(sentence))
    return {number.scale for number in numbers if number.magnitude in amounts and not number.percent}
