"""Are two programs the same? FinQA's program accuracy (Chen et al. 2021, arXiv 2109.00122, §5.1)

Programs are the same where their last steps compute the same from the same numbers, up to the order of what is added or
multiplied at one step. Numbers are compared by value, so `const_100` is 100. Steps that the last one does not use do not count.
"""

from fino1.tasks.programs.grammar import Call, Node, Number, Program, ProgramError, Row, Step, parse

_COMMUTING = ("add", "multiply")


def is_same(program: Program, gold: str) -> bool | None:
    """True if the program is the gold one; None where there is no gold program that can be parsed."""
    try:
        expected = parse(gold)
    except ProgramError:
        return None
    numbered: dict[tuple, int] = {}
    return _number(program, numbered) == _number(expected, numbered)


def _number(program: Program, numbered: dict[tuple, int]) -> int:
    """Number the last step's tree, equal trees alike. A step that is used twice is looked at once: trees may be exponential."""
    steps: list[int] = []
    for node in program:
        steps.append(_number_node(node, steps, numbered))
    return steps[-1]


def _number_node(node: Node, steps: list[int], numbered: dict[tuple, int]) -> int:
    match node:
        case Step(index):
            return steps[index]
        case Number(value):
            shape: tuple = (value,)
        case Row(operation, heading):
            shape = (operation, heading.lower())
        case Call(operation, left, right):
            operands = [_number_node(each, steps, numbered) for each in (left, right)]
            shape = (operation, *(sorted(operands) if operation in _COMMUTING else operands))
    return numbered.setdefault(shape, len(numbered))
