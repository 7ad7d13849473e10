"""How are background processes recorded, recognised later, and ended, so that no stranger's process is ever hit?

As a program, `python processes.py PARENT PROGRAM ARGUMENT...` becomes PROGRAM, which dies when the process PARENT does.
Linux only: it reads /proc.
"""

import contextlib
import ctypes
import os
import signal
import subprocess
import sys
import time
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

_PR_SET_PDEATHSIG = 1  # linux/prctl.h
# The kernel takes the thread that started a process for its parent. So that a server started in a test's short thread
# does not end with that thread, one thread that lives as long as we do starts them all.
_starter = ThreadPoolExecutor(max_workers=1, thread_name_prefix="starter")


@dataclass(frozen=True)
class Process:
    """A process and when it began (clock ticks since boot): a recycled pid began at another time."""

    pid: int
    began: int

    @classmethod
    def of(cls, pid: int) -> "Process":
        """Which process is `pid` now?"""
        stat = _stat(pid)
        assert stat, f"process {pid} is gone"
        return cls(pid, stat[1])

    def alive(self) -> bool:
        """Does it still run? Reaps it if it is our child."""
        stat = _stat(self.pid)
        if stat is None or stat[1] != self.began:
            return False
        with contextlib.suppress(ChildProcessError):
            os.waitpid(self.pid, os.WNOHANG)
        return stat[0] not in "ZX" or stat[2] > 1  # a dead first thread while others still hold the port

    def end(self, number: int = signal.SIGTERM, grace_s: float = 15) -> None:
        """End it and wait until it is gone; SIGKILL after `grace_s` seconds."""
        for each in (number, signal.SIGKILL):
            deadline = time.monotonic() + grace_s
            if self.alive():
                with contextlib.suppress(ProcessLookupError):
                    os.kill(self.pid, each)
            while self.alive() and time.monotonic() < deadline:
                time.sleep(0.02)


def start(command: list[str], log: Path, die_with_parent: bool) -> Process:
    """Start a program in its own session, its output in `log`."""
    if die_with_parent:
        command = [sys.executable, "-I", __file__, str(os.getpid()), *command]
    return _starter.submit(_start, command, log).result()


def _start(command: list[str], log: Path) -> Process:
    with log.open("ab") as output:
        null = subprocess.DEVNULL
        child = subprocess.Popen(command, stdin=null, stdout=output, stderr=output, start_new_session=True)
    child.returncode = 0  # `alive` reaps it; without this Popen would warn that it still runs
    return Process.of(child.pid)


def _stat(pid: int) -> tuple[str, int, int] | None:
    """State letter, start time and number of threads of a process, from proc(5); None where there is none."""
    try:
        text = Path(f"/proc/{pid}/stat").read_text()
    except (FileNotFoundError, ProcessLookupError):
        return None
    fields = text.rpartition(")")[2].split()  # after the name, which may hold anything
    return fields[0], int(fields[19]), int(fields[17])


def main() -> None:
    """Become the program. As fino1.processes.die_with_parent, for pythons without fino1, and without preexec_fn."""
    parent, *command = sys.argv[1:]
    ctypes.CDLL(None, use_errno=True).prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)
    if os.getppid() != int(parent):  # it died in between
        sys.exit(1)
    os.execv(command[0], command)


if __name__ == "__main__":
    main()
