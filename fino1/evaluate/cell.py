"""What does one (model, task) cell hold, and what is left of it? (DESIGN C6, C10)

<work>/cells/<key>/samples.jsonl   a line a sample, as they come; in the order of the rows once finished (samples.py)
<work>/cells/<key>/cell.json       appears at the end; a cell that has it is never run again
"""

import contextlib
import json
import math
import os
import queue
import threading
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from fino1 import files
from fino1.evaluate import samples as samples_on_disk
from fino1.evaluate.budget import Tariff
from fino1.evaluate.endpoint import Answer, Cancelled
from fino1.evaluate.models import Source
from fino1.evaluate.questions import Question
from fino1.evaluate.samples import WHOLE, Sample, Shard
from fino1.progress import Progress
from fino1.tasks.record import Task

GRACE_S = 10.0  # after SIGTERM: time for the requests under way; Kubernetes' default grace period is 30 s
_TICK_S = 0.2

Ask = Callable[[Question, threading.Event], Answer]


@dataclass(frozen=True)
class Cell:
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
        """What do its questions cost?"""
        return Tariff(self.source.price, self.settings["max_tokens"])

    def answered(self, shard: Shard = WHOLE) -> list[Sample]:
        """Which samples of a shard are on disk?"""
        if not self.questions:
            return list(shard.of(samples_on_disk.read_all(self.directory / WHOLE.file)))
        done = samples_on_disk.load(self.directory, self.questions)
        return [done[question.id] for question in shard.of(self.questions) if question.id in done]

    def remaining(self, shard: Shard = WHOLE) -> list[Question]:
        """Which questions of a shard have no sample on disk?"""
        done = samples_on_disk.load(self.directory, self.questions)
        return [question for question in shard.of(self.questions) if question.id not in done]


def finished(directory: Path) -> dict[str, Any] | None:
    """What does `cell.json` say? None for a cell that is not finished."""
    try:
        about = json.loads((directory / "cell.json").read_text(encoding="utf-8"))
    except (FileNotFoundError, ValueError):
        return None
    if not (directory / "samples.jsonl").is_file():
        return None
    return about if about.get("finished") is True and about.get("key") == directory.name else None


def run(cell: Cell, ask: Ask, concurrency: int, stop: threading.Event, shard: Shard = WHOLE) -> dict[str, Any] | None:
    """Ask what is left of a shard, and finish the cell where that was the last; returns what `cell.json` says, if it is there.

    Whatever ends it early (Cancelled on `stop`, the errors of `ask`), the samples that came are on disk.
    """
    cell.directory.mkdir(parents=True, exist_ok=True)
    with samples_on_disk.lock(cell.directory, shard, stop):
        about = finished(cell.directory)
        if about is not None:
            return about
        _ask_left(cell, ask, concurrency, stop, shard)
        # Only now, with our own samples on disk: of two shards that end together one at least sees all.
        samples = samples_on_disk.load(cell.directory, cell.questions)
        if len(samples) < len(cell.questions):
            return finished(cell.directory)
        return _finish(cell, samples)


def _ask_left(cell: Cell, ask: Ask, concurrency: int, stop: threading.Event, shard: Shard) -> None:
    path = cell.directory / shard.file
    samples_on_disk.tidy(path, cell.questions)
    left = cell.remaining(shard)
    if not left:
        return
    total = len(shard.of(cell.questions))
    with path.open("ab") as file, contextlib.closing(_progress(cell, shard, total, total - len(left))) as progress:
        for done, (question, answer) in enumerate(_answers(ask, left, concurrency, stop), total - len(left) + 1):
            file.write(samples_on_disk.line(_sample(cell.task, question, answer)))
            file.flush()
            os.fsync(file.fileno())
            progress.update(done)


def summary(samples: Sequence[Sample]) -> dict[str, Any]:
    """What came out? k counts answers that are strictly right and complete (C8).

    `docmath_compat` counts as its evaluator does, truncated or not; `seconds` is the sum over requests, which overlap.
    """
    truncated = [sample["finish_reason"] == "length" for sample in samples]
    return {
        "n": len(samples),
        "k": sum(s["strict"] is True and not t for s, t in zip(samples, truncated, strict=True)),
        "unparsed": sum(s["strict"] is None for s in samples),
        "truncated": sum(truncated),
        "cut": sum(s["cut"] for s in samples),
        "docmath_compat": sum(s["docmath_compat"] is True for s in samples),
        "prompt_tokens": sum(s["prompt_tokens"] or 0 for s in samples),
        "completion_tokens": sum(s["completion_tokens"] or 0 for s in samples),
        "seconds": round(math.fsum(s["seconds"] for s in samples), 3),
    }


def _progress(cell: Cell, shard: Shard, total: int, done: int) -> Progress:
    labels = {} if shard.count == 1 else {"shard": f"{shard.index + 1}/{shard.count}"}
    return Progress("evaluate", total, done, model=cell.source.name, task=cell.task.name, **labels)


def _finish(cell: Cell, found: Mapping[str, Sample]) -> dict[str, Any]:
    samples_on_disk.write(cell.directory / WHOLE.file, cell.questions, found)
    samples = [found[question.id] for question in cell.questions]
    about = {
        "key": cell.key,
        "model": cell.source.name,
        "task": cell.task.name,
        "settings": cell.settings,
        "provenance": cell.provenance
        | {"answered_by": sorted({s["answered_by"] for s in samples if s["answered_by"]})},
        "summary": summary(samples),
        "cost": cell.tariff.of_samples(samples).about(is_priced=cell.source.price is not None),
        "finished": True,
    }
    files.write_json(cell.directory / "cell.json", about)
    samples_on_disk.drop_parts(cell.directory)
    return about


def _sample(task: Task, question: Question, answer: Answer) -> Sample:
    verdict = task.score(answer.text, question.record.question, question.record.target)
    value = verdict.value
    sample = {
        "id": question.id,
        "prompt_sha256": question.prompt_sha256,
        "question": question.record.question,
        "prompt": question.prompt,
        "completion": answer.text,
        "extracted": verdict.extracted,
        "value": value if value is None or math.isfinite(value) else None,  # JSON has no infinity
        "target": question.record.target,
        "strict": verdict.strict,
        "docmath_compat": verdict.docmath_compat,
        "sign_from_question": verdict.sign_from_question,
        "prompt_tokens": answer.prompt_tokens,
        "completion_tokens": answer.completion_tokens,
        "seconds": round(answer.seconds, 4),
        "finish_reason": answer.finish_reason,
        "cut": question.cut,
        "answered_by": answer.model,
    }
    sample |= {} if answer.reasoning is None else {"reasoning": answer.reasoning}
    return sample | ({"unheard": answer.unheard} if answer.unheard else {})


def _answers(
    ask: Ask, questions: Sequence[Question], concurrency: int, stop: threading.Event
) -> Iterator[tuple[Question, Answer]]:
    """Yields answers as they come, `concurrency` requests at once.

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
        threading.Thread(target=_worker, args=(ask, todo, done, halt), daemon=True).start()
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


def _worker(ask: Ask, todo: queue.SimpleQueue, done: queue.SimpleQueue, halt: threading.Event) -> None:
    """Puts (question, answer) for each answer, and at its end (None, error or None).

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
