"""Which mistakes of a PyTorchJob does its CRD let through? (Kubeflow training-operator 1.9)"""

import difflib
from collections.abc import Iterator
from typing import Any

from fino1.k8s.objects.rules.rule import Fault, Rule, show
from fino1.k8s.objects.rules.walk import Thing, entries, get, join, mapping, text, whole

ROLES = ("Master", "Worker")
POLICIES = ("Always", "OnFailure", "Never", "ExitCode")
SPECS = "spec.pytorchReplicaSpecs"
_WEBHOOK = "kubeflow/trainer v1.9.4 pkg/webhooks/pytorch/pytorchjob_webhook.go"

REPLICA_TYPE = Rule(
    "pytorchjob-replica-type",
    "error",
    "The CRD takes any key here; without the operator's webhook a misspelt role makes no pods and says nothing.",
    _WEBHOOK,
)
RESTART_POLICY = Rule(
    "pytorchjob-restart-policy",
    "error",
    "The CRD takes any string; the operator copies it into its pods, which the API server then refuses.",
    "kubeflow/trainer v1.9.4 pkg/apis/kubeflow.org/v1/common_types.go",
)
MASTER_REPLICAS = Rule(
    "pytorchjob-master-replicas", "error", "The webhook wants exactly one Master, and wants it written.", _WEBHOOK
)
WORKER_REPLICAS = Rule("pytorchjob-worker-replicas", "error", "The webhook wants at least one Worker.", _WEBHOOK)
CONTAINER = Rule(
    "pytorchjob-container",
    "error",
    "The operator reads exit codes and ports of the container `pytorch` only; the webhook wants an image in each.",
    _WEBHOOK,
)
NPROC = Rule(
    "pytorchjob-nproc",
    "error",
    "The field is a string: a YAML integer is refused, and torchrun reads auto, cpu, gpu or a number.",
    "kubeflow/trainer v1.9.4 pkg/apis/kubeflow.org/v1/pytorch_types.go",
)
NPROC_TWICE = Rule(
    "pytorchjob-nproc-twice", "error", "elasticPolicy.nProcPerNode is forbidden beside nprocPerNode.", _WEBHOOK
)
ELASTIC_WORKER = Rule(
    "pytorchjob-elastic-worker", "error", "The elastic policy scales Workers; it needs them.", _WEBHOOK
)
INIT_CONTAINER = Rule(
    "pytorchjob-init-container",
    "error",
    "With a Master the operator puts an init container (alpine:3.10 of Docker Hub, no securityContext) into each Worker: "
    "Pod Security restricted refuses it, and an air-gapped cluster cannot pull it. Workers alone need none.",
    "kubeflow/trainer v1.9.4 pkg/controller.v1/pytorch/initcontainer.go, pkg/config/config.go",
)
NPROC_AUTO = Rule(
    "pytorchjob-nproc-auto",
    "warning",
    "`auto` (also the default) counts as 1 in the WORLD_SIZE that the operator injects, and is a rank for each of the "
    "node's CPUs where the pod has no GPU.",
    "kubeflow/trainer v1.9.4 pkg/controller.v1/pytorch/envvar.go (getNprocPerNodeInt)",
)
TTL = Rule(
    "pytorchjob-ttl-exit-code",
    "warning",
    "After a fatal exit code under ExitCode no completion time is set, so the TTL never fires: `fino1-k8s prune` does.",
    "kubeflow/trainer v1.9.4 pkg/controller.v1/common/pod.go, job.go (CleanupJob)",
)
CLEAN_PODS = Rule(
    "pytorchjob-clean-pods",
    "warning",
    "The Master's success ends the job; under None (the default) its Workers stay and keep their GPUs.",
    "kubeflow/trainer v1.9.4 pkg/apis/kubeflow.org/v1/pytorch_defaults.go",
)
CLEAN_POLICY = Rule(
    "pytorchjob-clean-pod-policy",
    "error",
    "The CRD takes any string, and neither webhook nor operator complains of one it does not know.",
    "kubeflow/training-operator v1.9.0 manifests/base/crds/kubeflow.org_pytorchjobs.yaml",
)
TEMPLATE_POLICY = Rule(
    "pytorchjob-template-restart-policy",
    "warning",
    "The operator overwrites the pod template's restartPolicy with the replica's (ExitCode becomes Never).",
    "kubeflow/training-operator v1.9.0 pkg/core/pod.go (SetRestartPolicy)",
)
RETRIES_FATAL = Rule(
    "pytorchjob-retries-fatal",
    "warning",
    "Only ExitCode tells the user's mistakes and bugs (1–127, not retried) from 128 and up (try again).",
    "kubeflow/trainer v1.9.4 pkg/controller.v1/common/pod.go (IsRetryableExitCode); DESIGN.md C5",
)


def check(thing: Thing) -> Iterator[Fault]:
    """What is wrong with this PyTorchJob?"""
    if thing.kind != "PyTorchJob":
        return
    roles = mapping(thing.body, "spec", "pytorchReplicaSpecs")
    yield from _roles(roles)
    for role, replica in roles.items():
        yield from _replica(thing, role, replica)
    yield from _processes(thing, roles)
    yield from _policy(thing, roles)


