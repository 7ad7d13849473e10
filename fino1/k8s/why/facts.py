"""What does the cluster hold that may explain why a run does not run? Read here, judged in judge.py."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime
from typing import Any

from fino1.k8s import times
from fino1.k8s.cluster.client import Api
from fino1.k8s.cluster.errors import ApiError
from fino1.k8s.objects.backends import pod_templates
from fino1.k8s.state import status
from fino1.k8s.state.nodes import Node, list_nodes
from fino1.k8s.state.pods import Ended, Pod, Rank, find_root_failures
from fino1.k8s.state.queue import Queue, list_queues
from fino1.k8s.state.run import Run
from fino1.k8s.state.status import ReadAccess

_TAIL = 10
_TAILS_AT_MOST = 8  # logs of so many failed runs: one screen shows no more
Object = Mapping[str, Any]


@dataclass(frozen=True)
class Facts:
    """The known state of one run. None: it could not be read, and `unread` of the ReadAccess says why.

    `claims` has None for a claim that does not exist. `tail` are the last lines of the container of `first_failure`.
    `pods_known`: its pods could be listed. `nodes_limit`: why more of the nodes may be used than `nodes` say.
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
    first_failure: Ended | None = None
    pods_known: bool = True

    @property
    def age_s(self) -> float:
        """Seconds since the run object was created."""
        return (self.now - times.parse(self.run.created)).total_seconds()

    @property
    def claim_names(self) -> set[str]:
        """Names of the claims that its pods mount, or will; none of a TrainJob without pods, whose runtime has the template."""
        specs = [rank.pod["spec"] for rank in self.ranks] or [t["spec"] for t in pod_templates(self.run.object)[:1]]
        volumes = [volume for spec in specs for volume in spec.get("volumes") or []]
        return {volume["persistentVolumeClaim"]["claimName"] for volume in volumes if "persistentVolumeClaim" in volume}


def gather(api: Api, runs: Sequence[Run], access: ReadAccess) -> list[Facts]:
    """Read what concerns these runs of one name: each list once, whatever their number."""
    pods = access.ask(lambda: status.list_pods(api, runs), None)
    every = status.standings(runs, pods or [])
    open_ = [each.run for each in every if each.run.phase != "Succeeded"]
    queues = list_queues(api, open_, access)
    events = access.ask(lambda: api.list("v1", "Event").items, []) if open_ else []
    found = [
        Facts(each.run, times.now(), each.ranks, queue=queues.get(each.run.full), pods_known=pods is not None)
        for each in every
    ]
    claims = _read_claims(api, [facts for facts in found if not facts.run.is_over], access)
    classes = _read_classes(api, claims, access)
    is_waiting = any(refusal_of(rank.pod) for facts in found for rank in facts.ranks)
    nodes, limit = access.ask(lambda: list_nodes(api), (None, "")) if is_waiting else (None, "")
    failures = [_find_first_failure(facts) for facts in found]
    to_read = [each for each in failures if each][:_TAILS_AT_MOST]
    return [
        replace(
            facts,
            events=_select_events(facts, events, claims),
            claims={name: claims[name] for name in facts.claim_names if name in claims},
            classes=classes,
            nodes=nodes,
            nodes_limit=limit,
            tail=_read_tail(api, failure, facts, access) if failure in to_read else (),
            first_failure=failure,
        )
        for facts, failure in zip(found, failures, strict=True)
    ]


def refusal_of(pod: Pod) -> Object | None:
    """The scheduler's condition that says why no node takes the pod; None where it says nothing against it."""
    for each in (pod.get("status") or {}).get("conditions") or []:
        if each["type"] == "PodScheduled" and each["status"] == "False":
            return each
    return None


def when(event: Object) -> str:
    """Time at which the event happened last, in RFC 3339."""
    series = event.get("series") or {}
    moments = (series.get("lastObservedTime"), event.get("lastTimestamp"), event.get("eventTime"))
    return next((each for each in moments if each), event["metadata"]["creationTimestamp"])


def flat(text: str | None) -> str:
    """A message of several lines in one."""
    return " ".join((text or "").split())


def _read_claims(api: Api, every: Sequence[Facts], access: ReadAccess) -> dict[str, Object | None]:
    """The claims that the runs mount, None for one that does not exist; without those that may not be read."""
    unknown: Object = {}
    names = sorted({name for facts in every for name in facts.claim_names})
    found = {
        name: access.ask(lambda name=name: api.get("v1", "PersistentVolumeClaim", name), unknown) for name in names
    }
    return {name: claim for name, claim in found.items() if claim is not unknown}


def _read_classes(api: Api, claims: Mapping[str, Object | None], access: ReadAccess) -> Sequence[Object] | None:
    """The storage classes; None where all claims are bound, or the classes may not be read."""
    if all(claim and claim.get("status", {}).get("phase") == "Bound" for claim in claims.values()):
        return None
    return access.ask(lambda: api.list("storage.k8s.io/v1", "StorageClass").items, None)


def _select_events(facts: Facts, events: Iterable[Object], claims: Iterable[str]) -> list[Object]:
    """The events of the run, of all objects named after it (pods that are gone too) and of its claims; the newest last."""
    full, mine = facts.run.full, set(claims) & facts.claim_names
    workload = facts.queue.workload["metadata"]["name"] if facts.queue and facts.queue.workload else full
    found = []
    for event in events:
        kind, name = (event["involvedObject"].get(key, "") for key in ("kind", "name"))
        is_claim = kind == "PersistentVolumeClaim" and name in mine
        if name in (full, workload) or name.startswith(f"{full}-") or is_claim:
            found.append(event)
    return sorted(found, key=when)


def _find_first_failure(facts: Facts) -> Ended | None:
    return next(iter(find_root_failures(facts.ranks)), None) if facts.run.phase != "Succeeded" else None


def _read_tail(api: Api, ended: Ended, facts: Facts, access: ReadAccess) -> Sequence[str]:
    """The last lines of that start of the container; none where its kubelet no longer has them."""
    is_past = any(rank.is_running for rank in facts.ranks if rank.name == ended.pod)
    query = {"container": ended.container, "tailLines": _TAIL, "timestamps": "true"}
    query["previous"] = "true" if is_past else None

    def ask() -> list[str]:
        stream = api.open_log(ended.pod, query)
        lines = [*stream.lines()] + ([stream.rest] if stream.rest else [])
        return [line.decode(errors="replace").partition(" ")[2] for line in lines]

    try:
        return access.ask(ask, [])
    except ApiError:
        return []  # the pod or its node is gone: what the API server keeps has to do
