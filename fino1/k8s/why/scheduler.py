"""Why does the scheduler find no node for a pod? Its own words, beside what the pod asks for and what the nodes have."""

import re
from collections import defaultdict
from collections.abc import Iterator, Mapping
from decimal import Decimal
from typing import Any

from fino1.k8s.finding import Finding
from fino1.k8s.state.nodes import PRODUCT, Node, format_amount, pod_requests
from fino1.k8s.why.facts import Facts, flat

_ON_PREEMPTION = re.compile(r"\.? (preemption:|no new claims).*|\.$")  # what follows the nodes' reasons
_UNBOUND = re.compile(r"unbound immediate PersistentVolumeClaims|persistentvolumeclaim.* not found")


def explain(spec: Mapping[str, Any], refusal: Mapping[str, Any], facts: Facts, about: tuple[str, ...]) -> Finding:
    """The cause in the condition `PodScheduled: False` of a pod with this spec."""
    message = flat(refusal.get("message"))
    if refusal.get("reason") == "SchedulingGated":
        gates = ", ".join(gate["name"] for gate in spec.get("schedulingGates", []))
        says = f"its pods wait for a scheduling gate ({gates})"
        return Finding("SchedulingGated", says, about, (message,), level="wait")
    if _UNBOUND.search(message):
        return Finding("UnboundClaim", "a volume that it mounts is not bound", about, (message,))
    asked = pod_requests(spec)
    numbers = {"asked": {r: format_amount(r, amount) for r, amount in asked.items() if r != "pods"}}
    says, evidence = f"no node takes it: {_ON_PREEMPTION.sub('', message)}", tuple(_list_nodes(spec, asked, facts))
    return Finding("Unschedulable", says, about, evidence, _advise(spec, asked, facts, message), numbers)


def _list_nodes(spec: Mapping[str, Any], asked: Mapping[str, Decimal], facts: Facts) -> Iterator[str]:
    """A line for each GPU product (without GPUs: one for all nodes): how much a node can give, and what is free."""
    resource = next((r for r in asked if "/" in r), "cpu")
    if resource not in asked:
        return
    wanted = ", ".join(f"{key}={value}" for key, value in (spec.get("nodeSelector") or {}).items())
    on = f" on nodes with {wanted}" if wanted else ""
    yield f"asked: {format_amount(resource, asked[resource])} {resource}{on}"
    by_product: dict[str, list[Node]] = defaultdict(list)
    for node in facts.nodes or ():
        if node.allocatable.get(resource):
            by_product[node.labels.get(PRODUCT, "")].append(node)
    for product, nodes in sorted(by_product.items()):
        largest = format_amount(resource, max(node.allocatable[resource] for node in nodes))
        free = sorted((node.free(resource) for node in nodes), reverse=True)[:8]
        refusals = sorted({reason for node in nodes if (reason := node.refuses(spec))})[:3]
        yield (
            f"{product or 'nodes'}: {len(nodes)} with {resource}, at most {largest} each,"
            f" free {', '.join(format_amount(resource, each) for each in free)}"
            + (f" ({'; '.join(refusals)})" if refusals else "")
        )
    if facts.nodes and not by_product:
        yield f"no node has {resource}"
    if facts.nodes_limit:
        yield f"({facts.nodes_limit})"


def _advise(spec: Mapping[str, Any], asked: Mapping[str, Decimal], facts: Facts, message: str) -> str:
    """Whether waiting helps: not where even an empty node is too small. Empty: not known."""
    if facts.nodes is None:
        return ""
    useful = [node for node in facts.nodes if not node.refuses(spec)]
    if not useful:
        return "waiting does not help: no node may take it; check gpu.product, nodeSelector and tolerations"
    if not any(node.count_fitting(asked, when_empty=True) for node in useful):
        return "waiting does not help: no node is that large, even when empty; ask for less (resources.requests, gpus_per_node)"
    return "it starts when other pods end" if "Insufficient" in message else ""
