"""Is what tests/cluster/tools brings up a real API server, and does nothing of it stay?"""

import json
import os
import signal
import subprocess
import sys
import threading
import time

import pytest

from tests.cluster.tools import cache, programs
from tests.cluster.tools.cluster import ROOT
from tests.cluster.tools.instance import Instance
from tests.cluster.tools.processes import Process

pytestmark = [pytest.mark.cluster, pytest.mark.slow]
COMMAND = [sys.executable, "-m", "tests.cluster.tools.cluster"]

SERVED = {
    "pytorchjobs.kubeflow.org": "v1",
    "jobsets.jobset.x-k8s.io": "v1alpha2",
    "localqueues.kueue.x-k8s.io": "v1beta1",
    "workloads.kueue.x-k8s.io": "v1beta1",
    "trainjobs.trainer.kubeflow.org": "v1alpha1",
    "trainingruntimes.trainer.kubeflow.org": "v1alpha1",
}
RESTRICTED = {
    "allowPrivilegeEscalation": False,
    "capabilities": {"drop": ["ALL"]},
    "runAsNonRoot": True,
    "seccompProfile": {"type": "RuntimeDefault"},
}


def pod(namespace, name="pod", **security):
    container = {"name": "main", "image": "image", "securityContext": security}
    metadata = {"name": name, "namespace": namespace}
    return {"apiVersion": "v1", "kind": "Pod", "metadata": metadata, "spec": {"containers": [container]}}


def config_map(namespace, name):
    return {"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": name, "namespace": namespace}}


def test_the_operators_kinds_are_served(cluster):
    crds = {crd["metadata"]["name"]: crd["spec"]["versions"] for crd in cluster.ask("get", "crd")["items"]}
    assert {name: [each["name"] for each in crds[name] if each["served"]] for name in SERVED} == {
        name: [version] for name, version in SERVED.items()
    }


def test_a_crd_refuses_what_its_schema_forbids(cluster, namespace):
    template = {"spec": {"containers": [{"name": "pytorch", "image": "image"}]}}
    job = {
        "apiVersion": "kubeflow.org/v1",
        "kind": "PyTorchJob",
        "metadata": {"name": "job", "namespace": namespace},
        "spec": {"pytorchReplicaSpecs": {"Worker": {"replicas": 1, "template": template}}},
    }
    cluster.apply(job)
    job["spec"]["nprocPerNod"] = "8"
    refused = cluster.kubectl("apply", "--server-side", "--validate=strict", "-f", "-", stdin=job)
    assert refused.returncode == 1
    assert '"spec.nprocPerNod"' in refused.stderr or ".spec.nprocPerNod" in refused.stderr


def test_a_restricted_namespace_refuses_a_root_pod_and_admits_a_proper_one(cluster, namespace):
    refused = cluster.kubectl("create", "-f", "-", stdin=pod(namespace, runAsUser=0))
    assert refused.returncode == 1
    assert 'violates PodSecurity "restricted:latest"' in refused.stderr
    assert "runAsUser=0" in refused.stderr
    cluster.apply(pod(namespace, **RESTRICTED))


def test_an_account_may_do_only_what_its_role_says_and_only_there(cluster, namespace, account):
    rules = [{"apiGroups": [""], "resources": ["configmaps"], "verbs": ["get", "list"]}]
    mine = account(namespace, rules)

    def ask(*arguments):
        return subprocess.run([programs.kubectl(), "--kubeconfig", mine, *arguments], capture_output=True, text=True)

    assert ask("get", "configmaps").returncode == 0
    for forbidden in (["get", "secrets"], ["get", "configmaps", "-n", "default"], ["delete", "configmap", "x"]):
        assert "Forbidden" in ask(*forbidden).stderr, forbidden


