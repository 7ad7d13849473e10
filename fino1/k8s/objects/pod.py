"""What does one pod look like? (docs/design.md C4) `charts/fino1/templates/_pod.tpl` says the same in Helm's language."""

from collections.abc import Mapping
from typing import Any

from fino1 import __version__
from fino1.k8s.objects import scheduling
from fino1.k8s.objects.backends import BACKENDS
from fino1.k8s.objects.unit import PORT, SERVER_PORT, VLLM_IMAGE, Unit, given
from fino1.spec import canonical
from fino1.spec.run import ASKING

USER = 10001
CONFIG, LINK = "/etc/fino1/config.json", "/run/fino1/model"
_SECURITY = {
    "runAsNonRoot": True,
    "runAsUser": USER,
    "runAsGroup": USER,
    "fsGroup": USER,
    "fsGroupChangePolicy": "OnRootMismatch",
    "seccompProfile": {"type": "RuntimeDefault"},
}
Document = Mapping[str, Any]
_TMP = "/tmp"  # noqa: S108, a path in the pod
_MOUNTS = {"config": "/etc/fino1", "work": "/work", "models": "/models", "shm": "/dev/shm", "tmp": _TMP}


def template(unit: Unit, container: str) -> dict[str, Any]:
    """The pod template of the unit; its main container is named `container`."""
    document = unit.document
    return {
        "metadata": given(
            labels={**labels(unit), **scheduling.labels(unit), **document["podLabels"]},
            annotations={**scheduling.annotations(unit), **document["podAnnotations"]},
        ),
        "spec": {
            **scheduling.constraints(unit),
            **_common(unit),
            "terminationGracePeriodSeconds": document["terminationGracePeriodSeconds"],
            **given(initContainers=_make_server_containers(unit)),
            "containers": [_main(unit, container)],
            "volumes": _volumes(unit),
        },
    }


def test_pod(unit: Unit) -> dict[str, Any]:
    """The pod of `helm test`: as the run's own, but it looks whether anything is missing, and ends."""
    document = unit.document
    has_gpu = document["test"]["gpu"]
    part = "evaluate" if unit.asked else "train"
    command = ["doctor", "--part", part, "--work", "/work"] + (["--gpus", "1"] if has_gpu else [])
    resources = {"limits": {document["gpu"]["resource"]: "1"}} if has_gpu else {}
    container = _container(document, "doctor", image(document), command, {}, resources=resources)
    policy = "before-hook-creation,hook-succeeded"
    return {
        "apiVersion": "v1",
        "kind": "Pod",
        "metadata": {
            "name": f"{unit.full}-test",
            "labels": labels(unit) | {"app.kubernetes.io/component": "test"},
            "annotations": {"helm.sh/hook": "test", "helm.sh/hook-delete-policy": policy},
        },
        "spec": {
            "restartPolicy": "Never",
            **scheduling.nodes(unit),
            **_common(unit),
            "containers": [container],
            "volumes": _volumes(unit),
        },
    }


def labels(unit: Unit) -> dict[str, str]:
    """Labels of a unit's pods, without version and chart: a Job's template cannot change (helm/helm#7082)."""
    return {
        "app.kubernetes.io/name": "fino1",
        "app.kubernetes.io/instance": unit.instance,
        "app.kubernetes.io/component": unit.document["method"],
        "app.kubernetes.io/part-of": "fino1",
        "fino1/run": unit.full,
    }


def image(document: Document, part: str | None = None) -> str:
    """The image that runs this document's method, or another `part` of the suite."""
    block = document["image"]
    mine = "eval" if document["method"] in ASKING else "train"
    if part is not None and part != mine:
        return f"ghcr.io/fino1/{part}:{__version__}"
    repository = block.get("repository", f"ghcr.io/fino1/{mine}")
    return f"{repository}@{block['digest']}" if "digest" in block else f"{repository}:{block.get('tag', __version__)}"


def _common(unit: Unit) -> dict[str, Any]:
    secrets = [{"name": name} for name in unit.document["image"]["pullSecrets"]]
    return {
        "serviceAccountName": unit.document.get("serviceAccountName", unit.full),
        "automountServiceAccountToken": False,
        "enableServiceLinks": False,
        "securityContext": _SECURITY,
        **given(imagePullSecrets=secrets),
    }


def _container(
    document: Document, name: str, image: str, args: list[str], own: Document, **keys: Any
) -> dict[str, Any]:
    """A container of ours: with variables of its `own`, and with `keys` of its own, of which empty ones are omitted."""
    added = ["IPC_LOCK"] if "resource" in document["rdma"] else []
    return {
        "name": name,
        "image": image,
        "imagePullPolicy": document["image"]["pullPolicy"],
        **given(args=args),
        "securityContext": {
            "allowPrivilegeEscalation": False,
            "readOnlyRootFilesystem": True,
            "capabilities": {"drop": ["ALL"], **given(add=added)},
        },
        "volumeMounts": _mounts(document),
        "env": _env({**_fixed(document), **own}, document),
        **given(**keys),
    }


def _env(variables: Document, document: Document) -> list[dict[str, Any]]:
    """A container's environment, sorted by name: `variables`, the run file's own, and those from Secrets."""
    secrets = {
        name: {"secretKeyRef": {"name": ref["name"], "key": ref["key"], **given(optional=ref["optional"] or None)}}
        for name, ref in document["secretEnv"].items()
    }
    return [
        {"name": name, "value": value} if isinstance(value, str) else {"name": name, "valueFrom": value}
        for name, value in sorted({**variables, **document["env"], **secrets}.items())
    ]


