"""Which nodes are there, what can they give to pods, what is taken of it, and which pods do they refuse?"""

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from fractions import Fraction
from typing import Any

from fino1.k8s.cluster.client import Api
from fino1.k8s.cluster.errors import ApiError
from fino1.k8s.state.demand import Amounts, of_running, quantities

PRODUCT = "nvidia.com/gpu.product"


@dataclass
class Node:
    """One node: what it can give to pods, and what they have taken."""

    body: Mapping[str, Any]
    used: Counter[str] = field(default_factory=Counter)

    @property
    def name(self) -> str:
        """Of the node."""
        return self.body["metadata"]["name"]

    @property
    def labels(self) -> Mapping[str, str]:
        """Of the node."""
        return self.body["metadata"].get("labels") or {}

    @property
    def allocatable(self) -> Amounts:
        """What pods may take in all."""
        return quantities(self.body.get("status", {}).get("allocatable") or {})

    def room(self, requests: Amounts, is_empty: bool) -> int:
        """How many pods with these requests does it hold, besides those that are there or if it were empty?"""
        room = [
            (self.allocatable.get(resource, Fraction(0)) - (0 if is_empty else self.used[resource])) // amount
            for resource, amount in requests.items()
            if amount > 0
        ]
        return max(0, min(room))

    def refuses(self, spec: Mapping[str, Any]) -> str:
        """Why does no pod with this spec go there? Empty: it may."""
        for key, value in (spec.get("nodeSelector") or {}).items():
            if self.labels.get(key) != value:
                return f"{key}={self.labels[key]}" if key in self.labels else f"no label {key}"
        if self.body.get("spec", {}).get("unschedulable"):
            return "cordoned"
        conditions = self.body.get("status", {}).get("conditions") or []
        if any(c["type"] == "Ready" and c["status"] != "True" for c in conditions):
            return "not Ready"
        for taint in self.body.get("spec", {}).get("taints") or []:
            if taint["effect"] != "PreferNoSchedule" and not _tolerated(taint, spec.get("tolerations") or []):
                return f"taint {taint['key']}{'=' + taint['value'] if taint.get('value') else ''} not tolerated"
        return ""


def nodes(api: Api) -> tuple[list[Node], str]:
    """All nodes with what is taken of them, and why not all that is taken may be known (empty: it is)."""
    found = {body["metadata"]["name"]: Node(body) for body in api.list("v1", "Node").items}
    alive, limit = "status.phase!=Succeeded,status.phase!=Failed", ""
    try:
        pods = api.list("v1", "Pod", field_selector=alive, namespace="").items
    except ApiError as error:
        if error.status != 403:
            raise
        limit = "pods of other namespaces cannot be listed, so less may be free"
        pods = api.list("v1", "Pod", field_selector=alive).items
    for pod in pods:
        node = found.get(pod["spec"].get("nodeName", ""))
        if node:
            node.used.update(of_running(pod))  # type: ignore[arg-type]
    return list(found.values()), limit


def _tolerated(taint: Mapping[str, str], tolerations: Sequence[Mapping[str, Any]]) -> bool:
    """Does one of the tolerations match the taint, as the scheduler reads them?"""
    for each in tolerations:
        is_effect = each.get("effect") in (None, "", taint["effect"])
        exists = each.get("operator") == "Exists"
        is_key = each.get("key") == taint["key"] or (exists and not each.get("key"))
        if is_effect and is_key and (exists or (each.get("value") or "") == taint.get("value", "")):
            return True
    return False
