"""Which small questions can a tiny model learn to answer, so that the recipe's figures are real? (task `ledger`)

A row is a table of one line and two years, a question of one of four kinds, and a worked solution, digit by digit:

    year 2014 2015                                          sales 23 41|41-23|11-3=8|4-1-2=1|18
    sales 23 41
    by how much did sales change from 2014 to 2015 ?        18

Held out by pair of operands: a pair, in either order, belongs to one of seven shares whatever the seed. Share 0 is
asked in `test` only, share 1 in `validation` only, the other five in `sft` and `ppo`; so no evaluated (kind, pair) is
ever trained on (`check_held_out`). Percentages have bases 10, 20 and 50 and follow the same shares.

Slips of method: with `slip_rate` the solution subtracts the wrong way round (change, percent) or forgets to halve
(average), its arithmetic right, as paths have that nobody verified. A sum has no slip. SFT learns both ways; PPO, which
sees the verdict only, has to choose. What it learns there is the method, not arithmetic.
"""

import json
import random
import zlib
from collections.abc import Iterable, Sequence
from dataclasses import replace
from itertools import permutations
from pathlib import Path
from typing import Literal, get_args

from fino1.errors import SpecError
from fino1.tasks.record import Record, Records, Task
from fino1.tasks.scoring.answer import score

Split = Literal["sft", "ppo", "validation", "test"]
Kind = Literal["change", "sum", "average", "percent"]

NAMES = ("sales", "revenue", "costs", "profit", "cash", "debt", "assets", "equity")
YEARS = range(2010, 2019)  # the first of the two
AMOUNTS = range(10, 50)  # sums stay below 100: two digits everywhere
MULTIPLIERS = {10: 10, 20: 5, 50: 2}  # base of a percentage → 100 / base, so that percentages are whole
SHARES = 7
SHARE_OF = {"test": 0, "validation": 1}

QUESTIONS: dict[Kind, str] = {
    "change": "by how much did {name} change from {first} to {second} ?",
    "sum": "what is the total of {name} in {first} and {second} ?",
    "average": "what is the average of {name} in {first} and {second} ?",
    "percent": "by what percentage did {name} change from {first} to {second} ?",
}
_SHOWN = 5  # leaks or bad rows named in one message


def generate(split: Split, n: int, seed: int, slip_rate: float = 0.0) -> list[Record]:
    """Generate the `n` different rows that `split` has for `seed`.

    Kinds are drawn equally often (percentages repeat sooner, so a large set has fewer of them); `slip_rate` is the
    probability that a solution slips, of those that can. Raises SpecError where the arguments make no sense.
    """
    _check_arguments(split, n, slip_rate)
    pools = {kind: _list_pairs(kind, split) for kind in get_args(Kind)}
    rng = random.Random(f"{split} {seed}")  # a str is hashed with SHA-512: the same everywhere
    records: dict[str, Record] = {}
    while len(records) < n:
        kind = rng.choice(get_args(Kind))
        a, b = rng.choice(pools[kind])
        name, year, slips = rng.choice(NAMES), rng.choice(YEARS), rng.random() < slip_rate
        record = _make_record(split, kind, name, year, a, b, slips)
        records.setdefault(record.id, record)
    return list(records.values())


