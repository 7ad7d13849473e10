"""Which kinds does each backend make, which operator serves them, and how is that installed? The one table of these."""

import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

JOBSET, TRAINER = "jobset.x-k8s.io/v1alpha2", "trainer.kubeflow.org/v1alpha1"
JOB_INDEX = "metadata.annotations['batch.kubernetes.io/job-completion-index']"
Spec = Mapping[str, Any]


@dataclass(frozen=True)
class Operator:
    """Who serves an API group that is not Kubernetes' own, and how to install it: a command, else a page; empty: not known."""

    name: str
    how: str = ""


_FILE = Path(__file__).with_name("operators.json")
OPERATORS = {group: Operator(**keys) for group, keys in json.loads(_FILE.read_text(encoding="utf-8")).items()}


@dataclass(frozen=True)
class Backend:
    """What runs a training run. `kind` is the run object, `also` further (apiVersion, kind) without which it does nothing.

    `expected_pods` and `find_limit` read the run object's spec: how many pods it runs at a time, and `activeDeadlineSeconds` or
    `backoffLimit` under the name that the kind gives it, None where it is not set.
    `first_pod` is the host name of the first of several pods, from {full}, and `index` the field with a pod's number; both are
    empty where the operator sets torch's variables itself. `runtime` is the kind that has the pod template instead of the run
    object. `makes_pod_group`: its operator makes the PodGroup of a gang-scheduled run; for the others we render one.
    """

    kind: str
    api_version: str
    controller: str
    expected_pods: Callable[[Spec], int]
    find_limit: Callable[[Spec, str], int | None]
    first_pod: str = ""
    index: str = ""
    runtime: str = ""
    also: tuple[tuple[str, str], ...] = ()
    makes_pod_group: bool = False

    @property
    def kinds(self) -> tuple[tuple[str, str], ...]:
        """Every (apiVersion, kind) that the cluster must serve."""
        return ((self.api_version, self.kind), *self.also)


def _jobset_pods(spec: Spec) -> int:
    jobs = spec["replicatedJobs"]
    return sum(job.get("replicas", 1) * job["template"]["spec"].get("parallelism", 1) for job in jobs)


def _jobset_limit(spec: Spec, key: str) -> int | None:
    """The set as a whole is restarted; each of its Jobs has the deadline."""
    if key == "backoffLimit":
        return spec.get("failurePolicy", {}).get("maxRestarts")
    return spec["replicatedJobs"][0]["template"]["spec"].get(key)


# Value of the run file's `backend` → what it makes. docs/development.md lists what else a backend needs.
BACKENDS = {
    "pytorchjob": Backend(
        "PyTorchJob",
        "kubeflow.org/v1",
        "the Kubeflow Training Operator",
        expected_pods=lambda spec: sum(role.get("replicas", 1) for role in spec["pytorchReplicaSpecs"].values()),
        find_limit=lambda spec, key: spec.get("runPolicy", {}).get(key),
        first_pod="{full}-worker-0",
        index="metadata.labels['training.kubeflow.org/replica-index']",
        makes_pod_group=True,
    ),
    "job": Backend(
        "Job",
        "batch/v1",
        "the cluster's controller manager",
        expected_pods=lambda spec: spec.get("parallelism", 1),
        find_limit=lambda spec, key: spec.get(f"{key}PerIndex", spec.get(key)),  # of an evaluation: of each of its pods
        first_pod="{full}-0.{full}",
        index=JOB_INDEX,
    ),
    "jobset": Backend(
        "JobSet",
        JOBSET,
        "the JobSet controller",
        expected_pods=_jobset_pods,
        find_limit=_jobset_limit,
        first_pod="{full}-node-0-0.{full}",
        index=JOB_INDEX,
    ),
    "trainjob": Backend(
        "TrainJob",
        TRAINER,
        "Kubeflow Trainer 2",
        expected_pods=lambda spec: spec.get("trainer", {}).get("numNodes", 1),
        find_limit=lambda *_: None,  # both are in its runtime
        runtime="TrainingRuntime",
        also=((TRAINER, "TrainingRuntime"), (JOBSET, "JobSet")),
        makes_pod_group=True,
    ),
}
BY_KIND = {backend.kind: backend for backend in BACKENDS.values()}
KINDS = {backend.kind: backend.api_version for backend in BACKENDS.values()}


@dataclass(frozen=True)
class GangScheduler:
    """What starts all pods of a run at once or none: the apiVersion of its PodGroup, and its name in `schedulerName`."""

    api_version: str
    scheduler: str


GANG_SCHEDULERS = {  # value of the run file's `gang`
    "volcano": GangScheduler("scheduling.volcano.sh/v1beta1", "volcano"),
    "coscheduling": GangScheduler("scheduling.x-k8s.io/v1alpha1", "scheduler-plugins-scheduler"),
}


def group_of(api_version: str) -> str:
    """The API group of an apiVersion; empty for Kubernetes' core."""
    return api_version.rpartition("/")[0]


def pod_templates(thing: Any) -> list[dict[str, Any]]:
    """The pod templates in an object, each with `metadata` and `spec`; a pod is one; a TrainJob has none, its runtime has."""
    if isinstance(thing, list):
        return [template for item in thing for template in pod_templates(item)]
    if not isinstance(thing, dict):
        return []
    if isinstance(spec := thing.get("spec"), dict) and "containers" in spec:
        return [thing]
    return pod_templates(list(thing.values()))
