"""Is there room for what controllers append to a name, and do names, labels and queues work?"""

import re
from collections.abc import Iterable, Iterator
from typing import Any

from fino1.k8s.objects.rules.rule import Fault, Rule, show
from fino1.k8s.objects.rules.walk import Thing, get, join, mapping, text, whole

_QUEUE = "kueue.x-k8s.io/queue-name"
_RUN_KINDS = ("Job", "JobSet", "PyTorchJob", "TrainJob")
_KUEUE_CONFIG = re.compile(r"waitForPodsReady:[ \t]*\n[ \t]+enable:[ \t]*true")
_LABEL = re.compile(r"([A-Za-z0-9]([-_.A-Za-z0-9]{0,61}[A-Za-z0-9])?)?")
_DNS_1035 = re.compile(r"[a-z]([-a-z0-9]*[a-z0-9])?")
_DNS_1123 = re.compile(r"[a-z0-9]([-a-z0-9]*[a-z0-9])?(\.[a-z0-9]([-a-z0-9]*[a-z0-9])?)*")
_BUDGET, _LONGEST = 45, 63

SHAPE = Rule(
    "object-shape",
    "error",
    "The API server refuses what has no apiVersion, kind and name; the other rules cannot read it.",
    "kubernetes v1.33 apimachinery pkg/apis/meta/v1",
)
NAME = Rule(
    "name-dns",
    "error",
    "PyTorchJob, TrainJob, JobSet and Service names become DNS labels (RFC 1035: a letter first), others RFC 1123 names.",
    "kubeflow/trainer v1.9.4 pkg/webhooks/pytorch/pytorchjob_webhook.go; kubernetes v1.33 apimachinery validation",
)
LENGTH = Rule(
    "name-length",
    "error",
    "Pods, their Services and hostnames are named after the object plus the controller's suffix, at most 63 characters.",
    "kubernetes-sigs/jobset v0.9.1 pkg/webhooks/jobset_webhook.go; kubernetes v1.33 pkg/apis/batch/validation",
)
BUDGET = Rule(
    "name-budget",
    "warning",
    "At most 45 characters leave room for `-worker-NNN` and `-node-0-0-abcde` under every backend.",
    "DESIGN.md C3; reference/kubernetes.md §3 (Name budget)",
)
LABEL = Rule(
    "label-value",
    "error",
    "Label values are strings of at most 63 letters, digits, -, _ and . (unquoted YAML numbers and booleans are none).",
    "kubernetes v1.33 apimachinery pkg/util/validation (IsValidLabelValue)",
)
CONTENT = Rule(
    "name-content-hash",
    "warning",
    "A Job's template is immutable: a changed run under the same name cannot be applied. The hash makes it a new object.",
    "helm/helm#7082, #7725; argo-cd#7430; DESIGN.md C3",
)
QUEUE_ANNOTATION = Rule(
    "kueue-queue-annotation",
    "warning",
    "The annotation is deprecated: Kueue reads the queue from the label of the same name.",
    "kubernetes-sigs/kueue v0.10.1 pkg/controller/constants/constants.go (QueueAnnotation)",
)
QUEUE_TEMPLATE = Rule(
    "kueue-queue-on-template",
    "error",
    "Kueue queues the object that carries the label; on its pods alone the run starts at once, or each pod queues by itself.",
    "kubernetes-sigs/kueue v0.10.1 pkg/controller/jobframework",
)
PODS_READY = Rule(
    "kueue-pods-ready",
    "warning",
    "waitForPodsReady takes a PyTorchJob for ready as soon as its Running condition is set, which one pod is enough for.",
    "kubernetes-sigs/kueue v0.10.1 pkg/controller/jobs/kubeflow/kubeflowjob/kubeflowjob_controller.go (PodsReady)",
)


def shape(body: Any, place: int) -> Iterator[tuple[str, Fault]]:
    """Is this an object at all? Each fault with the object's label."""
    if not isinstance(body, dict):
        yield f"?/{place}", SHAPE.at("", f"expected a mapping, got {show(body)}")
        return
    thing = f"{text(body, 'kind') or '?'}/{text(body, 'metadata', 'name') or place}"
    for keys in (("apiVersion",), ("kind",), ("metadata", "name")):
        if not text(body, *keys) and not (keys[-1] == "name" and text(body, "metadata", "generateName")):
            yield thing, SHAPE.at(join("", *keys), f"expected a string, got {show(get(body, *keys))}")


