"""Do `plan` and `doctor` find what is missing on a real API server, and what is there?"""

import json
import re
import secrets
import time
from pathlib import Path

import pytest
import yaml

from fino1.k8s import cli
from fino1.k8s.cluster.client import connect
from fino1.k8s.objects.backends import OPERATORS

pytestmark = [pytest.mark.cluster, pytest.mark.slow, pytest.mark.timeout(120)]
RBAC = Path(__file__).parents[2] / "manifests/rbac.yaml"
GPU, PRODUCT = "nvidia.com/gpu", "NVIDIA-H100-80GB-HBM3"
RUN = {
    "method": "sft",
    "model": {"hub": "meta-llama/Llama-3.1-8B"},
    "data": {"path": "/work/rows.jsonl"},
    "gpus_per_node": 0,
    "volumes": {"work": {"storageClassName": "shared"}, "models": {"storageClassName": "shared"}},
}


@pytest.fixture
def made(api):
    """Create objects of the cluster, and delete them after the test."""
    there = []

    def make(body, status=None):
        if api.get(body["apiVersion"], body["kind"], body["metadata"]["name"]) is None:
            api.create(body)
            there.append(body)
        if status:
            api.patch(
                body["apiVersion"], body["kind"], body["metadata"]["name"], {"status": status}, subresource="status"
            )
        return body["metadata"]["name"]

    yield make
    for body in reversed(there):
        api.delete(body["apiVersion"], body["kind"], body["metadata"]["name"])


@pytest.fixture
def pool(made, api):
    """Nodes of the test's own, by the label `pool`; `pool()` makes one more of 8 GPUs."""
    name = f"pool-{secrets.token_hex(4)}"

    def node(gpus=8, taints=(), **labels):
        full = f"{name}-{secrets.token_hex(2)}"
        labels = {"pool": name, "nvidia.com/gpu.product": PRODUCT, **labels}
        spec = {"taints": [*([{"key": GPU, "effect": "NoSchedule"}] if gpus else []), *taints]}
        amounts = {"cpu": "64", "memory": "512Gi", "pods": "110", GPU: str(gpus)}
        status = {"allocatable": amounts, "capacity": amounts, "conditions": [{"type": "Ready", "status": "True"}]}
        metadata = {"name": full, "labels": labels}
        made({"apiVersion": "v1", "kind": "Node", "metadata": metadata, "spec": spec}, status)
        # the API server adds not-ready: no controller takes it away here
        api.patch("v1", "Node", full, {"spec": spec})
        return full

    node.name = name
    return node


@pytest.fixture
def shared(made):
    """A StorageClass."""
    return made(
        {
            "apiVersion": "storage.k8s.io/v1",
            "kind": "StorageClass",
            "metadata": {"name": "shared"},
            "provisioner": "example.org/nfs",
        }
    )


@pytest.fixture
def plan(kubeconfig, namespace, tmp_path, capsys, shared, pool):
    """`plan(**keys)`: exit code and the JSON report of RUN with these keys."""
    pool(gpus=0)

    def run(config=kubeconfig, place=namespace, **keys):
        document = {**RUN, "nodeSelector": {"pool": pool.name}, **keys}
        path = tmp_path / "my-run.yaml"
        path.write_text(json.dumps(document))
        code = cli.main(["plan", str(path), "--kubeconfig", str(config), "-n", place, "-o", "json"])
        captured = capsys.readouterr()
        assert captured.err == ""
        return code, json.loads(captured.out)

    return run


def found(report, about):
    """Checks about something: (verdict, text)."""
    return [(check["verdict"], check["text"]) for check in report["checks"] if check["about"] == about]


def one(report, about):
    (check,) = found(report, about)
    return check


def test_a_run_that_can_be_submitted(plan, namespace, kubeconfig):
    code, report = plan()
    assert code == 0 and report["missing"] == [], report["missing"]
    access = one(report, "access")[1]
    assert re.fullmatch(rf"https://.*, Kubernetes v1\..*, as admin, namespace {namespace}", access)
    assert one(report, "namespace") == ("ok", f"{namespace}: there; it enforces Pod Security restricted")
    assert one(report, "dry run") == ("ok", "the server takes all 6 objects: 6 created")
    assert one(report, "pods") == ("ok", "the server admits them")
    assert one(report, "rights")[0] == "ok"
    assert one(report, "nodes")[1].startswith("fits now: 1 pod of no requests; room for 110; 1 node of ")
    assert [check["verdict"] for check in report["checks"]].count("missing") == 0
    ask = connect(str(kubeconfig), namespace=namespace)
    assert ask.list("kubeflow.org/v1", "PyTorchJob") == []  # nothing was made


