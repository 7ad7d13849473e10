"""Which nodes do a unit's pods get, and do they start together? `charts/fino1/templates/_scheduling.tpl` says the same."""

from typing import Any

from fino1.k8s.objects.backends import BACKENDS, GANG_SCHEDULERS
from fino1.k8s.objects.unit import Unit, given


def constraints(unit: Unit) -> dict[str, Any]:
    """The keys of the pod's spec that say where and when it is scheduled."""
    gang = _gang(unit)
    scheduler = {"schedulerName": GANG_SCHEDULERS[gang].scheduler} if gang else {}
    priority = unit.document.get("priorityClassName")
    return {**scheduler, **given(priorityClassName=priority, affinity=_affinity(unit)), **nodes(unit)}


def nodes(unit: Unit) -> dict[str, Any]:
    """The keys that choose nodes: GPUs by product, their taint tolerated; a model behind an API needs none."""
    document = unit.document
    has_gpus = document["gpus_per_node"] > 0 and (unit.spec.trains or bool(unit.served))
    product = document["gpu"].get("product") if has_gpus else None
    own = [{"key": document["gpu"]["taint"], "operator": "Exists", "effect": "NoSchedule"}] if has_gpus else []
    return given(
        nodeSelector={**given(**{"nvidia.com/gpu.product": product}), **document["nodeSelector"]},
        tolerations=own + document["tolerations"],
    )


def labels(unit: Unit) -> dict[str, str]:
    """Labels that make pods wait for each other: the coscheduling plugin's, where no operator sets it."""
    return {"scheduling.x-k8s.io/pod-group": unit.full} if own_gang(unit) == "coscheduling" else {}


def annotations(unit: Unit) -> dict[str, str]:
    """Annotations that place the pods: Kueue's topology, and Volcano's group where no operator sets it."""
    topology = unit.document["topology"]
    found = {"scheduling.k8s.io/group-name": unit.full} if own_gang(unit) == "volcano" else {}
    if "key" in topology and "queue" in unit.document:
        found[f"kueue.x-k8s.io/podset-{topology['policy']}-topology"] = topology["key"]
    return found


def own_gang(unit: Unit) -> str:
    """The gang scheduler where no operator makes its PodGroup, so that we do."""
    return "" if BACKENDS[unit.document["backend"]].makes_pod_group else _gang(unit)


def _gang(unit: Unit) -> str:
    """The gang scheduler of a run of training; pods that ask models need none."""
    return "" if unit.asked else unit.document.get("gang", "")


def _affinity(unit: Unit) -> dict[str, Any]:
    topology = unit.document["topology"]
    if "key" not in topology or "queue" in unit.document:
        return {}
    term = {"labelSelector": {"matchLabels": {"fino1/run": unit.full}}, "topologyKey": topology["key"]}
    if topology["policy"] == "required":
        return {"podAffinity": {"requiredDuringSchedulingIgnoredDuringExecution": [term]}}
    preferred = [{"weight": 100, "podAffinityTerm": term}]
    return {"podAffinity": {"preferredDuringSchedulingIgnoredDuringExecution": preferred}}
