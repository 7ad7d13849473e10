"""How is a running pod killed, and what becomes of its run? For tests that kill on this machine (cgroup v1, root).

A way to kill is a function of (shell, pod, container). The run's pods and what they ended with are known from a watch: a
PyTorchJob's failed pod is deleted at once, and whoever asks later finds nothing.
"""

import contextlib
import json
import os
import random
import re
import signal
import subprocess
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from tests.cluster.tools import machine, programs
from tests.e2e.shell import Shell

Pod = dict[str, Any]
Way = Callable[[Shell, Pod, str], None]

LONG_S = 600  # where a pod starts beside those of others; 15 on an idle machine


def delete(shell: Shell, pod: Pod, container: str) -> None:
    """As whoever wants the pod elsewhere: SIGTERM, and time for a checkpoint."""
    shell.kubectl("delete", "pod", pod["metadata"]["name"], "--wait=false")


def delete_by_force(shell: Shell, pod: Pod, container: str) -> None:
    """As whoever has lost patience: the object goes at once, the processes moments later."""
    shell.kubectl("delete", "pod", pod["metadata"]["name"], "--grace-period=0", "--force", "--wait=false")


def evict(shell: Shell, pod: Pod, container: str) -> None:
    """As `kubectl drain` does."""
    namespace, name = pod["metadata"]["namespace"], pod["metadata"]["name"]
    eviction = {"apiVersion": "policy/v1", "kind": "Eviction", "metadata": {"name": name, "namespace": namespace}}
    path = f"/api/v1/namespaces/{namespace}/pods/{name}/eviction"
    shell.kubectl("create", "--raw", path, "-f", "-", stdin=json.dumps(eviction))


def kill_first(shell: Shell, pod: Pod, container: str) -> None:
    """SIGKILL of the container's process 1."""
    (first,) = _first(pod, container)
    os.kill(first, signal.SIGKILL)


def kill_rank(shell: Shell, pod: Pod, container: str) -> None:
    """SIGKILL of the process that trains; the launcher, whose child it is, stays."""

    def ranks() -> list[int]:
        return [int(pid) for first in _first(pod, container) for pid in _read(first, f"task/{first}/children").split()]

    (rank,) = shell.until("a rank has started", ranks)
    os.kill(rank, signal.SIGKILL)


def exhaust_memory(shell: Shell, pod: Pod, container: str) -> None:
    """Lower the container's limit to what it holds, until the kernel's OOM killer strikes."""
    group = _group("memory", pod, container)

    def struck() -> bool:
        try:
            held = int((group / "memory.usage_in_bytes").read_text())
            with contextlib.suppress(OSError):  # EBUSY: less than cannot be taken back
                (group / "memory.limit_in_bytes").write_text(str(held - 2**20))
            return "oom_kill 0" not in (group / "memory.oom_control").read_text()
        except FileNotFoundError:  # the whole container has ended of it
            return True

    shell.until("the OOM killer strikes", struck)


def press_memory(shell: Shell, pod: Pod, container: str) -> None:
    """Have the kubelet find the node short of memory until it evicts a pod; it takes the least important first.

    For this it starts again: pods go on meanwhile. New pods wait.
    """
    node, usual = shell.node, shell.node.eviction_hard

    def evicted() -> bool:
        running = [each for each in shell.get("pods")["items"] if each["status"]["phase"] == "Running"]
        return pod["metadata"]["uid"] not in [each["metadata"]["uid"] for each in running]

    node.stop_kubelet()
    node.eviction_hard = usual | {"memory.available": "99%"}
    node.start_kubelet()
    try:
        shell.until("the kubelet evicts", evicted)  # and has said so
    finally:
        node.stop_kubelet()
        node.eviction_hard = usual
        node.start_kubelet()


def processes(pod: Pod, container: str) -> list[int]:
    """Which processes has the container, as this machine numbers them? None once it has ended."""
    with contextlib.suppress(FileNotFoundError):
        return [int(pid) for pid in (_group("pids", pod, container) / "cgroup.procs").read_text().split()]
    return []


def _first(pod: Pod, container: str) -> list[int]:
    """The container's process 1, while there is one."""
    return [pid for pid in processes(pod, container) if re.search(rb"(?m)^NSpid:.*\s1$", _read(pid, "status"))]


def status(pod: Pod, container: str) -> dict[str, Any]:
    """What does the pod say of its container? Nothing before it was created."""
    known = [*pod["status"].get("initContainerStatuses", []), *pod["status"].get("containerStatuses", [])]
    return next((each for each in known if each["name"] == container), {})


def _group(controller: str, pod: Pod, container: str) -> Path:
    number = status(pod, container)["containerID"].removeprefix("containerd://")
    place = f"pod{pod['metadata']['uid']}/{number}"
    groups = machine.CGROUPS / controller / machine.PODS
    return next((path for path in groups.glob(f"*/{place}")), groups / place)


def _read(pid: int, file: str) -> bytes:
    """What does the kernel say of a process? Nothing of one that has ended."""
    with contextlib.suppress(FileNotFoundError, ProcessLookupError):
        return Path(f"/proc/{pid}/{file}").read_bytes()
    return b""


