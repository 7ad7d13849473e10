"""What does a program compute? (docs/scoring.md §11)"""

import math
from collections.abc import Sequence

from fino1.tasks.programs.grammar import Call, Node, Number, Program, ProgramError, Row, Step

MAX_VALUE = 1e18

_TOTALS = {
    "table_max": max,
    "table_min": min,
    "table_sum": math.fsum,
    "table_average": lambda some: math.fsum(some) / len(some),
}


def execute(program: Program, table: Sequence[Sequence[str]] = ()) -> list[float | bool]:
    """Compute the value of every step; `greater` gives a truth value, which counts as 1 or 0 in a later step.

    `table` holds the cells of the rows that table operations read. Raises ProgramError where a step has no value, or one beyond
    MAX_VALUE.
    """
    values: list[float | bool] = []
    for node in program:
        value = _compute(node, values, table)
        if not abs(value) <= MAX_VALUE:
            raise ProgramError(f"step {len(values)}: expected a number of at most {MAX_VALUE:g}, got {value}")
        values.append(value)
    return values


def compute(operation: str, left: float, right: float) -> float | bool:
    """Compute one operation on two numbers. Raises ProgramError where it has no finite value of at most MAX_VALUE."""
    if operation == "greater":
        return left > right
    try:
        if operation == "divide":
            value = left / right
        elif operation == "exp":
            value = left**right
        else:
            value = {"add": left + right, "subtract": left - right, "multiply": left * right}[operation]
    except (ZeroDivisionError, OverflowError) as error:
        raise ProgramError(f"{operation}({left}, {right}): {error}") from error
    if isinstance(value, complex) or not abs(value) <= MAX_VALUE:
        raise ProgramError(f"{operation}({left}, {right}): expected a number of at most {MAX_VALUE:g}, got {value}")
    return value


def read_row(heading: str, table: Sequence[Sequence[str]]) -> list[float]:
    """Read the numbers of the first row with this heading. Raises ProgramError where there is none, or it has no numbers."""
    for row in table:
        if heading and row and row[0].strip().lower() == heading.lower():
            if values := [value for cell in row[1:] if (value := _read_cell(cell)) is not None]:
                return values
            raise ProgramError(f"row {heading!r} has no numbers")
    raise ProgramError(f"the table has no row {heading!r}")


def total(operation: str, values: Sequence[float]) -> float:
    """Compute a table operation on a row's numbers. Raises ProgramError where it has no finite value."""
    try:
        return float(_TOTALS[operation](values))
    except OverflowError as error:
        raise ProgramError(f"{operation}: {error}") from error


def _compute(node: Node, values: Sequence[float | bool], table: Sequence[Sequence[str]]) -> float | bool:
    match node:
        case Number(value):
            return value
        case Step(index):
            return values[index]
        case Row(operation, heading):
            return total(operation, read_row(heading, table))
        case Call(operation, left, right):
            return compute(operation, float(_compute(left, values, table)), float(_compute(right, values, table)))


def _read_cell(text: str) -> float | None:
    """§11: read a table cell without "$" and commas, up to the first bracket; None where it is no number or percentage."""
    text = text.replace("$", "").partition("(")[0].replace(",", "").replace(" ", "")
    try:
        value = float(text[:-1]) / 100 if text.endswith("%") else float(text)
    except ValueError:
        return None
    return value if math.isfinite(value) else None