def _main(unit: Unit, name: str) -> dict[str, Any]:
    document, resources = unit.document, unit.document["resources"]
    args = [unit.verb, "--config", CONFIG]
    args += ["--server", f"http://127.0.0.1:{SERVER_PORT}/v1"] if unit.served else []
    limits = {**resources["limits"], **({} if unit.asked else _devices(document))}
    resources = given(requests=resources["requests"], limits=limits)
    return _container(document, name, image(document), args, _launch(unit), resources=resources)


def _make_server_containers(unit: Unit) -> list[dict[str, Any]]:
    """Init containers where a model runs in the pod: one finds the model, a sidecar serves it."""
    document, model = unit.document, unit.served
    if not model:
        return []
    server = unit.block["server"]
    engine = server.get("engine", "vllm" if document["gpus_per_node"] else "transformers")
    if engine == "vllm":
        default, args = VLLM_IMAGE, [*_vllm(document, model), *server["args"], *model.get("server_args", [])]
    else:  # reads the further arguments from its config
        default, args = image(document, "train"), ["serve", "--config", CONFIG, "--port", str(SERVER_PORT)]
    to_link = ["link", "--config", CONFIG, "--to", LINK]
    link = [] if "hub" in model else [_container(document, "model", image(document), to_link, {})]
    keys = {"resources": given(limits=_devices(document)), "restartPolicy": "Always"}
    return [*link, _container(document, "server", server.get("image", default), args, {}, **keys)]


def _vllm(document: Document, model: Mapping[str, Any]) -> list[str]:
    revision = ["--revision", model["revision"]] if "revision" in model else []
    length = ["--max-model-len", canonical.dumps(model["context_length"])] if "context_length" in model else []
    ranks = max(document["gpus_per_node"], 1)
    return [
        *("--model", model.get("hub", LINK), *revision, "--served-model-name", model["name"], *length),
        *("--host", "127.0.0.1", "--port", str(SERVER_PORT), "--tensor-parallel-size", str(ranks)),
    ]


def _fixed(document: Document) -> dict[str, Any]:
    """Variables of every container of ours. All caches lie where a read-only root can be written."""
    return {
        "HF_DATASETS_CACHE": "/work/cache/datasets",
        "HF_HOME": "/models",
        "HOME": _TMP,
        "PYTHONUNBUFFERED": "1",
        "TOKENIZERS_PARALLELISM": "false",
        "TORCH_EXTENSIONS_DIR": f"{_TMP}/extensions",
        "TORCHINDUCTOR_CACHE_DIR": f"{_TMP}/inductor",
        "TRITON_CACHE_DIR": f"{_TMP}/triton",
        "XDG_CACHE_HOME": f"{_TMP}/cache",
        **given(FINO1_REPORT_TO=",".join(document["report_to"]), HF_HUB_OFFLINE="1" if document["offline"] else None),
        **({"NCCL_DEBUG": "WARN"} if document["gpus_per_node"] else {"OMP_NUM_THREADS": "1"}),
    }


def _launch(unit: Unit) -> dict[str, Any]:
    """What torch's launcher reads, and what tells a pod which attempt it is of. Kubeflow Trainer 2 says the former itself; the
    others are told, also who is the first pod.
    """
    document = unit.document
    if unit.asked:
        return {}
    nodes, backend = document["nodes"], BACKENDS[document["backend"]]
    # Its Job, which a JobSet's restart makes anew. A PyTorchJob's pods have no such label, and as their operator does not count
    # them they count their attempts themselves (train/attempts.py).
    attempt: dict[str, Any] = {
        "FINO1_ATTEMPT": {"fieldRef": {"fieldPath": "metadata.labels['batch.kubernetes.io/controller-uid']"}}
    }
    if document["backend"] == "pytorchjob":
        attempt = {"FINO1_BACKOFF_LIMIT": str(document["backoffLimit"])}
    if not backend.first_pod:
        return attempt
    return {
        **attempt,
        "PET_MASTER_ADDR": backend.first_pod.format(full=unit.full) if nodes > 1 else "localhost",
        "PET_MASTER_PORT": str(PORT),
        "PET_NNODES": str(nodes),
        "PET_NODE_RANK": {"fieldRef": {"fieldPath": backend.index}},
        "PET_NPROC_PER_NODE": str(unit.ranks),
    }


def _devices(document: Document) -> dict[str, str]:
    gpus, rdma = document["gpus_per_node"], document["rdma"]
    return {
        **({document["gpu"]["resource"]: str(gpus)} if gpus else {}),
        **({rdma["resource"]: str(rdma["count"])} if "resource" in rdma else {}),
    }


def _mounts(document: Document) -> list[dict[str, Any]]:
    read_only = {"config"} | ({"models"} if document["volumes"]["models"]["readOnly"] else set())
    paths = {**_MOUNTS, **({"link": "/run/fino1"} if document["method"] in ASKING else {})}
    return [
        {"name": name, "mountPath": path, **given(readOnly=(name in read_only) or None)} for name, path in paths.items()
    ]


def _volumes(unit: Unit) -> list[dict[str, Any]]:
    document, claims = unit.document, unit.document["volumes"]
    return [
        {"name": "config", "configMap": {"name": unit.full}},
        {"name": "work", "persistentVolumeClaim": {"claimName": claims["work"]["claimName"]}},
        {"name": "models", "persistentVolumeClaim": {"claimName": claims["models"]["claimName"]}},
        {"name": "shm", "emptyDir": {"medium": "Memory", "sizeLimit": document["shmSize"]}},
        {"name": "tmp", "emptyDir": {}},
        *([{"name": "link", "emptyDir": {}}] if unit.asked else []),
    ]