@pytest.mark.parametrize("backend", ["job", "jobset", "trainjob"])
def test_every_backend(plan, backend):
    code, report = plan(backend=backend, nodes=2)
    assert (code, report["missing"]) == (0, [])
    assert one(report, "gang")[0] == "note"


def test_an_evaluation(plan):
    models = [{"name": f"model-{i}", "run": "sft"} for i in range(3)]
    code, report = plan(method="eval", eval={"models": models, "tasks": [{"task": "ledger"}], "shards": 2})
    assert (code, report["missing"]) == (0, [])
    assert one(report, "nodes")[1].startswith("fits now: 6 pods of no requests")
    assert report["steps"] == {"questions": 1500, "of": "3 models × 1 task"}


def test_the_text(plan, kubeconfig, namespace, tmp_path, capsys):
    plan()
    path = str(tmp_path / "my-run.yaml")
    assert cli.main(["plan", path, "--kubeconfig", str(kubeconfig), "-n", namespace, "--set", "queue=nope"]) == 2
    out = capsys.readouterr().out
    assert "missing  queue" in out
    assert f"\n1. missing: queue: nope: expected a LocalQueue in namespace {namespace}, got none (there: none)\n" in out


def test_no_namespace(plan):
    code, report = plan(place="nowhere")
    assert code == 2
    assert one(report, "namespace")[1].startswith("nowhere: does not exist; kubectl create namespace nowhere")
    assert found(report, "dry run") == []


def test_rdma_where_restricted_is_enforced(plan, api):
    """The server's own word on the pods, by its dry run."""
    rdma = {"resource": "rdma/hca"}
    code, report = plan(rdma=rdma, resources={"limits": {"memory": "1Gi"}}, shmSize="1Gi")
    verdict, text = one(report, "pods")
    assert (code, verdict) == (2, "missing")
    assert 'violates PodSecurity "restricted:latest"' in text and "IPC_LOCK" in text
    for level, verdict in (("baseline", "missing"), ("privileged", "ok")):
        label = {"metadata": {"labels": {"pod-security.kubernetes.io/enforce": level}}}
        api.patch("v1", "Namespace", api.namespace, label)
        assert one(plan(rdma=rdma)[1], "pods")[0] == verdict
    api.patch("v1", "Namespace", api.namespace, {"metadata": {"labels": {"pod-security.kubernetes.io/enforce": None}}})
    assert "the cluster's default holds" in one(plan()[1], "namespace")[1]


def test_secrets(plan, api):
    keys = {
        "HF_TOKEN": {"name": "hf", "key": "token"},
        "WANDB_API_KEY": {"name": "wandb", "key": "key", "optional": True},
    }
    code, report = plan(secretEnv=keys, image={"pullSecrets": ["registry"]})
    assert code == 2
    by_name = {text.partition(":")[0]: (verdict, text) for verdict, text in found(report, "secret")}
    assert by_name["hf"][0] == "missing" and "kubectl create secret generic hf" in by_name["hf"][1]
    assert by_name["wandb"][0] == "note" and by_name["registry"][0] == "missing"
    secret(api, "hf", {"other": "eA=="})
    secret(api, "registry", {})
    by_name = {
        text.partition(":")[0]: text
        for _, text in found(plan(secretEnv=keys, image={"pullSecrets": ["registry"]})[1], "secret")
    }
    assert "key token, for secretEnv.HF_TOKEN: it has other" in by_name["hf"]
    assert "expected type kubernetes.io/dockerconfigjson, got Opaque" in by_name["registry"]
    api.patch("v1", "Secret", "hf", {"data": {"token": "c2VjcmV0"}})
    code, report = plan(secretEnv=keys)
    assert code == 0 and ("ok", "hf: there, with token") in found(report, "secret")
    assert "c2VjcmV0" not in json.dumps(report) and 'secret"' not in json.dumps(report["missing"])


def secret(api, name, data):
    api.create({"apiVersion": "v1", "kind": "Secret", "metadata": {"name": name}, "type": "Opaque", "data": data})


def claim(api, name, modes=("ReadWriteMany",), phase="Bound", **keys):
    spec = {"accessModes": list(modes), "resources": {"requests": {"storage": "200Gi"}}, "storageClassName": "shared"}
    metadata = {"name": name, "labels": {"app.kubernetes.io/part-of": "fino1"}}
    api.create({"apiVersion": "v1", "kind": "PersistentVolumeClaim", "metadata": metadata, "spec": {**spec, **keys}})
    status = {
        "phase": phase,
        **({"capacity": {"storage": "200Gi"}, "accessModes": list(modes)} if phase == "Bound" else {}),
    }
    api.patch("v1", "PersistentVolumeClaim", name, {"status": status}, subresource="status")