def check(thing: Thing) -> Iterator[Fault]:
    """What is wrong with this object's name, labels and queue? What only the other objects tell: `check_kueue`."""
    if thing.name:
        yield from _name(thing)
    yield from _labels("metadata.labels", thing.labels)
    for pod in thing.pods:
        path = join(pod.path, "metadata", "labels")
        if pod.path:
            yield from _labels(path, mapping(pod.template, "metadata", "labels"))
        if pod.path and thing.kind in _RUN_KINDS and _QUEUE not in thing.labels:
            queue = get(pod.template, "metadata", "labels", _QUEUE)
            if queue is not None:
                message = f"expected it in metadata.labels of the {thing.kind}, got {show(queue)} on its pods"
                yield QUEUE_TEMPLATE.at(join(path, _QUEUE), message)
    if _QUEUE in thing.annotations:
        message = f"expected a label, got an annotation {show(thing.annotations[_QUEUE])}"
        yield QUEUE_ANNOTATION.at(join("metadata.annotations", _QUEUE), message)


def check_kueue(thing: Thing, configs: Iterable[str]) -> Iterator[Fault]:
    """Does the queue start a PyTorchJob by halves? `configs` are the texts of the ConfigMaps in the same set of objects."""
    if thing.kind != "PyTorchJob" or _QUEUE not in thing.labels or sum(pod.count for pod in thing.pods) < 2:
        return
    if any("config.kueue.x-k8s.io" in text and _KUEUE_CONFIG.search(text) for text in configs):
        yield PODS_READY.at(
            "spec.pytorchReplicaSpecs", "expected a gang scheduler besides waitForPodsReady, got Kueue alone"
        )


def _name(thing: Thing) -> Iterator[Fault]:
    is_label = thing.kind in ("PyTorchJob", "TrainJob", "JobSet", "Service")
    good = (_DNS_1035 if is_label else _DNS_1123).fullmatch(thing.name)
    if not good and "rbac" not in text(thing.body, "apiVersion"):  # RBAC names hold colons
        expected = "a letter, then letters, digits and -" if is_label else "letters, digits, - and ."
        yield NAME.at("metadata.name", f"expected {expected}, all in lower case, got {show(thing.name)}")
    if thing.kind not in _RUN_KINDS:
        return
    longest = max(_longest(thing), key=len)
    if len(longest) > _LONGEST:
        message = f"expected at most {_LONGEST} characters in {show(longest)}, got {len(longest)}"
        yield LENGTH.at("metadata.name", message)
    elif len(thing.name) > _BUDGET:
        yield BUDGET.at("metadata.name", f"expected at most {_BUDGET} characters, got {len(thing.name)}")
    if thing.is_ours and not thing.is_hook and not re.search(r"-[0-9a-f]{10}$", thing.name):
        yield CONTENT.at("metadata.name", f"expected -HASH (10 hex digits) at its end, got {show(thing.name)}")


def _longest(thing: Thing) -> Iterator[str]:
    """Which names does the controller make of this one?"""
    yield thing.name
    if thing.kind == "PyTorchJob":
        for role, replica in mapping(thing.body, "spec", "pytorchReplicaSpecs").items():
            if not isinstance(role, str):
                continue
            last = max((whole(replica, "replicas") or 1) - 1, 0)
            yield f"{thing.name}-{role.lower()}-{last}"
    if thing.kind == "TrainJob":
        last = max((whole(thing.body, "spec", "trainer", "numNodes") or 1) - 1, 0)
        yield f"{thing.name}-node-0-{last}-abcde"
    if thing.kind == "Job" and get(thing.body, "spec", "completionMode") == "Indexed":
        last = max((whole(thing.body, "spec", "completions") or 1) - 1, 0)
        yield f"{thing.name}-{last}"  # the hostname; the pod's own name is cut where it is too long
    for _, job in thing.replicated:
        pods = whole(job, "template", "spec", "completions") or whole(job, "template", "spec", "parallelism") or 1
        number = max((whole(job, "replicas") or 1) - 1, 0)
        yield f"{thing.name}-{text(job, 'name')}-{number}-{max(pods - 1, 0)}-abcde"


def _labels(path: str, labels: dict[Any, Any]) -> Iterator[Fault]:
    for key, value in labels.items():
        if value is not None and not (isinstance(value, str) and _LABEL.fullmatch(value)):
            what = f"{len(value)} characters" if isinstance(value, str) and len(value) > _LONGEST else show(value)
            yield LABEL.at(
                join(path, key), f"expected a string of at most {_LONGEST} letters, digits, -, _ and ., got {what}"
            )
