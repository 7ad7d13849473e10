"""Do a run's pods fit the nodes: now, when others end, or never? By node, with numbers, and why the others are no use."""

from collections import Counter, defaultdict
from collections.abc import Iterator, Sequence
from decimal import Decimal
from typing import Any

from fino1.k8s.cluster.client import Api
from fino1.k8s.finding import Finding, missing, note, ok, wait
from fino1.k8s.plan import gpus
from fino1.k8s.plan.demand import Group
from fino1.k8s.state.nodes import PRODUCT, Amounts, Node, format_amount, list_nodes
from fino1.spec.placement import GpuBlock
from fino1.spec.run import RunSpec

_AUTOSCALERS = ("karpenter.sh", "autoscaling.x-k8s.io")  # API groups of what adds nodes when pods wait
_SHOWN = 8


def fit(api: Api, spec: RunSpec, wanted: Sequence[Group]) -> Iterator[Finding]:
    """Do all the run's pods fit the nodes together?"""
    there, limit = list_nodes(api)
    if limit:
        yield note("nodes", limit)
    for group in _alike(wanted):
        yield _fit(api, spec, group, there)


def gpu_bytes(api: Api, spec: RunSpec, wanted: Sequence[Group]) -> int | None:
    """How much memory has the smallest GPU that the run may get, by the nodes' labels? None where they do not say."""
    if not spec.gpus_per_node:
        return None
    sizes = []
    for body in api.list("v1", "Node").items:
        node = Node(body)
        if node.allocatable.get(spec.gpu.resource) and not any(node.refuses(group.spec) for group in wanted):
            mib = node.labels.get(f"{spec.gpu.resource}.memory", "")
            product = GpuBlock(resource=spec.gpu.resource, product=node.labels.get(PRODUCT))
            sizes.append(int(mib) * 2**20 if mib.isdigit() else gpus.gpu_memory(product))
    return min(size for size in sizes if size is not None) if sizes and None not in sizes else None


def _alike(wanted: Sequence[Group]) -> list[Group]:
    """Groups that ask for the same of the same nodes as one: the models of an evaluation."""
    merged: dict[str, Group] = {}
    for group in wanted:
        keys = ("nodeSelector", "tolerations", "affinity")
        alike = repr(({key: group.spec.get(key) for key in keys}, sorted(group.requests.items())))
        count = group.count + (merged[alike].count if alike in merged else 0)
        merged[alike] = Group(group.run, count, group.spec, group.metadata)
    return list(merged.values())


def _fit(api: Api, spec: RunSpec, group: Group, there: Sequence[Node]) -> Finding:
    useful = [node for node in there if not node.refuses(group.spec)]
    now = _most(spec, useful, group.requests, is_empty=False)
    ever = _most(spec, useful, group.requests, is_empty=True)
    asked = ", ".join(f"{format_amount(r, a)} {r}" for r, a in sorted(group.requests.items()) if r != "pods" and a)
    pods = f"{_plural(group.count, 'pod')} of {asked or 'no requests'}"
    near = f" in one {spec.topology.key}" if _domain(spec) else ""
    facts = {
        "pods": group.count,
        "room_now": now,
        "room_ever": ever,
        "nodes": [_row(node, group) for node in there],
    }
    here = f"{_plural(len(useful), 'node')} of {len(there)} may be used: {_by_node(useful, group)}"
    if now >= group.count:
        return ok("nodes", f"fits now: {pods}; room for {now}{near}; {here}", **facts)
    if ever >= group.count:
        text = f"fits when others end: {pods}; room for {now} now, {ever} in all{near}; {here}"
        return wait("nodes", text, **facts)
    text = f"never fits: {pods}; room for {ever} on empty nodes{near}; {here}{_why_not(there, group)}"
    if any(api.versions(scaler) for scaler in _AUTOSCALERS):
        return wait("nodes", f"{text}; this cluster can add nodes, which may help", **facts)
    return missing("nodes", text, **facts)


def _domain(spec: RunSpec) -> str:
    """The node label whose value all the run's nodes must share."""
    is_required = spec.topology.policy == "required" and spec.method != "eval" and spec.nodes > 1
    return spec.topology.key or "" if is_required else ""


def _most(spec: RunSpec, useful: Sequence[Node], requests: Amounts, is_empty: bool) -> int:
    """How many pods fit, in the best domain where they must share one?"""
    domains: defaultdict[str, int] = defaultdict(int)
    key = _domain(spec)
    for node in useful:
        if not key or key in node.labels:
            domains[node.labels.get(key, "")] += node.count_fitting(requests, when_empty=is_empty)
    return max(domains.values(), default=0)


def _main(group: Group) -> str:
    """The resource that people look for: the GPUs, else the CPUs."""
    devices = [resource for resource in group.requests if "/" in resource]
    return devices[0] if devices else "cpu"


def _by_node(useful: Sequence[Node], group: Group) -> str:
    resource = _main(group)
    lines = []
    for node in useful[:_SHOWN]:
        all_of_it = node.allocatable.get(resource, Decimal(0))
        free = all_of_it - node.used[resource]
        lines.append(
            f"{node.name} {format_amount(resource, free)} of {format_amount(resource, all_of_it)} {resource} free"
        )
    more = len(useful) - _SHOWN
    return (", ".join(lines) or "none") + (f" and {more} more" if more > 0 else "")


def _row(node: Node, group: Group) -> dict[str, Any]:
    resource = _main(group)
    all_of_it = node.allocatable.get(resource, Decimal(0))
    return {
        "name": node.name,
        "refuses": node.refuses(group.spec) or None,
        "resource": resource,
        "allocatable": float(all_of_it),
        "free": float(all_of_it - node.used[resource]),
    }


def _why_not(there: Sequence[Node], group: Group) -> str:
    """Why are the other nodes of no use? Counted."""
    reasons = Counter(reason for node in there if (reason := node.refuses(group.spec)))
    listed = ", ".join(f"{count} with {reason}" for reason, count in reasons.most_common(_SHOWN))
    return f"; others: {listed}" if listed else ""


def _plural(count: int, noun: str) -> str:
    return f"{count} {noun}" + ("" if count == 1 else "s")
