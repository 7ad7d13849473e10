"""Finished runs of method `paths`, row files and cells, made without a server."""

import json
import zlib
from dataclasses import replace

import pytest

from fino1 import __main__ as entry
from fino1 import cells, files, runs
from fino1.cells import Cell, Sample, Summary
from fino1.evaluate.questions import Question
from fino1.paths import output
from fino1.paths.output import Result
from fino1.paths.records import ReasoningPath, Step, Turn
from fino1.spec import canonical, load
from fino1.tasks import task
from fino1.tasks.record import Record

TASK = task("finqa")
SETTINGS = {
    "tasks": [{"task": "finqa", "path": "train.json"}],
    "writer": {"base_url": "http://x/v1", "model_id": "gpt-w"},
}
FIGURES = "revenue was 1,204.5 in the first half and 2,377.1 in the second ; costs were 812 , 905 and 1,131 ."


def question(number, page="AA/2010/page_1.pdf", text=None, **changes):
    """A record with a page of its own figures, unless `page` says whose."""
    seed = zlib.crc32(page.encode())
    lines = tuple(f"item {n}|{seed * (n + 3) % 99991}|{seed * (n + 7) % 9973}.{n}" for n in range(12))
    record = Record(
        id=f"{page}-{number}",
        question=text or f"what is the sum of item {number} and item {number + 1} ?",
        target=float(100 + number),
        before=(f"the report of {page} has these items .", f"they add up as follows for {page} ."),
        table=lines,
        page=page,
        fields={"table_hash": f"hash of {page}", "program": ""},
    )
    return replace(record, **changes)


def turn(answer, right, strategy="Initial", judged_by="rule"):
    steps = [("think", f"I add them up to {answer}."), ("conclude", f"The answer is {answer}."), ("check", "It fits.")]
    return Turn(strategy, 0, tuple(Step(action=a, content=c) for a, c in steps), right, judged_by)


def path(record, *turns, failure=None):
    """A search with these chains; the last one is right unless it failed."""
    last = () if failure else (turn(record.target, True, "Correction" if turns else "Initial"),)
    return ReasoningPath((*turns, *last), failure, "Let me see. I add them.", f"The answer is {record.target}.")


def write_run(work, found, name="paths", seed=42, of=TASK):
    """Write what a search leaves: `found` has (record, path) of every question."""
    spec = load.build({"method": "paths", "gpus_per_node": 0, "seed": seed, "paths": SETTINGS}, "F")
    directory = runs.directory(work, name, spec)
    results = [Result(of, "fino1", Question(r.id, r, of.prompt(r), False), p, 3) for r, p in found]
    runs.write_config(directory / "config.json", spec)
    files.write_json(
        directory / "inputs.json", {"paths.tasks.0.path": {"path": "/data/train.json", "sha256": "ab" * 32}}
    )
    output.write(directory, results, [])
    names = (output.ROWS, output.RL_ROWS, output.PATHS)
    digest = canonical.digest({name: (directory / name).read_text() for name in names})
    files.write_json(directory / "done.json", {"method": "paths", "artefact_sha256": digest})
    return directory


def write_rows(file, records, **more):
    """Write a file of rows for SFT with nothing but Fino1's columns, and `more`."""
    columns = [
        {"Question": TASK.prompt(r), "Complex_CoT": "I add them.", "Response": f"The answer is {r.target}."} | more
        for r in records
    ]
    file.write_text("".join(json.dumps(row) + "\n" for row in columns))
    return file


def write_evaluation(file, records):
    """Write an evaluation set in FinQA's simplified format."""
    rows = [
        {
            "id": r.id,
            "question": r.question,
            "pre_text": list(r.before),
            "post_text": list(r.after),
            "table": [line.split("|") for line in r.table],
            "answer": str(r.target),
            "program": "",
        }
        for r in records
    ]
    file.write_text(json.dumps(rows))
    return file


def write_cell(directory, model, answers, of="finqa"):
    """Write a finished cell: `answers` has (record, right)."""
    samples = [
        Sample(
            id=r.id,
            prompt_sha256="",
            question=r.question,
            prompt=task(of).prompt(r),
            completion="",
            extracted=None,
            value=None,
            target=r.target,
            strict=right,
            docmath_compat=right,
            sign_from_question=False,
            prompt_tokens=1,
            completion_tokens=1,
            seconds=1.0,
            finish_reason="stop",
            cut=False,
            answered_by=model,
        )
        for r, right in answers
    ]
    directory.mkdir(parents=True)
    (directory / "samples.jsonl").write_bytes(b"".join(sample.to_line() for sample in samples))
    cells.write_cell(directory, Cell(directory.name, model, of, {}, {}, Summary.count(samples)))
    return directory


def lines(file):
    return [json.loads(line) for line in file.read_text().splitlines()]


@pytest.fixture
def make(tmp_path, capsys):
    """Run the verb; returns the directory, or what it said where it ended with another code than 0."""

    def run(*words, to="out", code=0):
        end = entry.main(["rows", *map(str, words), "--output", str(tmp_path / to)])
        said = capsys.readouterr()
        assert end == code, said
        return said.err if code else tmp_path / to

    return run
