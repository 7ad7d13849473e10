"""What does a finished search leave in its run's directory? (docs/paths.md, docs/design.md C7)

    rows.jsonl      rows for SFT: questions whose path was found
    rl.jsonl        rows for PPO: those of them that the writer solved without being shown the gold
    paths.jsonl     every question with all its chains, found or not
    summary.json    counts

They hold no times and follow from the journal alone, in the order of the rows.
"""

import json
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from fino1 import files
from fino1.evaluate.questions import Question
from fino1.paths.records import ReasoningPath

ROWS, RL_ROWS, PATHS, SUMMARY = "rows.jsonl", "rl.jsonl", "paths.jsonl", "summary.json"


@dataclass(frozen=True)
class Result:
    """A question of a task, what became of it, and in how many calls."""

    task: str
    question: Question
    path: ReasoningPath
    calls: int

    @property
    def about(self) -> dict[str, Any]:
        """What all lines begin with."""
        return {"id": self.question.id, "task": self.task, "page": self.question.record.page}


def write(directory: Path, searched: Sequence[Result]) -> dict[str, Any]:
    """Write the four files; returns the summary."""
    solved = [each for each in searched if each.path.failure is None]
    by_search = [each for each in solved if not each.path.shows_gold]
    _write_lines(directory / PATHS, map(_path_line, searched))
    _write_lines(directory / ROWS, map(_sft_row, solved))
    _write_lines(directory / RL_ROWS, map(_rl_row, by_search))
    summary = {"questions": len(searched), "rows": len(solved), "rl_rows": len(by_search), **_count(searched)}
    files.write_json(directory / SUMMARY, summary)
    return summary


def _count(searched: Sequence[Result]) -> dict[str, Any]:
    solved = [each.path for each in searched if each.path.failure is None]
    steps = Counter(len([t for t in path.turns if t.attempt]) for path in solved if not path.shows_gold)
    return {
        "shown_gold": sum(path.shows_gold for path in solved),
        "judged_by": _sorted(Counter(path.turns[-1].judged_by for path in solved)),
        "accepted_after_steps": {str(number): steps[number] for number in sorted(steps)},
        "accepted_by_strategy": _sorted(Counter(path.turns[-1].strategy for path in solved)),
        "failed": _sorted(Counter(each.path.failure for each in searched if each.path.failure)),
        "calls": sum(each.calls for each in searched),
        "calls_per_question": _sorted(Counter(each.calls for each in searched)),
    }


def _sorted(counts: Counter) -> dict[str, int]:
    return {str(key): counts[key] for key in sorted(counts)}


def _path_line(each: Result) -> dict[str, Any]:
    record, path = each.question.record, each.path
    outcome = {"failure": path.failure, "complaint": path.complaint, "shows_gold": path.shows_gold, "calls": each.calls}
    texts = {"reasoning": path.cot, "response": path.response}
    turns = {"turns": [turn.to_dict() for turn in path.turns]}
    return {**each.about, "question": record.question, "target": record.target, **outcome, **texts, **turns}


def _sft_row(each: Result) -> dict[str, Any]:
    columns = {"Question": each.question.prompt, "Complex_CoT": each.path.cot, "Response": each.path.response}
    return {**each.about, **columns, "shows_gold": each.path.shows_gold}


def _rl_row(each: Result) -> dict[str, Any]:
    record = each.question.record
    target = ("yes" if record.target else "no") if isinstance(record.target, bool) else record.target
    return {**each.about, "Open-ended Verifiable Question": each.question.prompt, "Ground-True Answer": target}


def _write_lines(path: Path, lines: Iterable[dict[str, Any]]) -> None:
    files.write_bytes(path, b"".join(json.dumps(line).encode() + b"\n" for line in lines))
