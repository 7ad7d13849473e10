"""What does the cluster hold that may explain why a run does not run? Read here, judged in judge.py."""

import functools
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any

from fino1.k8s import times
from fino1.k8s.cluster.client import Api
from fino1.k8s.cluster.errors import ApiError
from fino1.k8s.objects.backends import pod_templates
from fino1.k8s.state import status
from fino1.k8s.state.nodes import Node, list_nodes
from fino1.k8s.state.pods import Ended, Pod, Rank, find_root_failures
from fino1.k8s.state.queue import Queue, condition, list_queues
from fino1.k8s.state.run import Run
from fino1.k8s.state.status import ReadAccess

_TAIL = 10
_TAILS_AT_MOST = 8  # logs of so many failed runs: one screen shows no more
Object = Mapping[str, Any]
_UNREAD: Object = {}  # stands for a claim that may not be read


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


def gather(api: Api, runs: Sequence[Run], access: ReadAccess) -> list[Facts]:
    """Read what concerns these runs of one name: each list and each object once, whatever their number."""
    pods = access.ask(lambda: status.list_pods(api, runs), None)
    every = status.standings(runs, pods or [])
    open_ = [each.run for each in every if each.run.phase != "Succeeded"]
    queues = list_queues(api, open_, access)
    events = access.ask(lambda: api.list("v1", "Event"), []) if open_ else []
    get_claim = functools.cache(lambda name: access.ask(lambda: api.get("v1", "PersistentVolumeClaim", name), _UNREAD))
    list_classes = functools.cache(lambda: access.ask(lambda: api.list("storage.k8s.io/v1", "StorageClass"), None))
    read_nodes = functools.cache(lambda: access.ask(lambda: list_nodes(api), (None, "")))
    tails_left, found = _TAILS_AT_MOST, []
    for run, ranks in ((each.run, each.ranks) for each in every):
        names = set() if run.is_over else _find_claim_names(run, ranks)
        claims = {name: claim for name in sorted(names) if (claim := get_claim(name)) is not _UNREAD}
        is_bound = all(claim and claim.get("status", {}).get("phase") == "Bound" for claim in claims.values())
        nodes, limit = read_nodes() if any(refusal_of(rank.pod) for rank in ranks) else (None, "")
        failure = next(iter(find_root_failures(ranks)), None) if run.phase != "Succeeded" else None
        tails_left -= failure is not None
        facts = Facts(
            run,
            times.now(),
            ranks,
            _select_events(run, queues.get(run.full), events, names),
            claims,
            classes=None if is_bound else list_classes(),
            queue=queues.get(run.full),
            nodes=nodes,
            nodes_limit=limit,
            tail=_read_tail(api, failure, ranks, access) if failure and tails_left >= 0 else (),
            first_failure=failure,
            pods_known=pods is not None,
        )
        found.append(facts)
    return found


def refusal_of(pod: Pod) -> Object | None:
    """The scheduler's condition that says why no node takes the pod; None where it says nothing against it."""
    found = condition(pod, "PodScheduled")
    return found if found.get("status") == "False" else None


def when(event: Object) -> str:
    """Time at which the event happened last, in RFC 3339."""
    series = event.get("series") or {}
    moments = (series.get("lastObservedTime"), event.get("lastTimestamp"), event.get("eventTime"))
    return next((each for each in moments if each), event["metadata"]["creationTimestamp"])


def flat(text: str | None) -> str:
    """A message of several lines in one."""
    return " ".join((text or "").split())


def _find_claim_names(run: Run, ranks: Sequence[Rank]) -> set[str]:
    """Names of the claims that its pods mount, or will; none of a TrainJob without pods, whose runtime has the template."""
    specs = [rank.pod["spec"] for rank in ranks] or [template["spec"] for template in pod_templates(run.object)[:1]]
    volumes = [volume for spec in specs for volume in spec.get("volumes") or []]
    return {volume["persistentVolumeClaim"]["claimName"] for volume in volumes if "persistentVolumeClaim" in volume}


def _select_events(run: Run, queue: Queue | None, events: Iterable[Object], claims: Collection[str]) -> list[Object]:
    """The events of the run, of all objects named after it (pods that are gone too) and of its claims; the newest last."""
    own = {run.full, queue.workload["metadata"]["name"] if queue and queue.workload else run.full}
    found = []
    for event in events:
        kind, name = (event["involvedObject"].get(key, "") for key in ("kind", "name"))
        is_claim = kind == "PersistentVolumeClaim" and name in claims
        if name in own or name.startswith(f"{run.full}-") or is_claim:
            found.append(event)
    return sorted(found, key=when)


def _read_tail(api: Api, ended: Ended, ranks: Sequence[Rank], access: ReadAccess) -> Sequence[str]:
    """The last lines of that start of the container; none where its kubelet no longer has them."""
    is_past = any(rank.is_running for rank in ranks if rank.name == ended.pod)
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
