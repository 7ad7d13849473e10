"""`fino1 …` in a process of its own, forked off a server that has the imports: they take two seconds of CPU each time."""

import multiprocessing
import os
import sys

from fino1 import __main__ as entry
from fino1.evaluate import endpoint, main  # noqa: F401, the mains are what is imported beforehand
from fino1.paths import main as paths_main  # noqa: F401

_SERVER = multiprocessing.get_context("forkserver")
_SERVER.set_forkserver_preload(["tests.evaluate.forks"])


class Fork:
    """A process that runs `fino1` with these arguments; it prints into the file `log`."""

    def __init__(self, arguments, environment=None, log=os.devnull, longest_retry_after_s=None):
        self._process = _SERVER.Process(
            target=_run,
            args=([str(each) for each in arguments], environment or {}, str(log), longest_retry_after_s),
            daemon=True,
        )
        self._process.start()

    def send_signal(self, number):
        os.kill(self._process.pid, number)

    def wait(self, seconds):
        """Returns its exit code, -n where signal n ended it."""
        self._process.join(seconds)
        if self._process.exitcode is None:
            self._process.kill()
            raise TimeoutError(f"still running after {seconds} s")
        return self._process.exitcode


def _run(arguments, environment, log, longest_retry_after_s):
    os.environ.update(environment)
    with open(log, "ab") as file:
        os.dup2(file.fileno(), sys.stdout.fileno())
        os.dup2(file.fileno(), sys.stderr.fileno())
    if longest_retry_after_s is not None:  # ten minutes are too long for a test
        endpoint.LONGEST_RETRY_AFTER_S = longest_retry_after_s
    sys.exit(entry.main(arguments))
