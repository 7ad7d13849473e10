"""How are questions asked, several at once, and when is an answer kept: before another question takes its place, or soon after?

`answer_all` takes coroutines, which cost little; `iterate_answers` threads, for what is more than one request.
"""

import asyncio
import contextlib
import math
import queue
import threading
import time
from collections import deque
from collections.abc import Awaitable, Callable, Iterator, Sequence
from typing import Any, Generic, TypeVar

from fino1.evaluate.endpoint import Cancelled

GRACE_S = 10.0  # after SIGTERM: time for the requests under way; Kubernetes' default grace period is 30 s
_TICK_S = 0.2
_STEPS_OF_A_REQUEST = 2  # of the event loop, from an answer to the next request on its connection
_KEPT_AT_ONCE = 4  # in a row they take less time each

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
    most_unkept: int = 0,
) -> None:
    """Ask all questions, `concurrency` at once. An answer is kept before another question takes its place, or once no more than
    `most_unkept` are waiting for that; then `keep_up` is waited for.

    On `stop`, or the first error, no further question is sent, and then Cancelled or the error is raised. Requests under way
    are paid for, so they are waited for; after `stop` for GRACE_S seconds only. Every answer that came is kept.
    """
    halt, todo, failures = threading.Event(), iter(questions), list[Exception]()
    answers = _Answers(keep, most_unkept)

    async def answer_in_turn() -> None:
        while not (halt.is_set() or stop.is_set()) and (question := next(todo, None)) is not None:
            await answers.add(question, await ask(question, halt))
            await keep_up()

    works = [answers.keep_all(), *(answer_in_turn() for _ in range(min(concurrency, len(questions))))]
    keeping, *asking = [asyncio.create_task(_watch(work, failures, halt)) for work in works]
    try:
        await _wait_for_all(asking, stop, halt)
    finally:
        for task in (*asking, keeping):
            task.cancel()
        await asyncio.gather(*asking, keeping, return_exceptions=True)
        try:
            answers.keep_rest()
        except Exception as error:  # noqa: BLE001
            failures.append(error)
    if failures:
        raise failures[0]
    if stop.is_set():
        raise Cancelled


async def _watch(work: Awaitable[None], failures: list[Exception], halt: threading.Event) -> None:
    """Do the work; what it raises is added to `failures` and sets `halt`."""
    try:
        await work
    except Cancelled:
        pass
    except Exception as error:  # noqa: BLE001, raised again by `answer_all`
        failures.append(error)
        halt.set()


async def _wait_for_all(tasks: Sequence[asyncio.Task[None]], stop: threading.Event, halt: threading.Event) -> None:
    """Wait until the tasks are done; after `stop`, which sets `halt`, for GRACE_S seconds only."""
    left, deadline = set(tasks), math.inf
    while left and time.monotonic() < deadline:
        _, left = await asyncio.wait(left, timeout=_TICK_S)
        if stop.is_set():
            halt.set()
            deadline = min(deadline, time.monotonic() + GRACE_S)


class _Answers(Generic[Item, Result]):
    """Answers that came, on their way to be kept: a few at a time, after the requests that are ready to be sent."""

    def __init__(self, keep: Callable[[Item, Result], None], most_unkept: int) -> None:
        self._keep, self._most = keep, most_unkept
        self._left: deque[tuple[Item, Result]] = deque()
        self._came = self._kept = 0
        self._some, self._next = asyncio.Event(), asyncio.Event()
        self._is_ended = False

    async def add(self, question: Item, answer: Result) -> None:
        """Add an answer; returns once no more than `most_unkept` of those so far are not kept."""
        self._left.append((question, answer))
        self._came += 1
        mine = self._came
        self._some.set()
        while self._kept < mine - self._most and not self._is_ended:
            await self._next.wait()

    async def keep_all(self) -> None:
        """Keep what comes, without end."""
        try:
            while True:
                await self._some.wait()
                for _ in range(_STEPS_OF_A_REQUEST):
                    await asyncio.sleep(0)
                for _ in range(min(_KEPT_AT_ONCE, len(self._left))):
                    self._keep_next()
                if not self._left:
                    self._some.clear()
                self._wake()
        finally:
            self._is_ended = True
            self._wake()

    def keep_rest(self) -> None:
        """Keep what is left."""
        while self._left:
            self._keep_next()

    def _keep_next(self) -> None:
        self._keep(*self._left.popleft())
        self._kept += 1

    def _wake(self) -> None:
        woken, self._next = self._next, asyncio.Event()
        woken.set()


def iterate_answers(
    ask: _Ask[Item, Result], questions: Sequence[Item], concurrency: int, stop: threading.Event
) -> Iterator[tuple[Item, Result]]:
    """Yield answers as they come, `concurrency` requests at once.

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
        while threads and (time.monotonic() < deadline or not done.empty()):
            with contextlib.suppress(queue.Empty):
                question, answer, taken = done.get(timeout=_TICK_S)
                if question is None:
                    threads -= 1
                    failure = failure or answer
                else:
                    yield question, answer
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
