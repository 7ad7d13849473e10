"""How is the progress of a stage shown and logged? (docs/design.md C11)

Shown as a bar on a terminal, elsewhere as a JSON line every few seconds; logged in the stage's `metrics.jsonl`.
"""

import json
import os
import sys
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from tqdm import tqdm

from fino1 import files

INTERVAL_S = 5.0


class Progress:
    """A bar on a terminal, JSON lines elsewhere; silent where `is_shown` is False (ranks other than 0)."""

    def __init__(self, stage: str, total: int, done: int = 0, is_shown: bool = True, **labels: str) -> None:
        self._line = {"event": "progress", "stage": stage, **labels}
        self._total, self._done, self._printed, self._is_shown = total, done, 0.0, is_shown
        bar = is_shown and sys.stderr.isatty()
        text = " ".join(dict.fromkeys([stage, *labels.values()]))  # a run often has its stage's name
        self._bar = tqdm(total=total, initial=done, desc=text, file=sys.stderr, dynamic_ncols=True) if bar else None

    def update(self, done: int, **numbers: float) -> None:
        """Show that `done` of the total are done, with `numbers` beside it."""
        if not self._is_shown:
            return
        if self._bar is not None:
            self._bar.set_postfix({key: f"{value:.3g}" for key, value in numbers.items()}, refresh=False)
            self._bar.update(done - self._done)
        elif done == self._total or time.monotonic() - self._printed >= INTERVAL_S:
            self._printed = time.monotonic()
            print(json.dumps({**self._line, "done": done, "total": self._total, **numbers}), flush=True)
        self._done = done

    def close(self) -> None:
        """Leave the bar as it stands."""
        if self._bar is not None:
            self._bar.close()


class Metrics:
    """A stage's `metrics.jsonl`, or another of JSON lines, each with the number of its step under `key`.

    An attempt that resumes from a checkpoint drops the lines after it: those steps are done again.
    """

    def __init__(self, path: Path, key: str, resumed_at: int) -> None:
        self._path = path
        lines = path.read_bytes().splitlines(keepends=True) if path.exists() else []
        kept = [line for line in lines if line.endswith(b"\n") and json.loads(line)[key] <= resumed_at]
        if kept != lines:
            files.write_bytes(path, b"".join(kept))

    def write(self, numbers: Mapping[str, Any]) -> None:
        """Append one line."""
        with self._path.open("a", encoding="utf-8") as file:
            file.write(json.dumps(dict(numbers), ensure_ascii=False) + "\n")
            file.flush()
            os.fsync(file.fileno())  # a checkpoint must not outlive the lines of the steps before it
