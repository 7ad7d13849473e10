"""Does a release come, change and go as its README says, on a real API server, with each helm?"""

import json
import os
import subprocess
from pathlib import Path

import pytest

CHARTS = Path(__file__).parents[2] / "charts"
TINY = Path(__file__).parents[2] / "manifests" / "runs" / "sft-tiny.yaml"
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
