"""Make the rows with facts of the recipe finqa-programs, for SFT and for PPO, of FinQA's rows at hand.

    python -m ci.finqa_rows ../shared/data/finqa out/finqa-programs.jsonl out/finqa-questions.jsonl

The dev rows with retrieved facts come as they are. Rows with whole pages (100 of train, 250 of test) get two sentences as facts:
those that hold a number of the gold program, else those that share the most words with the question. Rows with long tables are
left out, for speed. The recipe answers a part of the dev rows, and trains on no row of their tables.

SFT takes the first file. Each row that the recipe may train on comes again three times with other numbers: every number of its
table and facts is multiplied by another factor, and so are the operands of its program, whose result is the copy's answer. Years,
dates and small counts stay, and a row whose question names a number that would change has no copy. Totals and percentages that a
page states no longer agree with its other numbers then.

PPO takes the second file: other questions of the same tables (finqa_questions.py), which SFT has not seen.
"""

import json
import math
import random
import re
import sys
from pathlib import Path
from typing import Any

from ci.finqa_questions import make, read_grid, reword
from fino1.tasks import finqa
from fino1.tasks.fold import take
from fino1.tasks.overlap import leave_out, words_of
from fino1.tasks.programs.explain import solve

_COPIES = 3
_REWORDED, _MADE = 3, 2  # questions of a row with other years or lines, and made ones, at most
_FACTS = 2
_ASKED = "2/3"  # the second of three parts of the dev rows, which the recipe's evaluation asks
_MAX_PIECES = 300  # words, digits and signs: a prompt of at most 440 tokens of SmolLM2
_PIECE = re.compile(r"[a-z]+|\S", re.IGNORECASE)
_NUMBER = re.compile(r"(?<![#_\d])\d[\d,]*\.?\d*")  # neither a step nor a constant of a program
_KEPT = re.compile(r"(19|20)\d\d|[0-2]?\d|3[01]|10+(\.0+)?")  # years, days and counts, the bases of indices
_SPREAD = 0.4  # a factor lies between exp(-0.4) and exp(0.4)


def main() -> None:
    """Write the rows."""
    source, target, questions = (Path(argument) for argument in sys.argv[1:])
    rows = [json.loads(line) for line in (source / "finqa_dev_facts.jsonl").read_text().splitlines()]
    rows += [make_row(row) for row in json.loads((source / "finqa_test_250_simplified.json").read_text())]
    rows += [make_row({**row, **row["qa"]}) for row in json.loads((source / "finqa_train_100_raw.json").read_text())]
    rows = [row for row in rows if count_pieces(row) <= _MAX_PIECES]
    target.parent.mkdir(parents=True, exist_ok=True)
    write(target, rows)
    asked = take(finqa.read(source / "finqa_dev_facts.jsonl"), _ASKED, None)
    records = finqa.read(target)
    kept = {id(record) for record in leave_out("finqa", records, asked)}
    trained = [row for row, record in zip(rows, records, strict=True) if id(record) in kept]
    copies = [copy for k in range(1, _COPIES + 1) for row in trained if (copy := make_copy(row, k))]
    write(target, rows + copies)
    print(f"{target}: {len(rows)} rows, {len(copies)} copies with other numbers")
    known = {identify(row) for row in rows}
    programs = {record.fields["program"] for record in asked}  # a report and that of the year after share numbers
    made = [each for row in trained for each in ask_anew(row) if each["program"] not in programs]
    new = {key: each for each in made if (key := identify(each)) not in known}
    write(questions, list(new.values()))
    print(f"{questions}: {len(new)} questions of {len({str(row['table']) for row in new.values()})} tables")


def identify(row: dict[str, Any]) -> tuple[str, str]:
    """What tells a question from others: its words and its table."""
    return words_of(row["question"]), str(row["table"])


def ask_anew(row: dict[str, Any]) -> list[dict[str, Any]]:
    """Ask other questions of a row's table, whose answer is neither 0 nor 1, which wrong programs too often give."""
    grid, rng = read_grid(row["table"]), random.Random(f"{row['question']} {row['program']}")
    if grid is None:
        return []
    found = reword(row, grid)
    chosen = rng.sample(found, min(_REWORDED, len(found)))
    chosen += [made for _ in range(_MADE) if (made := make(grid, rng))]
    asked = []
    for k, each in enumerate(chosen, start=1):
        gold = find_gold(each["program"], row["table"])
        if gold not in (None, 0, 1) or isinstance(gold, bool):
            asked.append({**row, **each, **name_made(row, f".q{k}"), "exe_ans": write_gold(gold)})
    return asked


