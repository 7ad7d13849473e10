"""Does a release come, change and go as its README says, on a real API server, with each helm?"""

import json
import os
import re
import shutil
import subprocess
from pathlib import Path

import pytest

CHARTS = Path(__file__).parents[2] / "charts"
TINY = Path(__file__).parents[2] / "manifests" / "runs" / "sft-tiny.yaml"
SECRET = "secretEnv.HF_TOKEN.name=huggingface,secretEnv.HF_TOKEN.key=token"
pytestmark = [pytest.mark.cluster, pytest.mark.helm, pytest.mark.slow]


@pytest.fixture
def release(helm, kubeconfig, namespace, tmp_path):
    """`release("install", …)`: what helm says; it must succeed."""
    homes = {f"HELM_{part}_HOME": str(tmp_path / part) for part in ("CACHE", "CONFIG", "DATA")}
    environment = {**os.environ, "KUBECONFIG": str(kubeconfig), **homes}

    def run(*arguments, code=0):
        command = [helm, *map(str, arguments), "--namespace", namespace]
        done = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=120)
        assert done.returncode == code, done.stderr
        return done.stdout if code == 0 else done.stderr

    return run


def names(cluster, namespace, kinds):
    listing = cluster.ask("get", kinds, "--namespace", namespace)
    return sorted((item["kind"], item["metadata"]["name"]) for item in listing["items"])


RUN = "pytorchjobs,configmaps,networkpolicies,serviceaccounts"


def test_install_upgrade_uninstall(release, cluster, namespace):
    said = release("install", "fino1-sft", CHARTS / "train", "-f", TINY)
    ((_, first),) = names(cluster, namespace, "pytorchjobs")
    assert first.startswith("fino1-sft-") and first in said
    assert "fino1-k8s status fino1-sft" in said and "helm test fino1-sft" in said
    assert [name for _, name in names(cluster, namespace, "persistentvolumeclaims")] == ["fino1-models", "fino1-work"]

    release("upgrade", "fino1-sft", CHARTS / "train", "-f", TINY)
    assert names(cluster, namespace, "pytorchjobs") == [("PyTorchJob", first)], "the same values are the same run"
    release("upgrade", "fino1-sft", CHARTS / "train", "-f", TINY, "--set", "sft.learning_rate=1e-3")
    ((_, second),) = names(cluster, namespace, "pytorchjobs")
    assert second != first, "a Job's template cannot change: another run has another name"
    release("rollback", "fino1-sft", "1")
    assert names(cluster, namespace, "pytorchjobs") == [("PyTorchJob", first)]

    release("uninstall", "fino1-sft")
    assert [kind for kind, name in names(cluster, namespace, RUN) if name.startswith("fino1-sft")] == []
    assert len(names(cluster, namespace, "persistentvolumeclaims")) == 2, "results stay"
    release("install", "fino1-sft", CHARTS / "train", "-f", TINY)
    assert names(cluster, namespace, "pytorchjobs") == [("PyTorchJob", first)], "and are found again"


def of_version(version, folder):
    """The chart of another version of fino1, which renders other pods."""
    chart = folder / version
    shutil.copytree(CHARTS / "fino1", chart)
    about = (chart / "Chart.yaml").read_text()
    (chart / "Chart.yaml").write_text(
        re.sub(r"^(version|appVersion): .*$", rf"\1: {version}", about, flags=re.MULTILINE)
    )
    env = (chart / "templates" / "_env.tpl").read_text()
    (chart / "templates" / "_env.tpl").write_text(
        env.replace("HF_HOME: /models", f"HF_HOME: /models\nVERSION: {version}")
    )
    return chart


BACKENDS = {
    "pytorchjob": "pytorchjobs",
    "job": "jobs",
    "jobset": "jobsets.jobset.x-k8s.io",
    "trainjob": "trainingruntimes.trainer.kubeflow.org,trainjobs.trainer.kubeflow.org",
}


