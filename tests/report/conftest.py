import json
from dataclasses import asdict

import pytest

from fino1.cells import Sample, Summary


def make_sample(row, strict=True, **fields):
    """One line of samples.jsonl as the evaluation writes it."""
    return {
        "id": f"row-{row}",
        "prompt_sha256": "0" * 64,
        "question": f"What is {row}?",
        "prompt": f"Table\n\nWhat is {row}?",
        "completion": f"## Thinking\n\n…\n\n## Final Response\n\nThe answer is {row}.",
        "extracted": None if strict is None else str(row),
        "value": None if strict is None else float(row),
        "target": float(row),
        "strict": strict,
        "docmath_compat": strict,
        "sign_from_question": False,
        "prompt_tokens": 12,
        "completion_tokens": 20,
        "seconds": 0.25,
        "finish_reason": "stop",
        "cut": False,
        "answered_by": None,
    } | fields


def make_summary(lines):
    """The summary of these lines; of broken ones, which no report gets to count, that of nothing."""
    try:
        return asdict(Summary.count([Sample(**line) for line in lines]))
    except TypeError:
        return asdict(Summary.count([]))


@pytest.fixture
def sample():
    """Makes one line: `sample(3, None, finish_reason="length")`."""
    return make_sample


@pytest.fixture
def cell(tmp_path):
    """Writes one cell: `cell("sft", [True, False, None])`, or with whole lines instead of verdicts."""

    def write(model, verdicts, task="ledger", **fields):
        directory = tmp_path / "cells" / f"{task}-{model}"
        directory.mkdir(parents=True)
        lines = [line if isinstance(line, dict) else make_sample(i, line) for i, line in enumerate(verdicts)]
        about = {"key": "ab" * 32, "model": model, "task": task, "settings": {"temperature": 0}}
        about |= {"provenance": {"fino1": "0.1.0"}, "summary": make_summary(lines), "finished": True} | fields
        (directory / "cell.json").write_text(json.dumps(about))
        (directory / "samples.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines))
        return directory

    return write


@pytest.fixture
def several_cell(cell):
    """Writes a cell: `several_cell("a", "rrw", "wwu")`, a text of verdicts for each question; equal ones are equal answers."""

    def write(model, *questions, task="ledger", settings=None, **fields):
        k = len(questions[0])
        lines = [
            make_sample(i, {"r": True, "w": False, "u": None}[verdict], number=number)
            | {"same_as": None if verdict == "u" else verdicts.index(verdict)}
            for i, verdicts in enumerate(questions)
            for number, verdict in enumerate(verdicts)
        ]
        return cell(model, lines, task, settings={"temperature": 0.7, "samples": k} | (settings or {}), **fields)

    return write


@pytest.fixture
def run(tmp_path):
    """Writes one training run: `run("sft", [{"step": 1, "loss": 2.0}])`."""

    def write(name, lines):
        directory = tmp_path / "runs" / name
        directory.mkdir(parents=True)
        (directory / "metrics.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines))
        return directory

    return write


def make_turn(strategy, attempt, right, *texts):
    """One chain of a line of paths.jsonl."""
    steps = [{"action": "think", "title": "Rows", "content": text} for text in texts]
    steps += [{"action": action, "title": "", "content": f"The {action}."} for action in ("conclude", "check")]
    return {"strategy": strategy, "attempt": attempt, "right": right, "judged_by": "rule", "steps": steps}


def make_searched(number, *turns, **fields):
    """One line of paths.jsonl as the search writes it; with a row where its last chain is right."""
    failure = None if turns and turns[-1].get("right") else "wrong"
    texts = (
        {"reasoning": "", "response": ""} if failure else {"reasoning": "Let me see.", "response": "The answer is 1."}
    )
    about = {"id": f"row-{number}", "task": "ledger", "page": None, "question": f"What is {number}?", "target": 1.0}
    outcome = {"failure": failure, "complaint": "", "shows_gold": False, "calls": len(turns) + (0 if failure else 2)}
    return about | outcome | texts | {"turns": list(turns)} | fields


@pytest.fixture
def search(tmp_path):
    """Writes one search for paths: `search("paths", [make_searched(1, make_turn("Initial", 0, True, "I add."))])`."""

    def write(name, lines, **cost):
        directory = tmp_path / "runs" / name
        directory.mkdir(parents=True)
        done = {"method": "paths", "cost": {"tokens": 1200, "estimated": 0, "unheard": 0} | cost}
        (directory / "done.json").write_text(json.dumps(done))
        (directory / "paths.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines))
        return directory

    return write
