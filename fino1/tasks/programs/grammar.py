r"""What is a program? One grammar for FinQA's programs and for arithmetic (docs/scoring.md §11)

    program  = step {"," step}
    step     = sum
    sum      = product {("+" | "-") product}
    product  = signed {("*" | "/") signed}
    signed   = "-" signed | power
    power    = operand ["^" signed]
    operand  = number ["%"] | "const_" number | "#" index | "(" sum ")"
             | operation "(" sum "," sum ")" | table_operation "(" heading ["," "none"] ")"

A comma between groups of three digits belongs to the number, but in a call, where it separates arguments.

A text is parsed into trees and never handed to eval() or exec(). Its length, digits, steps, operations and nesting are bounded.
"""

import re
from dataclasses import dataclass
from typing import NamedTuple

MAX_CHARACTERS = 1000
MAX_DIGITS = 20
MAX_STEPS = 30
MAX_DEPTH = 30
MAX_OPERATIONS = 100

_NONE = re.compile(r"\s*,\s*none\s*$", re.IGNORECASE)
OPERATIONS = ("add", "subtract", "multiply", "divide", "exp", "greater")
TABLE_OPERATIONS = ("table_max", "table_min", "table_sum", "table_average")
_SIGNS = {
    "+": "add", "-": "subtract", "−": "subtract", "*": "multiply", "×": "multiply", "/": "divide", "÷": "divide",
    "^": "exp", "**": "exp",
}  # fmt: skip
_ENDS = r"(?![A-Za-z0-9_.])"
_TOKEN = re.compile(
    rf"[ \t]*(?:(?P<table>table_(?:max|min|sum|average))[ ]?\(|const_(?P<const>m?[0-9]+(?:\.[0-9]+)?){_ENDS}"
    rf"|(?P<name>[a-z]+)(?=[ ]?\()|\#(?P<step>[0-9]{{1,2}}){_ENDS}|\$?(?P<number>[0-9]+(?:\.[0-9]+)?|\.[0-9]+){_ENDS}"
    r"|(?P<sign>\*\*|[-+*/^(),%−×÷\n]))"
)
_THOUSANDS = re.compile(rf"[ \t]*\$?(?P<number>[0-9]{{1,3}}(?:,[0-9]{{3}})+(?:\.[0-9]+)?){_ENDS}")


class ProgramError(ValueError):
    """A text is no program, or one that cannot be run."""


@dataclass(frozen=True)
class Number:
    """A number as it is written; `value` is that of "x%" divided by 100, and −1 for const_m1."""

    value: float
    text: str
    is_percent: bool = False


@dataclass(frozen=True)
class Step:
    """The result of an earlier step, counted from 0: `#0`."""

    index: int


@dataclass(frozen=True)
class Row:
    """An operation on the numbers of the table's row with this heading."""

    operation: str
    heading: str


@dataclass(frozen=True)
class Call:
    """One of OPERATIONS on two values, whether written as a call or with its sign."""

    operation: str
    left: "Node"
    right: "Node"


Node = Number | Step | Row | Call
Program = tuple[Node, ...]
"""A tree for each step; the last one is the answer."""


class _Token(NamedTuple):
    kind: str
    text: str


def parse(text: str) -> Program:
    """Parse a program. Raises ProgramError for what is none, or goes beyond a bound."""
    if len(text) > MAX_CHARACTERS:
        raise ProgramError(f"expected at most {MAX_CHARACTERS} characters, got {len(text)}")
    return _Parser(text.strip()).parse()


