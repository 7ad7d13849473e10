"""Publishes an evaluation's leaderboard as its models finish, and ends with the last: publish.py WORK NAME DIRECTORY...

NAME's own page is WORK/reports/NAME; WORK/reports is that of all evaluations, the newest finished run of each model.
"""

import fcntl
import json
import os
import subprocess
import sys
import time
from pathlib import Path

PAUSE_S = 10


def main(work: Path, name: str, directories: "list[str]") -> None:
    """Look again and again, for days: a failed model may be started anew."""
    published: set[str] = set()
    while len(published) < len(directories):
        found = {directory for directory in directories if (work / "runs" / directory / "done.json").is_file()}
        if found > published:
            for directory in sorted(found - published):
                os.utime(work / "runs" / directory / "done.json")  # a change that was reverted is older than this
            publish(work, name, sorted(found), sorted(set(directories) - found))
            published = found
        time.sleep(PAUSE_S * (len(published) < len(directories)))


def publish(work: Path, name: str, finished: "list[str]", missing: "list[str]") -> None:
    """Write both pages. One at a time: who writes the common page last has seen all that finished before."""
    reports = work / "reports"
    reports.mkdir(exist_ok=True)
    with (reports / ".lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        subprocess.run(report(work, reports / name, finished, missing), check=True)
        # Evaluations that cannot stand in one table have no common page; it is said why.
        subprocess.run(report(work, reports, newest(work), missing), check=False)


def report(work: Path, out: Path, runs: "list[str]", missing: "list[str]") -> "list[str]":
    """Return the command that writes a page of these runs and says which are missing."""
    words = [word for run in runs for word in ("--run", run)]
    words += [word for run in missing for word in ("--skipped", f"{run}: not finished")]
    return ["fino1", "report", "--work", str(work), "--out", str(out), *words]


def newest(work: Path) -> "list[str]":
    """Return the directory of the newest finished run of each evaluation and model."""
    found: dict[str, str] = {}
    for done in sorted(work.glob("runs/*/done.json"), key=lambda path: path.stat().st_mtime):
        if json.loads(done.read_text(encoding="utf-8"))["method"] == "eval":
            found[done.parent.name.rpartition("-")[0]] = done.parent.name
    return sorted(found.values())


if __name__ == "__main__":
    main(Path(sys.argv[1]), sys.argv[2], sys.argv[3:])
