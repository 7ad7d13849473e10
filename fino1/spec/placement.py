"""Where does a run run? The keys of a run file that Kubernetes must see, spelled as Kubernetes spells them.

They change nothing that is computed, so they are no part of the run's hash (docs/design.md C3): a run moved to another queue or
GPU type goes on from its checkpoints.
"""

from typing import Any, Literal

from pydantic import StrictBool

from fino1.spec.fields import (
    AnnotationKey,
    Block,
    Bytes,
    Count,
    CountOrZero,
    DeviceName,
    Digest,
    EnvName,
    Int32OrZero,
    LabelKey,
    LabelValue,
    ObjectName,
    Quantity,
    QueueName,
    Repository,
    ResourceName,
    SecretDataKey,
    Tag,
)


class ImageBlock(Block):
    """The container image. A digest pins it and wins over the tag."""

    repository: Repository | None = None
    """Null: `ghcr.io/fino1/train`, or `ghcr.io/fino1/eval` for methods `eval` and `paths`."""
    tag: Tag | None = None
    """Null: the version of this package."""
    digest: Digest | None = None
    """`sha256:…` of the image; the tag is then not looked at."""
    pullPolicy: Literal["IfNotPresent", "Always", "Never"] = "IfNotPresent"
    """When the kubelet pulls the image."""
    pullSecrets: list[ObjectName] = []
    """Names of Secrets of type kubernetes.io/dockerconfigjson."""


class GpuBlock(Block):
    """The kind of GPU; the number is `gpus_per_node`."""

    resource: DeviceName = "nvidia.com/gpu"
    """Extended resource that is counted; a MIG profile is `nvidia.com/mig-1g.10gb` and the like."""
    product: LabelValue | None = None
    """Value of the node label `nvidia.com/gpu.product`, for example `NVIDIA-H100-80GB-HBM3`."""
    taint: LabelKey = "nvidia.com/gpu"
    """Key of the taint that GPU nodes carry; tolerated where GPUs are asked for."""


class RdmaBlock(Block):
    """RDMA between nodes. It needs the capability IPC_LOCK, which Pod Security `restricted` and `baseline` refuse."""

    resource: DeviceName | None = None
    """Extended resource of the device plugin, for example `rdma/hca_shared_devices_a`."""
    count: Count = 1
    """How many of it a node takes."""


class Toleration(Block):
    """A taint that the pods tolerate, besides the GPU nodes' own."""

    key: LabelKey | None = None
    """Key of the taint; null with operator `Exists` tolerates every taint."""
    operator: Literal["Exists", "Equal"] = "Equal"
    """`Equal` compares `value`; `Exists` takes any."""
    value: LabelValue | None = None
    """Value of the taint, for `Equal`."""
    effect: Literal["NoSchedule", "PreferNoSchedule", "NoExecute"] | None = None
    """Null tolerates all effects."""
    tolerationSeconds: CountOrZero | None = None
    """Seconds that the pod stays on a node with a `NoExecute` taint."""


class TopologyBlock(Block):
    """How near to each other the nodes of a run are to be."""

    key: LabelKey | None = None
    """Node label of the domain, for example `topology.kubernetes.io/zone`. With `queue` Kueue's topology-aware scheduling
    places the pods, without it pod affinity does."""
    policy: Literal["required", "preferred"] = "preferred"
    """`required` waits for such nodes; `preferred` does without."""


class ResourcesBlock(Block):
    """CPU, memory and the like for each pod; GPUs and RDMA devices are added."""

    requests: dict[ResourceName, Quantity] = {}
    """Resource → quantity that the scheduler sets aside."""
    limits: dict[ResourceName, Quantity] = {}
    """Resource → quantity that may not be passed."""


class SecretKey(Block):
    """One key of a Secret in the run's namespace."""

    name: ObjectName
    """Name of the Secret."""
    key: SecretDataKey
    """Key in it."""
    optional: StrictBool = False
    """True: the pod starts without it too."""


Tracker = Literal["mlflow", "tensorboard", "wandb"]
AccessMode = Literal["ReadWriteOnce", "ReadOnlyMany", "ReadWriteMany", "ReadWriteOncePod"]


class ClaimBlock(Block):
    """A PersistentVolumeClaim."""

    create: StrictBool = True
    """False: the claim exists already. One that is made is kept when the run is uninstalled."""
    size: Bytes = "200Gi"
    """Storage that is asked for."""
    storageClassName: ObjectName | None = None
    """Null: the cluster's default."""
    accessModes: list[AccessMode] = ["ReadWriteMany"]
    """`ReadWriteMany` where pods on several nodes share it."""


class WorkClaim(ClaimBlock):
    """Runs, checkpoints and results, mounted at `/work`. Runs that take each other's models share it."""

    claimName: ObjectName = "fino1-work"
    """Name of the claim."""


class ModelsClaim(ClaimBlock):
    """The cache of models and datasets (HF_HOME), mounted at `/models`."""

    claimName: ObjectName = "fino1-models"
    """Name of the claim."""
    readOnly: StrictBool = False
    """True: the cache was filled before."""


class VolumesBlock(Block):
    """Volumes, which outlive the pods."""

    work: WorkClaim = WorkClaim()
    models: ModelsClaim = ModelsClaim()


