"""Do a run's pods fit the nodes: now, when others end, or never? By node, with numbers, and why the others are no use."""

from collections import Counter, defaultdict
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from typing import Any

from fino1.k8s.cluster.client import Api
from fino1.k8s.finding import Finding, missing, note, ok, wait
from fino1.k8s.state.nodes import PRODUCT, Amounts, Node, format_amount, list_nodes, pod_requests
from fino1.sizes.shapes import gpu_memory
from fino1.spec.placement import GpuBlock
from fino1.spec.run import RunSpec

_AUTOSCALERS = ("karpenter.sh", "autoscaling.x-k8s.io")  # API groups of what adds nodes when pods wait
_SHOWN = 8
PodSpec = Mapping[str, Any]


def judge_fit(api: Api, spec: RunSpec, pods: Sequence[PodSpec], count: int) -> Iterator[Finding]:
    """Whether `count` pods of each of these specs fit the nodes together, and a note if not all that uses them is known."""
    nodes, limit = list_nodes(api)
    if limit:
        yield note("nodes", limit)
    is_near = spec.topology.policy == "required" and spec.trains and spec.nodes > 1
    # by what they ask of which nodes: an evaluation's models
    alike: defaultdict[str, list[PodSpec]] = defaultdict(list)
    for pod in pods:
        placement = [pod.get(key) for key in ("nodeSelector", "tolerations", "affinity")]
        alike[repr((placement, sorted(pod_requests(pod).items())))].append(pod)
    for each in alike.values():
        fit = _judge(each[0], len(each) * count, nodes, (spec.topology.key or "") if is_near else "")
        if fit.level == "missing" and any(api.versions(group) for group in _AUTOSCALERS):
            fit = replace(fit, level="wait", says=f"{fit.says}; this cluster can add nodes, which may help")
        yield fit


def smallest_gpu(api: Api, spec: RunSpec, pods: Sequence[PodSpec]) -> int | None:
    """Bytes of the smallest GPU that the run may get, by the nodes' labels; None where they do not say."""
    sizes = []
    for node in map(Node, api.list("v1", "Node")) if any(spec.pod_gpus) else ():
        if node.allocatable.get(spec.gpu.resource) and not any(node.refuses(pod) for pod in pods):
            mib = node.labels.get(f"{spec.gpu.resource}.memory", "")
            product = GpuBlock(resource=spec.gpu.resource, product=node.labels.get(PRODUCT))
            sizes.append(int(mib) * 2**20 if mib.isdigit() else gpu_memory(product))
    return min(size for size in sizes if size is not None) if sizes and None not in sizes else None


def _judge(pod: PodSpec, count: int, nodes: Sequence[Node], key: str) -> Finding:
    """Whether so many of this pod fit the nodes, which must share one value of the label `key` unless that is empty."""
    requests = pod_requests(pod)
    resource = next((each for each in requests if "/" in each), "cpu")  # what people look for: the GPUs, else the CPUs
    rows = [_describe(node, pod, resource) for node in nodes]
    useful = [node for node, row in zip(nodes, rows, strict=True) if not row["refuses"]]
    now, ever = (_count_room(useful, requests, key, when_empty=when_empty) for when_empty in (False, True))
    asked = ", ".join(f"{format_amount(r, a)} {r}" for r, a in sorted(requests.items()) if r != "pods" and a)
    what = f"{count} pod{'' if count == 1 else 's'} of {asked or 'no requests'}"
    near = f" in one {key}" if key else ""
    facts = {"pods": count, "room_now": now, "room_ever": ever, "nodes": rows}
    free = ", ".join(
        f"{row['name']} {row['free']:g} of {row['allocatable']:g} {resource} free"
        for row in [row for row in rows if not row["refuses"]][:_SHOWN]
    )
    more = f" and {len(useful) - _SHOWN} more" if len(useful) > _SHOWN else ""
    here = f"{len(useful)} node{'' if len(useful) == 1 else 's'} of {len(nodes)} may be used: {free or 'none'}{more}"
    if now >= count:
        return ok("nodes", f"fits now: {what}; room for {now}{near}; {here}", **facts)
    if ever >= count:
        return wait("nodes", f"fits when others end: {what}; room for {now} now, {ever} in all{near}; {here}", **facts)
    reasons = Counter(row["refuses"] for row in rows if row["refuses"]).most_common(_SHOWN)
    others = f"; others: {', '.join(f'{count} with {reason}' for reason, count in reasons)}" if reasons else ""
    return missing("nodes", f"never fits: {what}; room for {ever} on empty nodes{near}; {here}{others}", **facts)


def _count_room(useful: Sequence[Node], requests: Amounts, key: str, *, when_empty: bool) -> int:
    """How many pods fit: on all nodes, or with a label `key` that they must share on those of its best value."""
    domains: defaultdict[str, int] = defaultdict(int)
    for node in useful:
        if not key or key in node.labels:
            domains[node.labels.get(key, "")] += node.count_fitting(requests, when_empty=when_empty)
    return max(domains.values(), default=0)


def _describe(node: Node, pod: PodSpec, resource: str) -> dict[str, Any]:
    """One node in figures."""
    free, allocatable = float(node.free(resource)), float(node.allocatable.get(resource, 0))
    refuses = node.refuses(pod) or None
    return {"name": node.name, "refuses": refuses, "resource": resource, "allocatable": allocatable, "free": free}
