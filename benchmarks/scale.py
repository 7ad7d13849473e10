"""Does a large matrix pass a large cluster without loss, and how long do `ps`, `status` and `report` take there? By hand.

    python -m benchmarks.scale

30 models × 4 tasks × 10 shards, each task an evaluation of 30 Jobs of 10 pods: 1,200 pods that take a node's 8 GPUs each, on
1,000 nodes, so that 200 wait. etcd, API server, scheduler and controller-manager are real (tests/cluster/tools); kwok simulates
the nodes: a pod runs at once and, after ten of the full nodes were taken away, ends LIFE_S to three times that later.
`report` fetches through the API server, from a kubelet of the tests: an answer of each shard, then as many as the paper's
benchmarks have rows. Seconds are wall-clock time, and CPU time of the command alone, the best of five. The last line is JSON.
"""

import json
import os
import resource
import shutil
import subprocess
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

from benchmarks import page
from fino1 import cells
from fino1.k8s.cluster.client import Api, connect
from tests.cluster.exec_kubelet import ExecKubelet
from tests.cluster.tools import cache, golang, programs
from tests.cluster.tools.instance import Instance, free_ports

MODELS, SHARDS, NODES, GPUS, LOST_NODES = 30, 10, 1000, 8, 10
TASKS = {"finqa": 1127, "docmath_simplong": 100, "docmath_complong": 300, "xbrl_math": 90}
LIFE_S = 10
REPEATS = 5
CLI = str(Path(sys.executable).with_name("fino1-k8s"))
KWOK = "0.7.0"
PATIENCE_S = 900
NOT_DELETED = {"key": ".metadata.deletionTimestamp", "operator": "DoesNotExist"}
STATUS = """{{ $now := Now }}
phase: %(phase)s
hostIP: {{ NodeIPWith .spec.nodeName | Quote }}
podIP: {{ PodIPWith .spec.nodeName false .metadata.uid .metadata.name .metadata.namespace | Quote }}
startTime: {{ or .status.startTime $now | Quote }}
conditions:
- {type: Initialized, status: "True", lastTransitionTime: {{ $now | Quote }}}
- {type: Ready, status: "%(ready)s", lastTransitionTime: {{ $now | Quote }}}
- {type: ContainersReady, status: "%(ready)s", lastTransitionTime: {{ $now | Quote }}}
initContainerStatuses:
{{ range .spec.initContainers }}
- {name: {{ .name | Quote }}, image: {{ .image | Quote }}, imageID: "", ready: true, restartCount: 0,
   state: {{ if eq .restartPolicy "Always" }}%(state)s{{ else }}%(done)s{{ end }}}
{{ end }}
containerStatuses:
{{ range .spec.containers }}
- {name: {{ .name | Quote }}, image: {{ .image | Quote }}, imageID: "", ready: %(is_ready)s, restartCount: 0,
   state: %(state)s}
{{ end }}"""
RUNNING = "{running: {startedAt: {{ $now | Quote }}}}"
DONE = "{terminated: {exitCode: 0, reason: Completed, startedAt: {{ $now | Quote }}, finishedAt: {{ $now | Quote }}}}"


class Simulated(Instance):
    """An instance with a scheduler, controllers and kwok's nodes."""

    servers = ("etcd", "kube-apiserver", "kube-controller-manager", "kube-scheduler", "kwok")

    def start(self) -> None:
        """Start the controllers, with more requests a second than a small cluster needs."""
        account, key = ["--leader-elect=false", "--bind-address=127.0.0.1"], self.pki / "apiserver.key"
        fast = ["--kube-api-qps=500", "--kube-api-burst=1000", f"--kubeconfig={self.kubeconfig}", *account]
        # kwok's next instance takes a node over once the lease of the one before has run out.
        manager = [
            "--concurrent-job-syncs=20",
            "--node-monitor-grace-period=20m",
            f"--service-account-private-key-file={key}",
            "--secure-port=0",
        ]
        folder = programs.kubernetes()
        self._start("kube-controller-manager", [str(folder / "kube-controller-manager"), *fast, *manager])
        self._start("kube-scheduler", [str(folder / "kube-scheduler"), *fast, "--secure-port=0"])

    def play(self, stages: str, kubelet_port: int) -> None:
        """Start kwok with these stages of a pod, in place of one that runs."""
        self._stop("kwok")
        (self.folder / "stages.yaml").write_text(stages)
        (own,) = free_ports(1)  # without an address it would listen everywhere
        options = [f"--kubeconfig={self.kubeconfig}", f"--config={self.folder / 'stages.yaml'}", "--manage-all-nodes"]
        options += [f"--server-address=127.0.0.1:{own}", "--node-lease-duration-seconds=60"]
        options += ["--node-ip=127.0.0.1", f"--node-port={kubelet_port}"]
        self._start("kwok", [str(_build_kwok()), *options])


