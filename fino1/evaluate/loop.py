"""Where do requests run? On one event loop for the whole process, in a thread of its own; any other thread may wait for them.

Threads that each wait for an answer of their own hold each other up: at a thousand requests a second most of a request's time
was spent on handing the interpreter from one thread to the next.
"""

import asyncio
import functools
import os
import threading
from collections.abc import Coroutine
from typing import Any, TypeVar

_TICK_S = 0.1  # between two looks at an event that another thread sets
_SIGNAL_S = 0.5  # between two looks whether the main thread, which handles signals, slept through one
_END_S = 5.0  # for what a cancelled coroutine has left to do

Result = TypeVar("Result")


def wait(coroutine: Coroutine[Any, Any, Result]) -> Result:
    """Run a coroutine on the loop; returns and raises what it does. Where this thread is interrupted, the coroutine is ended."""
    ended = threading.Event()

    async def run() -> Result:
        try:
            return await coroutine
        finally:
            ended.set()

    future = asyncio.run_coroutine_threadsafe(run(), _start())
    try:
        while not (ended.wait(_SIGNAL_S) or future.done()):
            pass
        return future.result()
    except BaseException:
        if future.cancel():
            ended.wait(_END_S)
        raise


async def pause(seconds: float, halt: threading.Event) -> bool:
    """Sleep; returns at once when `halt` is set, and whether it is."""
    loop = asyncio.get_running_loop()
    end = loop.time() + seconds
    while not halt.is_set() and (left := end - loop.time()) > 0:
        await asyncio.sleep(min(left, _TICK_S))
    return halt.is_set()


def _start() -> asyncio.AbstractEventLoop:
    with _STARTING:
        return _start_once()


@functools.cache
def _start_once() -> asyncio.AbstractEventLoop:
    loop = asyncio.new_event_loop()
    threading.Thread(target=loop.run_forever, name="requests", daemon=True).start()
    return loop


_STARTING = threading.Lock()  # `cache` alone lets two threads start a loop each
os.register_at_fork(after_in_child=_start_once.cache_clear)  # the thread stays with the parent