def generate_pairs(split: Split, n: int, seed: int, slip_rate: float) -> list[tuple[Record, bool]]:
    """Generate `n` responses, each with whether it is right. Two to a question: the right one, and one that slipped in
    method (with probability `slip_rate`, where it can) or has a wrong digit.
    """
    questions = -(-n // 2)
    rng = random.Random(f"pairs {split} {seed}")
    made: list[tuple[Record, bool]] = []
    drawn = generate(split, questions, seed, slip_rate)  # the same questions
    for record, other in zip(generate(split, questions, seed), drawn, strict=True):
        wrong = other.response if other.response != record.response else _misprint(record, rng)
        made += [(record, True), (replace(record, response=wrong), False)]
    return made[:n]


def solve_both(record: Record) -> tuple[Record, Record]:
    """Return the question with its right solution, and with the one that slips; of a sum both are the same."""
    split, kind, name, year, a, b = record.id.split("/")
    right, slipped = (_make_record(split, kind, name, int(year), int(a), int(b), slips) for slips in (False, True))
    return right, slipped


def with_call(record: Record, prompt: str, reply: str) -> Record:
    """Return the question as a row with this prompt, which begins with the question's own, and this reply for a solution."""
    own = TASK.prompt(record)
    assert prompt.startswith(own), prompt
    return replace(record, question=record.question + prompt.removeprefix(own), cot="", response=reply)


def find_share(a: int, b: int) -> int:
    """Return the share, 0 to 6, of a pair of operands: the same for either order, and for every kind and seed."""
    return zlib.crc32(f"{min(a, b)} {max(a, b)}".encode()) % SHARES


def check_held_out(train_records: Iterable[Record], eval_records: Iterable[Record]) -> None:
    """Check that no evaluated (kind, pair of operands) is trained on. Raises SpecError naming those that are."""
    trained = {record.page: record.id for record in train_records}
    leaks = {record.page: record.id for record in eval_records if record.page in trained}
    if leaks:
        problems = [
            f"ledger: {page}: expected a pair that is in no training row, got it in {trained[page]} and {evaluated}"
            for page, evaluated in sorted(leaks.items())
        ]
        more = [f"ledger: and {len(problems) - _SHOWN} pairs more"] if len(problems) > _SHOWN else []
        raise SpecError(problems[:_SHOWN] + more)


def make_row(record: Record) -> dict[str, str | float]:
    """Write a record in Fino1's columns for SFT and PPO (docs/design.md C7), with id and page."""
    prompt = TASK.prompt(record)
    return {
        "id": record.id,
        "page": record.page,
        "Question": prompt,
        "Complex_CoT": record.cot,
        "Response": record.response,
        "Open-ended Verifiable Question": prompt,
        "Ground-True Answer": float(record.target),
    }


def write(records: Sequence[Record], path: Path) -> None:
    """Write JSON lines that `read`, and any reader of Fino1's columns, understands."""
    path.write_text("".join(json.dumps(make_row(record)) + "\n" for record in records), encoding="utf-8")


def read(path: Path) -> Records:
    """Read a file written by `write`. Raises SpecError naming file, line and field."""
    try:
        lines = path.read_text(encoding="utf-8").splitlines()
    except (OSError, UnicodeDecodeError) as error:
        raise SpecError(f"{path}: expected a file of ledger rows, got {error}") from error
    records, problems = [], []
    for number, line in enumerate(lines, start=1):
        try:
            records.append(_parse(line))
        except ValueError as error:
            problems.append(f"{path}:{number}: {error}")
    if not records and not problems:
        problems = [f"{path}: expected ledger rows, got an empty file"]
    if problems:
        raise SpecError(problems[:_SHOWN])
    return Records(records)


def _check_arguments(split: str, n: int, slip_rate: float) -> None:
    problems = []
    if split not in get_args(Split):
        problems.append(f"ledger: split: expected one of {', '.join(get_args(Split))}, got {split!r}")
    else:
        limit = _count_questions(split) // 2  # drawn at random: the last ones would take long to meet
        if not 0 <= n <= limit:
            problems.append(f"ledger: n: expected 0 to {limit} different questions of {split}, got {n}")
    if not 0 <= slip_rate <= 1:
        problems.append(f"ledger: slip_rate: expected 0 to 1, got {slip_rate}")
    if problems:
        raise SpecError(problems)


def _count_questions(split: Split) -> int:
    return len(NAMES) * len(YEARS) * sum(len(_list_pairs(kind, split)) for kind in get_args(Kind))


def _list_pairs(kind: Kind, split: Split) -> list[tuple[int, int]]:
    """List the ordered pairs that `split` may ask about. Never two equal amounts: a slip must show."""
    every = list(permutations(AMOUNTS, 2))
    if kind == "average":
        every = [(a, b) for a, b in every if (a + b) % 2 == 0]  # whole averages
    if kind == "percent":  # b % a: where the gold is 2 (that is 200 %) a scorer may well accept "2%"
        every = [(base, b) for base in MULTIPLIERS for b in AMOUNTS if b % base]
    held_out = set(SHARE_OF.values())
    if split in SHARE_OF:
        return [(a, b) for a, b in every if find_share(a, b) == SHARE_OF[split]]
    return [(a, b) for a, b in every if find_share(a, b) not in held_out]


def _make_record(split: Split, kind: Kind, name: str, year: int, a: int, b: int, slips: bool) -> Record:
    cot, response = _solve(kind, a, b, slips)
    return Record(
        id=f"{split}/{kind}/{name}/{year}/{a}/{b}",
        question=QUESTIONS[kind].format(name=name, first=year, second=year + 1),
        target=_compute_target(kind, a, b),
        table=(f"year {year} {year + 1}", f"{name} {a} {b}"),
        page=f"{kind}/{min(a, b)}/{max(a, b)}",
        fields={"kind": kind},
        cot=f"{name} {a} {b}|{cot}",
        response=response,
    )


def _misprint(record: Record, rng: random.Random) -> str:
    """Write the response with one digit changed such that the scorer calls it wrong."""
    places = [i for i, character in enumerate(record.response) if character.isdigit()]
    while True:
        place, digit = rng.choice(places), rng.choice("0123456789")
        text = record.response[:place] + digit + record.response[place + 1 :]
        if text.lstrip("-")[0] != "0" and score(text, record.question, record.target).strict is False:
            return text


def _compute_target(kind: Kind, a: int, b: int) -> float:
    match kind:
        case "change":
            return float(b - a)
        case "sum":
            return float(a + b)
        case "average":
            return (a + b) / 2
        case "percent":
            return (b - a) / a


def _solve(kind: Kind, a: int, b: int, slips: bool) -> tuple[str, str]:
    """Return reasoning and response, right or with the slip of the kind."""
    if kind in ("change", "percent"):
        steps, value = _subtract(a, b) if slips else _subtract(b, a)
        if kind == "change":
            return f"{steps}|{value}", f"{value}"
        percent = value * MULTIPLIERS[a]
        return f"{steps}|{_multiply(value, MULTIPLIERS[a])}{percent}%", f"{percent}%"
    steps, value = _add(a, b)
    if kind == "average" and not slips:
        return f"{steps}|{value}/2={value // 2}", f"{value // 2}"
    return f"{steps}|{value}", f"{value}"


def _add(a: int, b: int) -> tuple[str, int]:
    """Work out a + b: 23+19|3+9=12|2+1+1=4"""
    ones = a % 10 + b % 10
    carried = "+1" if ones > 9 else ""
    return f"{a}+{b}|{a % 10}+{b % 10}={ones}|{a // 10}+{b // 10}{carried}={(a + b) // 10}", a + b


def _subtract(a: int, b: int) -> tuple[str, int]:
    """Work out a - b: 41-23|11-3=8|4-1-2=1, and the other way round 23-41=-(41-23)|11-3=8|4-1-2=1"""
    high, low = max(a, b), min(a, b)
    borrowed = high % 10 < low % 10
    top = high % 10 + 10 * borrowed
    ones = f"{top}-{low % 10}={top - low % 10}"
    tens = f"{high // 10}{'-1' if borrowed else ''}-{low // 10}={(high - low) // 10}"
    asked = f"{a}-{b}" if a > b else f"{a}-{b}=-({b}-{a})"
    return f"{asked}|{ones}|{tens}", a - b


def _multiply(value: int, factor: int) -> str:
    """Work out value * factor up to its result: 37*2|7*2=14|3*2+1=7| but 37*10= and 6*5="""
    size = abs(value)
    if factor == 10 or size < 10:
        return f"{value}*{factor}="
    ones = size % 10 * factor
    carried = f"+{ones // 10}" if ones > 9 else ""
    tens = size // 10 * factor + ones // 10
    return f"{value}*{factor}|{size % 10}*{factor}={ones}|{size // 10}*{factor}{carried}={tens}|"


def _parse(line: str) -> Record:
    try:
        content = json.loads(line)
        *table, question = content["Question"].split("\n")
        target = float(content["Ground-True Answer"])
        texts = {key: content[column] for key, column in _COLUMNS.items()}
        kind = texts["page"].split("/")[0]
    except (ValueError, TypeError, AttributeError) as error:  # a JSONDecodeError is a ValueError
        raise ValueError(f"expected a ledger row, got {line[:60]!r} ({error})") from error
    except KeyError as error:
        raise ValueError(f"{error.args[0]}: expected a text, got none") from error
    return Record(question=question, target=target, table=tuple(table), fields={"kind": kind}, **texts)


_COLUMNS = {"id": "id", "page": "page", "cot": "Complex_CoT", "response": "Response"}
_PROMPT = "{{ document }}\n{{ question }}"  # short: to a model this small every token is dear

TASK = Task(
    name="ledger",
    read=read,
    prompts={"fino1": _PROMPT, "paper": _PROMPT},
    score=score,
    license="Apache-2.0",
    source="generated by fino1/tasks/ledger.py",
)
