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
from fino1.k8s.state import status as standing
from fino1.k8s.state.run import Run, latest_runs, summarize
from fino1.k8s.state.status import Reading
from fino1.k8s.state.watching import Watched

_LOOK_S = 1.0  # how often the line on a terminal is drawn anew
_PROGRESS_S = {True: 5.0, False: 60.0}  # how often logs are asked how far it is: for a terminal, for a file
_PLAIN = frozenset({"Running", "Pending", "Succeeded", "Failed"})


def main(arguments: argparse.Namespace) -> int:
    """Verb `wait`: 0 if all is well at the end, else the exit code of the container that failed first."""
    api = connect(arguments.kubeconfig, arguments.context, arguments.namespace)
    return wait_for(api, latest_runs(api, arguments.name), arguments.timeout)


def wait_for(api: Api, runs: Sequence[Run], timeout: float | None = None) -> int:
    """Wait until all of `runs` are over, showing how they stand. Returns the exit code of the first that failed, or 0.

    Raises ClusterError after `timeout` seconds. Ctrl-C ends the waiting, not the run.
    """
    watched = Watched(api, runs)
    shown = _Shown(api, watched)
    deadline = time.monotonic() + (math.inf if timeout is None else timeout)
    try:
        shown.update()
        while not watched.is_settled:
            if time.monotonic() >= deadline:
                raise ClusterError(f"{runs[0].name}: not over after {timeout:g} s: {shown.state()}; it goes on")
            watched.attend(min(_LOOK_S, deadline - time.monotonic()))
            shown.update()
        shown.update(last=True)
        return shown.verdict(watched.exit_code())
    except KeyboardInterrupt:
        shown.end_line()
        name = runs[0].name
        print(
            f"{name} goes on; `fino1-k8s wait {name}` waits again, `fino1-k8s cancel {name}` ends it", file=sys.stderr
        )
        return exits.of_signal(signal.SIGINT)
    finally:
        shown.end_line()
        watched.close()


class _Shown:
    """What is on the screen: one line that changes on a terminal, a line for each change elsewhere."""

    def __init__(self, api: Api, watched: Watched) -> None:
        self._api, self._watched = api, watched
        self._terminal = sys.stderr.isatty()
        self._before, self._open = "", False
        self._progress, self._asked_at = "", -math.inf

    def state(self) -> str:
        """How do they stand, in a few words?"""
        every = self._watched.standings()
        deleted = sum(run.full in self._watched.deleted and not run.is_over for run in self._watched.runs.values())
        words = summarize(each.run for each in every if each.run.full not in self._watched.deleted or each.run.is_over)
        words = (
            ", ".join(filter(None, (words, f"{deleted} Deleted" if len(every) > 1 else "Deleted")))
            if deleted
            else words
        )
        waiting = sorted({rank.phase for each in every if not each.run.is_over for rank in each.ranks} - _PLAIN)
        live = sum(rank.is_running for each in every for rank in each.ranks)
        pods = f", {live} of {sum(each.run.wanted for each in every)} pods running" if not self._watched.is_over else ""
        return words + pods + (f" ({', '.join(waiting)})" if waiting else "")

    def update(self, last: bool = False) -> None:
        """Show what has changed."""
        state = self.state()
        if state == self._before and time.monotonic() - self._asked_at < _PROGRESS_S[self._terminal] and not last:
            return
        progress = self._progress if last else self._ask()
        if self._terminal:
            self._draw(f"{self._name()}: {state}{progress}")
        elif (state, progress) != (self._before, self._progress):
            print(f"{self._name()}: {state}{progress}", file=sys.stderr, flush=True)
        self._before, self._progress = state, progress

    def _ask(self) -> str:
        """How far is it? Of several runs: the sum of phases says it."""
        every = self._watched.standings()
        if len(every) > 1 or not any(rank.is_running for each in every for rank in each.ranks):
            return ""
        self._asked_at = time.monotonic()
        furthest = standing.with_progress(self._api, every, Reading())[0].furthest
        return f": {furthest}" if furthest else ""

    def verdict(self, code: int) -> int:
        """Say what the code means, if it is one of a failure; returns it."""
        self.end_line()
        if code:
            print(f"exit code {code}: {exits.meaning(code)}; see `fino1-k8s why {self._name()}`", file=sys.stderr)
        return code

    def _name(self) -> str:
        return next(iter(self._watched.runs.values())).name

    def _draw(self, text: str) -> None:
        self._open = True
        text = text[: shutil.get_terminal_size().columns - 1]  # a line that wraps could not be drawn anew
        print(f"\r\x1b[K{text}", end="", file=sys.stderr, flush=True)

    def end_line(self) -> None:
        """Leave the line as it stands."""
        if self._open:
            self._open = False
            print(file=sys.stderr)
