"""What does a FinQA program compute, step by step in words? (docs/scoring.md §11)

`solve` runs a gold program and writes each step down, so that SFT rows exist without any model.
"""

from collections.abc import Sequence
from dataclasses import dataclass

from fino1.tasks.programs.execute import execute, read_row
from fino1.tasks.programs.grammar import Call, Node, Number, ProgramError, Row, Step, parse

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
    """Execute a program of FinQA. Raises ProgramError where it cannot be executed."""
    parsed = parse(program)
    values = execute(parsed, table)
    steps = tuple(_explain(node, values, i, table) for i, node in enumerate(parsed))
    last = values[-1]
    return Solution(last if isinstance(last, bool) else round(last, 5), steps)


def show(value: float) -> str:
    """Write a number for a step: whole ones whole, others with five decimals, below 0.01 with four significant digits."""
    if value == int(value) and abs(value) < 1e15:
        return str(int(value))
    return f"{value:.5f}".rstrip("0").rstrip(".") if abs(value) >= 0.01 else f"{value:.4g}"


def _explain(node: Node, values: Sequence[float | bool], i: int, table: Sequence[Sequence[str]]) -> str:
    value = values[i]
    if isinstance(node, Row):
        row = ", ".join(show(each) for each in read_row(node.heading, table))
        return f"{_WORDS[node.operation]} of {node.heading} ({row}) is {show(value)}."
    if not isinstance(node, Call):
        raise ProgramError("expected steps of one operation each")
    left, right = (_show_operand(each, values) for each in (node.left, node.right))
    if node.operation == "greater":
        return f"Compare: {left} is {'greater' if value else 'not greater'} than {right}."
    second = f"({right})" if right.startswith("-") else right
    return f"{_WORDS[node.operation]}: {left} {_SIGNS[node.operation]} {second} = {show(value)}."


def _show_operand(node: Node, values: Sequence[float | bool]) -> str:
    if isinstance(node, Step):
        return show(float(values[node.index]))
    if not isinstance(node, Number):
        raise ProgramError("expected steps of one operation each")
    return node.text if node.is_percent else show(node.value)