def find_gold(program: str, table: list[list[str]]) -> float | bool | None:
    """Run a program; None where that cannot be done."""
    try:
        return solve(program, table).result
    except (ValueError, OverflowError):
        return None


def name_made(row: dict[str, Any], suffix: str) -> dict[str, Any]:
    """Name a row that is made of another one."""
    return {"row": f"{row.get('row')}{suffix}", "id": row["id"] and f"{row['id']}{suffix}"}


def write_gold(gold: float | bool) -> float | str:
    """Write a program's result as FinQA's `exe_ans`."""
    return ("no", "yes")[gold] if isinstance(gold, bool) else gold


def write(target: Path, rows: list[dict[str, Any]]) -> None:
    """Write a row a line."""
    target.write_text("".join(f"{json.dumps(row)}\n" for row in rows))


def make_copy(row: dict[str, Any], k: int) -> dict[str, Any] | None:
    """Make the `k`-th copy of a row with other numbers; None where that cannot be done."""
    numbers = _Numbers(random.Random(f"{row['question']} {row['program']} {k}"))
    table = [[numbers.change(str(cell)) for cell in line] for line in row["table"]]
    facts = [numbers.change(fact) for fact in row["facts"]]
    shown = len(numbers.new)
    program = numbers.change(row["program"])
    if len(numbers.new) > shown or program == row["program"] or numbers.change(row["question"]) != row["question"]:
        return None
    gold = find_gold(program, table)
    if gold is None:
        return None
    changed = {"table": table, "facts": facts, "program": program, "exe_ans": write_gold(gold)}
    return {**row, **name_made(row, f".{k}"), **changed}


class _Numbers:
    """Gives every number of a row another value, wherever it stands the same."""

    def __init__(self, rng: random.Random) -> None:
        self.new: dict[str, str] = {}
        self._rng = rng

    def change(self, text: str) -> str:
        """Change the numbers of a text."""
        return _NUMBER.sub(self._replace, text)

    def _replace(self, match: re.Match[str]) -> str:
        number = match[0].rstrip(",.")
        bare = number.replace(",", "")
        if _KEPT.fullmatch(bare):
            return match[0]
        digits = len(bare.partition(".")[2])
        if bare not in self.new:
            self.new[bare] = f"{float(bare) * math.exp(self._rng.uniform(-_SPREAD, _SPREAD)):.{digits}f}"
        changed = f"{float(self.new[bare]):,.{digits}f}" if "," in number else self.new[bare]
        return changed + match[0][len(number) :]


def make_row(row: dict[str, Any]) -> dict[str, Any]:
    """Make a row with facts of one with a page."""
    facts = find_facts(row["question"], row["program"], [*row["pre_text"], *row["post_text"]])
    gold = row.get("exe_ans", row["answer"])
    return {
        "id": row["id"],
        "question": row["question"],
        "facts": facts,
        "table": row["table"],
        "program": row["program"],
        "exe_ans": gold,
    }


def count_pieces(row: dict[str, Any]) -> int:
    """Count the words, digits and signs of a row's prompt, without the facts that restate the table."""
    facts = [fact for fact in row["facts"] if not fact.endswith(";")]
    cells = [str(cell) for line in row["table"] for cell in line]
    return len(_PIECE.findall("|".join([row["question"], *facts, *cells])))


def find_facts(question: str, program: str, sentences: list[str]) -> list[str]:
    """Take `_FACTS` sentences: those with a number of the program first, then those nearest the question."""
    wanted = {each.replace(",", "") for each in _NUMBER.findall(re.sub(r"#\d+|const_\w+", "", program))}
    asked = set(re.findall(r"[a-z]{4,}|\d+", question.lower()))

    def rank(sentence: str) -> tuple[int, int]:
        numbers = {each.replace(",", "").rstrip(".") for each in _NUMBER.findall(sentence)}
        return len(numbers & wanted), len(asked & set(re.findall(r"[a-z]{4,}|\d+", sentence.lower())))

    chosen = sorted(sentences, key=rank, reverse=True)[:_FACTS]
    return [sentence for sentence in sentences if sentence in chosen]


if __name__ == "__main__":
    main()
