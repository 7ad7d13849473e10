"""What is a model asked for one task? The rows, and each row's prompt, short enough for the model."""

import functools
import hashlib
import threading
from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import fino1.tasks
from fino1 import files
from fino1.errors import SpecError
from fino1.evaluate.counter import Counter
from fino1.evaluate.endpoint import Cancelled
from fino1.spec import canonical
from fino1.spec.evaluation import EvalTask
from fino1.tasks.fold import take
from fino1.tasks.forms import as_asked
from fino1.tasks.hub import read_hub
from fino1.tasks.record import Record, Task, fit

SHOWN_PROBLEMS = 5  # rows that do not fit, per cell


@dataclass(frozen=True)
class Question:
    """One prompt that is asked once; `cut` says that the document lost text.

    `id` is unique among a cell's rows. With several samples a row is a question for each, with its own `number` and `seed`.
    """

    id: str
    record: Record
    prompt: str
    cut: bool
    number: int = 0
    seed: int | None = None

    @property
    def key(self) -> tuple[str, int]:
        """Tells the questions of a cell apart, as Sample.key its answers."""
        return self.id, self.number

    @functools.cached_property
    def prompt_sha256(self) -> str:
        """Identifies the prompt in samples.jsonl."""
        return hashlib.sha256(self.prompt.encode()).hexdigest()


@dataclass(frozen=True)
class Rows:
    """The rows of a task, how they are named in the cell's key, and where they came from."""

    task: Task
    records: tuple[Record, ...]
    identity: dict[str, Any]
    where: str


def read(block: EvalTask, seed: int) -> Rows:
    """Read the rows of a task, as far as its fold and limit select them. Raises SpecError for missing files and bad rows."""
    block = fino1.tasks.locate(block)
    task = as_asked(fino1.tasks.task(block.task), block)
    if block.path:
        path = Path(block.path)
        if not path.is_file():
            raise SpecError(f"{task.name}: {path}: expected a file, got none")
        found = task.read(path)
        return _limit(block, Rows(task, tuple(found), {"sha256": files.hash_file(path)}, f"{path}{found.remark}"))
    if block.hub:
        found, sha256 = read_hub(block, task)
        where = f"{block.hub} ({block.split}){found.remark}"
        return _limit(block, Rows(task, tuple(found), {"sha256": sha256}, where))
    from fino1.tasks import ledger

    records = tuple(ledger.generate(block.split, n=block.size, seed=seed))
    generated = {"generated": block.split, "size": block.size, "seed": seed}
    rows = canonical.digest([asdict(record) for record in records])  # the generator may change
    return _limit(block, Rows(task, records, generated | {"sha256": rows}, f"generated from seed {seed}"))


def make(
    rows: Rows, preset: str, budget: int | None, count: Counter | None, stop: threading.Event
) -> tuple[Question, ...]:
    """Make the prompts of all rows. Documents are cut where a prompt has more than `budget` tokens by `count`.

    Raises SpecError naming the rows whose question alone is too long, Cancelled on `stop`.
    """
    questions, problems, seen = [], [], set[str]()
    for record in rows.records:
        if stop.is_set():
            raise Cancelled
        asked, cut = record, False
        if budget is not None and count is not None:
            try:
                asked, cut = fit(record, budget, lambda r: count(rows.task.prompt(r, preset)))
            except ValueError as error:
                problems.append(f"{rows.where}: {record.id}: expected a prompt that fits the model, got {error}")
                continue
        questions.append(Question(_number_repeated(record.id, seen), record, rows.task.prompt(asked, preset), cut))
    if problems:
        more = [f"{rows.where}: and {len(problems) - SHOWN_PROBLEMS} rows more"] if problems[SHOWN_PROBLEMS:] else []
        raise SpecError(problems[:SHOWN_PROBLEMS] + more)
    return tuple(questions)


def repeat(questions: Sequence[Question], samples: int, seed: int) -> tuple[Question, ...]:
    """Ask each question `samples` times, one after the other: a server's cache may hold its prompt.

    A seed follows from the run's, the question and the number: equal ones would give the random numbers of one question to all.
    """
    if samples == 1:
        return tuple(questions)
    return tuple(
        replace(question, number=number, seed=int(canonical.digest([seed, question.id, number])[:8], 16) % 2**31)
        for question in questions
        for number in range(samples)
    )


def name_records(records: Sequence[Record]) -> dict[str, Record]:
    """Return the records by the ids of their questions."""
    seen = set[str]()
    return {_number_repeated(record.id, seen): record for record in records}


def _number_repeated(identifier: str, seen: set[str]) -> str:
    """Return an id that is not in `seen`, and add it there. Benchmarks repeat ids: the second `a` becomes `a#2`."""
    name, number = identifier, 1
    while name in seen:
        number += 1
        name = f"{identifier}#{number}"
    seen.add(name)
    return name


def _limit(block: EvalTask, rows: Rows) -> Rows:
    records = take(rows.records, block.fold, block.limit)
    if block.gold == "corrected":
        records = [
            record if record.other_gold is None else replace(record, target=record.other_gold, other_gold=record.target)
            for record in records
        ]
    if not records:
        raise SpecError(f"{rows.task.name}: {rows.where}: expected rows, got none")
    return Rows(rows.task, tuple(records), rows.identity, rows.where)