class _Parser:
    """Reads one token ahead."""

    def __init__(self, text: str) -> None:
        self.text = text
        self.at = 0
        self.depth = 0
        self.open_calls = 0
        self.operations = 0
        self.steps: list[Node] = []
        self.token = self._read_token()

    def parse(self) -> Program:
        while True:
            self.steps.append(self._parse_sum())
            if len(self.steps) > MAX_STEPS:
                raise ProgramError(f"expected at most {MAX_STEPS} steps")
            if self.token.kind == "end":
                break
            separators = 0
            while self._take(",", "\n"):
                separators += 1
            if not separators:
                raise ProgramError(f"expected a comma or the end, got {self.token.text!r}")
        if len(self.steps) > 1 and not all(isinstance(step, Call | Row) for step in self.steps):
            raise ProgramError("expected one number, or steps that compute one, got a list of numbers")
        return tuple(self.steps)

    def _read_token(self) -> _Token:
        if self.at >= len(self.text):
            return _Token("end", "the end")
        match = (None if self.open_calls else _THOUSANDS.match(self.text, self.at)) or _TOKEN.match(self.text, self.at)
        if match is None or match.lastgroup is None:
            raise ProgramError(f"expected a number, a step or an operation, got {self.text[self.at :][:20]!r}")
        self.at = match.end()
        if match.lastgroup == "table":
            return _Token("table", f"{match['table']}({self._read_heading()}")
        return _Token(match.lastgroup, match[match.lastgroup])

    def _read_heading(self) -> str:
        """Read up to the bracket that closes the one before; a heading may hold brackets and commas."""
        start, depth = self.at, 1
        while depth and self.at < len(self.text):
            depth += {"(": 1, ")": -1}.get(self.text[self.at], 0)
            self.at += 1
        if depth:
            raise ProgramError("expected ')', got the end")
        return self.text[start : self.at - 1]

    def _next(self) -> _Token:
        token, self.token = self.token, self._read_token()
        return token

    def _take(self, *texts: str) -> str | None:
        """Go on behind the next sign and return it, if it is one of these."""
        return self._next().text if self.token.kind == "sign" and self.token.text in texts else None

    def _expect(self, text: str) -> None:
        if not self._take(text):
            raise ProgramError(f"expected {text!r}, got {self.token.text!r}")

    def _parse_sum(self) -> Node:
        left = self._parse_product()
        while sign := self._take("+", "-", "−"):
            left = self._make_call(_SIGNS[sign], left, self._parse_product())
        return left

    def _parse_product(self) -> Node:
        left = self._parse_signed()
        while sign := self._take("*", "×", "/", "÷"):
            left = self._make_call(_SIGNS[sign], left, self._parse_signed())
        return left

    def _parse_signed(self) -> Node:
        self.depth += 1
        if self.depth > MAX_DEPTH:
            raise ProgramError(f"expected at most {MAX_DEPTH} levels")
        node = self._negate(self._parse_signed()) if self._take("-", "−") else self._parse_power()
        self.depth -= 1
        return node

    def _negate(self, node: Node) -> Node:
        if isinstance(node, Number):
            return Number(-node.value, f"-{node.text}", node.is_percent)
        return self._make_call("subtract", Number(0.0, "0"), node)

    def _parse_power(self) -> Node:
        base = self._parse_operand()
        return self._make_call("exp", base, self._parse_signed()) if self._take("^", "**") else base

    def _parse_operand(self) -> Node:
        kind, text = self._next()
        if kind == "number":
            value = _read_number(text)
            return Number(value / 100, f"{text}%", True) if self._take("%") else Number(value, text)
        if kind == "const":
            return Number(_read_number(text.removeprefix("m")) * (-1 if text.startswith("m") else 1), f"const_{text}")
        if kind == "step":
            if int(text) >= len(self.steps):
                raise ProgramError(f"expected an earlier step, got #{text}")
            return Step(int(text))
        if kind == "table":
            operation, _, heading = text.partition("(")
            return Row(operation, _NONE.sub("", heading).strip(" \"'"))
        if kind == "name":
            return self._parse_call(text)
        if text != "(":
            raise ProgramError(f"expected a number, a step or an operation, got {text!r}")
        node = self._parse_sum()
        self._expect(")")
        return node

    def _parse_call(self, name: str) -> Node:
        if name not in OPERATIONS:
            raise ProgramError(f"expected one of {', '.join(OPERATIONS + TABLE_OPERATIONS)}, got {name}")
        self.open_calls += 1
        self._expect("(")
        left = self._parse_sum()
        self._expect(",")
        right = self._parse_sum()
        self.open_calls -= 1
        self._expect(")")
        return self._make_call(name, left, right)

    def _make_call(self, operation: str, left: Node, right: Node) -> Node:
        self.operations += 1
        if self.operations > MAX_OPERATIONS:
            raise ProgramError(f"expected at most {MAX_OPERATIONS} operations")
        return Call(operation, left, right)


def _read_number(text: str) -> float:
    if sum(char.isdigit() for char in text) > MAX_DIGITS:
        raise ProgramError(f"expected at most {MAX_DIGITS} digits, got {text[:40]}")
    return float(text.replace(",", ""))