def test_claims(plan, api):
    volumes = {"work": {"create": False}, "models": {"storageClassName": "none-such"}}
    code, report = plan(volumes=volumes)
    texts = dict(text.partition(": ")[::2] for _, text in found(report, "claim"))
    assert code == 2 and texts["fino1-work"].startswith("expected a PersistentVolumeClaim that exists")
    assert "StorageClass none-such does not exist (there: " in texts["fino1-models"]
    claim(api, "fino1-work", ["ReadWriteOnce"])
    claim(api, "fino1-models", phase="Pending")
    volumes = {"work": {"create": False}, "models": {"create": False}}
    code, report = plan(volumes=volumes, nodes=2)
    verdicts = found(report, "claim")
    assert ("ok", "fino1-work: there, Bound, 200Gi, ReadWriteOnce") in verdicts
    text = "fino1-work: 2 pods on several nodes need ReadWriteMany, it has ReadWriteOnce"
    assert code == 2 and ("missing", text) in verdicts
    assert any(v == "note" and text.startswith("fino1-models: there, Pending") for v, text in verdicts)
    assert plan(volumes=volumes)[0] == 0


def test_a_quota(plan, api):
    hard = {"requests.nvidia.com/gpu": "16", "pods": "10"}
    api.create({"apiVersion": "v1", "kind": "ResourceQuota", "metadata": {"name": "team"}, "spec": {"hard": hard}})

    def used(gpus):
        status = {"hard": hard, "used": {"requests.nvidia.com/gpu": gpus, "pods": "1"}}
        api.patch("v1", "ResourceQuota", "team", {"status": status}, subresource="status")
        time.sleep(0.3)  # admission reads it from a cache

    used("4")
    gpus = {"gpus_per_node": 8, "volumes": RUN["volumes"]}
    report = plan(**gpus)[1]
    assert found(report, "quota") == [] and one(report, "pods") == ("ok", "the server admits them")
    code, report = plan(**gpus, nodes=4)
    text = "team: more than it ever gives: requests.nvidia.com/gpu: 32 asked, 16 is all"
    assert (code, one(report, "quota")) == (2, ("missing", text))
    used("12")
    verdict, text = one(plan(**gpus)[1], "pods")
    assert verdict == "missing" and "exceeded quota: team" in text


def test_a_limit_range_counts(plan, api):
    limits = [{"type": "Container", "default": {"memory": "512Mi"}, "defaultRequest": {"memory": "256Mi"}}]
    body = {"apiVersion": "v1", "kind": "LimitRange", "metadata": {"name": "small"}, "spec": {"limits": limits}}
    api.create(body)
    time.sleep(0.3)
    _, report = plan()
    text = "the namespace adds to containers that set none: limit memory 512Mi, request memory 256Mi"
    assert one(report, "limits") == ("note", text)
    assert "1 pod of 256Mi memory" in one(report, "nodes")[1]


def test_nodes(plan, pool, api, stage):
    gpus = {"gpus_per_node": 8, "gpu": {"product": PRODUCT}}
    code, report = plan(**gpus)
    assert code == 2 and one(report, "nodes")[0] == "missing"
    first = pool()
    verdict, text = one(plan(**gpus)[1], "nodes")
    assert verdict == "ok" and text.startswith(f"fits now: 1 pod of 8 {GPU}; room for 1;")
    assert f"{first} 8 of 8 {GPU} free" in text
    run = stage.create(gpu_run("other"))
    stage.pod(run, node=first)
    code, report = plan(**gpus)
    verdict, text = one(report, "nodes")
    assert (code, verdict) == (0, "wait")
    assert text.startswith(f"fits when others end: 1 pod of 8 {GPU}; room for 0 now, 1 in all;")
    assert f"{first} 0 of 8 {GPU} free" in text
    pool(taints=[{"key": "broken", "effect": "NoExecute"}])
    pool(**{"nvidia.com/gpu.product": "NVIDIA-A10"})
    code, report = plan(**gpus, nodes=2)
    verdict, text = one(report, "nodes")
    assert (code, verdict) == (2, "missing") and text.startswith(f"never fits: 2 pods of 8 {GPU}; room for 1 on empty")
    assert "1 with taint broken not tolerated" in text and "1 with nvidia.com/gpu.product=NVIDIA-A10" in text
    tolerated = [{"key": "broken", "operator": "Exists"}]
    assert one(plan(**gpus, nodes=2, tolerations=tolerated)[1], "nodes")[0] == "wait"
    zone = {"key": "zone", "policy": "required"}
    assert one(plan(**gpus, topology=zone)[1], "nodes")[0] == "wait"  # one node is near to itself
    assert one(plan(**gpus, nodes=2, tolerations=tolerated, topology=zone)[1], "nodes")[0] == "missing"


