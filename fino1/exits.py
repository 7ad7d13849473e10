"""What does an exit code mean? (docs/design.md C5; this is the one table)

0 done · 2 the user's mistake, never retried · 74 the disk, not retried, checkpoints intact · other 1–127 a bug, not
retried · ≥ 128 try again. Pod failure policies, JobSet rules and the local backend's restarts all follow from here.
"""

import errno
import os

DONE = 0
BUG = 1
USER = 2
DISK = 74  # EX_IOERR of sysexits.h: full, read-only or unreadable
KILLED = 137  # 128 + SIGKILL
TERMINATED = 143  # 128 + SIGTERM, after a checkpoint was written
PEER_LOST = 145  # another rank is gone: end within a minute and start again together
ENDPOINT_LOST = 146  # a model server, endpoint or store did not answer (128 + SIGCONT, which ends no process)

MEANING = {
    DONE: "done",
    BUG: "a bug: not retried",
    USER: "the user's mistake (run file, data, missing path): not retried",
    DISK: "the disk is full, read-only or unreadable: not retried, checkpoints are intact",
    KILLED: "killed (SIGKILL, out of memory): tried again",
    TERMINATED: "terminated (SIGTERM) with a checkpoint written: tried again",
    PEER_LOST: "another rank was lost: tried again",
    ENDPOINT_LOST: "an endpoint, model server or store did not answer: tried again",
}

DISK_ERRORS = frozenset({errno.ENOSPC, errno.EDQUOT, errno.EROFS, errno.EIO})
"""The errnos of an OSError that DISK reports."""

# torch.save's errors on a full disk: it finds itself at another position than it should be at.
_DISK_TEXTS = {os.strerror(number) for number in DISK_ERRORS} | {
    "PytorchStreamWriter failed writing",
    "unexpected pos ",
}


def of_signal(number: int) -> int:
    """Return the exit code of a process that signal `number` ended: 128 + number, as in shells and Kubernetes."""
    return 128 + number


def is_retryable(code: int) -> bool:
    """True where a run that ended with `code` is started again; PyTorchJob's `restartPolicy: ExitCode` draws the same line."""
    return code >= 128


def meaning(code: int) -> str:
    """Return what `code` means, in words."""
    if code in MEANING:
        return MEANING[code]
    return f"ended by signal {code - 128}: tried again" if is_retryable(code) else MEANING[BUG]


def is_disk_error(error: BaseException) -> bool:
    """True where the disk is to blame (full, read-only, unreadable). Libraries wrap it: causes and texts are looked at too."""
    seen: BaseException | None = error
    while seen is not None:
        if isinstance(seen, OSError) and seen.errno in DISK_ERRORS:
            return True
        if any(text in str(seen) for text in _DISK_TEXTS):
            return True
        seen = seen.__cause__ or seen.__context__
    return False


FATAL = [code for code in range(1, 256) if not is_retryable(code)]
"""The codes after which nothing is started again, as a podFailurePolicy lists them."""
