"""Does a pod get the GPUs it asks for, and the shared memory that its ranks need?"""

import re
from collections.abc import Iterator
from typing import Any

from fino1.k8s.objects.rules.rule import Fault, Rule, show
from fino1.k8s.objects.rules.walk import GPU, Container, Pod, Thing, entries, get, join, mapping, text

LIMITS = Rule(
    "gpu-limits",
    "error",
    "Extended resources cannot be overcommitted: the limit must be there, and a request must equal it.",
    "kubernetes v1.33 pkg/apis/core/validation/validation.go (ValidateContainerResourceRequirements)",
)
TWO_CONTAINERS = Rule(
    "gpu-two-containers",
    "warning",
    "Containers do not share GPUs: each gets its own, and the pod needs their sum on one node.",
    "kubernetes.io Schedule GPUs; kubernetes v1.33 pkg/api/v1/resource (PodRequests)",
)
TOLERATION = Rule(
    "gpu-toleration",
    "warning",
    "GPU nodes usually carry the taint nvidia.com/gpu:NoSchedule; without a toleration the pod stays pending.",
    "reference/kubernetes.md §3 (GPU); kubernetes.io Taints and Tolerations (Dedicated Nodes)",
)
SHM = Rule(
    "shm-memory",
    "warning",
    "The runtime gives /dev/shm 64 MiB, on which NCCL and data loaders of several ranks fail with a bus error.",
    "NCCL user guide, Troubleshooting (Shared memory); reference/kubernetes.md §3 (GPU); DESIGN.md C4",
)


def check(thing: Thing) -> Iterator[Fault]:
    """Do this object's pods get their GPUs and their shared memory?"""
    for pod in thing.pods:
        for container in pod.containers:
            yield from _limits(container)
        using = [box for box in pod.containers if box.gpus and box.role in ("main", "sidecar")]
        for box in using[1:]:
            first = text(using[0].body, "name") or using[0].path
            message = f"expected GPUs in one container, got {show(box.gpus)} besides those of {first}"
            yield TWO_CONTAINERS.at(join(box.path, "resources", "limits"), message)
        if using and not _tolerates(pod):
            got = show([item.get("key") for _, item in entries(pod.spec, "tolerations")])
            message = f"expected one for {next(iter(using[0].gpus))}, got {got}"
            yield TOLERATION.at(join(pod.spec_path, "tolerations"), message)
        for box in pod.containers:
            if box.role in ("main", "sidecar") and (ranks := _ranks(thing, box)) > 1:
                yield from _shared_memory(pod, box, ranks)


def _limits(container: Container) -> Iterator[Fault]:
    limits, requests = (mapping(container.body, "resources", key) for key in ("limits", "requests"))
    for key, value in requests.items():
        if isinstance(key, str) and GPU.match(key) and _plain(limits.get(key)) != _plain(value):
            path = join(container.path, "resources", "limits", key)
            yield LIMITS.at(path, f"expected {show(value)} as requested, got {show(limits.get(key))}")


def _tolerates(pod: Pod) -> bool:
    """Is there a toleration that a GPU node's taint may be meant by? Those of the node's health are not."""
    for _, item in entries(pod.spec, "tolerations"):
        if item.get("effect") in (None, "NoSchedule") and not text(item, "key").startswith("node.kubernetes.io/"):
            return True
    return False


def _ranks(thing: Thing, container: Container) -> int:
    """How many processes with a GPU, or ranks, has the container?"""
    numbers = [_number(value) for value in container.gpus.values()]
    numbers.append(_number(get(container.env.get("PET_NPROC_PER_NODE"), "value")))
    if thing.kind == "PyTorchJob" and text(container.body, "name") == "pytorch":
        numbers.append(_number(get(thing.body, "spec", "nprocPerNode")))
    if text(container.body, "name") == "node":
        numbers.append(_number(get(thing.body, "spec", "mlPolicy", "torch", "numProcPerNode")))
    return max(numbers)


def _number(value: Any) -> int:
    return int(_plain(value)) if re.fullmatch(r"[0-9]{1,6}", _plain(value)) else 0


def _plain(value: Any) -> str:
    """A quantity is the same as a number and as a string."""
    return show(value).strip('"')


def _shared_memory(pod: Pod, container: Container, ranks: int) -> Iterator[Fault]:
    mounts = [m for _, m in entries(container.body, "volumeMounts") if text(m, "mountPath").rstrip("/") == "/dev/shm"]  # noqa: S108
    path = join(container.path, "volumeMounts")
    if not mounts:
        yield SHM.at(path, f"expected an emptyDir of medium Memory at /dev/shm for {ranks} ranks, got none")
        return
    volume = pod.volumes.get(text(mounts[0], "name"))
    if volume is not None and get(volume, "emptyDir", "medium") != "Memory":
        got = show({key: value for key, value in volume.items() if key != "name"})
        yield SHM.at(path, f"expected an emptyDir of medium Memory at /dev/shm for {ranks} ranks, got {got}")
