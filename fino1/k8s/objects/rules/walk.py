"""What is in these objects? Reading that never fails, whatever the YAML holds; pods wherever they are nested."""

import functools
import re
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, Literal

from fino1.k8s.objects.rules.rule import show

_SKIPPED = frozenset({"status", "data", "stringData", "binaryData", "managedFields"})
_PARTIAL = frozenset({"podTemplateOverrides", "podSpecOverrides", "runtimePatches"})  # patches, no whole pods
_LARGEST = 50_000  # nodes of one object; YAML aliases can make more of a few lines, or a cycle
_DEEPEST = 60
_ROLES: tuple[tuple[str, Literal["init", "main", "ephemeral"]], ...] = (
    ("initContainers", "init"),
    ("containers", "main"),
    ("ephemeralContainers", "ephemeral"),
)
_PLAIN = re.compile(r"[\w-]+")
GPU = re.compile(r"nvidia\.com/(gpu|mig-)|amd\.com/gpu|gpu\.intel\.com/|habana\.ai/gaudi")


def get(node: Any, *keys: Any) -> Any:
    """What is there? None where something else than mappings lies on the way."""
    for key in keys:
        if not isinstance(node, dict):
            return None
        node = node.get(key)
    return node


def mapping(node: Any, *keys: Any) -> dict[Any, Any]:
    """Which mapping is there? An empty one where there is none."""
    found = get(node, *keys)
    return found if isinstance(found, dict) else {}


def listing(node: Any, *keys: Any) -> list[Any]:
    """Which list is there? An empty one where there is none."""
    found = get(node, *keys)
    return found if isinstance(found, list) else []


def entries(node: Any, *keys: Any) -> list[tuple[int, dict[Any, Any]]]:
    """Which mappings are in the list there, with their places?"""
    return [(index, item) for index, item in enumerate(listing(node, *keys)) if isinstance(item, dict)]


def text(node: Any, *keys: Any) -> str:
    """Which string is there? An empty one where there is none."""
    found = get(node, *keys)
    return found if isinstance(found, str) else ""


def whole(node: Any, *keys: Any) -> int | None:
    """Which integer is there? None where there is none (true is none, and what no API field holds)."""
    found = get(node, *keys)
    return found if isinstance(found, int) and not isinstance(found, bool) and abs(found) < 2**63 else None


def join(path: str, *keys: Any) -> str:
    """How is a place spelled? As `spec.containers[0].env`, unusual keys in brackets."""
    for key in keys:
        is_plain = isinstance(key, str) and _PLAIN.fullmatch(key)
        path = (
            (f"{path}.{key}" if path else key) if is_plain else f"{path}[{key if isinstance(key, str) else show(key)}]"
        )
    return path


@dataclass(frozen=True)
class Container:
    """One container, or what stands for one (a TrainJob's `trainer`)."""

    path: str
    body: dict[Any, Any]
    role: Literal["init", "sidecar", "main", "ephemeral", "partial"]

    @functools.cached_property
    def security(self) -> dict[Any, Any]:
        """Its securityContext."""
        return mapping(self.body, "securityContext")

    @functools.cached_property
    def env(self) -> dict[str, dict[Any, Any]]:
        """Its variables by name; of two the last, as the kubelet reads them."""
        return {text(item, "name"): item for _, item in entries(self.body, "env") if text(item, "name")}

    @functools.cached_property
    def words(self) -> list[str]:
        """Its command line."""
        return [word for word in listing(self.body, "command") + listing(self.body, "args") if isinstance(word, str)]

    @functools.cached_property
    def gpus(self) -> dict[str, Any]:
        """Which GPU resources does it limit itself to?"""
        limits = mapping(self.body, "resources", "limits")
        return {key: value for key, value in limits.items() if isinstance(key, str) and GPU.match(key)}


@dataclass(frozen=True)
class Pod:
    """One pod template of an object, and how many pods are made of it."""

    path: str
    template: dict[Any, Any]
    count: int

    @functools.cached_property
    def spec(self) -> dict[Any, Any]:
        """The pod's spec."""
        return mapping(self.template, "spec")

    @functools.cached_property
    def spec_path(self) -> str:
        """Where its spec is."""
        return join(self.path, "spec")

    @functools.cached_property
    def containers(self) -> list[Container]:
        """All its containers: init, sidecar, main, ephemeral."""
        found = []
        for key, role in _ROLES:
            for index, body in entries(self.spec, key):
                is_sidecar = role == "init" and body.get("restartPolicy") == "Always"
                found.append(Container(join(self.spec_path, key, index), body, "sidecar" if is_sidecar else role))
        return found

    @functools.cached_property
    def volumes(self) -> dict[str, dict[Any, Any]]:
        """Its volumes by name."""
        return {text(item, "name"): item for _, item in entries(self.spec, "volumes")}


