"""When is a run over, and how did it end? The verb `wait`, and `submit --wait`."""

import argparse
import math
import queue
import shutil
import signal
import sys
import threading
import time
from collections.abc import Callable, Sequence

from fino1 import exits
from fino1.errors import ClusterError
from fino1.k8s import api as k8s
from fino1.k8s import found, standing, times
from fino1.k8s.api import Api
from fino1.k8s.asked import ApiError
from fino1.k8s.found import Run
from fino1.k8s.pods import Pod, first_failures
from fino1.k8s.standing import Reading, Standing
from fino1.k8s.watch import Change, Watch

_LOOK_S = 1.0  # how often the line on a terminal is drawn anew
_PROGRESS_S = {True: 5.0, False: 60.0}  # how often logs are asked how far it is: for a terminal, for a file
_SETTLE_S = 10.0  # for the last pods' exit codes to come, after the run object has told its end


def wait(arguments: argparse.Namespace) -> int:
    """Verb `wait`: 0 if all is well at the end, else the exit code of the container that failed first."""
    api = k8s.connect(arguments.kubeconfig, arguments.context, arguments.namespace)
    return wait_for(api, found.latest(api, arguments.name), arguments.timeout)


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


class Watched:
    """Run objects and their pods, as they are now. Threads watch them; `attend` takes in what they have seen."""

    def __init__(self, api: Api, runs: Sequence[Run], *, with_pods: bool = True) -> None:
        self.api, self.reading = api, Reading()
        self.runs = {run.full: run for run in runs}
        self.deleted: set[str] = set()
        self._pods: dict[str, Pod] = {}  # by uid; deleted ones too: their exit codes count
        self._gone: set[str] = set()
        self._changes: queue.Queue[tuple[str, Change | Exception]] = queue.Queue()
        self._over_since: float | None = None
        self._watches: list[Watch] = []
        for kind in sorted({run.kind for run in runs}):
            self._take_up(kind)
        if with_pods:
            self._take_up_pods()

    def _take_up(self, kind: str) -> None:
        """Read the run objects again, and watch from there on; one that is gone meanwhile is deleted."""
        selector = standing.selector(list(self.runs.values()))
        listing = self.api.list(found.KINDS[kind], kind, label_selector=selector)
        there = {item["metadata"]["uid"]: item for item in listing.items}
        for full, run in list(self.runs.items()):
            item = there.get(run.object["metadata"]["uid"])
            if item:
                self.runs[full] = Run(item)
            elif run.kind == kind:
                self.deleted.add(full)
        self._spawn(kind, Watch(self.api, found.KINDS[kind], kind, label_selector=selector, start=listing))

    def _take_up_pods(self) -> None:
        selector = standing.selector(list(self.runs.values()))
        listing = self.reading.ask(lambda: self.api.list("v1", "Pod", label_selector=selector), None)
        if listing is not None:
            self._pods = {pod["metadata"]["uid"]: pod for pod in listing.items}
            self._spawn("Pod", Watch(self.api, "v1", "Pod", label_selector=selector, start=listing))

    def _spawn(self, kind: str, watch: Watch) -> None:
        self._watches.append(watch)

        def attend() -> None:
            try:
                for change in watch:
                    self._changes.put((kind, change))
            except Exception as error:
                self._changes.put((kind, error))

        threading.Thread(target=attend, daemon=True).start()

    def close(self) -> None:
        """End the threads."""
        for watch in self._watches:
            watch.close()

    def attend(self, seconds: float) -> None:
        """Take in all changes; wait at most so long for the first. Raises what the server refused."""
        try:
            self._take(*self._changes.get(timeout=max(seconds, 0)))
            while True:
                self._take(*self._changes.get_nowait())
        except queue.Empty:
            return

    def _take(self, kind: str, seen: Change | Exception) -> None:
        if isinstance(seen, Exception):
            if kind != "Pod" or not isinstance(seen, ApiError) or seen.status != 403:
                raise seen
            self.reading.unread.append(str(seen))
            return
        metadata = seen.object["metadata"]
        if kind == "Pod":
            self._pods[metadata["uid"]] = seen.object
            if seen.type == "DELETED":
                self._gone.add(metadata["uid"])
            return
        full = metadata["name"]
        if full in self.runs and self.runs[full].object["metadata"]["uid"] == metadata["uid"]:
            self.runs[full] = Run(seen.object)
            if seen.type == "DELETED":
                self.deleted.add(full)

    @property
    def is_over(self) -> bool:
        """Will none of them go on?"""
        return all(run.is_over or run.full in self.deleted for run in self.runs.values())

    @property
    def is_settled(self) -> bool:
        """Are they over, and do failed ones' pods say why (or do not say it in time)?"""
        if not self.is_over:
            return False
        self._over_since = self._over_since or time.monotonic()
        failed = [each for each in self.standings() if each.run.phase == "Failed" and _is_news(each.run)]
        told = all(first_failures(each.ranks) for each in failed)
        return told or bool(self.reading.unread) or time.monotonic() - self._over_since > _SETTLE_S

    def standings(self) -> list[Standing]:
        """How do they stand now? Once all are over, deleted pods count too: they may say why."""
        pods = [pod for uid, pod in self._pods.items() if self.is_over or uid not in self._gone]
        return standing.standings(self.runs.values(), pods)

    def exit_code(self) -> int:
        """0 if all succeeded, else what the container that failed first ended with; 1 where nobody knows."""
        codes = []
        for each in self.standings():
            if each.run.phase == "Failed":
                failures = first_failures(each.ranks)
                codes.append((failures[0].at, failures[0].code) if failures else (each.run.since, exits.BUG))
            elif each.run.full in self.deleted and not each.run.is_over:
                codes.append((each.run.since, exits.BUG))
        return min(codes)[1] if codes else exits.DONE


def _is_news(run: Run) -> bool:
    """Has it ended so recently that its pods may still have to tell how?"""
    return (times.now() - times.parse(run.since)).total_seconds() < _SETTLE_S


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
        words = found.summary(
            each.run for each in every if each.run.full not in self._watched.deleted or each.run.is_over
        )
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


_PLAIN = frozenset({"Running", "Pending", "Succeeded", "Failed"})


def over(api: Api, runs: Sequence[Run]) -> Callable[[], bool]:
    """A question for `logs.follow`: are all these runs over by now?"""
    watched = Watched(api, runs, with_pods=False)

    def ended() -> bool:
        watched.attend(0)
        if watched.is_over:
            watched.close()
        return watched.is_over

    return ended
