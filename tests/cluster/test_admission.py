"""Does a real API server admit every object of every built-in run, by every backend, and every pod they would make?

Strictly (unknown fields are refused), in a namespace that enforces Pod Security `restricted`. `-s` prints the table.
"""

import secrets
import subprocess
from collections import Counter
from pathlib import Path

import pytest

from fino1.errors import ClusterError, SpecError
from fino1.k8s.cluster.client import connect
from fino1.k8s.objects.render import render
from fino1.spec import load
from fino1.spec.run import ASKING, RunSpec
from fino1.spec.yamlfile import read_yaml

pytestmark = [pytest.mark.cluster, pytest.mark.slow, pytest.mark.timeout(300)]

ROOT = Path(__file__).parents[2]
RUNS = {path.stem: read_yaml(path) for path in sorted((ROOT / "manifests" / "runs").glob("*.yaml"))}
TRAINING = [name for name, document in RUNS.items() if document["method"] not in ASKING]
OTHERS = [name for name in RUNS if name not in TRAINING]
BACKENDS = ("pytorchjob", "job", "jobset", "trainjob")
BATCHES = {"per_device_train_batch_size": 1, "global_batch_size": 128, "gradient_accumulation_steps": None}
SHAPES = {
    "1 node": {"nodes": 1},
    "2 nodes": {"nodes": 2},
    "8 GPUs": {"gpus_per_node": 8},
    "2 x 8 GPUs": {"nodes": 2, "gpus_per_node": 8},
}
SHARDS = {method: {"shards": 4} for method in ASKING}
ASKING_SHAPES = {"as it is": {}, "8 GPUs": {"gpus_per_node": 8}, "4 shards": SHARDS}
VARIANTS = {
    "": {},
    "queue": {"queue": "fino1", "workloadPriorityClass": "high", "suspend": True},
    "placed": {
        "gpu": {"product": "NVIDIA-H100-80GB-HBM3"},
        "topology": {"key": "topology.kubernetes.io/zone", "policy": "required"},
        "tolerations": [{"key": "spot", "operator": "Exists"}],
        "activeDeadlineSeconds": 3600,
        "ttlSecondsAfterFinished": 600,
        "test": {"gpu": True},
        "podAnnotations": {"a": "b"},
    },
    "volcano": {"gang": "volcano"},
    "coscheduling": {"gang": "coscheduling"},
}


@pytest.fixture
def api(kubeconfig, namespace):
    return connect(str(kubeconfig), namespace=namespace)


@pytest.fixture(scope="module")
def table():
    """Rows of (run, backend, shape, variant, what was admitted); printed at the end."""
    rows = []
    yield rows
    print("\n" + "\n".join("  ".join(f"{cell:<12}" for cell in row).rstrip() for row in rows))


def objects_of(name, *changes):
    document = load.layered([RUNS[name], *changes])
    return render(load.build(document, name), name, tests=True)


def pods_of(thing):
    """The pods that a controller makes of an object: each of its templates, under a name of its own."""
    found = []

    def walk(value):
        if isinstance(value, dict):
            if "metadata" in value and "containers" in value["spec"]:
                found.append(value)
            else:
                for inner in value.values():
                    walk(inner)
        elif isinstance(value, list):
            for inner in value:
                walk(inner)

    if thing["kind"] != "Pod":
        walk(thing.get("spec"))
    return [
        {
            "apiVersion": "v1",
            "kind": "Pod",
            "metadata": template["metadata"] | {"name": f"{thing['metadata']['name']}-{secrets.token_hex(4)}"},
            "spec": template["spec"],
        }
        for template in found
    ]


def admit(api, objects):
    """Apply all objects, first as a dry run, then really; create their pods. Returns what was admitted, by kind.

    A kind that the cluster does not have is left out, and named.
    """
    count = Counter()
    for thing in objects:
        if not api.serves(thing["apiVersion"], thing["kind"]):
            count[f"no {thing['kind']}"] += 1
            continue
        api.apply(thing, dry_run=True, before={})
        held = api.apply(thing, before={}).object
        assert held["metadata"]["name"] == thing["metadata"]["name"]
        count[thing["kind"]] += 1
        for pod in pods_of(thing):
            assert api.create(pod)["spec"]["containers"][0]["name"] == pod["spec"]["containers"][0]["name"]
            count["pod"] += 1
    return count


def shown(count):
    """`pod` counts those made of templates, `Pod` that of `helm test`."""
    missing = [key for key in count if key.startswith("no ")]
    objects = sum(count.values()) - count["pod"] - count["Pod"] - len(missing)
    return "; ".join([f"{objects} objects, {count['pod']} pods, {count['Pod']} test pod", *missing])


@pytest.mark.parametrize("backend", BACKENDS)
@pytest.mark.parametrize("name", TRAINING)
def test_training(api, table, name, backend):
    kind = {"pytorchjob": "PyTorchJob", "job": "Job", "jobset": "JobSet", "trainjob": "TrainJob"}[backend]
    for shape, change in SHAPES.items():
        for variant, more in VARIANTS.items():
            if variant and (name not in ("sft", "ppo-tiny") or shape != "2 nodes"):
                continue
            batches = {RUNS[name]["method"]: BATCHES}
            objects = objects_of(name, batches, change, more, {"backend": backend})
            if (backend, variant) == ("trainjob", "volcano"):  # Trainer 2.1 has it, 2.0 not
                with pytest.raises(ClusterError, match="spec.podGroupPolicy.volcano: field not declared in schema"):
                    admit(api, objects)
                table.append((name, backend, shape, variant, "TrainingRuntime refused: Trainer 2.0 has no volcano"))
                continue
            count = admit(api, objects)
            table.append((name, backend, shape, variant or "-", shown(count)))
            assert count[kind] == 1 and count["Pod"] == 1 and count["pod"] == 1, count
            missing = {key for key in count if key.startswith("no ")}
            assert missing <= ({"no PodGroup"} if variant in ("volcano", "coscheduling") else set()), count


