"""Why does the scheduler find no node for a pod? Its message in numbers, beside what the nodes have."""

import re
from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping
from decimal import Decimal
from typing import Any

from fino1.k8s.finding import Finding
from fino1.k8s.state.nodes import PRODUCT, Node, format_amount, pod_requests
from fino1.k8s.why.facts import Facts, flat

_MESSAGE = re.compile(r"(\d+)/(\d+) nodes are available(?:: )?(.*)", re.DOTALL)
_PART = re.compile(r"(\d+) (.+)")
_UNBOUND = "unbound immediate PersistentVolumeClaims"


def parse_message(message: str) -> tuple[int, dict[str, int]] | None:
    """Read the scheduler's message: the number of nodes, and for each reason how many refuse the pod. None: another message.

    Reasons are joined by commas and end with a full stop; what follows on preemption is left out.
    """
    found = _MESSAGE.match(flat(message))
    if not found:
        return None
    reasons = re.split(r"\. (?=preemption:|no new claims|\Z)|\.$", found[3])[0]
    counted: dict[str, int] = {}
    for piece in re.split(r", (?=\d+ )", reasons):
        if part := _PART.match(piece.strip().rstrip(".")):
            counted[part[2].removeprefix("node(s) ")] = int(part[1])
    return int(found[2]), counted


def explain(spec: Mapping[str, Any], refusal: Mapping[str, Any], facts: Facts, about: tuple[str, ...]) -> Finding:
    """The cause in the condition `PodScheduled: False` of a pod with this spec."""
    message = flat(refusal.get("message"))
    if refusal.get("reason") == "SchedulingGated":
        gates = ", ".join(gate["name"] for gate in spec.get("schedulingGates", []))
        says = f"its pods wait for a scheduling gate ({gates})"
        return Finding("SchedulingGated", says, about, (message,), level="wait")
    if _UNBOUND in message or ("persistentvolumeclaim" in message and "not found" in message):
        return Finding("UnboundClaim", "a volume that it mounts is not bound", about, (message,))
    counted, asked = parse_message(message), pod_requests(spec)
    evidence = (message, *_list_nodes(spec, asked, facts))
    if not counted:
        return Finding("Unschedulable", f"no node takes it: {message}", about, evidence)
    total, reasons = counted
    numbers = {
        "nodes": total,
        "refusals": reasons,
        "asked": {r: format_amount(r, a) for r, a in asked.items() if r != "pods"},
    }
    says = f"no node takes it: {_in_words(total, reasons, asked)}"
    return Finding("Unschedulable", says, about, evidence, _advise(spec, asked, facts, reasons), numbers)


def _in_words(total: int, reasons: Mapping[str, int], asked: Mapping[str, Decimal]) -> str:
    if not total:
        return "the cluster has no nodes"
    clauses = []
    for reason, count in sorted(reasons.items(), key=lambda item: -item[1]):
        resource = reason.removeprefix("Insufficient ")
        amount = format_amount(resource, asked[resource]) if resource != reason and resource in asked else ""
        clauses.append(f"{count} of {total} " + (f"have less than {amount} {resource} free" if amount else reason))
    return ", ".join(clauses)


def _list_nodes(spec: Mapping[str, Any], asked: Mapping[str, Decimal], facts: Facts) -> Iterator[str]:
    """A line for each GPU product (without GPUs: one for all nodes): how much a node can give, and what is free."""
    resource = next((r for r in asked if "/" in r), "cpu")
    if facts.nodes is None or resource not in asked:
        return
    by_product: dict[str, list[Node]] = defaultdict(list)
    for node in facts.nodes:
        if node.allocatable.get(resource):
            by_product[node.labels.get(PRODUCT, "")].append(node)
    wanted = ", ".join(f"{key}={value}" for key, value in (spec.get("nodeSelector") or {}).items())
    on = f" on nodes with {wanted}" if wanted else ""
    yield f"asked: {format_amount(resource, asked[resource])} {resource}{on}"
    for product, nodes in sorted(by_product.items()):
        largest = format_amount(resource, max(node.allocatable[resource] for node in nodes))
        free = sorted((node.free(resource) for node in nodes), reverse=True)[:8]
        refusals = sorted({reason for node in nodes if (reason := node.refuses(spec))})[:3]
        yield (
            f"{product or 'nodes'}: {len(nodes)} with {resource}, at most {largest} each,"
            f" free {', '.join(format_amount(resource, each) for each in free)}"
            + (f" ({'; '.join(refusals)})" if refusals else "")
        )
    if not by_product:
        yield f"no node has {resource}"
    if facts.nodes_limit:
        yield f"({facts.nodes_limit})"


def _advise(spec: Mapping[str, Any], asked: Mapping[str, Decimal], facts: Facts, reasons: Iterable[str]) -> str:
    """Whether waiting helps: not where even an empty node is too small. Empty: not known."""
    if facts.nodes is None:
        return ""
    useful = [node for node in facts.nodes if not node.refuses(spec)]
    if not useful:
        return "waiting does not help: no node may take it; check gpu.product, nodeSelector and tolerations"
    if not any(node.count_fitting(asked, when_empty=True) for node in useful):
        return "waiting does not help: no node is that large, even when empty; ask for less (resources.requests, gpus_per_node)"
    return "it starts when other pods end" if any(reason.startswith("Insufficient") for reason in reasons) else ""
