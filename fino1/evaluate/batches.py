"""How are questions asked, several at once, so that each answer is written before its place asks the next?

`answer_all` takes coroutines, which cost little; `iterate_answers` threads, for what is more than one request.
"""

import asyncio
import contextlib
import math
import queue
import threading
import time
from collections.abc import Awaitable, Callable, Iterator, Sequence
from typing import Any, TypeVar

from fino1.evaluate.endpoint import Cancelled

GRACE_S = 10.0  # after SIGTERM: time for the requests under way; Kubernetes' default grace period is 30 s
_TICK_S = 0.2

Item, Result = TypeVar("Item"), TypeVar("Result")
_Done = tuple[Item | None, Any, threading.Event]
_Ask = Callable[[Item, threading.Event], Result]


async def answer_all(
    ask: Callable[[Item, threading.Event], Awaitable[Result]],
    questions: Sequence[Item],
    concurrency: int,
    stop: threading.Event,
    keep: Callable[[Item, Result], None],
    keep_up: Callable[[], Awaitable[None]],
) -> None:
    """Ask all questions, `concurrency` at once; `keep` each answer, and `keep_up`, before another question takes its place.

    On `stop`, or the first error, no further question is sent, and then Cancelled or the error is raised. Requests under way
    are paid for, so they are waited for; after `stop` for GRACE_S seconds only.
    """
    halt, todo, failures = threading.Event(), iter(questions), list[Exception]()
    # Of answers that come together the first one's place sends again before the second is kept: else all would wait for the last.
    one_by_one = asyncio.Lock()

    async def answer_in_turn() -> None:
        try:
            while not halt.is_set() and (question := next(todo, None)) is not None:
                answer = await ask(question, halt)
                async with one_by_one:
                    keep(question, answer)
                await keep_up()
        except Cancelled:
            pass
        except Exception as error:  # noqa: BLE001, raised again below
            failures.append(error)
            halt.set()

    left = {asyncio.create_task(answer_in_turn()) for _ in range(min(concurrency, len(questions)))}
    deadline = math.inf
    try:
        while left and time.monotonic() < deadline:
            _, left = await asyncio.wait(left, timeout=_TICK_S)
            if stop.is_set():
                halt.set()
                deadline = min(deadline, time.monotonic() + GRACE_S)
    finally:
        for task in left:
            task.cancel()
        await asyncio.gather(*left, return_exceptions=True)
    if failures:
        raise failures[0]
    if stop.is_set():
        raise Cancelled


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
