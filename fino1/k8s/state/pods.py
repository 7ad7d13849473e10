"""What do a run's pods show: their ranks and phases, which container failed first, with which exit code?"""

from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import Any

from fino1 import exits

Pod = Mapping[str, Any]
INDEX = ("training.kubeflow.org/replica-index", "batch.kubernetes.io/job-completion-index")
_AFTERMATH = (exits.PEER_LOST, exits.TERMINATED)  # codes of ranks that end because another one did


@dataclass(frozen=True)
class Ended:
    """The end of one start of a container. `at`: RFC 3339, empty if the kubelet does not say; `restarts`: starts before it."""

    rank: int
    pod: str
    container: str
    code: int
    reason: str
    message: str
    at: str
    restarts: int

    @property
    def meaning(self) -> str:
        """Meaning of the exit code, in words."""
        if self.reason == "OOMKilled":
            return "out of memory: it used more than its limit"
        return exits.meaning(self.code)

    @property
    def _order(self) -> tuple[bool, str, int]:
        return self.code in _AFTERMATH, self.at, self.rank


@dataclass(frozen=True)
class Rank:
    """A rank (or shard) of a run: its pod, and the pods that it had `before`, the oldest first."""

    index: int
    pod: Pod
    before: tuple[Pod, ...] = ()

    @property
    def name(self) -> str:
        """Name of its pod."""
        return self.pod["metadata"]["name"]

    @property
    def node(self) -> str:
        """Node of its pod; empty before it has one."""
        return self.pod["spec"].get("nodeName", "")

    @cached_property
    def phase(self) -> str:
        """Phase of its pod as kubectl prints it: the reason why it waits or has failed, where there is one."""
        metadata, status = self.pod["metadata"], self.pod.get("status") or {}
        phase = status.get("phase", "Pending")
        if metadata.get("deletionTimestamp") and phase not in ("Succeeded", "Failed"):
            return "Terminating"
        if phase == "Failed":
            return status.get("reason") or next((e.reason for e in self.ends if e.reason == "OOMKilled"), phase)
        waiting = (each.get("state", {}).get("waiting", {}).get("reason") for each in containers(self.pod))
        return next((reason for reason in waiting if reason and reason != "PodInitializing"), phase)

    @property
    def is_running(self) -> bool:
        """Whether its main container runs."""
        return "running" in main_status(self.pod).get("state", {})

    @property
    def has_ended(self) -> bool:
        """Whether its main container has ended, or its pod failed before that. (A pod's phase follows some seconds later.)"""
        state = main_status(self.pod).get("state", {})
        return "terminated" in state or (self.pod.get("status") or {}).get("phase") == "Failed"

    @property
    def restarts(self) -> int:
        """Number of times it was started again, in the same pod or another."""
        return len(self.before) + sum(main_status(pod).get("restartCount", 0) for pod in (*self.before, self.pod))

    @cached_property
    def ends(self) -> list[Ended]:
        """Ends of the pod's containers in their current start (earlier starts: `last_end`)."""
        return list(_ends(self.pod, self.index, "state"))

    @cached_property
    def last_end(self) -> Ended | None:
        """The last end of its main container, in this pod or one before; None if it never ended.

        Of a pod that failed before its main container could start: the end of the container that failed.
        """
        for pod in (self.pod, *reversed(self.before)):
            for state in ("state", "lastState"):
                main = [end for end in _ends(pod, self.index, state) if end.container == main_container(pod)]
                if main:
                    return main[0]
            if failed := [end for end in _ends(pod, self.index, "state") if end.code]:
                return failed[0]
        return None


def group_ranks(pods: Iterable[Pod]) -> list[Rank]:
    """Ranks of one run from its pods. Jobs keep failed pods: the newest pod of an index is the rank's."""
    by_index: dict[int, list[Pod]] = defaultdict(list)
    for pod in pods:
        by_index[read_index(pod)].append(pod)
    found = []
    for number, same in sorted(by_index.items()):
        *before, newest = sorted(same, key=lambda pod: (pod["metadata"]["creationTimestamp"], pod["metadata"]["name"]))
        found.append(Rank(number, newest, tuple(before)))
    return found


def find_first_failures(ranks: Iterable[Rank]) -> list[Ended]:
    """Containers that have failed in their current start, the cause first.

    Those that only lost a peer, or were told to end, come last, whenever they ended.
    """
    return sorted((end for rank in ranks for end in rank.ends if end.code), key=lambda end: end._order)


def find_root_failures(ranks: Iterable[Rank]) -> list[Ended]:
    """As `find_first_failures`. Where all of these only lost a peer, the last failure of each rank, if one says more."""
    every = list(ranks)
    now = find_first_failures(every)
    past = sorted((rank.last_end for rank in every if rank.last_end and rank.last_end.code), key=lambda end: end._order)
    has_cause = bool(now) and now[0].code not in _AFTERMATH
    return now if has_cause or not past or (now and past[0].code in _AFTERMATH) else past


def read_index(pod: Pod) -> int:
    """Its rank or shard, from the operator's label (of older Jobs: annotation); 0 without one."""
    metadata = pod["metadata"]
    marks = {**metadata.get("annotations", {}), **metadata.get("labels", {})}
    return next((int(marks[key]) for key in INDEX if key in marks), 0)


def main_container(pod: Pod) -> str:
    """Name of the container that trains or asks."""
    return pod["spec"]["containers"][0]["name"]


def main_status(pod: Pod) -> Mapping[str, Any]:
    """Status of the main container; empty before the kubelet has written one."""
    return next((each for each in containers(pod) if each["name"] == main_container(pod)), {})


def containers(pod: Pod) -> list[Mapping[str, Any]]:
    """Status of all its containers, in the order in which they start."""
    status = pod.get("status") or {}
    return [*(status.get("initContainerStatuses") or []), *(status.get("containerStatuses") or [])]


def sidecars(pod: Pod) -> set[str]:
    """Names of its sidecars: init containers that run beside the main container."""
    return {c["name"] for c in pod["spec"].get("initContainers", []) if c.get("restartPolicy") == "Always"}


def find_container(pod: Pod, name: str) -> Mapping[str, Any]:
    """A container, or init container, of the pod's spec; empty without one of that name."""
    every = [*pod["spec"].get("initContainers", []), *pod["spec"]["containers"]]
    return next((each for each in every if each["name"] == name), {})


def _ends(pod: Pod, number: int, state: str) -> Iterator[Ended]:
    """Ends of containers in `state` or `lastState`; not of sidecars, which are ended together with the pod."""
    for each in containers(pod):
        end = each.get(state, {}).get("terminated")
        if end and not (each["name"] in sidecars(pod) and end["exitCode"] in (0, exits.TERMINATED, exits.KILLED)):
            yield Ended(
                rank=number,
                pod=pod["metadata"]["name"],
                container=each["name"],
                code=end["exitCode"],
                reason=end.get("reason", ""),
                message=end.get("message", ""),
                at=end.get("finishedAt") or "",
                restarts=each.get("restartCount", 0),
            )