class Volume(ExecKubelet):
    """The kubelet of all nodes: it has a progress line of every pod, and the volume."""

    def answer(self, key: tuple[str, ...], query: dict[str, str]) -> Iterator[bytes]:
        """Return the log of a container."""
        said = {"event": "progress", "stage": "evaluate", "model": "m", "task": "finqa", "done": 5, "total": 10}
        yield f"2026-01-01T00:00:00.000000000Z {json.dumps(said)}\n".encode()


def main() -> None:
    """Fill the cluster, take nodes away, wait for the end, and measure the verbs meanwhile."""
    found: dict[str, Any] = {}
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        cluster = Simulated(folder / "cluster", die_with_parent=True)
        cluster.folder.mkdir()
        cluster.up()
        try:
            api = connect(str(cluster.kubeconfig), None, "default")
            volume = Volume(api, folder, folder / "volume")
            cluster.start()
            found |= _measure(api, cluster, folder, volume.server.server_port)
        finally:
            cluster.down()
    print(json.dumps({key: round(value, 3) for key, value in found.items()}))


def _measure(api: Api, cluster: Simulated, folder: Path, kubelet_port: int) -> dict[str, float]:
    found: dict[str, float] = {}
    cluster.play(_make_stages("run", "delete"), kubelet_port)
    with ThreadPoolExecutor(8) as pool:
        list(pool.map(api.create, map(_make_node, range(NODES))))
    _wait("ready nodes", NODES, lambda: sum(_is_ready(node) for node in api.list("v1", "Node")))
    for each in _make_claims():
        api.create(each)
    began = time.monotonic()
    for task in TASKS:
        _run(cluster, "submit", _write_run(folder, task), "--name", task.replace("_", "-"))
    found["submit_s"] = time.monotonic() - began
    _wait("running pods", min(NODES, MODELS * SHARDS * len(TASKS)), lambda: _count(api)["Running"])
    found["full_s"] = time.monotonic() - began
    seen = _count(api)
    print(f"{seen} {found['full_s']:.0f} s after the first submit")
    found |= {f"full_{key}": value for key, value in _time_verbs(cluster).items()}
    for number in range(LOST_NODES):
        api.delete("v1", "Node", f"sim-{number:04}")
    cluster.play(_make_stages("run", "delete", "end"), kubelet_port)
    jobs = MODELS * len(TASKS)
    _wait(
        "finished Jobs", jobs, lambda: sum("completionTime" in j.get("status", {}) for j in api.list("batch/v1", "Job"))
    )
    found["all_s"] = time.monotonic() - began
    every = [job["status"] for job in api.list("batch/v1", "Job")]
    assert all((each["succeeded"], each["completedIndexes"]) == (SHARDS, f"0-{SHARDS - 1}") for each in every), every
    found |= {"shards": sum(each["succeeded"] for each in every), "failed": sum(e.get("failed", 0) for e in every)}
    return found | _time_verbs(cluster) | _time_report(api, cluster, folder)


def _time_verbs(cluster: Simulated) -> dict[str, float]:
    found: dict[str, float] = {}
    for verb in (["ps"], ["status", "finqa"]):
        found |= _time(cluster, verb[0], *verb)
    return found


def _time(cluster: Simulated, what: str, *arguments: object) -> dict[str, float]:
    """Wall-clock and CPU seconds of a verb."""
    walls, cpus = zip(*(_run(cluster, *arguments) for _ in range(REPEATS)), strict=True)
    print(
        f"{what}: {', '.join(f'{each:.2f}' for each in walls)} s, {min(cpus):.2f} s CPU; load {os.getloadavg()[0]:.1f}"
    )
    return {f"{what}_s": min(walls), f"{what}_cpu_s": min(cpus)}


def _time_report(api: Api, cluster: Simulated, folder: Path) -> dict[str, float]:
    """Put the cells of all runs on the volume, and fetch them all into a report."""
    found: dict[str, float] = {}
    for size, tasks in (("", dict.fromkeys(TASKS, SHARDS)), ("paper_", TASKS)):
        volume = folder / "volume"
        shutil.rmtree(volume, ignore_errors=True)
        made = {}
        for directory in page.write_cells(volume / "cells", MODELS, tasks):
            about = json.loads((directory / cells.CELL_FILE).read_text())
            made[about["task"].replace("_", "-"), about["model"]] = directory.name
        for job in api.list("batch/v1", "Job"):
            about = job["metadata"]
            key = made[about["labels"]["app.kubernetes.io/instance"], about["annotations"]["fino1/model"]]
            run = volume / "runs" / about["annotations"]["fino1/directory"]
            run.mkdir(parents=True)
            listed = {"cells": [key], "models": [about["annotations"]["fino1/model"]], "tasks": ["t"]}
            (run / "cells.json").write_text(json.dumps(listed))
            (run / "done.json").write_text(json.dumps({"method": "eval", "seconds": 1, **listed}))
            config = api.get("v1", "ConfigMap", about["name"])
            (run / "config.json").write_text(config["data"]["config.json"])
        names = [task.replace("_", "-") for task in TASKS]
        print(f"{sum(tasks.values()) * MODELS} answers:")
        found |= _time(cluster, f"{size}report", "report", *names, "--to", folder / f"here-{size}")
        if not size:
            found |= _time(cluster, "report_one", "report", names[0], "--to", folder / "one")
    return found