@pytest.mark.parametrize("backend", BACKENDS)
def test_an_upgrade_of_the_chart_leaves_a_run_as_it_is(release, cluster, namespace, tmp_path, backend):
    """The same values by the next version, which renders another template; other values are another run; and back."""

    def runs():
        items = cluster.ask("get", BACKENDS[backend], "--namespace", namespace)["items"]
        return {f"{item['kind']}/{item['metadata']['name']}": [item["metadata"]["uid"], item["spec"]] for item in items}

    values = ("-f", TINY, "--set", f"backend={backend},nodes=2,sft.per_device_train_batch_size=8")
    release("install", "s", of_version("0.1.1", tmp_path), *values)
    first = runs()
    assert '"ghcr.io/fino1/train:0.1.1"' in json.dumps(first)
    release("upgrade", "s", of_version("0.2.0", tmp_path), *values)
    assert runs() == first
    release("upgrade", "s", tmp_path / "0.2.0", *values, "--set", "seed=7")
    assert runs().keys().isdisjoint(first) and '"ghcr.io/fino1/train:0.2.0"' in json.dumps(runs())
    release("rollback", "s", "2")
    again = runs()
    assert again.keys() == first.keys() and '"ghcr.io/fino1/train:0.1.1"' in json.dumps(again)


@pytest.mark.parametrize("backend", ["pytorchjob", "job", "jobset"])
def test_what_is_not_of_the_pods_changes_in_place(release, cluster, namespace, backend):
    def only(kind):
        (item,) = cluster.ask("get", kind, "--namespace", namespace)["items"]
        return item["metadata"]["uid"], item["spec"].get("runPolicy", item["spec"])

    values = ("-f", TINY, "--set", f"backend={backend}")
    release("install", "s", CHARTS / "train", *values)
    kind = BACKENDS[backend]
    uid, spec = only(kind)
    assert not spec.get("suspend")
    later = (
        "suspend=true,ttlSecondsAfterFinished=60,test.gpu=true,networkPolicy.enabled=false,volumes.work.create=false"
    )
    release("upgrade", "s", CHARTS / "train", *values, "--set", later)
    assert only(kind)[0] == uid
    assert only(kind)[1] == spec | {"suspend": True, "ttlSecondsAfterFinished": 60}
    assert names(cluster, namespace, "networkpolicies") == []
    release("upgrade", "s", CHARTS / "train", *values)
    assert only(kind) == (uid, spec)


def test_a_second_release_shares_the_claims(release, cluster, namespace):
    said = release("install", "one", CHARTS / "train", "-f", TINY)
    needs = said[said.index("It needs") :]
    assert "PyTorchJob (kubeflow.org/v1), of Kubeflow's training-operator" in needs
    assert "storage class (the default one) that offers ReadWriteMany" in needs
    options = re.search(r"--set volumes\S+ --set volumes\S+", needs)[0].split()
    assert "exists" in release("install", "two", CHARTS / "train", "-f", TINY, code=1)
    said = release("install", "two", CHARTS / "train", "-f", TINY, *options, "--set", SECRET)
    assert "PersistentVolumeClaim fino1-work" in said and "Secret huggingface with key token, for HF_TOKEN" in said
    assert len(names(cluster, namespace, "persistentvolumeclaims")) == 2


def test_an_evaluation_is_a_job_a_model(release, cluster, namespace, tmp_path):
    def values(*models):
        path = tmp_path / "values.yaml"
        block = {
            "models": [{"name": m, "base_url": "https://api.example.com/v1"} for m in models],
            "tasks": [{"task": "ledger"}],
        }
        path.write_text(json.dumps({"method": "eval", "eval": block}))
        return path

    release("install", "e", CHARTS / "eval", "-f", values("a", "b"))
    before = cluster.ask("get", "jobs", "--namespace", namespace)["items"]
    release("upgrade", "e", CHARTS / "eval", "-f", values("a", "b", "c"))
    after = cluster.ask("get", "jobs", "--namespace", namespace)["items"]
    uids = {item["metadata"]["name"]: item["metadata"]["uid"] for item in after}
    assert len(uids) == 3
    assert all(uids[item["metadata"]["name"]] == item["metadata"]["uid"] for item in before), "a and b were not touched"


def test_bad_values_leave_nothing(release, cluster, namespace):
    said = release("install", "x", CHARTS / "train", "-f", TINY, "--set", "sft.global_batch_size=7", code=1)
    assert "sft.global_batch_size: expected a multiple of 16" in said
    assert names(cluster, namespace, "pytorchjobs,persistentvolumeclaims,configmaps") == []
