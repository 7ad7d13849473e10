"""Which kinds does each backend make, which operator serves them, and how is that installed? The one table of these."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

JOBSET, TRAINER = "jobset.x-k8s.io/v1alpha2", "trainer.kubeflow.org/v1alpha1"
JOB_INDEX = "metadata.annotations['batch.kubernetes.io/job-completion-index']"
Spec = Mapping[str, Any]


@dataclass(frozen=True)
class Operator:
    """Who serves an API group that is not Kubernetes' own. `install` is a command, `docs` where the installation is described."""

    name: str
    install: str = ""
    docs: str = ""

    @property
    def how(self) -> str:
        """How to install it: the command, else the page; empty where neither is known."""
        return self.install or self.docs


OPERATORS = {
    "kubeflow.org": Operator(
        "Kubeflow Training Operator",
        "kubectl apply --server-side -k github.com/kubeflow/trainer.git/manifests/overlays/standalone?ref=v1.9.4",
        "https://github.com/kubeflow/trainer/tree/release-1.9",
    ),
    "trainer.kubeflow.org": Operator(
        "Kubeflow Trainer",
        "helm install kubeflow-trainer oci://ghcr.io/kubeflow/charts/kubeflow-trainer --version 2.3.0"
        " -n kubeflow-system --create-namespace",
        "https://www.kubeflow.org/docs/components/trainer/operator-guides/installation",
    ),
    "jobset.x-k8s.io": Operator(
        "JobSet",
        "kubectl apply --server-side -f"
        " https://github.com/kubernetes-sigs/jobset/releases/download/v0.12.0/manifests.yaml",
        "https://jobset.sigs.k8s.io/docs/installation",
    ),
    "kueue.x-k8s.io": Operator("Kueue", docs="https://kueue.sigs.k8s.io/docs/installation"),
    "scheduling.volcano.sh": Operator(
        "Volcano",
        "helm install volcano volcano --repo https://volcano-sh.github.io/helm-charts --version 1.15.1"
        " -n volcano-system --create-namespace",
    ),
    "scheduling.x-k8s.io": Operator(
        "scheduler-plugins (coscheduling)",
        "helm install scheduler-plugins scheduler-plugins --repo https://scheduler-plugins.sigs.k8s.io"
        " -n scheduler-plugins --create-namespace",
    ),
    "karpenter.sh": Operator("Karpenter"),
}


@dataclass(frozen=True)
class Backend:
    """What runs a training run. `kind` is the run object, `also` further (apiVersion, kind) without which it does nothing.

    `expected_pods`, `pod_templates` and `find_limit` read the run object's spec: how many pods it runs at a time; their
    templates; and `activeDeadlineSeconds` or `backoffLimit` under the name that the kind gives it, None where it is not set.
    `first_pod` is the host name of the first of several pods, from {full}, and `index` the field with a pod's number; both are
    empty where the operator sets torch's variables itself. `runtime` is the kind that has the pod template instead of the run
    object. `makes_pod_group`: its operator makes the PodGroup of a gang-scheduled run; for the others we render one.
    """

    kind: str
    api_version: str
    plural: str
    controller: str
    expected_pods: Callable[[Spec], int]
    pod_templates: Callable[[Spec], list[dict[str, Any]]]
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


def _jobset_templates(spec: Spec) -> list[dict[str, Any]]:
    return [job["template"]["spec"]["template"] for job in spec["replicatedJobs"]]


def _jobset_limit(spec: Spec, key: str) -> int | None:
    """The set as a whole is restarted; each of its Jobs has the deadline."""
    if key == "backoffLimit":
        return spec.get("failurePolicy", {}).get("maxRestarts")
    return spec["replicatedJobs"][0]["template"]["spec"].get(key)


def _job_limit(spec: Spec, key: str) -> int | None:
    """An evaluation's Job counts the restarts of each of its pods."""
    is_per_index = key == "backoffLimit" and "backoffLimitPerIndex" in spec
    return spec.get("backoffLimitPerIndex" if is_per_index else key)


# Value of the run file's `backend` → what it makes. docs/development.md lists what else a backend needs.
BACKENDS = {
    "pytorchjob": Backend(
        "PyTorchJob",
        "kubeflow.org/v1",
        "pytorchjobs",
        "the Kubeflow Training Operator",
        expected_pods=lambda spec: sum(role.get("replicas", 1) for role in spec["pytorchReplicaSpecs"].values()),
        pod_templates=lambda spec: [role["template"] for role in spec["pytorchReplicaSpecs"].values()],
        find_limit=lambda spec, key: spec.get("runPolicy", {}).get(key),
        first_pod="{full}-worker-0",
        index="metadata.labels['training.kubeflow.org/replica-index']",
        makes_pod_group=True,
    ),
    "job": Backend(
        "Job",
        "batch/v1",
        "jobs",
        "the cluster's controller manager",
        expected_pods=lambda spec: spec.get("parallelism", 1),
        pod_templates=lambda spec: [spec["template"]],
        find_limit=_job_limit,
        first_pod="{full}-0.{full}",
        index=JOB_INDEX,
    ),
    "jobset": Backend(
        "JobSet",
        JOBSET,
        "jobsets",
        "the JobSet controller",
        expected_pods=_jobset_pods,
        pod_templates=_jobset_templates,
        find_limit=_jobset_limit,
        first_pod="{full}-node-0-0.{full}",
        index=JOB_INDEX,
    ),
    "trainjob": Backend(
        "TrainJob",
        TRAINER,
        "trainjobs",
        "Kubeflow Trainer 2",
        expected_pods=lambda spec: spec.get("trainer", {}).get("numNodes", 1),
        pod_templates=lambda _: [],
        find_limit=lambda *_: None,  # both are in its runtime
        runtime="TrainingRuntime",
        also=((TRAINER, "TrainingRuntime"), (JOBSET, "JobSet")),
        makes_pod_group=True,
    ),
}
BY_KIND = {backend.kind: backend for backend in BACKENDS.values()}
KINDS = {backend.kind: backend.api_version for backend in BACKENDS.values()}
CONTROLLERS = {backend.kind: backend.controller for backend in BACKENDS.values()}


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


def pod_templates(thing: Mapping[str, Any]) -> list[dict[str, Any]]:
    """The pod templates in an object, each with `metadata` and `spec`; a pod is one; a TrainJob has none, its runtime has."""
    kind = thing["kind"]
    if kind == "Pod":
        return [dict(thing)]
    if kind == "TrainingRuntime":
        return _jobset_templates(thing["spec"]["template"]["spec"])
    return BY_KIND[kind].pod_templates(thing.get("spec") or {}) if kind in BY_KIND else []
