"""How do processes end when they are asked to, and those that we start with us?"""

import contextlib
import ctypes
import gc
import os
import signal
import sys
from collections.abc import Iterator
from types import FrameType

from fino1 import exits

_PR_SET_PDEATHSIG = 1  # linux/prctl.h


def die_with_parent(number: int = signal.SIGKILL) -> None:
    """Have the kernel send this process signal `number` when its parent dies, however it dies (Linux; elsewhere nothing).

    A rank or model server that outlived its launcher would write beside the next attempt's.
    """
    if not sys.platform.startswith("linux"):
        return
    parent = os.getppid()
    ctypes.CDLL(None, use_errno=True).prctl(_PR_SET_PDEATHSIG, number)
    if os.getppid() != parent:  # it died in between
        os.kill(os.getpid(), number)


@contextlib.contextmanager
def loading_modules() -> Iterator[None]:
    """Look for no garbage while modules load: they leave none, and looking takes a sixth of the time that trl's need."""
    gc.disable()
    try:
        yield
    finally:
        gc.freeze()
        gc.enable()


def leave_on_signals() -> None:
    """Have SIGTERM and SIGINT end this process at once, with 128 + their number.

    By default they do too, but not a container's first process: it would outlive its deletion by the whole grace period.
    """

    def leave(number: int, frame: FrameType | None) -> None:
        os._exit(exits.of_signal(number))  # not sys.exit: that waits for threads, which may wait for DNS

    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, leave)