def gpu_run(name):
    from fino1.k8s.objects.render import render
    from fino1.spec import load

    spec = load.build({**RUN, "gpus_per_node": 8}, "test")
    return next(thing for thing in render(spec, name) if thing["kind"] == "PyTorchJob")


def test_the_gpu_s_memory_is_the_nodes_word(plan, pool):
    pool(**{"nvidia.com/gpu.memory": "24576", "nvidia.com/gpu.product": "Some-New-GPU"})
    code, report = plan(gpus_per_node=8)
    assert code == 2 and report["memory"]["gpu"] == 24 * 2**30 and report["memory"]["fits"] is False
    assert report["missing"][0].startswith("GPU memory: peak ")


def test_priority_classes(plan, made):
    code, report = plan(priorityClassName="nope")
    verdict, text = one(report, "pods")
    assert (code, verdict) == (2, "missing") and "no PriorityClass with name nope was found" in text
    code, report = plan(workloadPriorityClass="nope")
    assert code == 2
    assert one(report, "workloadPriorityClass")[1].startswith(
        "nope: expected a WorkloadPriorityClass, got none (there: "
    )


def test_gang(plan):
    code, report = plan(nodes=2, gang="volcano")
    assert code == 2
    assert one(report, "gang") == (
        "missing",
        "volcano: its PodGroup (scheduling.volcano.sh) is not served; this cluster offers none; to install it: "
        + OPERATORS["scheduling.volcano.sh"].how,
    )


KUEUE = "kueue.x-k8s.io/v1beta1"


@pytest.fixture
def queue(api, made):
    """A LocalQueue `team` to a ClusterQueue of 16 GPUs, and some of them taken."""

    def make(nominal=16, taken=0, cohort=None, **spec):
        flavor = made(kueue("ResourceFlavor", "flavor", {"nodeLabels": {"nvidia.com/gpu.product": PRODUCT}}))
        resources = [{"name": GPU, "nominalQuota": nominal}]
        groups = [{"coveredResources": [GPU], "flavors": [{"name": flavor, "resources": resources}]}]
        whole = {"resourceGroups": groups, "namespaceSelector": {}, **spec, **({"cohort": cohort} if cohort else {})}
        reserved = [{"name": flavor, "resources": [{"name": GPU, "total": str(taken)}]}]
        status = {"flavorsReservation": reserved}
        name = made(kueue("ClusterQueue", "queue", whole), status)
        local = {
            "apiVersion": KUEUE,
            "kind": "LocalQueue",
            "metadata": {"name": "team"},
            "spec": {"clusterQueue": name},
        }
        api.delete(KUEUE, "LocalQueue", "team")
        api.create(local)
        return name

    return make


def kueue(kind, name, spec):
    return {"apiVersion": KUEUE, "kind": kind, "metadata": {"name": f"{name}-{secrets.token_hex(4)}"}, "spec": spec}


def test_kueue(plan, queue, api):
    name = queue()
    assert one(plan(queue="team")[1], "queue") == ("ok", f"team → {name}: there")
    closed = {"type": "Active", "status": "False", "reason": "ClusterQueueIsInactive", "message": "it is stopped"}
    status = {"conditions": [{**closed, "lastTransitionTime": "2026-01-01T00:00:00Z"}]}
    api.patch(KUEUE, "LocalQueue", "team", {"status": status}, subresource="status")  # as Kueue writes it
    code, report = plan(queue="team")
    assert (code, one(report, "queue")) == (0, ("wait", f"team → {name}: is not active: it is stopped"))
    code, report = plan(queue="other")
    text = f"other: expected a LocalQueue in namespace {api.namespace}, got none (there: team)"
    assert (code, one(report, "queue")) == (2, ("missing", text))


