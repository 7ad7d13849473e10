"""How is one cell evaluated, from its questions to the finished cell on disk? (docs/design.md C6, C10)

<work>/cells/<key>/samples.jsonl   a line a sample, as the answers come; in the order of the rows once finished (samples.py)
<work>/cells/<key>/cell.json       appears at the end; a cell that has it is never run again
"""

import contextlib
import functools
import threading
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from fino1 import cells
from fino1.cells import SAMPLES_FILE, Cell, Sample, Summary
from fino1.evaluate import samples
from fino1.evaluate.batches import answer_all
from fino1.evaluate.budget import Cost, Tariff
from fino1.evaluate.endpoint import Answer, Cancelled
from fino1.evaluate.extractor import Extractor
from fino1.evaluate.journal import bound_bytes, open_journal
from fino1.evaluate.loop import wait
from fino1.evaluate.models import Source
from fino1.evaluate.questions import Question
from fino1.evaluate.samples import WHOLE, Key, Shard
from fino1.evaluate.store import Store
from fino1.evaluate.verdicts import read_verdict
from fino1.evaluate.votes import mark_equal
from fino1.progress import Progress
from fino1.spec import canonical
from fino1.tasks.record import Task

MANY = 16  # requests at once, from which on an answer's place is taken before the answer is judged and written
Ask = Callable[[Question, threading.Event], Awaitable[Answer | None]]
Make = Callable[[Question, Answer | None], Sample]


@dataclass(frozen=True)
class PlannedCell:
    """A cell to evaluate. `key` is the digest of `settings`; `questions` is empty if the cell is finished.

    One with an `extractor` is made of the cell with its `answers`, whose settings name no extractor.
    """

    key: str
    source: Source
    task: Task
    directory: Path
    settings: dict[str, Any]
    provenance: dict[str, Any]
    questions: tuple[Question, ...] = ()
    store: Store | None = None
    extractor: Extractor | None = None
    answers: "PlannedCell | None" = None

    @property
    def asked(self) -> "PlannedCell":
        """The cell whose questions the model is asked."""
        return self.answers or self

    @property
    def most_tokens(self) -> int:
        """The most tokens that a sample can hold."""
        return self.settings["max_tokens"] + (self.extractor.block.max_tokens if self.extractor else 0)

    @property
    def tariff(self) -> Tariff:
        """The price of the cell's questions and the most tokens of an answer."""
        return Tariff(self.source.price, self.settings["max_tokens"])

    @property
    def is_priced(self) -> bool:
        """True if anything that is asked has a price."""
        return bool(self.source.price or (self.extractor and self.extractor.source.price))

    def read_answered(self, shard: Shard = WHOLE) -> list[Sample]:
        """Read the samples of a shard that are on disk."""
        if not self.questions:
            return list(shard.select(samples.read_all(self.directory / SAMPLES_FILE)))
        done = samples.load(self.directory, self.questions)
        return [done[question.key] for question in shard.select(self.questions) if question.key in done]

    def find_remaining(self, shard: Shard = WHOLE) -> list[Question]:
        """List the questions of a shard that have no sample on disk."""
        done = samples.load(self.directory, self.questions)
        return [question for question in shard.select(self.questions) if question.key not in done]

    def sum_samples(self, found: Sequence[Sample]) -> Cost:
        """Add up what these samples cost."""
        extracted = self.extractor.sum_samples(found) if self.extractor else Cost()
        return self.tariff.sum_samples(found) + extracted

    def describe_cost(self, found: Sequence[Sample]) -> dict[str, Any]:
        """Return these samples' cost as cell.json has it: that of the answers, and by itself that of their extractions."""
        cost = self.tariff.sum_samples(found).to_dict(is_priced=self.source.price is not None)
        if self.extractor is None:
            return cost
        is_priced = self.extractor.source.price is not None
        return cost | {"extraction": self.extractor.sum_samples(found).to_dict(is_priced)}

    def sum_costs(self, shard: Shard = WHOLE) -> Cost:
        """Add up what the answers and extractions of a shard that are on disk cost, whichever run bought them."""
        found = self.read_answered(shard)
        if self.extractor is None or self.answers is None or not self.questions:
            return self.sum_samples(found)
        return self.answers.sum_costs(shard) + self.extractor.sum_samples(found)

    def estimate_remaining(self, shard: Shard = WHOLE) -> list[Cost]:
        """Estimate the cost of each request that a shard has left."""
        found = [self.tariff.estimate(question.prompt) for question in self.asked.find_remaining(shard)]
        if self.extractor is None:
            return found
        most = self.settings["max_tokens"]
        return found + [self.extractor.estimate(q.record.question, most) for q in self.find_remaining(shard)]


