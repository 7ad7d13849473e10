"""Which kinds does each backend make, which operator serves them, and how is that installed? The one table of these."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

JOBSET, TRAINER = "jobset.x-k8s.io/v1alpha2", "trainer.kubeflow.org/v1alpha1"


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

    `makes_pod_group`: its operator makes the PodGroup of a gang-scheduled run; for the others we render one.
    """

    kind: str
    api_version: str
    plural: str
    controller: str
    also: tuple[tuple[str, str], ...] = ()
    makes_pod_group: bool = False

    @property
    def kinds(self) -> tuple[tuple[str, str], ...]:
        """Every (apiVersion, kind) that the cluster must serve."""
        return ((self.api_version, self.kind), *self.also)


BACKENDS = {  # value of the run file's `backend` → what it makes
    "pytorchjob": Backend(
        "PyTorchJob", "kubeflow.org/v1", "pytorchjobs", "the Kubeflow Training Operator", makes_pod_group=True
    ),
    "job": Backend("Job", "batch/v1", "jobs", "the cluster's controller manager"),
    "jobset": Backend("JobSet", JOBSET, "jobsets", "the JobSet controller"),
    "trainjob": Backend(
        "TrainJob",
        TRAINER,
        "trainjobs",
        "Kubeflow Trainer 2",
        ((TRAINER, "TrainingRuntime"), (JOBSET, "JobSet")),
        makes_pod_group=True,
    ),
}
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
    kind, spec = thing["kind"], thing.get("spec") or {}
    if kind == "Pod":
        return [dict(thing)]
    if kind == "PyTorchJob":
        return [role["template"] for role in spec["pytorchReplicaSpecs"].values()]
    if kind == "TrainingRuntime":
        spec = spec["template"]["spec"]
    if kind in ("JobSet", "TrainingRuntime"):
        return [job["template"]["spec"]["template"] for job in spec["replicatedJobs"]]
    return [spec["template"]] if kind == "Job" else []