def test_a_run_that_is_there_already(plan, kubeconfig, namespace, tmp_path, stage, api, capsys):
    plan()
    path = str(tmp_path / "my-run.yaml")
    assert cli.main(["submit", path, "--kubeconfig", str(kubeconfig), "-n", namespace]) == 0
    capsys.readouterr()
    code, report = plan()
    full = report["runs"][0]["name"]
    assert code == 0 and one(report, "earlier run") == ("ok", f"PyTorchJob/{full} is there already, Pending")
    assert one(report, "dry run")[1] == "the server takes all 6 objects: 6 unchanged"
    assert found(report, "nodes") == []  # its pods are there, or waiting
    code, report = plan(backoffLimit=7)  # the same run, placed otherwise
    verdict, text = one(report, "earlier run")
    assert (code, verdict) == (2, "missing")
    assert f"PyTorchJob/{full}, an earlier run of this name, is Pending and writes to the same directory" in text
    verdict, text = one(plan(seed=7)[1], "earlier run")
    assert verdict == "note" and f"PyTorchJob/{full}, an earlier run of this name, is Pending; both will run" in text


def test_a_role_that_only_submits(plan, account, namespace):
    rules = [
        {"apiGroups": [group], "resources": kinds, "verbs": ["get", "list", "create", "patch"]}
        for group, kinds in {
            "": ["configmaps", "serviceaccounts", "persistentvolumeclaims", "services"],
            "networking.k8s.io": ["networkpolicies"],
            "kubeflow.org": ["pytorchjobs"],
            "batch": ["jobs"],
            "jobset.x-k8s.io": ["jobsets"],
            "trainer.kubeflow.org": ["trainjobs", "trainingruntimes"],
        }.items()
    ]
    code, report = plan(account(namespace, rules), secretEnv={"HF_TOKEN": {"name": "hf", "key": "token"}})
    assert (code, report["missing"]) == (0, [])
    assert {check["about"] for check in report["checks"] if check["verdict"] == "note"} >= {
        *("namespace", "pods", "secret", "claim", "quota", "nodes"),
    }
    code, report = plan(account(namespace, rules[1:]))
    assert code == 2 and "configmaps (get, create, patch)" in one(report, "rights")[1]
    assert not any("forbidden" in text for text in report["missing"])


def test_doctor(kubeconfig, namespace, capsys, pool, shared, queue):
    pool()
    queue()
    command = ["doctor", "--kubeconfig", str(kubeconfig), "-n", namespace]
    assert cli.main([*command, "-o", "json"]) == 0
    report = json.loads(capsys.readouterr().out)
    assert report["backends"] == ["pytorchjob", "job", "jobset", "trainjob"] and report["missing"] == []
    assert {o["name"] for o in report["operators"]} >= {
        "Kueue",
        "JobSet",
        "Kubeflow Trainer",
        "Kubeflow Training Operator",
    }
    assert any(g["product"] == PRODUCT and g["gpus"] >= 8 for g in report["gpus"])
    assert report["namespace"] == {"phase": "Active", "pod_security": "restricted"}
    assert [q["name"] for q in report["queues"]] == ["team"]
    assert "shared" in [s["name"] for s in report["storage_classes"]]
    assert report["lacking"] == ""
    assert cli.main(command) == 0
    out = capsys.readouterr().out
    assert "nothing is missing" in out and "team → queue-" in out and "shared by example.org/nfs" in out


def test_doctor_compares_with_the_role_that_we_document(kubeconfig, namespace, capsys, account):
    """What the verbs need is in the Role (test_roles.py, test_fetch.py run them with it)."""
    roles = {role["metadata"]["name"]: role["rules"] for role in yaml.safe_load_all(RBAC.read_text())}
    lacking = {}
    for name, rules in roles.items():
        path = str(account(namespace, rules))
        code = cli.main(["doctor", "--kubeconfig", path, "-n", namespace, "-o", "json"])
        report = json.loads(capsys.readouterr().out)
        lacking[name] = (code, report["lacking"], report["missing"])
    assert lacking["fino1"] == (0, "", [])
    code, text, problems = lacking["fino1-view"]
    assert code == 1 and problems == [f"rights: this user lacks {text}; the Role in docs/rbac.md has them"]
    assert "pytorchjobs.kubeflow.org (create, patch, delete)" in text and "pods/log" not in text


def test_doctor_where_little_is_allowed(kubeconfig, namespace, capsys, account):
    poor = account(namespace, [{"apiGroups": [""], "resources": ["pods"], "verbs": ["list"]}])
    assert cli.main(["doctor", "--kubeconfig", str(poor), "-n", namespace]) == 1
    out = capsys.readouterr().out
    assert "1. missing: rights: this user lacks pytorchjobs.kubeflow.org (get, list, create, patch, delete), " in out
    assert "note: GPU nodes: forbidden: system:serviceaccount:" in out
    assert cli.main(["doctor", "--kubeconfig", str(kubeconfig), "-n", "nowhere"]) == 1
    assert "1. missing: namespace: nowhere: does not exist; kubectl create namespace nowhere" in capsys.readouterr().out
