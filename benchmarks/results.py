"""What came out of `make finqa-programs`? Prints docs/results.md's figures as Markdown, from the run's files.

    python benchmarks/results.py [WORK]

Beside the leaderboard: how many answers are right by the number of steps of the gold program, and by its last operation.
"""

import json
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
from fino1.tasks.record import Record

RECIPE, WORK = "finqa-programs", Path("out/finqa-programs")
PPO_KEYS = ("objective/scores", "objective/kl", "objective/entropy", "val/num_eos_tokens", "eval/accuracy")


def main(work: Path) -> None:
    """Print all tables."""
    for directory in sorted(work.glob("runs/*")):
        done = json.loads((directory / "done.json").read_text()) if (directory / "done.json").exists() else {}
        counts = ", ".join(f"{done[key]} {key}" for key in ("rows", "steps", "updates", "episodes") if key in done)
        seconds = f"{done['seconds'] / 60:.1f} min in its last attempt" if done else "not finished"
        print(f"{directory.name}: {seconds}{f', {counts}' if counts else ''}")
        lines = read_metrics(directory) if (directory / "metrics.jsonl").exists() else []
        if lines and "step" in lines[0]:
            print("versions:", ", ".join(f"{name} {number}" for name, number in done.get("versions", {}).items()))
            _sft(lines)
        elif lines:
            _ppo(lines)
    print((work / "report" / "leaderboard.md").read_text())
    programs(work)


def _sft(lines: Sequence[dict[str, Any]]) -> None:
    held = {line["step"]: line["eval/loss"] for line in lines if "eval/loss" in line}
    losses = {line["step"]: line["loss"] for line in lines if "loss" in line}
    rows = [
        (step, _shown(losses.get(step)), _shown(held.get(step)))
        for step in sorted({*losses, *held})
        if step % 50 == 0 or step in held or step == 1
    ]
    _table(("step", "loss", "held-out loss"), rows)


def _ppo(lines: Sequence[dict[str, Any]]) -> None:
    """A line every five updates: means over those five, and the last evaluation."""
    found = {key: [(line["update"], line[key]) for line in lines if key in line] for key in PPO_KEYS}
    rows = []
    for end in range(0, lines[-1]["update"] + 5, 5):
        near = {key: [value for update, value in pairs if end - 5 < update <= end] for key, pairs in found.items()}
        rows.append((end, *(_shown(sum(values) / len(values) if values else None) for values in near.values())))
    _table(("update", *PPO_KEYS), rows)


def programs(work: Path) -> None:
    """Answers that are right, of all, by the steps of the gold program and by its last operation."""
    records, rows = read_records(), []
    kinds = Counter(kind for record in records.values() for kind in _list_kinds(record))
    for file in sorted((work / "cells").glob("*/cell.json")):
        cell = cells.read_cell(file.parent)
        asked = [(sample, _list_kinds(records[sample.id.partition("#")[0]])) for sample in cell.samples]
        right = Counter(kind for sample, found in asked if sample.right for kind in found)
        n = Counter(kind for _, found in asked for kind in found)
        rows.append(
            (cell.model, cell.settings.get("samples", 1), *(f"{right[kind]}/{n[kind]}" for kind in sorted(kinds)))
        )
    _table(("model", "samples", *sorted(kinds)), rows)


def read_records() -> Mapping[str, Record]:
    """The questions that the recipe asks."""
    path = recipe.find(RECIPE)
    stages = recipe.build(yamlfile.read_yaml(path), str(path)).stages
    (task,) = next(stage for stage in stages if stage.name == "eval").set["eval"]["tasks"]
    return {record.id: record for record in questions.read(EvalTask.model_validate(task), seed=1).records}


def _list_kinds(record: Record) -> tuple[str, ...]:
    """The number of steps of the gold program, and its last operation."""
    steps = record.fields["program"].count("(")
    return f"{min(steps, 3)}{'+' if steps > 2 else ''} steps", parse(record.fields["program"])[-1].operation


def _shown(value: float | None) -> str:
    return "" if value is None else f"{value:.3g}"


def _table(head: Sequence[str], rows: Iterable[Sequence[Any]]) -> None:
    print()
    for line in (head, ["--:"] * len(head), *rows):
        print("| " + " | ".join(str(cell) for cell in line) + " |")
    print()


if __name__ == "__main__":
    main(Path(sys.argv[1]) if len(sys.argv) > 1 else WORK)
