"""How much of what does a run ask for? Pods by template, with what each requests, as the scheduler and quotas count it."""

import re
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from fractions import Fraction
from typing import Any

from fino1.k8s.objects.backends import pod_templates
from fino1.k8s.objects.render import is_hook
from fino1.spec.run import RunSpec

Amounts = Mapping[str, Fraction]

_BINARY = {unit: 1024**power for power, unit in enumerate(("Ki", "Mi", "Gi", "Ti", "Pi", "Ei"), 1)}
_DECIMAL = {"n": Fraction(1, 10**9), "u": Fraction(1, 10**6), "m": Fraction(1, 1000), "": Fraction(1)} | {
    unit: Fraction(1000**power) for power, unit in enumerate("kMGTPE", 1)
}
_QUANTITY = re.compile(r"([+-]?[0-9.]+(?:[eE][+-]?[0-9]+)?)([A-Za-z]*)")


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
        return {**_of_pod(self.spec, "requests"), "pods": Fraction(1)}

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


def of_running(pod: Mapping[str, Any]) -> Amounts:
    """What does a pod of the cluster take of its node?"""
    return {**_of_pod(pod.get("spec") or {}, "requests"), "pods": Fraction(1)}


def quantity(text: Any) -> Fraction:
    """Which number is a Kubernetes quantity (`500m`, `64Gi`, `1e3`)? 0 for what is none."""
    matched = _QUANTITY.fullmatch(str(text))
    if not matched:
        return Fraction(0)
    factor = _BINARY.get(matched[2]) or _DECIMAL.get(matched[2])
    return Fraction(matched[1]) * factor if factor else Fraction(0)


def quantities(amounts: Mapping[str, Any]) -> dict[str, Fraction]:
    """The same of a whole map."""
    return {resource: quantity(text) for resource, text in amounts.items()}


def shown(resource: str, amount: Fraction) -> str:
    """How does a person write an amount of a resource?"""
    if any(word in resource for word in ("memory", "storage", "hugepages")):
        for unit, size in reversed(_BINARY.items()):
            if amount >= size:
                return f"{float(amount / size):.4g}{unit}"
    return f"{float(amount):.4g}" if amount.denominator > 1 else str(amount.numerator)


def _of_pod(spec: Mapping[str, Any], key: str) -> dict[str, Fraction]:
    """What counts for a pod: its containers and sidecars together, or an init container beside the sidecars before it."""
    beside: Counter[str] = Counter()
    most: dict[str, Fraction] = {}
    for container in spec.get("initContainers") or []:
        amounts = Counter(_of_container(container, key))
        if container.get("restartPolicy") == "Always":
            beside.update(amounts)
        else:
            most = _larger(most, beside + amounts)
    for container in spec.get("containers") or []:
        beside.update(_of_container(container, key))
    return _larger(most, beside)


def _of_container(container: Mapping[str, Any], key: str) -> dict[str, Fraction]:
    """A limit without a request is one."""
    resources = container.get("resources") or {}
    amounts = {**(resources.get("limits") or {}), **(resources.get(key) or {})}
    return quantities(amounts)


def _larger(one: Mapping[str, Any], other: Mapping[str, Any]) -> dict[str, Fraction]:
    return {key: max(one.get(key, Fraction(0)), other.get(key, Fraction(0))) for key in one | dict(other)}
