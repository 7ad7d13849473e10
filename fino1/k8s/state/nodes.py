"""What has each node, how much of it is taken, and may a pod go there? Requests are counted as the scheduler counts them."""

import functools
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from decimal import Decimal
from typing import Any

from fino1.k8s.cluster.client import Api
from fino1.k8s.cluster.errors import ApiError

Amounts = Mapping[str, Decimal]  # resource → amount, as in `requests`

PRODUCT = "nvidia.com/gpu.product"
_BINARY = tuple((unit, 1024**power) for power, unit in enumerate(("Ki", "Mi", "Gi", "Ti", "Pi", "Ei"), 1))


@dataclass
class Node:
    """A node, and what the pods on it request (`used`)."""

    body: Mapping[str, Any]
    used: Counter[str] = field(default_factory=Counter)

    @property
    def name(self) -> str:
        """Name of the node."""
        return self.body["metadata"]["name"]

    @property
    def labels(self) -> Mapping[str, str]:
        """Labels of the node, such as `PRODUCT`."""
        return self.body["metadata"].get("labels") or {}

    @functools.cached_property
    def allocatable(self) -> Amounts:
        """Amounts that all its pods together may request."""
        return parse_amounts(self.body.get("status", {}).get("allocatable") or {})

    def free(self, resource: str) -> Decimal:
        """Amount of a resource that is left; 0 of one that the node has not."""
        return self.allocatable.get(resource, Decimal(0)) - self.used[resource]

    def count_fitting(self, requests: Amounts, *, when_empty: bool = False) -> int:
        """Number of further pods with these requests that fit; `when_empty`: if no pod were there."""
        left = (
            self.allocatable.get(resource, Decimal(0)) if when_empty else self.free(resource) for resource in requests
        )
        room = (amount // request for amount, request in zip(left, requests.values(), strict=True) if request > 0)
        return max(0, int(min(room)))

    def refuses(self, spec: Mapping[str, Any]) -> str:
        """The reason why no pod with this spec may go there (selector, cordon, taint), whatever is free; empty where it may."""
        for key, value in (spec.get("nodeSelector") or {}).items():
            if self.labels.get(key) != value:
                return f"{key}={self.labels[key]}" if key in self.labels else f"no label {key}"
        if self.body.get("spec", {}).get("unschedulable"):
            return "cordoned"
        conditions = self.body.get("status", {}).get("conditions") or []
        if any(c["type"] == "Ready" and c["status"] != "True" for c in conditions):
            return "not Ready"
        for taint in self.body.get("spec", {}).get("taints") or []:
            if taint["effect"] != "PreferNoSchedule" and not _is_tolerated(taint, spec.get("tolerations") or []):
                return f"taint {taint['key']}{'=' + taint['value'] if taint.get('value') else ''} not tolerated"
        return ""


def list_nodes(api: Api) -> tuple[list[Node], str]:
    """All nodes with what is used of them, and why more may be used than is known (empty: all is known)."""
    found = {body["metadata"]["name"]: Node(body) for body in api.list("v1", "Node")}
    alive, limit = "status.phase!=Succeeded,status.phase!=Failed", ""
    try:
        pods = api.list("v1", "Pod", field_selector=alive, namespace="")
    except ApiError as error:
        if error.status != 403:
            raise
        limit = "pods of other namespaces cannot be listed, so less may be free"
        pods = api.list("v1", "Pod", field_selector=alive)
    for pod in pods:
        if node := found.get(pod["spec"].get("nodeName", "")):
            node.used.update(pod_requests(pod["spec"]))  # type: ignore[arg-type]
    return list(found.values()), limit


def pod_requests(spec: Mapping[str, Any]) -> dict[str, Decimal]:
    """The requests of one pod with this spec to its node, `pods: 1` included.

    Containers and sidecars count together; an init container counts beside the sidecars before it, where that is more.
    """
    together: Counter[str] = Counter()
    most: Counter[str] = Counter()
    for container in spec.get("initContainers") or []:
        amounts = Counter(_container_requests(container))
        if container.get("restartPolicy") == "Always":
            together.update(amounts)
        else:
            most |= together + amounts
    for container in spec.get("containers") or []:
        together.update(_container_requests(container))
    return {**(most | together), "pods": Decimal(1)}  # type: ignore[dict-item]


def _container_requests(container: Mapping[str, Any]) -> dict[str, Decimal]:
    """A limit without a request is one."""
    resources = container.get("resources") or {}
    return parse_amounts({**(resources.get("limits") or {}), **(resources.get("requests") or {})})


def parse_amounts(amounts: Mapping[str, Any]) -> dict[str, Decimal]:
    """The numbers of a map of quantities, such as {"cpu": "500m", "memory": "64Gi"}."""
    return {resource: parse_quantity(text) for resource, text in amounts.items()}


def parse_quantity(text: Any) -> Decimal:
    """The number of a Kubernetes quantity (`500m`, `64Gi`, `1e3`). Loads the Kubernetes client."""
    from kubernetes.utils import quantity

    return quantity.parse_quantity(text)


def format_amount(resource: str, amount: Decimal) -> str:
    """An amount of a resource as people write it: memory and storage with a binary unit."""
    if any(word in resource for word in ("memory", "storage", "hugepages")):
        for unit, size in reversed(_BINARY):
            if amount >= size:
                return f"{amount / size:.4g}{unit}"
    return str(int(amount)) if amount == int(amount) else f"{float(amount):.4g}"


def _is_tolerated(taint: Mapping[str, str], tolerations: Sequence[Mapping[str, Any]]) -> bool:
    """Whether one of the tolerations matches the taint, as the scheduler reads them."""
    for each in tolerations:
        is_effect = each.get("effect") in (None, "", taint["effect"])
        exists = each.get("operator") == "Exists"
        is_key = each.get("key") == taint["key"] or (exists and not each.get("key"))
        if is_effect and is_key and (exists or (each.get("value") or "") == taint.get("value", "")):
            return True
    return False
