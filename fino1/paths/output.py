"""What does a finished search leave in its run's directory? (docs/paths.md, docs/design.md C7)

    rows.jsonl      rows for SFT: questions whose path was found
    rl.jsonl        rows for PPO: those of them that the writer solved without being shown the gold
    paths.jsonl     every question with all its chains, found or not
    excluded.jsonl  questions that were not searched, each with the evaluated or earlier one that it is like
    summary.json    counts

They hold no times and follow from the journal alone, in the order of the rows.
"""

import json
import os
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from itertools import starmap
from pathlib import Path
from typing import Any

from fino1 import files, runs
from fino1.evaluate.questions import Question
from fino1.paths.records import ReasoningPath, show_gold
from fino1.tasks.overlap import Overlap
from fino1.tasks.record import Task

ROWS, RL_ROWS = runs.ROWS["sft"], runs.ROWS["ppo"]
PATHS, EXCLUDED, SUMMARY = "paths.jsonl", "excluded.jsonl", "summary.json"


@dataclass(frozen=True)
class Result:
    """A question of a task, what became of it, and in how many calls."""

    task: Task
    preset: str
    question: Question
    path: ReasoningPath
    calls: int

    @property
    def about(self) -> dict[str, Any]:
        """What all lines begin with."""
        record = self.question.record
        table = record.fields.get("table_hash", "")
        return {"id": self.question.id, "task": self.task.name, "page": record.page, "table": table}

    @property
    def document(self) -> str:
        """The part of the prompt that may be cut: what it has beyond the prompt without a document."""
        prompt = self.question.prompt
        bare = self.task.prompt(replace(self.question.record, before=(), table=(), after=()), self.preset)
        start = len(os.path.commonprefix([prompt, bare]))
        end = len(os.path.commonprefix([prompt[start:][::-1], bare[start:][::-1]]))
        return prompt[start : len(prompt) - end]


def write(directory: Path, searched: Sequence[Result], excluded: Sequence[tuple[str, Overlap]]) -> dict[str, Any]:
    """Write the files; `excluded` has the task's name with each. Returns the summary."""
    solved = [each for each in searched if each.path.failure is None]
    by_search = [each for each in solved if not each.path.shows_gold]
    _write_lines(directory / PATHS, map(_path_line, searched))
    _write_lines(directory / ROWS, map(_sft_row, solved))
    _write_lines(directory / RL_ROWS, map(_rl_row, by_search))
    _write_lines(directory / EXCLUDED, starmap(_excluded_line, excluded))
    summary = {
        "questions": len(searched),
        "excluded": len(excluded),
        "rows": len(solved),
        "rl_rows": len(by_search),
        **_count(searched),
    }
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
    return {**each.about, **columns, "Document": each.document, "shows_gold": each.path.shows_gold}


def _rl_row(each: Result) -> dict[str, Any]:
    gold = show_gold(each.question.record)
    columns = {"Open-ended Verifiable Question": each.question.prompt, "Ground-True Answer": gold}
    return {**each.about, **columns, "Document": each.document}


def _excluded_line(task: str, overlap: Overlap) -> dict[str, Any]:
    record, other = overlap.record, overlap.other
    ours = {"id": record.id, "task": task, "page": record.page, "question": record.question}
    return {**ours, "by": overlap.by, "other_id": other.id, "other_question": other.question}


def _write_lines(path: Path, lines: Iterable[dict[str, Any]]) -> None:
    files.write_bytes(path, b"".join(json.dumps(line).encode() + b"\n" for line in lines))