def _run(cluster: Simulated, *arguments: object) -> tuple[float, float]:
    """Run a verb as a process; returns its wall-clock and CPU seconds."""
    started, before = time.monotonic(), resource.getrusage(resource.RUSAGE_CHILDREN)
    command = [CLI, *map(str, arguments), "--kubeconfig", str(cluster.kubeconfig)]
    done = subprocess.run(command, capture_output=True, text=True, env=os.environ | {"PYTHONPATH": str(Path.cwd())})
    assert done.returncode == 0, f"{command}: {done.stdout[-2000:]}{done.stderr[-2000:]}"
    seconds, after = time.monotonic() - started, resource.getrusage(resource.RUSAGE_CHILDREN)
    return seconds, after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime


def _wait(what: str, count: int, ask: Callable[[], int]) -> None:
    deadline, said = time.monotonic() + PATIENCE_S, -1
    while (seen := ask()) < count:
        if seen != said:
            print(f"{seen} of {count} {what}", flush=True)
        said = seen
        assert time.monotonic() < deadline, what
        time.sleep(8)


def _count(api: Api) -> Counter[str]:
    return Counter(pod["status"]["phase"] for pod in api.list("v1", "Pod"))


def _is_ready(node: dict[str, Any]) -> bool:
    return any(each["type"] == "Ready" and each["status"] == "True" for each in node["status"].get("conditions", []))


def _write_run(folder: Path, task: str) -> Path:
    models = [{"name": f"model-{i:02}", "hub": f"made/model-{i:02}"} for i in range(MODELS)]
    block = {"models": models, "tasks": [{"task": task, "path": "/work/rows"}], "shards": SHARDS}
    volumes = {"work": {"create": False}, "models": {"create": False}}
    (folder / f"{task}.yaml").write_text(
        json.dumps({"method": "eval", "gpus_per_node": GPUS, "eval": block, "volumes": volumes})
    )
    return folder / f"{task}.yaml"


def _make_node(number: int) -> dict[str, Any]:
    amounts = {"cpu": "96", "memory": "2Ti", "pods": "110", "ephemeral-storage": "1Ti", "nvidia.com/gpu": str(GPUS)}
    name, status = f"sim-{number:04}", {"capacity": amounts, "allocatable": amounts}
    metadata = {"name": name, "labels": {"kubernetes.io/hostname": name}}
    return {"apiVersion": "v1", "kind": "Node", "metadata": metadata, "status": status}


def _make_claims() -> Iterator[dict[str, Any]]:
    """The run's two claims, with a volume for each."""
    for name in ("fino1-work", "fino1-models"):
        common = {"accessModes": ["ReadWriteMany"], "storageClassName": ""}
        amount = {"storage": "1Ti"}
        spec = {**common, "capacity": amount, "hostPath": {"path": f"/{name}"}}
        yield {"apiVersion": "v1", "kind": "PersistentVolume", "metadata": {"name": name}, "spec": spec}
        spec = {**common, "resources": {"requests": amount}, "volumeName": name}
        yield {"apiVersion": "v1", "kind": "PersistentVolumeClaim", "metadata": {"name": name}, "spec": spec}


def _make_stages(*names: str) -> str:
    running = STATUS % {"phase": "Running", "ready": "True", "is_ready": "true", "state": RUNNING, "done": DONE}
    ended = STATUS % {"phase": "Succeeded", "ready": "False", "is_ready": "false", "state": DONE, "done": DONE}
    of_job = {"key": ".metadata.ownerReferences.[].kind", "operator": "In", "values": ["Job"]}
    is_running = {"key": ".status.phase", "operator": "In", "values": ["Running"]}
    delay = {"durationMilliseconds": LIFE_S * 1000, "jitterDurationMilliseconds": LIFE_S * 3000}
    stages: dict[str, Any] = {
        "run": ([NOT_DELETED, {"key": ".status.podIP", "operator": "DoesNotExist"}], {"statusTemplate": running}, {}),
        "end": ([NOT_DELETED, is_running, of_job], {"statusTemplate": ended}, {"delay": delay}),
        "delete": ([{**NOT_DELETED, "operator": "Exists"}], {"finalizers": {"empty": True}, "delete": True}, {}),
    }
    documents = []
    for name in names:
        selected, then, more = stages[name]
        spec = {"resourceRef": {"apiGroup": "v1", "kind": "Pod"}, "selector": {"matchExpressions": selected}}
        about = {"apiVersion": "kwok.x-k8s.io/v1alpha1", "kind": "Stage", "metadata": {"name": name}}
        documents.append(json.dumps(about | {"spec": spec | more | {"next": then}}))
    return "\n---\n".join(documents)


def _build_kwok() -> Path:
    return cache.entry(f"kwok-{KWOK}", lambda keep: golang.build("kwok", ["sigs.k8s.io/kwok/cmd/kwok"], keep)) / "kwok"


if __name__ == "__main__":
    main()
