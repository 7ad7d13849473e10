"""What does Kueue hold of a run: its Workload and its turn, its LocalQueue, its ClusterQueue?

Kueue serves its objects as v1beta1, v1beta2 or both; what is read here has the same name in both, or both names are read.
"""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from fino1.k8s.cluster.client import Api
from fino1.k8s.state.run import Run
from fino1.k8s.state.status import ReadAccess

GROUP = "kueue.x-k8s.io"
Workload = Mapping[str, Any]


@dataclass(frozen=True)
class Queue:
    """Kueue's objects for one run; None for what does not exist, or could not be read (`is_partial`: some could not).

    `installed`: the cluster serves Kueue's kinds. `ahead`: how many of the `waiting` in its LocalQueue come before it.
    `holders`: Workloads of the namespace that have quota of its ClusterQueue.
    """

    installed: bool = True
    workload: Workload | None = None
    local: Mapping[str, Any] | None = None
    cluster: Mapping[str, Any] | None = None
    ahead: int | None = None
    waiting: int = 0
    holders: Sequence[Workload] = ()
    is_partial: bool = False

    @property
    def is_active(self) -> bool:
        """Whether Kueue may start the run; False after `suspend`, or once Kueue has given up on it."""
        return self.workload is None or self.workload["spec"].get("active", True)

    @property
    def reason_to_wait(self) -> str:
        """Kueue's message on why the run has no quota yet; empty if it has, or Kueue has said nothing."""
        reserved = condition(self.workload, "QuotaReserved")
        return "" if reserved.get("status") == "True" else reserved.get("message", "")

    def to_dict(self) -> dict[str, Any]:
        """The place in the queue, for `-o json`."""
        return {
            "kueue": self.installed,
            "workload": self.workload["metadata"]["name"] if self.workload else None,
            "clusterQueue": (self.local or {}).get("spec", {}).get("clusterQueue"),
            "active": self.is_active if self.workload else None,
            "ahead": self.ahead,
            "waiting": self.waiting,
            "message": self.reason_to_wait or None,
        }


def kueue_version(api: Api) -> str:
    """The apiVersion of Kueue's objects that the cluster prefers; empty without Kueue."""
    return next((version for version in api.versions(GROUP) if api.serves(version, "Workload")), "")


def find_workload(run: Run, workloads: Iterable[Workload]) -> Workload | None:
    """The Workload that Kueue has made for a run object; None if it has made none."""
    for each in workloads:
        for owner in owners(each):
            # A Kueue without the TrainJob integration queues the JobSet that the TrainJob makes, which has its name.
            is_its_jobset = run.kind == "TrainJob" and (owner["kind"], owner["name"]) == ("JobSet", run.full)
            if is_its_jobset or owner["uid"] == run.object["metadata"]["uid"]:
                return each
    return None


def list_queues(api: Api, runs: Sequence[Run], access: ReadAccess) -> dict[str, Queue]:
    """Kueue's objects for each of these runs, by full name; runs without a queue are left out."""
    queued = [run for run in runs if run.queue]
    version = kueue_version(api) if queued else ""
    if not version:
        return {run.full: Queue(installed=False) for run in queued}

    def get(kind: str, name: str) -> Mapping[str, Any] | None:
        return access.ask(lambda: api.get(version, kind, name), None)

    unread = len(access.unread)
    workloads = access.ask(lambda: api.list(version, "Workload"), [])
    local = {name: get("LocalQueue", name) for name in sorted({run.queue for run in queued})}
    is_partial = len(access.unread) > unread
    cluster = {name: get("ClusterQueue", each["spec"]["clusterQueue"]) for name, each in local.items() if each}
    waiting = [(each["spec"].get("queueName"), _queue_order_key(each)) for each in workloads if _is_waiting(each)]
    found = {}
    for run in queued:
        mine, queue = find_workload(run, workloads), local[run.queue]
        line = [key for name, key in waiting if name == run.queue]
        found[run.full] = Queue(
            workload=mine,
            local=queue,
            cluster=cluster.get(run.queue),
            ahead=sum(key < _queue_order_key(mine) for key in line) if mine and _is_waiting(mine) else None,
            waiting=len(line),
            holders=[each for each in workloads if queue and _has_quota(each, queue["spec"]["clusterQueue"])],
            is_partial=is_partial,
        )
    return found


def describe_position(run: Run, queue: Queue | None) -> str:
    """A queued run's queue and place in a line; the queue's name alone where nothing else is known (None)."""
    if queue is None:
        return run.queue
    if not queue.installed:
        return f"{run.queue}: no Kueue in this cluster, so it waits for ever"
    if not queue.workload:
        return f"{run.queue}: not taken up by Kueue yet"
    if not queue.is_active:
        return f"{run.queue}: suspended there; `fino1-k8s resume {run.name}` lines it up again"
    place = f", {queue.ahead} of {queue.waiting} waiting here are before it" if queue.ahead is not None else ""
    return f"{run.queue}{place}" + (f": {queue.reason_to_wait}" if queue.reason_to_wait else "")


def stopped(queue: Mapping[str, Any]) -> Iterator[tuple[str, str]]:
    """Reasons why a LocalQueue or ClusterQueue admits nothing, as (cause, words): stopped by its administrator, or not active."""
    policy = queue["spec"].get("stopPolicy", "None")
    if policy != "None":
        yield "QueueStopped", f"is stopped by its administrator ({policy})"
    active = condition(queue, "Active")
    if active.get("status", "True") != "True":
        yield "QueueInactive", f"is not active: {active.get('message') or active.get('reason')}"


def condition(thing: Mapping[str, Any] | None, kind: str) -> Mapping[str, Any]:
    """A condition of an object's status; empty where its controller has not written it."""
    every = ((thing or {}).get("status") or {}).get("conditions") or []
    return next((each for each in every if each["type"] == kind), {})


def is_true(thing: Mapping[str, Any] | None, kind: str) -> bool:
    """Whether a condition of an object's status is True."""
    return condition(thing, kind).get("status") == "True"


def owners(workload: Workload) -> list[Mapping[str, Any]]:
    """References to what the Workload was made for: the run object, or to what its controller made."""
    return workload["metadata"].get("ownerReferences") or []


def _queue_order_key(workload: Workload) -> tuple[int, str]:
    """Kueue's order: priority, then age."""
    return -workload["spec"].get("priority", 0), workload["metadata"]["creationTimestamp"]


def _is_waiting(workload: Workload) -> bool:
    is_out = is_true(workload, "QuotaReserved") or is_true(workload, "Finished")
    return not is_out and workload["spec"].get("active", True)


def _has_quota(workload: Workload, cluster_queue: str) -> bool:
    """Whether it has quota of that ClusterQueue now; a finished one still names it."""
    admission = (workload.get("status") or {}).get("admission") or {}
    return admission.get("clusterQueue") == cluster_queue and not is_true(workload, "Finished")
