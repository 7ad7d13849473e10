"""Which keys of placement, right one by one, would Kubernetes refuse together, or no pod ever start with?

charts/fino1/templates/_check_pods.tpl and _check_resources.tpl have the same checks in Helm's language. The rules of tolerations
and resources are those of core's ValidateTolerations and ValidateResourceRequirements, for the pod as it is rendered.
"""

import re
from collections.abc import Iterator, Mapping

from fino1.spec.fields import BYTES, amount
from fino1.spec.placement import Placement

RESERVED_ENV = (
    "^(FINO1_(ATTEMPT|BACKOFF_LIMIT|REPORT_TO)|HOME|HF_HOME|HF_HUB_OFFLINE|JOB_COMPLETION_INDEX"
    "|MASTER_(ADDR|PORT)|PET_.*|RANK|LOCAL_RANK|WORLD_SIZE)$"
)
"""Variables that the pod or its controller sets itself."""
RESERVED_LABELS = (
    r"^(app\.kubernetes\.io/(name|instance|component|part-of)|fino1/run|job-name|controller-uid"
    r"|(batch\.kubernetes\.io|training\.kubeflow\.org|trainer\.kubeflow\.org|jobset\.sigs\.k8s\.io)/.*)$"
)
"""Labels by which the pods are found: the NetworkPolicy and `fino1-k8s` look for ours, controllers for theirs."""
GANG_KEYS = {
    "podLabels": "scheduling.x-k8s.io/pod-group",
    "podAnnotations": "scheduling.k8s.io/group-name",
}
"""Block → the key in it that puts a pod in its gang, which is ours where `gang` is given."""
Complaint = tuple[str, str]


def pod_complaints(spec: Placement, trains: bool) -> list[Complaint]:
    """Problems of placement that single keys do not show, as (path, problem). `trains` is False for `eval` and `paths`."""
    return [
        *_claims(spec),
        *_variables(spec),
        *_image(spec),
        *_labels(spec),
        *_tolerations(spec),
        *_resources(spec, trains),
    ]


def _claims(spec: Placement) -> Iterator[Complaint]:
    work, models = spec.volumes.work, spec.volumes.models
    if work.create and models.create and work.claimName == models.claimName:
        problem = f"expected another than volumes.work.claimName, or create: false, got {models.claimName}"
        yield "volumes.models.claimName", problem
    for name, claim in (("work", work), ("models", models)):
        if not amount(claim.size):
            yield f"volumes.{name}.size", f"expected more than 0, got {claim.size}"
        if not claim.accessModes:
            yield f"volumes.{name}.accessModes", "expected at least one, got none"
        elif "ReadWriteOncePod" in claim.accessModes and len(claim.accessModes) > 1:
            yield f"volumes.{name}.accessModes", f"expected ReadWriteOncePod alone, got {', '.join(claim.accessModes)}"


def _variables(spec: Placement) -> Iterator[Complaint]:
    for name in sorted({*spec.env, *spec.secretEnv}):
        block = "secretEnv" if name in spec.secretEnv else "env"
        if re.fullmatch(RESERVED_ENV, name):
            yield f"{block}.{name}", f"expected a name that the pod does not set itself, got {name}"
        elif name in spec.env and name in spec.secretEnv:
            yield f"secretEnv.{name}", "expected it in env or in secretEnv, got both"


def _image(spec: Placement) -> Iterator[Complaint]:
    """A tag in the repository is for a digest only: image.tag would be a second one."""
    name = spec.image.repository or ""
    if ":" in name.rpartition("/")[2] and not spec.image.digest:
        yield "image.repository", f"expected a name without its tag (image.tag), got {name}"


def _labels(spec: Placement) -> Iterator[Complaint]:
    for block, gang_key in GANG_KEYS.items():
        for key in getattr(spec, block):
            is_ours = block == "podLabels" and re.fullmatch(RESERVED_LABELS, key)
            if is_ours or (spec.gang and key == gang_key):
                yield f"{block}.{key}", f"expected a key that the pod does not set itself, got {key}"


def _tolerations(spec: Placement) -> Iterator[Complaint]:
    for i, each in enumerate(spec.tolerations):
        if each.operator == "Equal" and each.key is None:
            yield f"tolerations.{i}.key", "expected one with operator Equal, got none"
        if each.operator == "Exists" and each.value:
            yield f"tolerations.{i}.value", f"expected none with operator Exists, got {each.value}"
        if each.tolerationSeconds is not None and each.effect != "NoExecute":
            got = each.tolerationSeconds
            yield f"tolerations.{i}.tolerationSeconds", f"expected none without effect NoExecute, got {got}"


def _resources(spec: Placement, trains: bool) -> Iterator[Complaint]:
    requests, limits = spec.resources.requests, spec.resources.limits
    counted = {spec.gpu.resource: "gpus_per_node", spec.rdma.resource: "rdma.count"}
    if spec.gpu.resource == spec.rdma.resource:
        yield "rdma.resource", f"expected another than gpu.resource, got {spec.rdma.resource}"
    for name, key in counted.items():
        if name in limits:
            yield f"resources.limits.{name}", f"expected none beside {key}, got {limits[name]}"
    for block, amounts in (("requests", requests), ("limits", limits)):
        for name, text in amounts.items():
            if name.startswith("requests."):  # a quota's name for it
                yield f"resources.{block}.{name}", f"expected {name.removeprefix('requests.')}, got {name}"
            if expected := _kind_of_amount(name, text):
                yield f"resources.{block}.{name}", f"expected {expected}, got {text}"
            if name.startswith("hugepages-") and not {"cpu", "memory"} & (requests.keys() | limits.keys()):
                yield f"resources.{block}.{name}", "expected cpu or memory beside it, got none"
    yield from _requests(requests, {**limits, **(_devices(spec) if trains else {})})
    memory = amount(limits.get("memory", "0"))
    if trains and 0 < memory < amount(spec.shmSize):
        yield "shmSize", f"expected at most resources.limits.memory, {limits['memory']}, got {spec.shmSize}"


def _requests(requests: Mapping[str, str], limits: Mapping[str, str]) -> Iterator[Complaint]:
    """A request is at most its limit; of devices and huge pages it is the limit."""
    for name, text in requests.items():
        path, limit = f"resources.requests.{name}", limits.get(name)
        is_fixed = _is_device(name) or name.startswith("hugepages-")
        if limit is None and is_fixed:
            yield path, f"expected the same in resources.limits, got {text}"
        elif limit is not None and is_fixed and amount(text) != amount(limit):
            yield path, f"expected the limit, {limit}, got {text}"
        elif limit is not None and amount(text) > amount(limit):
            yield path, f"expected at most the limit, {limit}, got {text}"


def _kind_of_amount(name: str, text: str) -> str:
    """What this resource's quantity should be; empty where it is."""
    if "/" in name:
        return "a whole number" if _is_device(name) and amount(text) % 1 else ""
    if name != "cpu" and not re.fullmatch(BYTES, text):
        return "whole bytes such as 16Gi"
    page = name.removeprefix("hugepages-")
    return f"a multiple of {page}" if page != name and amount(text) % amount(page) else ""


def _is_device(name: str) -> bool:
    """Whether the resource is an extended one, which is counted in whole numbers and never overcommitted."""
    return "/" in name and "kubernetes.io/" not in name


def _devices(spec: Placement) -> dict[str, str]:
    gpus = {spec.gpu.resource: str(spec.gpus_per_node)} if spec.gpus_per_node else {}
    return gpus | ({spec.rdma.resource: str(spec.rdma.count)} if spec.rdma.resource else {})
