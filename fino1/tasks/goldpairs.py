"""Which answers to a question are right in another notation, and which are wrong in a known way? (docs/verifier.md)

Made from golds alone, so that a verifier has pairs to learn from. A pair's record says in its fields how it was made: `error`
("none" where it is right) and `form`.
"""

import random
import re
from collections.abc import Iterator
from dataclasses import replace

from fino1.tasks.programs.explain import solve
from fino1.tasks.record import Record, Scorer, judge
from fino1.tasks.scoring.numbers import parse_number
from fino1.tasks.scoring.question import read_facts

ERRORS = ("scale", "sign", "cell", "year", "operand", "1 % off")
FORMS = {
    "digits": ("{}", "{}.", "The answer is {}.", "It comes to {}.", "**{}**"),
    "words": ("{}.", "The answer is {}.", "It comes to {}.", "That makes {} in all."),
    "choice": (
        "Of the two results, {} and {other}, the former holds.",
        "Between {other} and {}, it is the latter.",
        "Either {other} or {}; I settle on the latter.",
        "Two ways, two results: {} and {other}. The first is right.",
    ),
}
"""How an answer is put. Most of `words` and `choice` the rule cannot read (docs/scoring.md §3, §5)."""
_SHARES = {"digits": 2, "words": 1, "choice": 1}
_SMALL = ["zero", "one", "two", "three", "four", "five", "six", "seven", "eight", "nine", "ten", "eleven", "twelve"] + [
    "thirteen",
    "fourteen",
    "fifteen",
    "sixteen",
    "seventeen",
    "eighteen",
    "nineteen",
]
_TENS = ["twenty", "thirty", "forty", "fifty", "sixty", "seventy", "eighty", "ninety"]
_LARGE = (("trillion", 10**12), ("billion", 10**9), ("million", 10**6), ("thousand", 10**3))


def make_pairs(record: Record, score: Scorer, seed: int) -> list[tuple[Record, bool]]:
    """Make answers to a record's question, each with whether it is right: to each error that it allows a wrong and a right one.

    No answers to a gold that is no number, or that the rule does not recognise. A wrong value that the rule takes for right in
    plain digits (a decrease with its sign turned, 0.05 for 0.0505) is not used.
    """
    if isinstance(record.target, bool | str) or not _is_right(record.target, record, score):
        return []
    rng = random.Random(f"gold pairs {seed} {record.id} {record.question}")
    gold = record.target
    wrong: dict[str, float] = {}
    for error, value in _list_wrong(record, rng):
        if error not in wrong and not _is_right(value, record, score):
            wrong[error] = value
    made = []
    for error, value in wrong.items():
        others = [each for each in wrong.values() if each != value] or [value]
        for kind, shown, other in (
            (error, value, gold if rng.random() < 0.5 else rng.choice(others)),
            ("none", gold, rng.choice([*others, value])),
        ):
            form = rng.choices(list(_SHARES), list(_SHARES.values()))[0]
            response = _put(form, shown, other, record, rng)
            fields = {**record.fields, "error": kind, "form": form}
            made.append((replace(record, response=response, cot="", fields=fields), kind == "none"))
    return made


def _is_right(value: float, record: Record, score: Scorer) -> bool:
    return judge(score, f"The answer is {_write_digits(value)}.", record).strict is True


def _list_wrong(record: Record, rng: random.Random) -> Iterator[tuple[str, float]]:
    """Yield wrong values, each with its error, in an order of `rng`; of one error perhaps several."""
    gold = float(record.target)
    if gold:
        yield from (("scale", gold * factor) for factor in rng.sample([10, 0.1, 1000, 0.001], 4))
        yield "sign", -gold
        yield "1 % off", gold * rng.choice([0.99, 1.01])
    yield from _misread_table(record, rng)
    operands = [value for _, value in _list_operands(record.fields.get("program", ""))]
    yield from (("operand", value) for value in rng.sample(operands, len(operands)))


