"""Do a run's pods fit the nodes: now, when others end, or never? By node, with numbers, and why the others are no use."""

from collections import Counter, defaultdict
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from fino1.k8s.cluster.client import Api
from fino1.k8s.finding import Finding, missing, note, ok, wait
from fino1.k8s.objects.backends import pod_templates
from fino1.k8s.plan.shapes import gpu_memory
from fino1.k8s.state.nodes import PRODUCT, Amounts, Node, format_amount, list_nodes, pod_requests
from fino1.spec.placement import GpuBlock
from fino1.spec.run import RunSpec

_AUTOSCALERS = ("karpenter.sh", "autoscaling.x-k8s.io")  # API groups of what adds nodes when pods wait
_SHOWN = 8


@dataclass(frozen=True)
class Pods:
    """The pods that a controller makes of one template: of which run object, how many, and their pod spec."""

    run: str
    count: int
    spec: Mapping[str, Any]

    @property
    def requests(self) -> Amounts:
        """What one of them requests of its node."""
        return pod_requests(self.spec)


def list_pods(spec: RunSpec, objects: Sequence[Mapping[str, Any]]) -> list[Pods]:
    """The pods that the run's controllers will make of these objects."""
    count = spec.eval.shards if spec.method == "eval" else spec.nodes
    return [
        Pods(thing["metadata"]["name"], count, template["spec"])
        for thing in objects
        for template in pod_templates(thing)
    ]


def judge_fit(api: Api, spec: RunSpec, pods: Sequence[Pods]) -> Iterator[Finding]:
    """Whether all the run's pods fit the nodes together, and the note that not all that uses them may be known."""
    nodes, limit = list_nodes(api)
    if limit:
        yield note("nodes", limit)
    alike: dict[str, Pods] = {}  # those that ask the same of the same nodes are one: the models of an evaluation
    for each in pods:
        placement = {key: each.spec.get(key) for key in ("nodeSelector", "tolerations", "affinity")}
        key = repr((placement, sorted(each.requests.items())))
        alike[key] = replace(each, count=each.count + (alike[key].count if key in alike else 0))
    for each in alike.values():
        yield _judge(api, spec, each, nodes)


def smallest_gpu(api: Api, spec: RunSpec, pods: Sequence[Pods]) -> int | None:
    """Bytes of the smallest GPU that the run may get, by the nodes' labels; None where they do not say."""
    if not spec.gpus_per_node:
        return None
    sizes = []
    for node in map(Node, api.list("v1", "Node").items):
        if node.allocatable.get(spec.gpu.resource) and not any(node.refuses(each.spec) for each in pods):
            mib = node.labels.get(f"{spec.gpu.resource}.memory", "")
            product = GpuBlock(resource=spec.gpu.resource, product=node.labels.get(PRODUCT))
            sizes.append(int(mib) * 2**20 if mib.isdigit() else gpu_memory(product))
    return min(size for size in sizes if size is not None) if sizes and None not in sizes else None


def _judge(api: Api, spec: RunSpec, pods: Pods, nodes: Sequence[Node]) -> Finding:
    useful = [node for node in nodes if not node.refuses(pods.spec)]
    key = (
        spec.topology.key or ""
        if spec.topology.policy == "required" and spec.method != "eval" and spec.nodes > 1
        else ""
    )
    now, ever = (_most(useful, pods.requests, key, when_empty=when_empty) for when_empty in (False, True))
    asked = ", ".join(f"{format_amount(r, a)} {r}" for r, a in sorted(pods.requests.items()) if r != "pods" and a)
    what = f"{pods.count} pod{'' if pods.count == 1 else 's'} of {asked or 'no requests'}"
    near = f" in one {key}" if key else ""
    rows = [_row(node, pods) for node in nodes]
    facts = {"pods": pods.count, "room_now": now, "room_ever": ever, "nodes": rows}
    here = f"{len(useful)} node{'' if len(useful) == 1 else 's'} of {len(nodes)} may be used: {_by_node(useful, pods)}"
    if now >= pods.count:
        return ok("nodes", f"fits now: {what}; room for {now}{near}; {here}", **facts)
    if ever >= pods.count:
        return wait("nodes", f"fits when others end: {what}; room for {now} now, {ever} in all{near}; {here}", **facts)
    reasons = Counter(row["refuses"] for row in rows if row["refuses"]).most_common(_SHOWN)
    others = f"; others: {', '.join(f'{count} with {reason}' for reason, count in reasons)}" if reasons else ""
    text = f"never fits: {what}; room for {ever} on empty nodes{near}; {here}{others}"
    if any(api.versions(group) for group in _AUTOSCALERS):
        return wait("nodes", f"{text}; this cluster can add nodes, which may help", **facts)
    return missing("nodes", text, **facts)


def _most(useful: Sequence[Node], requests: Amounts, key: str, *, when_empty: bool) -> int:
    """How many pods fit: on all nodes, or with a label `key` that they must share on those of its best value."""
    domains: defaultdict[str, int] = defaultdict(int)
    for node in useful:
        if not key or key in node.labels:
            domains[node.labels.get(key, "")] += node.count_fitting(requests, when_empty=when_empty)
    return max(domains.values(), default=0)


def _by_node(useful: Sequence[Node], pods: Pods) -> str:
    lines = []
    for row, node in ((_row(node, pods), node) for node in useful[:_SHOWN]):
        resource = row["resource"]
        free, most = (format_amount(resource, a) for a in (node.free(resource), node.allocatable.get(resource, 0)))
        lines.append(f"{node.name} {free} of {most} {resource} free")
    more = len(useful) - _SHOWN
    return (", ".join(lines) or "none") + (f" and {more} more" if more > 0 else "")


def _row(node: Node, pods: Pods) -> dict[str, Any]:
    """One node in figures, of the resource that people look for: the GPUs, else the CPUs."""
    resource = next((each for each in pods.requests if "/" in each), "cpu")
    return {
        "name": node.name,
        "refuses": node.refuses(pods.spec) or None,
        "resource": resource,
        "allocatable": float(node.allocatable.get(resource, 0)),
        "free": float(node.free(resource)),
    }
