"""How is the report on runs in a work directory written and shown? By `fino1 report`, as a process of its own."""

import subprocess
import sys
from collections.abc import Iterable
from pathlib import Path

from fino1 import exits


def write(work: Path, directories: Iterable[str], *options: str) -> int:
    """Write WORK/report on the runs in these directories; print leaderboard and path. Returns `fino1 report`'s exit code."""
    out = work / "report"
    runs = [part for directory in directories for part in ("--run", directory)]
    command = [sys.executable, "-m", "fino1", "report", "--work", str(work), "--out", str(out), *options, *runs]
    code = subprocess.run(command).returncode
    if code == exits.DONE:
        print(f"{(out / 'leaderboard.md').read_text()}\nreport: {out / 'index.html'}")
    return code
