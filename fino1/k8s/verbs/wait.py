"""The verb `wait`, and `submit --wait`: when is a run over, and how did it end?"""

import argparse
import math
import shutil
import signal
import sys
import time
from collections.abc import Sequence

from fino1 import exits
from fino1.errors import ClusterError
from fino1.k8s.cluster.client import Api, connect
from fino1.k8s.state.run import Run, latest_runs, summarize
from fino1.k8s.state.status import ReadAccess, with_progress
from fino1.k8s.state.watching import Watched

_LOOK_S = 2.0  # how often the runs and their pods are listed, and the line on a terminal drawn anew
_PLAIN = frozenset({"Running", "Pending", "Succeeded", "Failed"})


def main(arguments: argparse.Namespace) -> int:
    """0 if all is well at the end, else the exit code of the container that failed first."""
    api = connect(arguments.kubeconfig, arguments.context, arguments.namespace)
    return wait_for(api, latest_runs(api, arguments.name), arguments.timeout)


def wait_for(api: Api, runs: Sequence[Run], timeout: float | None = None) -> int:
    """Wait until all of `runs` are over, showing how they stand. Returns the exit code of the first that failed, or 0.

    Raises ClusterError after `timeout` seconds. Ctrl-C ends the waiting, not the run.
    """
    watched, name, said = Watched(api, runs), runs[0].name, ""
    display = _Display(api, watched, name)
    deadline = time.monotonic() + (math.inf if timeout is None else timeout)
    try:
        display.update()
        while not watched.is_settled:
            if time.monotonic() >= deadline:
                raise ClusterError(f"{name}: not over after {timeout:g} s: {_describe(watched)}; it goes on")
            time.sleep(max(min(_LOOK_S, deadline - time.monotonic()), 0))
            watched.look()
            display.update()
        display.update(is_last=True)
        if code := watched.exit_code():
            said = f"exit code {code}: {exits.meaning(code)}; see `fino1-k8s why {name}`"
    except KeyboardInterrupt:
        code = exits.of_signal(signal.SIGINT)
        said = f"{name} goes on; `fino1-k8s wait {name}` waits again, `fino1-k8s cancel {name}` ends it"
    finally:
        display.close()
    if said:
        print(said, file=sys.stderr)
    return code


def _describe(watched: Watched) -> str:
    """Their phases and pods, in a few words."""
    every = watched.standings()
    runs = [each.run for each in every]
    deleted = [run for run in runs if run.full in watched.deleted and not run.is_over]
    words = [summarize(run for run in runs if run not in deleted)]
    if deleted:
        words.append(f"{len(deleted)} Deleted" if len(runs) > 1 else "Deleted")
    if not watched.is_over:
        live = sum(rank.is_running for each in every for rank in each.ranks)
        words.append(f"{live} of {sum(run.expected_pods for run in runs)} pods running")
    waiting = sorted({rank.phase for each in every if not each.run.is_over for rank in each.ranks} - _PLAIN)
    return ", ".join(filter(None, words)) + (f" ({', '.join(waiting)})" if waiting else "")


class _Display:
    """The output: one line that changes on a terminal, a line for each change elsewhere."""

    def __init__(self, api: Api, watched: Watched, name: str) -> None:
        self._api, self._watched, self._name = api, watched, name
        self._is_terminal = sys.stderr.isatty()
        self._progress_s = 5.0 if self._is_terminal else 60.0  # how often logs are asked for progress
        self._state, self._progress, self._read_at = "", "", -math.inf

    def update(self, is_last: bool = False) -> None:
        """Show what has changed."""
        state, progress = _describe(self._watched), self._progress
        is_due = time.monotonic() - self._read_at >= self._progress_s
        if not is_last and (is_due or state != self._state):
            progress = self._read_progress()
        text = f"{self._name}: {state}{progress}"
        if self._is_terminal:
            text = text[: shutil.get_terminal_size().columns - 1]  # a line that wraps could not be drawn anew
            print(f"\r\x1b[K{text}", end="", file=sys.stderr, flush=True)
        elif (state, progress) != (self._state, self._progress):
            print(text, file=sys.stderr, flush=True)
        self._state, self._progress = state, progress

    def _read_progress(self) -> str:
        """The progress of a single run; of several, the sum of phases says it."""
        self._read_at = time.monotonic()
        every = self._watched.standings()
        if len(every) > 1 or not any(rank.is_running for each in every for rank in each.ranks):
            return ""
        furthest = with_progress(self._api, every, ReadAccess())[0].furthest
        return f": {furthest}" if furthest else ""

    def close(self) -> None:
        """Leave the line as it stands."""
        if self._is_terminal and self._state:
            print(file=sys.stderr)
