"""How is one cell evaluated, from its questions to the finished cell on disk? (docs/design.md C6, C10)

<work>/cells/<key>/samples.jsonl   a line a sample, as the answers come; in the order of the rows once finished (samples.py)
<work>/cells/<key>/cell.json       appears at the end; a cell that has it is never run again
"""

import contextlib
import math
import queue
import threading
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

from fino1 import cells
from fino1.cells import SAMPLES_FILE, Cell, Sample, Summary
from fino1.evaluate import samples
from fino1.evaluate.budget import Tariff
from fino1.evaluate.endpoint import Answer, Cancelled
from fino1.evaluate.journal import bound_bytes, open_journal
from fino1.evaluate.models import Source
from fino1.evaluate.questions import Question
from fino1.evaluate.samples import WHOLE, Key, Shard
from fino1.evaluate.store import Store
from fino1.evaluate.verdicts import read_verdict
from fino1.evaluate.votes import mark_equal
from fino1.progress import Progress
from fino1.spec import canonical
from fino1.tasks.record import Task

GRACE_S = 10.0  # after SIGTERM: time for the requests under way; Kubernetes' default grace period is 30 s
_TICK_S = 0.2

Ask = Callable[[Question, threading.Event], Answer]
Item, Result = TypeVar("Item"), TypeVar("Result")


@dataclass(frozen=True)
class PlannedCell:
    """A cell to evaluate. `key` is the digest of `settings`; `questions` is empty if the cell is finished."""

    key: str
    source: Source
    task: Task
    directory: Path
    settings: dict[str, Any]
    provenance: dict[str, Any]
    questions: tuple[Question, ...] = ()
    store: Store | None = None

    @property
    def tariff(self) -> Tariff:
        """The price of the cell's questions and the most tokens of an answer."""
        return Tariff(self.source.price, self.settings["max_tokens"])

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


def run_cell(cell: PlannedCell, ask: Ask, concurrency: int, stop: threading.Event, shard: Shard = WHOLE) -> Cell | None:
    """Ask the questions left in a shard; write cell.json if no shard has any left. Returns the cell if it is finished, else None.

    Raises Cancelled on `stop`, and the errors of `ask`; the samples so far are on disk then.
    """
    cell.directory.mkdir(parents=True, exist_ok=True)
    with samples.lock(cell.directory, shard, stop):
        finished = cells.find_finished(cell.directory)
        if finished is not None:
            return finished
        _ask_remaining(cell, ask, concurrency, stop, shard)
        if cell.store is not None:
            cell.store.fetch(cell.directory)  # other shards' answers
            if finished := cells.find_finished(cell.directory):
                return finished
        # After our own samples are on disk: of two shards that end together, at least one sees all samples.
        found = samples.load(cell.directory, cell.questions)
        if len(found) < len(cell.questions):
            return cells.find_finished(cell.directory)
        return _finish(cell, found)


def _ask_remaining(cell: PlannedCell, ask: Ask, concurrency: int, stop: threading.Event, shard: Shard) -> None:
    path = cell.directory / shard.file
    samples.tidy(path, cell.questions)
    left = cell.find_remaining(shard)
    if not left:
        return
    total = len(shard.select(cell.questions))
    done = total - len(left)
    room = bound_bytes(left, cell.settings["max_tokens"], concurrency)
    with (
        open_journal(path, cell.store, room) as journal,
        contextlib.closing(_show(cell, shard, total, done)) as progress,
    ):

        def ask_unless_lost(question: Question, halt: threading.Event) -> Answer:
            if journal.failure is not None:
                raise Cancelled
            return ask(question, halt)

        for batch in iterate_batches(ask_unless_lost, left, concurrency, stop):
            journal.append(b"".join(_judge(cell.task, *answered).to_line() for answered in batch))
            for _ in batch:
                done += 1
                progress.update(done)


def _show(cell: PlannedCell, shard: Shard, total: int, done: int) -> Progress:
    return Progress("evaluate", total, done, model=cell.source.name, task=cell.task.name, **shard.labels)


