"""Where does a run stand in its Kueue queue? Its Workload, the others before it, and its queues.

Kueue serves its objects as v1beta1, v1beta2 or both; what is read here has the same name in both, or both names are read.
"""

from bisect import bisect_left
from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from fino1.k8s.cluster.client import Api
from fino1.k8s.state import kueue
from fino1.k8s.state.run import Run
from fino1.k8s.state.status import Reading

Workload = Mapping[str, Any]


@dataclass(frozen=True)
class Queue:
    """What Kueue holds of a run; None for what is not there, or could not be read (`blind`: some of it could not).

    `installed`: does the cluster serve Kueue's kinds? `ahead`: how many of the `waiting` come before it. `holders`: the
    namespace's Workloads that have quota of its ClusterQueue.
    """

    installed: bool = True
    workload: Workload | None = None
    local: Mapping[str, Any] | None = None
    cluster: Mapping[str, Any] | None = None
    ahead: int | None = None
    waiting: int = 0
    holders: Sequence[Workload] = ()
    blind: bool = False


def queues(api: Api, runs: Sequence[Run], reading: Reading) -> dict[str, Queue]:
    """What does Kueue say of each of these runs, by full name? Those without a queue are left out."""
    queued = [run for run in runs if run.queue]
    version = kueue.version(api) if queued else ""
    if not version:
        return {run.full: Queue(installed=False) for run in queued}

    def get(kind: str, name: str) -> Mapping[str, Any] | None:
        return reading.ask(lambda: api.get(version, kind, name), None)

    unread = len(reading.unread)
    workloads = reading.ask(lambda: api.list(version, "Workload").items, [])
    local = {name: get("LocalQueue", name) for name in sorted({run.queue for run in queued})}
    blind = len(reading.unread) > unread
    cluster = {name: get("ClusterQueue", each["spec"]["clusterQueue"]) for name, each in local.items() if each}
    owned = {key: each for each in workloads for ref in _owners(each) for key in (ref["uid"], ref["name"])}
    turns, found = _turns(workloads), {}
    for run in queued:
        # by name: the JobSet that a TrainJob makes is called as itself, and is what Kueue queues
        mine = owned.get(run.object["metadata"]["uid"]) or owned.get(run.full)
        line = turns[run.queue]
        ahead = bisect_left(line, _turn(mine)) if mine and not _is_settled(mine) else None
        queue = local[run.queue]
        holders = [each for each in workloads if queue and _holds(each, queue["spec"]["clusterQueue"])]
        found[run.full] = Queue(True, mine, queue, cluster.get(run.queue), ahead, len(line), holders, blind)
    return found


def places(api: Api, runs: Sequence[Run], reading: Reading) -> dict[str, dict[str, Any]]:
    """Which place has each of these queued runs, as data?"""
    return {name: told(queue) for name, queue in queues(api, runs, reading).items()}


def told(queue: Queue) -> dict[str, Any]:
    """As data."""
    reserved = condition(queue.workload, "QuotaReserved")
    return {
        "kueue": queue.installed,
        "workload": queue.workload["metadata"]["name"] if queue.workload else None,
        "clusterQueue": (queue.local or {}).get("spec", {}).get("clusterQueue"),
        "active": queue.workload["spec"].get("active", True) if queue.workload else None,
        "ahead": queue.ahead,
        "waiting": queue.waiting,
        "message": reserved.get("message") if reserved.get("status") != "True" else None,
    }


def in_words(run: Run, place: Mapping[str, Any] | None) -> str:
    """Which place is that?"""
    if place is None:
        return run.queue
    if not place["kueue"]:
        return f"{run.queue}: no Kueue in this cluster, so it waits for ever"
    if not place["workload"]:
        return f"{run.queue}: not taken up by Kueue yet"
    if not place["active"]:
        return f"{run.queue}: suspended there; `fino1-k8s resume {run.name}` lines it up again"
    number = (
        f", {place['ahead']} of {place['waiting']} waiting here are before it" if place["ahead"] is not None else ""
    )
    return f"{run.queue}{number}" + (f": {place['message']}" if place["message"] else "")


def condition(thing: Mapping[str, Any] | None, kind: str) -> Mapping[str, Any]:
    """A condition of an object; empty where its controller has not told it."""
    every = ((thing or {}).get("status") or {}).get("conditions") or []
    return next((each for each in every if each["type"] == kind), {})


def is_true(thing: Mapping[str, Any] | None, kind: str) -> bool:
    """Does this condition hold?"""
    return condition(thing, kind).get("status") == "True"


def _turns(workloads: Sequence[Workload]) -> defaultdict[str, list[tuple[int, str]]]:
    """Who waits in each LocalQueue, in order?"""
    found: defaultdict[str, list[tuple[int, str]]] = defaultdict(list)
    for each in workloads:
        if not _is_settled(each):
            found[each["spec"].get("queueName", "")].append(_turn(each))
    for line in found.values():
        line.sort()
    return found


def _owners(workload: Workload) -> list[Mapping[str, Any]]:
    return workload["metadata"].get("ownerReferences") or []


def _is_settled(workload: Workload) -> bool:
    is_out = is_true(workload, "QuotaReserved") or is_true(workload, "Finished")
    return is_out or not workload["spec"].get("active", True)


def _holds(workload: Workload, cluster_queue: str) -> bool:
    """Has it quota there? A finished one still says so."""
    admission = (workload.get("status") or {}).get("admission") or {}
    return admission.get("clusterQueue") == cluster_queue and not is_true(workload, "Finished")


def _turn(workload: Workload) -> tuple[int, str]:
    """Kueue's order: priority, then age."""
    return -workload["spec"].get("priority", 0), workload["metadata"]["creationTimestamp"]