def _roles(roles: dict[Any, Any]) -> Iterator[Fault]:
    if not roles:
        yield REPLICA_TYPE.at(SPECS, "expected Master or Worker, got nothing")
    for key in roles:
        if key not in ROLES:
            near = difflib.get_close_matches(show(key).strip('"').capitalize(), ROLES, n=1, cutoff=0.5)
            hint = f" (did you mean {near[0]}?)" if near else ""
            yield REPLICA_TYPE.at(join(SPECS, key), f"expected Master or Worker, got {show(key)}{hint}")
    if "Master" in roles and "Worker" in roles:
        message = "expected Workers alone (PET_MASTER_ADDR=JOB-worker-0), got Master and Worker"
        yield INIT_CONTAINER.at(join(SPECS, "Master"), message)


def _replica(thing: Thing, role: Any, replica: Any) -> Iterator[Fault]:
    path = join(SPECS, role)
    number, policy = get(replica, "replicas"), get(replica, "restartPolicy")
    if role == "Master" and (number is True or number != 1):
        yield MASTER_REPLICAS.at(join(path, "replicas"), f"expected 1, got {show(number)}")
    if role == "Worker" and number is not None and (whole(replica, "replicas") or 0) < 1:
        yield WORKER_REPLICAS.at(join(path, "replicas"), f"expected at least 1, got {show(number)}")
    if policy is not None and policy not in POLICIES:
        near = difflib.get_close_matches(show(policy).strip('"'), POLICIES, n=1)
        hint = f" (did you mean {near[0]}?)" if near else ""
        message = f"expected {', '.join(POLICIES)}, got {show(policy)}{hint}"
        yield RESTART_POLICY.at(join(path, "restartPolicy"), message)
    elif thing.is_ours and policy != "ExitCode":
        yield RETRIES_FATAL.at(join(path, "restartPolicy"), f"expected ExitCode, got {show(policy)}")
    yield from _containers(path, replica)
    inner, becomes = get(mapping(replica, "template"), "spec", "restartPolicy"), policy or "OnFailure"
    if inner is not None and inner != ("Never" if becomes == "ExitCode" else becomes):
        message = f"expected none, got {show(inner)}, which becomes that of restartPolicy {show(becomes)}"
        yield TEMPLATE_POLICY.at(join(path, "template", "spec", "restartPolicy"), message)


def _containers(path: str, replica: Any) -> Iterator[Fault]:
    where = join(path, "template", "spec", "containers")
    containers = entries(replica, "template", "spec", "containers")
    names = [text(body, "name") for _, body in containers]
    if "pytorch" not in names:
        yield CONTAINER.at(where, f"expected one named pytorch, got {', '.join(names) or 'none'}")
    for index, body in containers:
        if not text(body, "image"):
            yield CONTAINER.at(join(where, index, "image"), f"expected an image, got {show(body.get('image'))}")


def _processes(thing: Thing, roles: dict[Any, Any]) -> Iterator[Fault]:
    spec = mapping(thing.body, "spec")
    number, elastic = spec.get("nprocPerNode"), spec.get("elasticPolicy")
    if number is not None and not is_nproc(number):
        yield NPROC.at("spec.nprocPerNode", f"expected {_wanted(number)}, got {show(number)}")
    if elastic is not None and "Worker" not in roles:
        yield ELASTIC_WORKER.at("spec.elasticPolicy", "expected Workers with it, got none")
    if number is not None and get(elastic, "nProcPerNode") is not None:
        message = f"expected none beside nprocPerNode, got {show(get(elastic, 'nProcPerNode'))}"
        yield NPROC_TWICE.at("spec.elasticPolicy.nProcPerNode", message)
    is_auto = number == "auto" or (number is None and get(elastic, "nProcPerNode") is None)
    if is_auto and ("Master" in roles or not any(box.gpus for pod in thing.pods for box in pod.containers)):
        yield NPROC_AUTO.at("spec.nprocPerNode", f'expected a number such as "1", got {show(number)}')


def is_nproc(value: Any) -> bool:
    """Is this a value of nprocPerNode? A string, also where it is a number."""
    if not isinstance(value, str):
        return False
    return value in ("auto", "cpu", "gpu") or (value.isascii() and value.isdigit() and int(value[:9]) > 0)


def _wanted(value: Any) -> str:
    is_number = isinstance(value, int) and not isinstance(value, bool) and 0 < value < 1000
    return f'the string "{value}"' if is_number else "a string: auto, cpu, gpu or a number from 1"


def _policy(thing: Thing, roles: dict[Any, Any]) -> Iterator[Fault]:
    policy = mapping(thing.body, "spec", "runPolicy")
    clean, ttl = policy.get("cleanPodPolicy"), policy.get("ttlSecondsAfterFinished")
    if clean is not None and clean not in ("All", "Running", "None"):
        yield CLEAN_POLICY.at("spec.runPolicy.cleanPodPolicy", f"expected All, Running or None, got {show(clean)}")
    elif clean in (None, "None") and "Master" in roles and "Worker" in roles:
        yield CLEAN_PODS.at("spec.runPolicy.cleanPodPolicy", f"expected Running or All, got {show(clean)}")
    if ttl is not None and any(get(roles, role, "restartPolicy") == "ExitCode" for role in ROLES):
        message = f"expected none with restartPolicy ExitCode, got {show(ttl)}"
        yield TTL.at("spec.runPolicy.ttlSecondsAfterFinished", message)