class NetworkPolicyBlock(Block):
    """Traffic that the pods may have: each other, DNS, HTTPS where the run needs a hub or an endpoint, and `egress`."""

    enabled: StrictBool = True
    """False makes none."""
    egress: list[dict[str, Any]] = []
    """Further egress rules, as a NetworkPolicy spells them."""


class TestBlock(Block):
    """`helm test`: a pod with the run's image, volumes, secrets and security context that runs `fino1 doctor`."""

    gpu: StrictBool = False
    """True: it takes one GPU."""


class Placement(Block):
    """Every key of placement, at the top level of a run file."""

    backend: Literal["pytorchjob", "job", "jobset", "trainjob"] = "pytorchjob"
    """Which kind of object trains: Kubeflow's PyTorchJob (training-operator 1.9), a Job (no operator needed), a JobSet, or
    Kubeflow Trainer 2's TrainJob. `eval` and `paths` make Jobs."""
    nodes: Count = 1
    """Pods that train together, each on a node of its own where it takes all the node's GPUs."""
    gpus_per_node: CountOrZero = 8
    """GPUs of each pod that trains, or of each model's server; 0 is the CPU."""
    processes_per_node: Count | None = None
    """Ranks a node starts; null: one per GPU, one without GPUs."""
    image: ImageBlock = ImageBlock()
    gpu: GpuBlock = GpuBlock()
    rdma: RdmaBlock = RdmaBlock()
    nodeSelector: dict[LabelKey, LabelValue] = {}
    """Labels that the nodes must have."""
    tolerations: list[Toleration] = []
    """Taints of nodes that the pods may run on."""
    topology: TopologyBlock = TopologyBlock()
    resources: ResourcesBlock = ResourcesBlock()
    shmSize: Bytes = "16Gi"
    """Size limit of /dev/shm, which counts as memory: at most a memory limit. NCCL and data loaders use it."""
    queue: QueueName | None = None
    """Kueue LocalQueue."""
    workloadPriorityClass: QueueName | None = None
    """Kueue WorkloadPriorityClass."""
    priorityClassName: ObjectName | None = None
    """PriorityClass of the pods."""
    gang: Literal["volcano", "coscheduling"] | None = None
    """Gang scheduler of the cluster, for runs of several nodes: all pods start or none. Kueue needs none; a
    TrainJob needs Trainer 2.1 for Volcano."""
    report_to: list[Tracker] = []
    """Where training reports its metrics besides `metrics.jsonl`; files lie in the run's directory (docs/trackers.md).
    `wandb` is offline without a key (`secretEnv.WANDB_API_KEY`), `mlflow` without `env.MLFLOW_TRACKING_URI`."""
    suspend: StrictBool = False
    """True: made, but not started until `fino1-k8s resume`."""
    backoffLimit: Int32OrZero = 6
    """Restarts after exit codes that say try again, before the run has failed. A PyTorchJob's pods count only those
    that bring no new checkpoint."""
    activeDeadlineSeconds: Count | None = None
    """Seconds after which the run is ended."""
    ttlSecondsAfterFinished: Int32OrZero | None = None
    """Seconds after which a finished object is deleted; null keeps it, which GitOps tools need."""
    terminationGracePeriodSeconds: Count = 600
    """Seconds from SIGTERM to SIGKILL: more than writing a checkpoint takes."""
    env: dict[EnvName, str] = {}
    """Further variables of NCCL, torch, Hugging Face or proxies. No secrets: those are `secretEnv`."""
    secretEnv: dict[EnvName, SecretKey] = {}
    """Variable → key of a Secret, for example `HF_TOKEN: {name: huggingface, key: token}`."""
    offline: StrictBool = False
    """True: nothing is fetched from the hub (HF_HUB_OFFLINE); models and datasets are on the volumes."""
    volumes: VolumesBlock = VolumesBlock()
    networkPolicy: NetworkPolicyBlock = NetworkPolicyBlock()
    serviceAccountName: ObjectName | None = None
    """Null makes one without a token."""
    podLabels: dict[LabelKey, LabelValue] = {}
    """Further labels of the pods."""
    podAnnotations: dict[AnnotationKey, str] = {}
    """Further annotations of the pods."""
    test: TestBlock = TestBlock()

    @property
    def ranks_per_node(self) -> int:
        """Number of ranks that a node starts."""
        return self.processes_per_node or max(self.gpus_per_node, 1)

    @property
    def world_size(self) -> int:
        """Number of ranks of the run."""
        return self.nodes * self.ranks_per_node


PLACEMENT = tuple(Placement.model_fields)
_NOT_OF_PODS = {"networkPolicy", "suspend", "test", "ttlSecondsAfterFinished", "volumes"}
OF_PODS = (
    *(key for key in PLACEMENT if key not in _NOT_OF_PODS),
    *("volumes.work.claimName", "volumes.models.claimName", "volumes.models.readOnly"),
)
"""Keys that the pods of a run are made of: a change is another run object. The others change what is there."""
OF_TRAINING = ("backend", "nodes", "processes_per_node", "gang")
"""Those of them that only pods that train are made of."""
