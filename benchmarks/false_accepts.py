"""How many wrong answers does the scorer take for right? The table of docs/scoring.md §15.

`python benchmarks/false_accepts.py` answers each real row at hand (`../shared/data`) wrongly in each way, in each of four
notations; a verdict "right" is a false accept.
"""

import re
import sys
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

from fino1.tasks import task
from fino1.tasks.record import Record, judge
from fino1.tasks.scoring.numbers import parse_number
from fino1.tasks.scoring.question import read_facts

DATA = Path(__file__).resolve().parents[2] / "shared" / "data"
FILES = {
    "finqa": (
        "finqa/finqa_train_100_raw.json",
        "finqa/finqa_dev_200_raw.json",
        "finqa/finqa_dev_facts.jsonl",
        "finqa/finqa_test_250_simplified.json",
    ),
    "xbrl_math": (
        "xbrl_math/Task7-XBRL-financial_math-testing.tsv",
        "xbrl_math/Task7-XBRL-financial_math-validation.csv",
    ),
}
NOTATIONS = ("{}", "The answer is {}.", "\\boxed{{{}}}", "## Thinking\n\nx\n\n## Final Response\n\nIt comes to {}.")
NEAR = 0.006
"""An operand this near to the gold is no wrong answer."""


def list_wrong(record: Record) -> Iterator[tuple[str, float, str]]:
    """Yield wrong answers to a row: the kind, the value and what follows it."""
    gold = float(record.target)
    if gold == 0:
        return
    for factor in (10, 0.1):
        yield "×10 or ÷10", gold * factor, ""
        yield "×10 or ÷10, as a percentage", gold * factor * 100, "%"
    if not read_facts(record.question).decrease:
        yield "sign", -gold, ""
    if abs(gold) >= 100 or abs(gold) != int(abs(gold)):
        yield "1 % off", gold * 1.01, ""
    unit = (
        read_facts(record.question).unit
        or record.basis.get("table_unit")
        or (1.0 if record.fields.get("formula") else None)
    )
    if unit:
        for word, scale in (("thousand", 1e3), ("million", 1e6), ("billion", 1e9)):
            if scale != unit:
                yield "scale word", gold, f" {word}"
    for operand in {
        number.magnitude
        for each in re.findall(r"[^(), ]+", record.fields.get("program", ""))
        if (number := parse_number(each))
    }:
        if all(abs(operand - abs(gold) * factor) > NEAR * operand for factor in (1, 100)):
            yield "operand", operand, ""


def main() -> None:
    """Print the table."""
    asked: Counter[tuple[str, str]] = Counter()
    accepted: Counter[tuple[str, str]] = Counter()
    for name, files in FILES.items():
        for file in files:
            for record in task(name).read(DATA / file):
                for kind, value, behind in () if isinstance(record.target, bool) else list_wrong(record):
                    shown = f"{value:.12f}".rstrip("0").rstrip(".") + behind
                    for notation in NOTATIONS:
                        asked[kind, name] += 1
                        accepted[kind, name] += judge(task(name).score, notation.format(shown), record).strict is True
    print("| wrong answer | FinQA | XBRL-Math |\n| :-- | --: | --: |")
    for kind in dict.fromkeys(kind for kind, _ in asked):
        figures = (f"{accepted[kind, name]:,} of {asked[kind, name]:,}" if asked[kind, name] else "–" for name in FILES)
        print(f"| {kind} | {' | '.join(figures)} |")


if __name__ == "__main__":
    sys.exit(main())