def run_cell(
    cell: PlannedCell,
    ask: Ask,
    concurrency: int,
    stop: threading.Event,
    shard: Shard = WHOLE,
    make: Make | None = None,
) -> Cell | None:
    """Ask the questions left in a shard; write cell.json if no shard has any left. Returns the cell if it is finished, else None.

    `make` makes a sample of a question and the answer to it; None: the answer is the model's, and is judged.

    Raises Cancelled on `stop`, and the errors of `ask`; the samples so far are on disk then.
    """
    cell.directory.mkdir(parents=True, exist_ok=True)
    with samples.lock(cell.directory, shard, stop):
        finished = cells.find_finished(cell.directory)
        if finished is not None:
            return finished
        _ask_remaining(cell, ask, concurrency, stop, shard, make or functools.partial(_judge, cell.task))
        if cell.store is not None:
            cell.store.fetch(cell.directory)  # other shards' answers
            if finished := cells.find_finished(cell.directory):
                return finished
        # After our own samples are on disk: of two shards that end together, at least one sees all samples.
        found = samples.load(cell.directory, cell.questions)
        if len(found) < len(cell.questions):
            return cells.find_finished(cell.directory)
        return _finish(cell, found)


def _ask_remaining(
    cell: PlannedCell, ask: Ask, concurrency: int, stop: threading.Event, shard: Shard, make: Make
) -> None:
    path = cell.directory / shard.file
    samples.tidy(path, cell.questions)
    left = cell.find_remaining(shard)
    if not left:
        return
    total = len(shard.select(cell.questions))
    done = total - len(left)
    # A store is written before another question is sent; with few at once nothing is gained by answers that wait.
    unkept = concurrency if concurrency >= MANY and cell.store is None else 0
    room = bound_bytes(left, cell.most_tokens, concurrency + unkept)
    with (
        open_journal(path, cell.store, room) as journal,
        contextlib.closing(_show(cell, shard, total, done)) as progress,
    ):

        async def ask_unless_lost(question: Question, halt: threading.Event) -> Answer | None:
            if journal.failure is not None:
                raise Cancelled
            return await ask(question, halt)

        def keep(question: Question, answer: Answer | None) -> None:
            nonlocal done
            journal.append(make(question, answer).to_line())
            done += 1
            progress.update(done)

        keep_up = functools.partial(journal.keep_up, 0 if cell.store else 4 * concurrency)
        wait(answer_all(ask_unless_lost, left, concurrency, stop, keep, keep_up, unkept))


def _show(cell: PlannedCell, shard: Shard, total: int, done: int) -> Progress:
    stage = "extract" if cell.extractor else "evaluate"
    return Progress(stage, total, done, model=cell.source.name, task=cell.task.name, **shard.labels)


def _finish(cell: PlannedCell, found: Mapping[Key, Sample]) -> Cell:
    if cell.settings.get("samples", 1) > 1:
        found = mark_equal(cell.task, {question.id: question.record for question in cell.questions}, found)
    samples.write(cell.directory / SAMPLES_FILE, cell.questions, found)
    ordered = [found[question.key] for question in cell.questions]
    origin = {"answered_by": sorted({sample.answered_by for sample in ordered if sample.answered_by})}
    if cell.answers is not None:
        of_answers = cells.find_finished(cell.answers.directory)  # the shard that made the last answer has finished it
        origin = of_answers.provenance if of_answers else origin
        by = {(sample.extraction or {}).get("answered_by") for sample in ordered}
        origin |= {"extracted_by": sorted(by - {None})}
    finished = Cell(
        key=cell.key,
        model=cell.source.name,
        task=cell.task.name,
        settings=cell.settings,
        provenance=cell.provenance | origin,
        summary=Summary.count(ordered),
        cost=cell.describe_cost(ordered),
    )
    cells.write_cell(cell.directory, finished)
    if cell.store is not None:
        cell.store.finish(cell.directory)
    samples.drop_parts(cell.directory)
    return finished


def _judge(task: Task, question: Question, answer: Answer) -> Sample:
    return Sample(
        id=question.id,
        prompt_sha256=question.prompt_sha256,
        question=question.record.question,
        prompt=question.prompt,
        completion=answer.text,
        prompt_tokens=answer.prompt_tokens,
        completion_tokens=answer.completion_tokens,
        seconds=round(answer.seconds, 4),
        finish_reason=answer.finish_reason,
        cut=question.cut,
        answered_by=answer.model,
        reasoning=answer.reasoning,
        unanswered=answer.unanswered,
        number=question.number,
        **read_verdict(task, question.record, answer.text),
    )


def digest_results(finished: Sequence[Cell]) -> str:
    """Return the digest of finished cells' results, without the seconds they took."""
    return canonical.digest(
        [[cell.key, {k: v for k, v in vars(cell.summary).items() if k != "seconds"}] for cell in finished]
    )
