"""What does a FinQA program compute, step by step in words? (docs/scoring.md §11)

`solve` runs a gold program and writes each step down, so that SFT rows exist without any model.
"""

import re
from collections.abc import Sequence
from dataclasses import dataclass

from fino1.tasks.scoring.numbers import parse_number

_STEP = re.compile(
    r"\s*(add|subtract|multiply|divide|exp|greater|table_(?:max|min|sum|average))\(([^()]*(?:\([^()]*\)[^()]*)*)\)\s*(?:,|$)"
)
_SIGNS = {"add": "+", "subtract": "-", "multiply": "*", "divide": "/", "exp": "^"}
_WORDS = {
    "add": "Add the two amounts",
    "subtract": "Take the difference",
    "multiply": "Multiply",
    "divide": "Divide",
    "exp": "Raise to the power",
    "table_max": "The largest",
    "table_min": "The smallest",
    "table_sum": "The sum",
    "table_average": "The average",
}


@dataclass(frozen=True)
class Solution:
    """A program's result and one sentence a step."""

    result: float | bool
    steps: tuple[str, ...]


def solve(program: str, table: Sequence[Sequence[str]]) -> Solution:
    """Execute a program. Raises ValueError where it cannot be executed."""
    results: list[float | bool] = []
    steps = []
    for op, arguments in _parse(program):
        if op.startswith("table_"):
            value, step = _run_table_step(op, arguments[0], table)
        elif len(arguments) != 2:
            raise ValueError(f"{op} takes two arguments, got {arguments}")
        else:
            value, step = _run_step(op, *(_read_argument(argument, results) for argument in arguments))
        results.append(value)
        steps.append(step)
    last = results[-1]
    return Solution(last if isinstance(last, bool) else round(last, 5), tuple(steps))


def show(value: float) -> str:
    """Write a number for a step: whole ones whole, others with five decimals, below 0.01 with four significant digits."""
    if value == int(value) and abs(value) < 1e15:
        return str(int(value))
    return f"{value:.5f}".rstrip("0").rstrip(".") if abs(value) >= 0.01 else f"{value:.4g}"


def _parse(program: str) -> list[tuple[str, list[str]]]:
    at, parsed = 0, []
    while at < len(program):
        match = _STEP.match(program, at)
        if match is None:
            raise ValueError(f"not a program from {program[at : at + 40]!r} on")
        arguments = [match[2].rpartition(",")[0], match[2].rpartition(",")[2]]
        parsed.append((match[1], [argument.strip() for argument in arguments]))
        at = match.end()
    if not parsed:
        raise ValueError("an empty program")
    return parsed


def _read_argument(text: str, results: list[float | bool]) -> tuple[float, str]:
    """Return an argument's number, and how a step shows it. "x%" is x/100, const_m1 is -1, #k an earlier result."""
    if re.fullmatch(r"#[0-9]+", text):
        if int(text[1:]) >= len(results):
            raise ValueError(f"{text} refers to a later step")
        value = float(results[int(text[1:])])
        return value, show(value)
    if text.startswith("const_"):
        value = float(text.removeprefix("const_").replace("m", "-"))
        return value, show(value)
    number = parse_number(text)
    if number is None:
        raise ValueError(f"{text!r} is no number")
    return number.value, text if number.percent else show(number.value)


def _run_step(op: str, left: tuple[float, str], right: tuple[float, str]) -> tuple[float | bool, str]:
    (a, shown_a), (b, shown_b) = left, right
    if op == "greater":
        return a > b, f"Compare: {shown_a} is {'greater' if a > b else 'not greater'} than {shown_b}."
    try:
        value = {"add": a + b, "subtract": a - b, "multiply": a * b}.get(op)
        if value is None:
            value = a / b if op == "divide" else a**b
        value = float(value)
    except (ZeroDivisionError, OverflowError, TypeError) as error:
        raise ValueError(f"{op}({a}, {b}): {error}") from error
    second = f"({shown_b})" if shown_b.startswith("-") else shown_b
    return value, f"{_WORDS[op]}: {shown_a} {_SIGNS[op]} {second} = {show(value)}."


def _run_table_step(op: str, header: str, table: Sequence[Sequence[str]]) -> tuple[float, str]:
    for row in table:
        if row and row[0].strip().lower() == header.lower():
            values = [value for cell in row[1:] if (value := _read_cell(cell)) is not None]
            if not values:
                raise ValueError(f"row {header!r} has no numbers")
            totals = {
                "table_max": max,
                "table_min": min,
                "table_sum": sum,
                "table_average": lambda some: sum(some) / len(some),
            }
            value = float(totals[op](values))
            return value, f"{_WORDS[op]} of {header} ({', '.join(show(each) for each in values)}) is {show(value)}."
    raise ValueError(f"the table has no row {header!r}")


def _read_cell(text: str) -> float | None:
    """§11: read a table cell without "$" and commas, up to the first bracket; None where it is no number or percentage."""
    text = text.replace("$", "").partition("(")[0].replace(",", "").replace(" ", "")
    try:
        return float(text[:-1]) / 100 if text.endswith("%") else float(text)
    except ValueError:
        return None