class Thing:
    """One object, read once: its kind, name and metadata, its pods, and all that has an environment."""

    def __init__(self, body: dict[Any, Any]) -> None:
        self.body = body
        self.kind, self.name = text(body, "kind"), text(body, "metadata", "name")
        self.label = f"{self.kind or '?'}/{self.name or text(body, 'metadata', 'generateName') or '?'}"
        self.labels, self.annotations = mapping(body, "metadata", "labels"), mapping(body, "metadata", "annotations")
        self.is_ours = self.labels.get("app.kubernetes.io/part-of") == "fino1"
        self.pods: list[Pod] = []
        self.partial: list[Container] = []
        for path, node, count, is_partial in _nodes(body, self.kind):
            if is_partial:
                self.partial.append(Container(path, node, "partial"))
            else:
                self.pods.append(Pod(path, node, count))

    @property
    def is_hook(self) -> bool:
        """Does Helm or Argo CD run it as a hook?"""
        return "helm.sh/hook" in self.annotations or "argocd.argoproj.io/hook" in self.annotations

    def containers(self) -> Iterator[Container]:
        """All that has an image, a command or an environment."""
        for pod in self.pods:
            yield from pod.containers
        yield from self.partial

    @functools.cached_property
    def job_specs(self) -> list[tuple[str, dict[Any, Any]]]:
        """Specs of batch/v1 Jobs and where they are: of a Job, a CronJob, a JobSet or a training runtime."""
        if self.kind == "Job" and text(self.body, "apiVersion").startswith("batch/"):
            return [("spec", mapping(self.body, "spec"))]
        if self.kind == "CronJob":
            return [("spec.jobTemplate.spec", mapping(self.body, "spec", "jobTemplate", "spec"))]
        return [(join(path, "template", "spec"), mapping(job, "template", "spec")) for path, job in self.replicated]

    @functools.cached_property
    def replicated(self) -> list[tuple[str, dict[Any, Any]]]:
        """`replicatedJobs` of a JobSet or of a training runtime, and where they are."""
        path = {"JobSet": ["spec"], **dict.fromkeys(RUNTIMES, ["spec", "template", "spec"])}.get(self.kind)
        if path is None:
            return []
        found = entries(self.body, *path, "replicatedJobs")
        return [(join("", *path, "replicatedJobs", index), job) for index, job in found]


RUNTIMES = ("TrainingRuntime", "ClusterTrainingRuntime")


def _nodes(body: dict[Any, Any], kind: str) -> Iterator[tuple[str, dict[Any, Any], int, bool]]:
    """Which nodes are pod templates, or outside of them have an environment? In the order of the document."""
    stack: list[tuple[Any, tuple[Any, ...], int, bool]] = [(body, (), 2 if kind == "DaemonSet" else 1, False)]
    left = _LARGEST
    while stack and left:
        node, path, count, is_partial = stack.pop()
        left -= 1
        if isinstance(node, dict):
            is_pod = not is_partial and isinstance(get(node, "spec", "containers"), list)
            if is_pod or isinstance(node.get("env"), list):
                yield join("", *path), node, count, not is_pod
                if is_pod:
                    continue
            count *= _factor(node)
            inner = [(value, key) for key, value in node.items() if key not in _SKIPPED]
        else:
            inner = [(value, index) for index, value in enumerate(node)]
        if len(path) < _DEEPEST:
            stack += [
                (value, (*path, key), count, is_partial or key in _PARTIAL)
                for value, key in reversed(inner)
                if isinstance(value, dict | list)
            ]


def _factor(node: dict[Any, Any]) -> int:
    """How many times are the pods below this node made?"""
    numbers = [whole(node, "replicas"), whole(node, "parallelism"), whole(node, "mlPolicy", "numNodes")]
    factor = 1
    for number in numbers:
        factor *= 1 if number is None else min(max(number, 0), 10**6)
    return factor
