"""How much of what does a run ask for? Pods by template, with what each requests, as the scheduler and quotas count it."""

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from decimal import Decimal
from typing import Any

from fino1.k8s.objects.backends import pod_templates
from fino1.k8s.objects.render import is_hook
from fino1.k8s.state.nodes import Amounts, parse_amounts
from fino1.spec.run import RunSpec


@dataclass(frozen=True)
class Group:
    """Pods of one template: how many, their pod spec, and the metadata that they get."""

    run: str
    count: int
    spec: Mapping[str, Any]
    metadata: Mapping[str, Any]

    @property
    def requests(self) -> Amounts:
        """What one pod requests of a node, itself as one of `pods` among it."""
        return {**_of_pod(self.spec, "requests"), "pods": Decimal(1)}

    @property
    def limits(self) -> Amounts:
        """What one pod is limited to."""
        return _of_pod(self.spec, "limits")


def groups(spec: RunSpec, objects: Sequence[Mapping[str, Any]]) -> list[Group]:
    """Which pods would the run's controllers make?"""
    count = spec.eval.shards if spec.method == "eval" else spec.nodes
    return [
        Group(thing["metadata"]["name"], count, template["spec"], template.get("metadata") or {})
        for thing in objects
        if not is_hook(dict(thing))
        for template in pod_templates(thing)
    ]


def total(found: Iterable[Group]) -> tuple[Amounts, Amounts]:
    """What do all pods together request, and what are they limited to?"""
    requests: Counter[str] = Counter()
    limits: Counter[str] = Counter()
    for group in found:
        for sums, amounts in ((requests, group.requests), (limits, group.limits)):
            for resource, amount in amounts.items():
                sums[resource] += group.count * amount  # type: ignore[assignment]
    return dict(requests), dict(limits)  # type: ignore[arg-type]


def _of_pod(spec: Mapping[str, Any], key: str) -> dict[str, Decimal]:
    """What counts for a pod: its containers and sidecars together, or an init container beside the sidecars before it."""
    beside: Counter[str] = Counter()
    most: dict[str, Decimal] = {}
    for container in spec.get("initContainers") or []:
        amounts = Counter(_of_container(container, key))
        if container.get("restartPolicy") == "Always":
            beside.update(amounts)
        else:
            most = _larger(most, beside + amounts)
    for container in spec.get("containers") or []:
        beside.update(_of_container(container, key))
    return _larger(most, beside)


def _of_container(container: Mapping[str, Any], key: str) -> dict[str, Decimal]:
    """A limit without a request is one."""
    resources = container.get("resources") or {}
    amounts = {**(resources.get("limits") or {}), **(resources.get(key) or {})}
    return parse_amounts(amounts)


def _larger(one: Mapping[str, Any], other: Mapping[str, Any]) -> dict[str, Decimal]:
    return {key: max(one.get(key, Decimal(0)), other.get(key, Decimal(0))) for key in one | dict(other)}
