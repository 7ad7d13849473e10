"""Does the run still make progress? (docs/design.md C5)

A Job, a JobSet and a TrainJob count their restarts and give up. A PyTorchJob whose pods start again by exit code does not:
training-operator counts restarts of containers (1.9.3, and each of its pods is new; measured: 77 pods in 4 minutes with
`backoffLimit: 1`). A run that dies at the same step each time would start for ever, so its attempts count themselves.
"""

import json
from pathlib import Path

from fino1 import exits, files
from fino1.errors import ToolError


class Attempts:
    """The attempts in a run's directory that have come no further than its newest checkpoint."""

    def __init__(self, directory: Path, limit: int) -> None:
        self._file, self._checkpoints, self._limit = directory / "attempts.json", directory / "checkpoints", limit
        self._step, self._count = 0, 0

    def begin(self) -> None:
        """Count this one. Raises ToolError, which ends the run for good, where `limit` restarts have brought no checkpoint.

        The next begins to count anew: somebody has looked at it.
        """
        self._step = max((int(path.name.removeprefix("step-")) for path in self._checkpoints.glob("step-*")), default=0)
        there = json.loads(self._file.read_text()) if self._file.exists() else {"step": 0, "count": 0}
        self._count = there["count"] if there["step"] == self._step else 0
        if self._count > self._limit:
            self._file.unlink()
            raise ToolError(
                f"{self._file.parent}: expected a checkpoint after step {self._step} in {self._count} attempts "
                f"(backoffLimit {self._limit}), got none: giving up; `fino1-k8s logs` has how they ended"
            )
        self._write(self._count + 1)

    def end(self, code: int) -> None:
        """Record with which code it ended: one that was asked to end does not count."""
        if code == exits.DONE:
            self._file.unlink()
        elif code == exits.TERMINATED:
            self._write(self._count)

    def _write(self, count: int) -> None:
        files.write_json(self._file, {"step": self._step, "count": count})
