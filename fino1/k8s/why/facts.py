"""What does the cluster know that may say why a run does not run? Read here; judged in diagnosis.py."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any

from fino1.k8s import times
from fino1.k8s.cluster.client import Api
from fino1.k8s.cluster.errors import ApiError
from fino1.k8s.state import pods
from fino1.k8s.state import status as standing
from fino1.k8s.state.nodes import Node, list_nodes
from fino1.k8s.state.pods import Ended, Pod, Rank
from fino1.k8s.state.queue import Queue, list_queues
from fino1.k8s.state.run import Run
from fino1.k8s.state.status import Reading

_TAIL = 10
_TAILS_AT_MOST = 8  # logs of so many failed runs: one screen shows no more
Object = Mapping[str, Any]


@dataclass(frozen=True)
class Facts:
    """All that is known of one run. None: it could not be read, and `unread` says why.

    `claims` has None for a claim that does not exist. `tail` are the last lines of the container that failed first.
    """

    run: Run
    now: datetime
    ranks: Sequence[Rank] = ()
    events: Sequence[Object] = ()
    claims: Mapping[str, Object | None] = field(default_factory=dict)
    classes: Sequence[Object] | None = None
    queue: Queue | None = None
    nodes: Sequence[Node] | None = None
    nodes_limit: str = ""
    tail: Sequence[str] = ()
    tail_of: Ended | None = None
    pods_known: bool = True

    @property
    def age_s(self) -> float:
        """How old is the run object?"""
        return (self.now - times.parse(self.run.created)).total_seconds()

    @property
    def template(self) -> Object:
        """The pod spec that its controller was given; empty for a TrainJob, whose pods are described in its runtime."""
        spec = self.run.object["spec"]
        if self.run.kind == "PyTorchJob":
            roles = spec["pytorchReplicaSpecs"]
            return next(iter(roles.values()))["template"]["spec"]
        if self.run.kind == "JobSet":
            return spec["replicatedJobs"][0]["template"]["spec"]["template"]["spec"]
        return spec["template"]["spec"] if self.run.kind == "Job" else {}


def gather(api: Api, runs: Sequence[Run], reading: Reading) -> list[Facts]:
    """Read what concerns these runs of one name: each list once, whatever their number."""
    listed = reading.ask(lambda: standing.pods_of(api, runs), None)
    every = standing.standings(runs, listed or [])
    unhappy = [each for each in every if each.run.phase != "Succeeded"]
    queues = list_queues(api, [each.run for each in unhappy], reading)
    bare = [
        Facts(each.run, times.now(), each.ranks, queue=queues.get(each.run.full), pods_known=listed is not None)
        for each in every
    ]
    events = reading.ask(lambda: api.list("v1", "Event").items, []) if unhappy else []
    claims, classes = _claims(api, [facts for facts in bare if not facts.run.is_over], reading)
    nodes, limit = _nodes(api, bare, reading)
    found, tails = [], 0
    for facts in bare:
        ended = to_read(facts.ranks) if facts.run.phase != "Succeeded" else None
        tails += ended is not None
        about = {
            "events": _concerned(events, facts, claims),
            "claims": {name: claims[name] for name in _claim_names(facts) if name in claims},
            "tail": _tail(api, ended, facts, reading) if ended and tails <= _TAILS_AT_MOST else (),
        }
        found.append(_with(facts, classes=classes, nodes=nodes, nodes_limit=limit, tail_of=ended, **about))
    return found


def to_read(ranks: Sequence[Rank]) -> Ended | None:
    """Which container's last words matter most?"""
    return next(iter(pods.root_failures(ranks)), None)


def is_unschedulable(pod: Pod) -> Object | None:
    """What does the scheduler say against a pod? None: nothing."""
    for each in (pod.get("status") or {}).get("conditions") or []:
        if each["type"] == "PodScheduled" and each["status"] == "False":
            return each
    return None


def _with(facts: Facts, **more: Any) -> Facts:
    return Facts(**{**vars(facts), **more})


def _nodes(api: Api, every: Sequence[Facts], reading: Reading) -> tuple[Sequence[Node] | None, str]:
    """The nodes with what is free, if a pod waits for one."""
    waiting = any(is_unschedulable(rank.pod) for facts in every for rank in facts.ranks)
    return reading.ask(lambda: list_nodes(api), (None, "")) if waiting else (None, "")


def _claims(
    api: Api, every: Sequence[Facts], reading: Reading
) -> tuple[dict[str, Object | None], Sequence[Object] | None]:
    """The claims that the runs mount, and the storage classes if one of them is not bound."""
    names = sorted({name for facts in every for name in _claim_names(facts)})
    found: dict[str, Object | None] = {}
    for name in names:
        unknown: Object = {}
        claim = reading.ask(lambda name=name: api.get("v1", "PersistentVolumeClaim", name), unknown)
        if claim is not unknown:
            found[name] = claim
    if all(claim and claim.get("status", {}).get("phase") == "Bound" for claim in found.values()):
        return found, None
    return found, reading.ask(lambda: api.list("storage.k8s.io/v1", "StorageClass").items, None)


def _claim_names(facts: Facts) -> set[str]:
    specs = [rank.pod["spec"] for rank in facts.ranks] or [facts.template]
    volumes = [volume for spec in specs for volume in spec.get("volumes") or []]
    return {volume["persistentVolumeClaim"]["claimName"] for volume in volumes if "persistentVolumeClaim" in volume}


def _concerned(events: Iterable[Object], facts: Facts, claims: Iterable[str]) -> list[Object]:
    """The events of the run, of all that is named after it (pods that are gone too) and of its claims; the newest last."""
    full, mine = facts.run.full, set(claims) & _claim_names(facts)
    workload = (facts.queue.workload if facts.queue else None) or {"metadata": {"name": ""}}
    found = []
    for event in events:
        about = event["involvedObject"]
        name = about.get("name", "")
        is_claim = about.get("kind") == "PersistentVolumeClaim" and name in mine
        if name == full or name.startswith(f"{full}-") or is_claim or name == workload["metadata"]["name"] != "":
            found.append(event)
    return sorted(found, key=when)


def when(event: Object) -> str:
    """When did it happen last?"""
    series = event.get("series") or {}
    times_ = (series.get("lastObservedTime"), event.get("lastTimestamp"), event.get("eventTime"))
    return next((each for each in times_ if each), event["metadata"]["creationTimestamp"])


def _tail(api: Api, ended: Ended, facts: Facts, reading: Reading) -> Sequence[str]:
    """The last lines of that start of the container; none where its kubelet no longer has them."""
    rank = next((rank for rank in facts.ranks if rank.name == ended.pod), None)
    is_past = rank is not None and rank.is_running
    query = {"container": ended.container, "tailLines": _TAIL, "timestamps": "true"}
    query["previous"] = "true" if is_past else None

    def ask() -> list[str]:
        stream = api.open_log(ended.pod, query)
        lines = [line for lines in stream.lines() for line in lines] + ([stream.rest] if stream.rest else [])
        return [line.decode(errors="replace").partition(" ")[2] for line in lines]

    try:
        return reading.ask(ask, [])
    except ApiError:
        return []  # the pod or its node is gone: what the API server keeps has to do
