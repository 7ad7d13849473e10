import asyncio
import signal
import threading
import time

import pytest

from fino1.evaluate import loop


def test_threads_that_ask_at_once_share_one_loop():
    loop._start_once.cache_clear()
    found, together = [], threading.Barrier(8)

    async def see():
        found.append(asyncio.get_running_loop())

    def ask():
        together.wait()
        loop.wait(see())

    threads = [threading.Thread(target=ask) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(10)
    assert (len(found), len(set(found))) == (8, 1)


def test_a_wait_that_is_interrupted_ends_what_it_waited_for():
    ended, main = [], threading.main_thread().ident

    async def ask():
        try:
            await asyncio.sleep(0.2)  # the other thread waits by now
            signal.pthread_kill(main, signal.SIGINT)
            await asyncio.sleep(60)
        finally:
            await asyncio.sleep(0.05)  # as what must still be written takes a while
            ended.append(True)

    before = signal.signal(signal.SIGINT, signal.default_int_handler)  # a job in the background ignores it
    try:
        with pytest.raises(KeyboardInterrupt):
            loop.wait(ask())
    finally:
        signal.signal(signal.SIGINT, before)
    assert ended == [True]


def test_a_pause_ends_with_the_event():
    halt, started = threading.Event(), time.monotonic()
    threading.Timer(0.05, halt.set).start()
    assert loop.wait(loop.pause(30, halt)) is True
    assert time.monotonic() - started < 5
    assert loop.wait(loop.pause(0.01, threading.Event())) is False
