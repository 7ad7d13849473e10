"""What do a run's pods say of themselves? Ranks, phases, and which container ended first, and with which code. Pure."""

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
    """How one start of a container ended."""

    run: str
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
        """In words."""
        if self.reason == "OOMKilled":
            return "out of memory: it used more than its limit"
        return exits.meaning(self.code)

    @property
    def _order(self) -> tuple[bool, str, int]:
        return self.code in _AFTERMATH, self.at, self.rank


@dataclass(frozen=True)
class Rank:
    """One place in a run: the pod that holds it now, and those that held it before, the oldest first."""

    index: int
    pod: Pod
    before: tuple[Pod, ...] = ()

    @property
    def name(self) -> str:
        """Of its pod."""
        return self.pod["metadata"]["name"]

    @property
    def node(self) -> str:
        """Where it runs; empty if nowhere yet."""
        return self.pod["spec"].get("nodeName", "")

    @cached_property
    def phase(self) -> str:
        """As kubectl says it: a reason to wait, or to have failed, where there is one."""
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
        """Does its main container run?"""
        return "running" in (main_status(self.pod) or {}).get("state", {})

    @property
    def has_ended(self) -> bool:
        """Has its main container ended, or its pod failed before? The phase tells later: once the kubelet has put it away."""
        state = (main_status(self.pod) or {}).get("state", {})
        return "terminated" in state or (self.pod.get("status") or {}).get("phase") == "Failed"

    @property
    def restarts(self) -> int:
        """How often was it started again, in the same pod or another?"""
        return len(self.before) + sum(
            (main_status(pod) or {}).get("restartCount", 0) for pod in (*self.before, self.pod)
        )

    @cached_property
    def ends(self) -> list[Ended]:
        """How containers of the pod ended, in the start that is shown now."""
        return list(_ends(self.pod, self.index, "state"))

    @cached_property
    def last_end(self) -> Ended | None:
        """How did it end last, in this pod, this start or another? None if it never did.

        Of a pod that failed before its main container could start: how that which failed ended.
        """
        for pod in (self.pod, *reversed(self.before)):
            for state in ("state", "lastState"):
                main = [end for end in _ends(pod, self.index, state) if end.container == main_container(pod)]
                if main:
                    return main[0]
            if failed := [end for end in _ends(pod, self.index, "state") if end.code]:
                return failed[0]
        return None


def ranks(pods: Iterable[Pod]) -> list[Rank]:
    """Which ranks are these pods of one run? Jobs keep failed pods: the newest of an index is its rank."""
    by_index: dict[int, list[Pod]] = defaultdict(list)
    for pod in pods:
        by_index[index(pod)].append(pod)
    found = []
    for number, same in sorted(by_index.items()):
        *before, newest = sorted(same, key=lambda pod: (pod["metadata"]["creationTimestamp"], pod["metadata"]["name"]))
        found.append(Rank(number, newest, tuple(before)))
    return found


def first_failures(ranks: Iterable[Rank]) -> list[Ended]:
    """Which containers have failed, as the pods are now? That which brought the others down comes first: those that only
    lost a peer, or were told to end, come after it, whenever they ended.
    """
    return sorted((end for rank in ranks for end in rank.ends if end.code), key=lambda end: end._order)


def past_failures(ranks: Iterable[Rank]) -> list[Ended]:
    """Which starts before the present ones have failed? The same order, those of the latest restarts only."""
    ends = [rank.last_end for rank in ranks if rank.last_end and rank.last_end.code]
    return sorted(ends, key=lambda end: end._order)


def root_failures(ranks: Iterable[Rank]) -> list[Ended]:
    """As the first failures; where all of these only lost a peer, the starts before them, if one of those says more."""
    every = list(ranks)
    now, past = first_failures(every), past_failures(every)
    is_told = bool(now) and now[0].code not in _AFTERMATH
    return now if is_told or not past or (now and past[0].code in _AFTERMATH) else past


def by_run(pods: Iterable[Pod]) -> Mapping[str, list[Pod]]:
    """The pods of each run, by its full name."""
    sorted_out: dict[str, list[Pod]] = defaultdict(list)
    for pod in pods:
        sorted_out[run_of(pod)].append(pod)
    return sorted_out


def run_of(pod: Pod) -> str:
    """Full name of its run."""
    return pod["metadata"].get("labels", {}).get("fino1/run", "")


def index(pod: Pod) -> int:
    """Which rank, or shard, is it? Operators say it in a label, older ones of Job in an annotation."""
    metadata = pod["metadata"]
    told = {**metadata.get("annotations", {}), **metadata.get("labels", {})}
    return next((int(told[key]) for key in INDEX if key in told), 0)


def main_container(pod: Pod) -> str:
    """The one that trains or evaluates."""
    return pod["spec"]["containers"][0]["name"]


def main_status(pod: Pod) -> Mapping[str, Any] | None:
    """Its status, if the kubelet has told any."""
    name = main_container(pod)
    statuses = (pod.get("status") or {}).get("containerStatuses") or []
    return next((each for each in statuses if each["name"] == name), None)


def containers(pod: Pod) -> list[Mapping[str, Any]]:
    """The status of all its containers, in the order in which they start."""
    status = pod.get("status") or {}
    return [*(status.get("initContainerStatuses") or []), *(status.get("containerStatuses") or [])]


def limit(pod: Pod, container: str, resource: str) -> str:
    """What may a container use of a resource at most? Empty: no limit."""
    spec = pod["spec"]
    every = [*spec.get("initContainers", []), *spec["containers"]]
    mine = next((each for each in every if each["name"] == container), {})
    return str(mine.get("resources", {}).get("limits", {}).get(resource, ""))


def _ends(pod: Pod, number: int, state: str) -> Iterator[Ended]:
    """How containers ended; sidecars end with the pod, which says nothing."""
    sidecars = {c["name"] for c in pod["spec"].get("initContainers", []) if c.get("restartPolicy") == "Always"}
    for each in containers(pod):
        end = each.get(state, {}).get("terminated")
        if end and not (each["name"] in sidecars and end["exitCode"] in (0, exits.TERMINATED, exits.KILLED)):
            yield Ended(
                run=run_of(pod),
                rank=number,
                pod=pod["metadata"]["name"],
                container=each["name"],
                code=end["exitCode"],
                reason=end.get("reason", ""),
                message=end.get("message", ""),
                at=end.get("finishedAt") or "",
                restarts=each.get("restartCount", 0),
            )