def _finish(cell: PlannedCell, found: Mapping[Key, Sample]) -> Cell:
    if cell.settings.get("samples", 1) > 1:
        found = mark_equal(cell.task, {question.id: question.record for question in cell.questions}, found)
    samples.write(cell.directory / SAMPLES_FILE, cell.questions, found)
    ordered = [found[question.key] for question in cell.questions]
    answered_by = sorted({sample.answered_by for sample in ordered if sample.answered_by})
    finished = Cell(
        key=cell.key,
        model=cell.source.name,
        task=cell.task.name,
        settings=cell.settings,
        provenance=cell.provenance | {"answered_by": answered_by},
        summary=Summary.count(ordered),
        cost=cell.tariff.sum_samples(ordered).to_dict(is_priced=cell.source.price is not None),
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


_Done = tuple[Item | None, Any, threading.Event]
_Ask = Callable[[Item, threading.Event], Result]


def iterate_answers(
    ask: _Ask[Item, Result], questions: Sequence[Item], concurrency: int, stop: threading.Event
) -> Iterator[tuple[Item, Result]]:
    """Yield answers as `iterate_batches` does, one by one."""
    for batch in iterate_batches(ask, questions, concurrency, stop):
        yield from batch


def iterate_batches(
    ask: _Ask[Item, Result], questions: Sequence[Item], concurrency: int, stop: threading.Event
) -> Iterator[list[tuple[Item, Result]]]:
    """Yield the answers that have come since the last batch, `concurrency` requests at once.

    On `stop`, or the first error, no further question is sent, and then Cancelled or the error is raised. Requests under way
    are paid for, so they are waited for; after `stop` for GRACE_S seconds only. Threads that hang are daemons, which do not
    keep the process from ending.
    """
    todo: queue.SimpleQueue[Item] = queue.SimpleQueue()
    done: queue.SimpleQueue[_Done] = queue.SimpleQueue()
    halt = threading.Event()
    for question in questions:
        todo.put(question)
    threads = min(concurrency, len(questions))
    for _ in range(threads):
        threading.Thread(target=_answer_in_turn, args=(ask, todo, done, halt), daemon=True).start()
    failure: BaseException | None = None
    deadline = math.inf
    try:
        while threads and time.monotonic() < deadline:
            come = _take_all(done)
            ended = [answer for question, answer, _ in come if question is None]
            threads -= len(ended)
            failure = failure or next(filter(None, ended), None)
            if batch := [(question, answer) for question, answer, _ in come if question is not None]:
                yield batch
            for *_, taken in come:
                taken.set()
            if stop.is_set() or failure:
                halt.set()
            if stop.is_set() and deadline == math.inf:
                deadline = time.monotonic() + GRACE_S
    finally:
        halt.set()
    if failure:
        raise failure
    if stop.is_set():
        raise Cancelled


def _take_all(done: queue.SimpleQueue[_Done]) -> list[_Done]:
    """Take what has come, or wait a moment for something to come."""
    found = []
    with contextlib.suppress(queue.Empty):
        found.append(done.get(timeout=_TICK_S))
        while True:
            found.append(done.get_nowait())
    return found


def _answer_in_turn(ask: Callable, todo: queue.SimpleQueue, done: queue.SimpleQueue, halt: threading.Event) -> None:
    """Answer questions of `todo` until it is empty or `halt` is set.

    Puts (question, answer) into `done` for each, and at the end (None, error or None).

    The next question is sent only once the answer before is written: a kill loses at most one answer a thread.
    """
    end: BaseException | None = None
    try:
        while not halt.is_set():
            question = todo.get_nowait()
            taken = threading.Event()
            done.put((question, ask(question, halt), taken))
            taken.wait()
    except (queue.Empty, Cancelled):
        pass
    except BaseException as error:  # noqa: BLE001, raised again in the main thread
        end = error
    done.put((None, end, threading.Event()))
