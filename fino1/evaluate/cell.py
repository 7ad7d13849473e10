"""How is one cell asked, from its questions to a finished cell on disk? (docs/design.md C6, C10)

<work>/cells/<key>/samples.jsonl   a line a sample, as they come; in the order of the rows once finished (samples.py)
<work>/cells/<key>/cell.json       appears at the end; a cell that has it is never run again
"""

import contextlib
import math
import os
import queue
import threading
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from fino1 import cells
from fino1.cells import SAMPLES_FILE, Cell, Sample, Summary
from fino1.evaluate import samples as samples_on_disk
from fino1.evaluate.budget import Tariff
from fino1.evaluate.endpoint import Answer, Cancelled
from fino1.evaluate.models import Source
from fino1.evaluate.questions import Question
from fino1.evaluate.samples import WHOLE, Shard
from fino1.progress import Progress
from fino1.tasks.record import Task

GRACE_S = 10.0  # after SIGTERM: time for the requests under way; Kubernetes' default grace period is 30 s
_TICK_S = 0.2

Ask = Callable[[Question, threading.Event], Answer]


@dataclass(frozen=True)
class PlannedCell:
    """One cell as it was asked for. `settings` is what `key` is the digest of; `questions` is empty if it is finished."""

    key: str
    source: Source
    task: Task
    directory: Path
    settings: dict[str, Any]
    provenance: dict[str, Any]
    questions: tuple[Question, ...] = ()

    @property
    def tariff(self) -> Tariff:
        """Price and longest answer of its questions."""
        return Tariff(self.source.price, self.settings["max_tokens"])

    def read_answered(self, shard: Shard = WHOLE) -> list[Sample]:
        """Read the samples of a shard that are on disk."""
        if not self.questions:
            return list(shard.select(samples_on_disk.read_all(self.directory / SAMPLES_FILE)))
        done = samples_on_disk.load(self.directory, self.questions)
        return [done[question.id] for question in shard.select(self.questions) if question.id in done]

    def find_remaining(self, shard: Shard = WHOLE) -> list[Question]:
        """List the questions of a shard that have no sample on disk."""
        done = samples_on_disk.load(self.directory, self.questions)
        return [question for question in shard.select(self.questions) if question.id not in done]


def run(cell: PlannedCell, ask: Ask, concurrency: int, stop: threading.Event, shard: Shard = WHOLE) -> Cell | None:
    """Ask what is left of a shard, and finish the cell where that was the last. Returns the cell if it is finished.

    Whatever ends it early (Cancelled on `stop`, the errors of `ask`), the samples that came are on disk.
    """
    cell.directory.mkdir(parents=True, exist_ok=True)
    with samples_on_disk.lock(cell.directory, shard, stop):
        finished = cells.find_finished(cell.directory)
        if finished is not None:
            return finished
        _ask_remaining(cell, ask, concurrency, stop, shard)
        # Only now, with our own samples on disk: of two shards that end together one at least sees all.
        samples = samples_on_disk.load(cell.directory, cell.questions)
        if len(samples) < len(cell.questions):
            return cells.find_finished(cell.directory)
        return _finish(cell, samples)


def _ask_remaining(cell: PlannedCell, ask: Ask, concurrency: int, stop: threading.Event, shard: Shard) -> None:
    path = cell.directory / shard.file
    samples_on_disk.tidy(path, cell.questions)
    left = cell.find_remaining(shard)
    if not left:
        return
    total = len(shard.select(cell.questions))
    with path.open("ab") as file, contextlib.closing(_show(cell, shard, total, total - len(left))) as progress:
        answers = _iterate_answers(ask, left, concurrency, stop)
        for done, (question, answer) in enumerate(answers, total - len(left) + 1):
            file.write(_judge(cell.task, question, answer).to_line())
            file.flush()
            os.fsync(file.fileno())
            progress.update(done)


def _show(cell: PlannedCell, shard: Shard, total: int, done: int) -> Progress:
    labels = {} if shard.count == 1 else {"shard": f"{shard.index + 1}/{shard.count}"}
    return Progress("evaluate", total, done, model=cell.source.name, task=cell.task.name, **labels)


def _finish(cell: PlannedCell, found: Mapping[str, Sample]) -> Cell:
    samples_on_disk.write(cell.directory / SAMPLES_FILE, cell.questions, found)
    samples = [found[question.id] for question in cell.questions]
    answered_by = sorted({sample.answered_by for sample in samples if sample.answered_by})
    finished = Cell(
        key=cell.key,
        model=cell.source.name,
        task=cell.task.name,
        settings=cell.settings,
        provenance=cell.provenance | {"answered_by": answered_by},
        summary=Summary.count(samples),
        cost=cell.tariff.sum_samples(samples).to_dict(is_priced=cell.source.price is not None),
    )
    cells.write_cell(cell.directory, finished)
    samples_on_disk.drop_parts(cell.directory)
    return finished


def _judge(task: Task, question: Question, answer: Answer) -> Sample:
    verdict = task.score(answer.text, question.record.question, question.record.target)
    value = verdict.value
    return Sample(
        id=question.id,
        prompt_sha256=question.prompt_sha256,
        question=question.record.question,
        prompt=question.prompt,
        completion=answer.text,
        extracted=verdict.extracted,
        value=value if value is None or math.isfinite(value) else None,  # JSON has no infinity
        target=question.record.target,
        strict=verdict.strict,
        docmath_compat=verdict.docmath_compat,
        sign_from_question=verdict.sign_from_question,
        prompt_tokens=answer.prompt_tokens,
        completion_tokens=answer.completion_tokens,
        seconds=round(answer.seconds, 4),
        finish_reason=answer.finish_reason,
        cut=question.cut,
        answered_by=answer.model,
        reasoning=answer.reasoning,
        unheard=answer.unheard,
    )


def _iterate_answers(
    ask: Ask, questions: Sequence[Question], concurrency: int, stop: threading.Event
) -> Iterator[tuple[Question, Answer]]:
    """Yield answers as they come, `concurrency` requests at once.

    On `stop`, or the first error, nothing new is asked, and then Cancelled or the error is raised. What is under way is paid
    for, and waited for; after `stop` for GRACE_S seconds only: threads that hang are daemons and do not keep the process.
    """
    todo: queue.SimpleQueue[Question] = queue.SimpleQueue()
    done: queue.SimpleQueue[tuple[Question | None, Answer | BaseException | None, threading.Event]] = (
        queue.SimpleQueue()
    )
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
            with contextlib.suppress(queue.Empty):
                question, answer, taken = done.get(timeout=_TICK_S)
                if isinstance(answer, Answer) and question is not None:
                    yield question, answer
                    taken.set()
                else:
                    threads -= 1
                    failure = failure or answer
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


def _answer_in_turn(ask: Ask, todo: queue.SimpleQueue, done: queue.SimpleQueue, halt: threading.Event) -> None:
    """Put (question, answer) for each answer, and at the end (None, error or None): what a thread does.

    It asks nothing new before its answer was taken, and written: a kill costs one answer a thread at most.
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