def test_helm_installs_and_uninstalls(cluster, namespace, helm, tmp_path):
    (tmp_path / "templates").mkdir()
    (tmp_path / "Chart.yaml").write_text("apiVersion: v2\nname: tiny\nversion: 0.1.0\nkubeVersion: '>=1.30-0'\n")
    template = {"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "{{ .Release.Name }}"}}
    (tmp_path / "templates" / "map.yaml").write_text(json.dumps(template))
    environment = os.environ | {"KUBECONFIG": str(cluster.kubeconfig), "HELM_CACHE_HOME": str(tmp_path)}
    for command in (["template", "a", tmp_path], ["install", "a", tmp_path], ["uninstall", "a"]):
        ran = subprocess.run([helm, *command, "-n", namespace], env=environment, capture_output=True, text=True)
        assert ran.returncode == 0, ran.stderr
        names = [each["metadata"]["name"] for each in cluster.ask("get", "configmaps", "-n", namespace)["items"]]
        assert names == (["a"] if command[0] == "install" else [])


def test_a_restart_ends_watches_and_keeps_objects(cluster, instance, namespace):
    cluster.apply(config_map(namespace, "before"))
    watch = ["get", "configmaps", "-n", namespace, "--watch", "-o", "name"]
    command = [programs.kubectl(), "--kubeconfig", cluster.kubeconfig, *watch]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as watching:
        assert watching.stdout.readline().strip() == "configmap/before"
        server = instance.server
        began = time.monotonic()
        instance.stop_apiserver()
        watching.wait(timeout=10)
        assert time.monotonic() - began < 10, "an open watch held the API server up"
    assert cluster.kubectl("get", "namespaces").returncode != 0
    instance.start_apiserver()
    assert instance.server == server
    names = {each["metadata"]["name"] for each in cluster.ask("get", "configmaps", "-n", namespace)["items"]}
    assert names == {"before"}


def test_up_twice_is_once_and_down_leaves_nothing(cluster, tmp_path):
    folder = tmp_path / "instance"

    def run(command):
        ran = subprocess.run([*COMMAND, command, "--dir", folder], cwd=ROOT, capture_output=True, text=True)
        assert ran.returncode == 0, ran.stderr
        return ran

    run("up")
    processes = Instance(folder).processes
    assert "already running" in run("up").stderr
    assert Instance(folder).processes == processes
    assert f"KUBECONFIG={folder}/kubeconfig" in run("env").stdout
    processes["kube-apiserver"].end(signal.SIGKILL)  # a crash: `up` starts afresh
    run("up")
    assert not processes["etcd"].alive()
    processes = Instance(folder).processes
    run("down")
    assert not any(process.alive() for process in processes.values())
    assert not folder.exists()
    assert "nothing runs" in run("down").stderr


def test_the_cache_makes_a_thing_once_whole_and_alone(monkeypatch, tmp_path):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    (cache.root() / ".thing-1.making" / "keep").mkdir(parents=True)
    (cache.root() / ".thing-1.making" / "keep" / "half").touch()  # left by a process that was killed

    def fail(keep):
        (keep / "half").touch()
        raise cache.ToolError("no network")

    with pytest.raises(cache.ToolError):
        cache.entry("thing-1", fail)
    assert os.listdir(cache.root()) == [".thing-1.lock"]

    made = []

    def make(keep):
        time.sleep(0.2)
        made.append(keep)
        (keep / "whole").touch()

    threads = [threading.Thread(target=cache.entry, args=("thing-1", make)) for _ in range(3)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(made) == 1
    assert os.listdir(cache.entry("thing-1", fail)) == ["whole"]
    assert sorted(os.listdir(cache.root())) == [".thing-1.lock", "thing-1"]


def test_down_leaves_a_process_alone_that_only_has_the_same_pid(tmp_path):
    with subprocess.Popen(["sleep", "60"]) as stranger:
        recycled = Process(stranger.pid, Process.of(stranger.pid).began - 1)
        recycled.end(grace_s=1)
        assert stranger.poll() is None
        stranger.kill()


def test_a_server_dies_with_the_tests_that_started_it(tmp_path):
    """Also where a thread that is long gone started it."""
    program = (
        "import sys, threading, time; from tests.cluster.tools import processes; from pathlib import Path\n"
        "def start(): print(processes.start(['/bin/sleep', '60'], Path(sys.argv[1]), True).pid, flush=True)\n"
        "thread = threading.Thread(target=start); thread.start(); thread.join(); time.sleep(60)"
    )
    command = [sys.executable, "-c", program, tmp_path / "log"]
    with subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE, text=True) as starter:
        server = Process.of(int(starter.stdout.readline()))
        time.sleep(0.5)
        assert server.alive()
        starter.kill()
    deadline = time.monotonic() + 5
    while server.alive() and time.monotonic() < deadline:
        time.sleep(0.02)
    assert not server.alive()
