"""What came out of `make finqa-smollm2` or `finqa-programs`? Prints docs/results.md's figures as Markdown, from the run's files.

    python benchmarks/results.py [WORK]

Beside the leaderboard: how the answers are wrong. `form` counts answers with both headings; `operands` those whose reasoning
prints every number that the gold program names; `arithmetic` the lines "a op b = c" that are right. Of answers that are programs:
how many are right by the number of steps of the gold program, and by its last operation.
"""

import json
import re
import statistics
import sys
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

from fino1 import cells
from fino1.evaluate import questions
from fino1.report.inputs import read_metrics
from fino1.spec import recipe, yamlfile
from fino1.spec.evaluation import EvalTask
from fino1.tasks.programs.grammar import parse
from fino1.tasks.record import Record, well_formed
from fino1.tasks.scoring.numbers import find_numbers, parse_number

WORK = Path("out/finqa-smollm2")  # its last part is the recipe's name
NUMBER = r"(-?[0-9]+(?:\.[0-9]+)?)"
WORK_OF_STEP = r"(?:: [-+/|=0-9 ]+)?"  # benchmarks/digits.py
STEP = re.compile(rf"{NUMBER}(%?) ([-+*/]) \(?{NUMBER}(%?)\)?{WORK_OF_STEP} = {NUMBER}")
COMPUTE = {"+": float.__add__, "-": float.__sub__, "*": float.__mul__, "/": float.__truediv__}


def main(work: Path) -> None:
    """Print all tables."""
    for stage in ("sft", "ppo", "eval"):
        (directory,) = (work / "runs").glob(f"{stage}-*[0-9a-f]")
        done = json.loads((directory / "done.json").read_text())
        counts = ", ".join(f"{done[key]} {key}" for key in ("rows", "steps", "updates", "episodes") if key in done)
        print(f"{stage}: {done['seconds'] / 60:.1f} min in its last attempt{f', {counts}' if counts else ''}")
        if stage == "sft":
            print("versions:", ", ".join(f"{name} {number}" for name, number in done["versions"].items()))
            _sft(read_metrics(directory))
        elif stage == "ppo":
            _ppo(read_metrics(directory))
    print((work / "report" / "leaderboard.md").read_text())
    answers(work)


def _sft(lines: Sequence[dict[str, Any]]) -> None:
    held = {line["step"]: line["eval/loss"] for line in lines if "eval/loss" in line}
    rows = [
        (line["step"], f"{line['loss']:.3f}", f"{held[line['step']]:.3f}" if line["step"] in held else "")
        for line in lines
        if "loss" in line
    ]
    _table(("step", "loss", "held-out loss"), rows)


def _ppo(lines: Sequence[dict[str, Any]]) -> None:
    keys = (
        "objective/scores",
        "objective/kl",
        "val/num_eos_tokens",
        "policy/clipfrac_avg",
        "loss/value_avg",
        "eval/accuracy",
    )
    _table(("update", *keys), [(line["update"], *(_shown(line.get(key)) for key in keys)) for line in lines])


def answers(work: Path) -> None:
    """Form, operands and arithmetic of each FinQA cell."""
    path = recipe.find(work.name)
    (stage,) = (each for each in recipe.build(yamlfile.read_yaml(path), str(path)).stages if each.name == "eval")
    (block,) = (EvalTask.model_validate(each) for each in stage.set["eval"]["tasks"] if each["task"] == "finqa")
    records = {record.id: record for record in questions.read(block, seed=1).records}
    rows = []
    if block.answer == "program":
        return programs(work, records)
    for file in sorted((work / "cells").glob("*/cell.json")):
        cell = cells.read_cell(file.parent)
        if cell.task != "finqa":
            continue
        texts = [sample.completion for sample in cell.samples]
        judged = [_has_operands(records[sample.id.partition("#")[0]], sample.completion) for sample in cell.samples]
        chosen = [has for has in judged if has is not None]
        steps = [is_right for text in texts for is_right in _steps(text)]
        tokens = statistics.mean(sample.completion_tokens for sample in cell.samples)
        rows.append(
            (
                cell.model,
                len(texts),
                sum(map(well_formed, texts)),
                f"{sum(chosen)}/{len(chosen)}",
                f"{sum(steps)}/{len(steps)}",
                f"{tokens:.1f}",
            )
        )
    _table(("model", "answers", "form", "operands", "arithmetic", "tokens (mean)"), rows)


def programs(work: Path, records: Mapping[str, Record]) -> None:
    """Answers that are right, of all, by the steps of the gold program and by its last operation."""
    rows, kinds = [], Counter(kind for record in records.values() for kind in _list_kinds(record))
    for file in sorted((work / "cells").glob("*/cell.json")):
        cell = cells.read_cell(file.parent)
        asked = [(sample, _list_kinds(records[sample.id.partition("#")[0]])) for sample in cell.samples]
        right = Counter(kind for sample, found in asked if sample.right for kind in found)
        n = Counter(kind for _, found in asked for kind in found)
        rows.append(
            (cell.model, cell.settings.get("samples", 1), *(f"{right[kind]}/{n[kind]}" for kind in sorted(kinds)))
        )
    _table(("model", "samples", *sorted(kinds)), rows)


def _list_kinds(record: Record) -> tuple[str, ...]:
    """The number of steps of the gold program, and its last operation."""
    steps = record.fields["program"].count("(")
    return f"{min(steps, 3)}{'+' if steps > 2 else ''} steps", parse(record.fields["program"])[-1].operation


def _has_operands(record: Record, text: str) -> bool | None:
    """Does the text print every number that the gold program names? None where it names a row of the table instead."""
    wanted = [number for part in re.split(r"[(),]", record.fields["program"]) if (number := parse_number(part.strip()))]
    printed = {abs(number.magnitude) for number in find_numbers(text)}
    return all(abs(number.magnitude) in printed for number in wanted) if wanted else None


def _steps(text: str) -> Iterable[bool]:
    """Is each "a op b = c" right, to the digits printed?"""
    for left, left_percent, sign, right, right_percent, result in STEP.findall(text):
        a = float(left) / (100 if left_percent else 1)
        b = float(right) / (100 if right_percent else 1)
        if sign == "/" and b == 0:
            continue
        decimals = len(result.partition(".")[2])
        yield abs(COMPUTE[sign](a, b) - float(result)) <= 0.5 * 10.0**-decimals + 1e-9


def _shown(value: float | None) -> str:
    return "" if value is None else f"{value:.4g}"


def _table(head: Sequence[str], rows: Iterable[Sequence[Any]]) -> None:
    print()
    for line in (head, ["--:"] * len(head), *rows):
        print("| " + " | ".join(str(cell) for cell in line) + " |")
    print()


if __name__ == "__main__":
    main(Path(sys.argv[1]) if len(sys.argv) > 1 else WORK)