def _list_operands(program: str) -> list[tuple[str, float]]:
    """List the numbers of a program, each as it is written there and as a value."""
    words = (word.strip() for word in re.findall(r"[^(),#]+(?=[,)]|\Z)", program))
    return [
        (word, number.value)
        for word in words
        if re.match(r"[-0-9.]", word) and (number := parse_number(word)) is not None
    ]


def _misread_table(record: Record, rng: random.Random) -> Iterator[tuple[str, float]]:
    """Yield what the program gives with a neighbouring cell in an operand's place: of the row (`year`) or the column (`cell`)."""
    program = record.fields.get("program", "")
    table = [[cell.strip() for cell in row.split("|")] for row in record.table]
    numbers = [[parse_number(cell) for cell in row] for row in table]
    for word, value in rng.sample(found := _list_operands(program), len(found)):
        for i, row in enumerate(numbers):
            for j, number in enumerate(row[1:], 1):
                if number is None or abs(number.value) != abs(value):
                    continue
                beside = [("year", each) for each in row[1:]]
                beside += [
                    ("cell", numbers[k][j]) for k in (i - 1, i + 1) if 0 <= k < len(table) and j < len(numbers[k])
                ]
                for error, other in rng.sample(beside, len(beside)):
                    if other is None or abs(other.value) == abs(value):
                        continue
                    changed = re.sub(
                        rf"(?<![^(, ]){re.escape(word)}(?![^,)])", repr(abs(other.value)), program, count=1
                    )
                    if (result := _run(changed, table)) is not None:
                        yield error, result


def _run(program: str, table: list[list[str]]) -> float | None:
    if number := parse_number(program):
        return number.value  # ConvFinQA's turns that pick a number
    try:
        result = solve(program, table).result
    except ValueError:
        return None
    return None if isinstance(result, bool) else result


def _put(form: str, value: float, other: float, record: Record, rng: random.Random) -> str:
    """Put a value into words of this form; `other` is the one that is turned down where two are named."""
    factor = _percent_factor(record) if rng.random() < 0.7 else None
    write, sign = (_write_in_words, " percent") if form == "words" else (_write_digits, "%")
    shown, rejected = (
        write(each) if factor is None or abs(each * factor) >= 1000 else write(each * factor) + sign
        for each in (value, other)
    )
    if form == "digits" and rng.random() < 0.3 and shown.startswith("-"):
        shown = f"({shown[1:]})"
    elif form == "digits" and rng.random() < 0.5:
        shown = shown.replace(",", "")
    return rng.choice(FORMS[form]).format(shown, other=rejected)


def _percent_factor(record: Record) -> float | None:
    """Return by what the gold is multiplied to be written with "%"; None where it is no percentage."""
    in_percent = record.basis.get("in_percent")
    if in_percent:
        return 1.0
    return 100.0 if read_facts(record.question).percent and abs(float(record.target)) < 1 else None


def _write_digits(value: float) -> str:
    """Write a number with two decimals or five significant digits, whichever are more, in groups of thousands."""
    decimals = 2
    while abs(value) * 10**decimals < 1e4 and decimals < 9:
        decimals += 1
    text = f"{value:,.{decimals}f}"
    return text.rstrip("0").rstrip(".") if "." in text else text


def _write_in_words(value: float) -> str:
    """Write a number as it is spoken: "minus twelve point three four"."""
    digits = _write_digits(value).replace(",", "")
    whole, _, decimals = digits.removeprefix("-").partition(".")
    words = [*(["minus"] if digits.startswith("-") else []), _write_whole(int(whole))]
    return " ".join([*words, *(["point", *(_SMALL[int(digit)] for digit in decimals)] if decimals else [])])


def _write_whole(number: int) -> str:
    for word, size in _LARGE:
        if number >= size:
            rest = _write_whole(number % size) if number % size else ""
            return f"{_write_whole(number // size)} {word} {rest}".strip()
    if number >= 100:
        rest = f" {_write_whole(number % 100)}" if number % 100 else ""
        return f"{_SMALL[number // 100]} hundred{rest}"
    if number < 20:
        return _SMALL[number]
    return _TENS[number // 10 - 2] + (f"-{_SMALL[number % 10]}" if number % 10 else "")