class Witness:
    """All that the API server told of a namespace's pods since this began."""

    def __init__(self, shell: Shell, file: Path) -> None:
        self._file = file
        command = [programs.kubectl(), f"--kubeconfig={shell.node.kubeconfig}", "-n", shell.namespace]
        with file.open("wb") as out:
            self._watch = subprocess.Popen([*command, "get", "pods", "--watch", "-o", "json"], stdout=out)

    def close(self) -> None:
        """Look no longer."""
        self._watch.terminate()
        self._watch.wait()

    def told(self, run: str) -> Iterator[Pod]:
        """The pods of a run object, in all states that they were in, oldest first."""
        assert self._watch.poll() is None, "the watch has ended"
        text, place = self._file.read_text(), 0
        while place < len(text):
            try:
                pod, place = json.JSONDecoder().raw_decode(text, place)
            except ValueError:  # its end is not written yet
                return
            place += 1  # the line's end
            if pod["metadata"]["labels"].get("fino1/run") == run:
                yield pod

    def running(self, run: str, container: str) -> list[Pod]:
        """The run's pods whose container runs and that nobody has deleted."""
        newest = {pod["metadata"]["uid"]: pod for pod in self.told(run)}
        return [
            pod
            for pod in newest.values()
            if "running" in status(pod, container).get("state", {}) and "deletionTimestamp" not in pod["metadata"]
        ]

    def started(self, run: str, container: str) -> set[str]:
        """Which containers of this name has the run started?"""
        return {status(pod, container).get("containerID") for pod in self.told(run)} - {None, ""}

    def end(self, run: str, container: str, number: str) -> str:
        """With which code did a container end, and what is said of the reason? `?` where its pod vanished before."""
        code, reasons = "?", []
        for pod in self.told(run):
            for key in ("state", "lastState"):
                ended = status(pod, container).get(key, {}).get("terminated", {})
                if ended.get("containerID") == number:
                    code = str(ended["exitCode"])
                    reasons += [ended.get("reason", "")]
            if status(pod, container).get("containerID") == number:
                conditions = pod["status"].get("conditions", [])
                reasons += [pod["status"].get("reason", "")]
                reasons += [each.get("reason", "") for each in conditions if each["type"] == "DisruptionTarget"]
        return " ".join([code, *dict.fromkeys(reason for reason in reasons if reason not in ("", "Error"))])


@dataclass
class Kill:
    """One kill: after how many lines of results, of what, how, what was seen of it, seconds until more came.

    `same`: did the run then make what the undisturbed one made?
    """

    line: int
    container: str
    way: str
    end: str
    restarts: int
    seconds: float
    same: bool | None = None


@dataclass
class Ordeal:
    """A run that is killed again and again. `file` is where its results come line by line: a pattern below the volume."""

    shell: Shell
    witness: Witness
    run: str
    main: str
    file: str
    kills: list[Kill] = field(default_factory=list)

    @property
    def lines(self) -> int:
        """How many lines of results are there?"""
        return sum(path.read_bytes().count(b"\n") for path in self.shell.work.glob(self.file))

    @property
    def restarts(self) -> int:
        """How often did the main container start again?"""
        return len(self.witness.started(self.run, self.main)) - 1

    def kill(self, way: Way, line: int, container: str = "", node: int = 0) -> None:
        """Kill a pod of the run, or one container of it, once `line` lines are there; return when more have come."""
        container = container or self.main

        def there() -> list[Pod]:
            pods = self.witness.running(self.run, container) if self.lines >= line else []
            return sorted(pods, key=lambda pod: pod["metadata"]["name"])[node:]

        pod = self.shell.until(f"{self.run}: line {line}", there, LONG_S)[0]
        number = status(pod, container)["containerID"]
        reached, began = self.lines, time.time()
        way(self.shell, pod, container)
        gone = self.shell.until(
            f"{self.run}: the end of {container} after {way.__name__}",
            lambda: not processes(pod, container) and time.time(),
        )
        now = self.shell.until(f"{self.run} goes on after {way.__name__}", lambda: self._since(gone), LONG_S)
        end = self.witness.end(self.run, container, number)
        self.kills.append(Kill(reached, container, way.__name__, end, self.restarts, now - began))

    def judge(self, same: bool) -> None:
        """Write down whether the run, which is over now, made what the undisturbed one made."""
        for kill in self.kills:
            kill.same = same

    def _since(self, moment: float) -> float:
        """When did results come, after that moment?"""
        times = [path.stat().st_mtime for path in self.shell.work.glob(self.file)]
        return max((time for time in times if time > moment), default=0.0)


def plan(chance: random.Random, ways: Sequence[Way], lines: int) -> list[tuple[Way, int]]:
    """Which way when? In any order; before which line is anywhere in each of equal parts of a run's first four fifths."""
    part = lines * 0.8 / len(ways)
    order = chance.sample(ways, len(ways))
    return [(way, int(chance.uniform(number * part, (number + 1) * part))) for number, way in enumerate(order)]


def table(ordeals: Sequence[Ordeal]) -> str:
    """All kills as a table in Markdown."""
    head = ("run", "lines before", "killed", "by", "its end", "restarts", "seconds until it went on", "hash equal")
    rows: list[tuple[Any, ...]] = [head, ("---",) * len(head)]
    said = {True: "yes", False: "NO", None: "not known"}
    for ordeal in ordeals:
        for k in ordeal.kills:
            rows.append((ordeal.run, k.line, k.container, k.way, k.end, k.restarts, f"{k.seconds:.0f}", said[k.same]))
    return "".join(f"| {' | '.join(map(str, row))} |\n" for row in rows)
