"""Which errors are reported to the user without a traceback?

    Fino1Error          exit code 1
    ├── SpecError       the user's mistake (run file, data, missing path): exit code 2, never retried
    ├── ToolError       a program we call (helm, a model server) failed
    ├── ClusterError    the Kubernetes API refused or could not be reached
    └── AttemptError    another attempt still runs, or not all nodes connect: exit code 145, tried again

Only the entry points catch these (`guarded`): the message goes to stderr without a traceback. Anything else is a bug and
keeps its traceback.
"""

import os
import signal
import sys
from collections.abc import Callable, Iterable

from fino1 import exits


class Fino1Error(Exception):
    """Base of everything we raise on purpose."""

    exit_code = exits.BUG


class SpecError(Fino1Error):
    """A mistake of the user in a run file, data, a path or an option; holds all problems found, not only the first.

    Each problem is one line `FILE: KEY: expected X, got Y` (for rows of data `FILE:LINE: FIELD: expected X, got Y`).
    """

    exit_code = exits.USER

    def __init__(self, problems: str | Iterable[str]) -> None:
        self.problems = [problems] if isinstance(problems, str) else list(problems)
        super().__init__("\n".join(self.problems))


class ToolError(Fino1Error):
    """A program that we started failed."""


class ClusterError(Fino1Error):
    """The Kubernetes API refused a request or did not answer."""


class AttemptError(Fino1Error):
    """An attempt cannot begin: one before it has not ended, or not all its nodes connect (docs/design.md C12)."""

    exit_code = exits.PEER_LOST


def guarded(verb: Callable[[], int]) -> int:
    """Run an entry point's verb and return its exit code, or that of the error it ended with, whose message goes to stderr."""
    try:
        code = verb()
        sys.stdout.flush()
        return code
    except BrokenPipeError:  # the reader, `head` say, has seen enough
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return exits.of_signal(signal.SIGPIPE)
    except Fino1Error as error:
        print(error, file=sys.stderr)
        return error.exit_code
    except OSError as error:
        if error.errno not in exits.DISK_ERRORS:
            raise
        print(f"{exits.MEANING[exits.DISK]}: {error}", file=sys.stderr)
        return exits.DISK


def first_line(error: Exception) -> str:
    """Return the first line of a library's error, or its type where it has no text."""
    return str(error).strip().partition("\n")[0] or type(error).__name__