@pytest.mark.parametrize("name", OTHERS)
def test_what_asks_models(api, table, name):
    models = len(RUNS[name]["eval"]["models"]) if "eval" in RUNS[name] else 1
    for shape, variant in [*((shape, "") for shape in ASKING_SHAPES), ("4 shards", "queue"), ("8 GPUs", "placed")]:
        count = admit(api, objects_of(name, ASKING_SHAPES[shape], VARIANTS[variant]))
        table.append((name, "job", shape, variant or "-", shown(count)))
        assert count["Job"] == count["pod"] == models and count["Pod"] == 1, count


@pytest.mark.parametrize("backend", BACKENDS)
def test_rdma_needs_more_than_restricted(api, table, backend):
    """The run's own object is admitted; its pods are not, nor the pod of `helm test`."""
    objects = objects_of("sft", {"backend": backend, "nodes": 2, "rdma": {"resource": "rdma/hca"}})
    pods = [thing for thing in objects if thing["kind"] == "Pod"] + [pod for thing in objects for pod in pods_of(thing)]
    admit(api, [thing for thing in objects if thing["kind"] == "ServiceAccount"])
    assert len(pods) == 2
    for pod in pods:
        with pytest.raises(ClusterError, match=r"violates PodSecurity .*IPC_LOCK"):
            api.create(pod)
    table.append(("sft", backend, "2 nodes", "rdma", "pods refused: restricted"))


def test_strict_means_strict(api):
    """An unknown field anywhere in a run's own object is refused, so the admissions above say something."""
    (job,) = (thing for thing in objects_of("sft-tiny") if thing["kind"] == "PyTorchJob")
    job["spec"]["pytorchReplicaSpecs"]["Worker"]["template"]["spec"]["nodeSelectors"] = {}
    with pytest.raises(ClusterError, match="nodeSelectors"):
        api.apply(job, dry_run=True)


TOGETHER = {  # what the reader of run files refuses, each by itself
    "exists with a value": {"tolerations": [{"key": "a", "operator": "Exists", "value": "b"}]},
    "seconds": {"tolerations": [{"key": "a", "effect": "NoSchedule", "tolerationSeconds": 3}]},
    "seconds for all effects": {"tolerations": [{"key": "a", "tolerationSeconds": 3}]},
    "value without key": {"tolerations": [{"value": "b"}]},
    "request above its limit": {"resources": {"requests": {"cpu": 2}, "limits": {"cpu": "1500m"}}},
    "device without limit": {"resources": {"requests": {"a/b": 2}}},
    "device below its limit": {"resources": {"requests": {"a/b": 1}, "limits": {"a/b": 2}}},
    "half a device": {"resources": {"limits": {"a/b": "500m"}}},
    "huge pages alone": {"resources": {"limits": {"hugepages-2Mi": "4Mi"}}},
    "a page and a half": {"resources": {"limits": {"hugepages-2Mi": "3Mi", "memory": "32Gi"}}},
}


def test_the_server_refuses_it_too(api):
    """Each of these, and not the pod without them, whose names and quantities are written in all ways that are allowed."""
    right = {
        "env": {"http_proxy": "x", ".a-b": "x"},
        "secretEnv": {"A": {"name": "team.a", "key": ".x", "optional": True}},
        "volumes": {"work": {"claimName": "w.1"}},
        "resources": {"limits": {"cpu": "+.5", "memory": "32.e9", "hugepages-2Mi": "4Mi"}},
        "podAnnotations": {"Example.com/Note": "x"},
        "serviceAccountName": "default",
        "image": {"repository": "a.b:5000/c__d", "tag": "_1.20"},
    }
    for changes in ({}, *TOGETHER.values()):
        document = {**RUNS["sft-tiny"], "backend": "job", **right, **changes}
        (pod,) = [pod for thing in render(RunSpec.model_validate(document), "abc") for pod in pods_of(thing)]
        if not changes:
            assert load.build(document, "F") and api.apply(pod, dry_run=True, before={})
            continue
        with pytest.raises(SpecError):
            load.build(document, "F")
        with pytest.raises(ClusterError, match="Invalid value|Required value|Forbidden"):
            api.apply(pod, dry_run=True, before={})


@pytest.mark.helm
def test_helm_installs_and_uninstalls(api, helm, cluster, namespace):
    """`sft`, then `ppo` and an evaluation, which share its volumes; all go, the volumes stay."""

    def run(*arguments):
        command = [helm, "--kubeconfig", cluster.kubeconfig, "--namespace", namespace, *arguments]
        done = subprocess.run(command, capture_output=True, text=True, timeout=120)
        assert done.returncode == 0, done.stderr
        return done.stdout

    for name, chart in (("sft", "train"), ("ppo", "train"), ("eval", "eval")):
        said = run("install", name, ROOT / "charts" / chart, "-f", ROOT / "manifests" / "runs" / f"{name}.yaml")
        assert f"helm test {name}" in said
    assert len(api.list("kubeflow.org/v1", "PyTorchJob")) == 2
    assert len(api.list("batch/v1", "Job")) == 5
    for name in ("eval", "ppo", "sft"):
        run("uninstall", name)
    assert not api.list("kubeflow.org/v1", "PyTorchJob")
    claims = {claim["metadata"]["name"] for claim in api.list("v1", "PersistentVolumeClaim")}
    assert claims == {"fino1-work", "fino1-models"}
