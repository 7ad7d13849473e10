"""How does a process end on a signal or with its parent, and how do slow imports get faster?"""

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


def die_with_parent(number: int = signal.SIGKILL, parent: int | None = None) -> None:
    """Have the kernel send this process signal `number` when its parent dies, however it dies. Does nothing outside Linux.

    `parent` is its process id, where it may have died already. A rank or model server that outlived its launcher would write to
    the same files as the next attempt's.
    """
    if not sys.platform.startswith("linux"):
        return
    parent = parent or os.getppid()
    ctypes.CDLL(None, use_errno=True).prctl(_PR_SET_PDEATHSIG, number)
    if os.getppid() != parent:  # the parent died in between
        os.kill(os.getpid(), number)


@contextlib.contextmanager
def pause_gc() -> Iterator[None]:
    """Pause garbage collection while modules load: they leave no garbage, and collecting takes a sixth of the import of trl."""
    gc.disable()
    try:
        yield
    finally:
        gc.freeze()
        gc.enable()


def leave_on_signals() -> None:
    """Have SIGTERM and SIGINT end this process at once, with 128 + their number.

    That is the default too, except for a container's first process, which ignores them: deleting its pod would take the whole
    grace period.
    """

    def leave(number: int, frame: FrameType | None) -> None:
        os._exit(exits.of_signal(number))  # not sys.exit: that waits for threads, which may wait for DNS

    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, leave)
