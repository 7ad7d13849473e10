"""Do results come from a run's volume to this machine, whole, and is nothing left on the cluster?

The API server is real, and so is its way to a kubelet; the kubelet is ours (exec_kubelet.py).
"""

import argparse
import json
import os
import signal
import subprocess
import sys
import time

import pytest

from fino1.k8s import cli
from fino1.k8s.verbs.fetch import fetch_runs
from tests.cluster.exec_kubelet import ExecKubelet

pytestmark = [pytest.mark.cluster, pytest.mark.slow, pytest.mark.timeout(120)]
RUNNING = {"running": {"startedAt": "2026-01-01T00:00:00Z"}}
KEY = "ab12" * 16


@pytest.fixture
def volume(tmp_path):
    folder = tmp_path / "volume"
    folder.mkdir()
    return folder


@pytest.fixture
def kubelet(instance, api, tmp_path, volume):
    kubelet = ExecKubelet(api, tmp_path, volume)
    yield kubelet
    kubelet.close()


@pytest.fixture
def fetch(kubeconfig, namespace):
    return lambda *arguments: cli.main(
        ["fetch", "--kubeconfig", str(kubeconfig), "-n", namespace, *map(str, arguments)]
    )


def write(path, content="x"):
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(content) if isinstance(content, str) else path.write_bytes(content)


def fill(volume, run):
    """What a run leaves: a model larger than a frame, a checkpoint, files that are being written."""
    folder = volume / "runs" / run.directory
    write(folder / "done.json", "{}")
    write(folder / "model/model.safetensors", os.urandom(1_000_000))
    write(folder / "checkpoints/step-00000020/weights.pt")
    write(folder / ".model.tmp/model.safetensors")
    (folder / "link").symlink_to("/etc/passwd")
    return folder


def names(folder):
    return sorted(path.relative_to(folder).as_posix() for path in folder.rglob("*") if path.is_file())


def left(api):
    return [pod["metadata"]["name"] for pod in api.list("v1", "Pod", label_selector="fino1/fetch")]


def test_a_running_run_is_read_through_its_own_pod(api, stage, kubelet, volume, fetch, tmp_path, capsys):
    (run,) = stage.submit()
    folder = fill(volume, run)
    kubelet.start(api.namespace, "some-worker", labels={"fino1/run": run.full})
    assert fetch("run", "--to", tmp_path / "here") == 0
    there = tmp_path / "here/runs" / run.directory
    assert names(there) == ["done.json", "model/model.safetensors"]
    assert (there / "model/model.safetensors").read_bytes() == (folder / "model/model.safetensors").read_bytes()
    out = capsys.readouterr().out.splitlines()
    assert out == [str(there), f"{run.full}: 2 files, 1.0 MiB (Pending: not all)"]
    assert [path for path, _ in kubelet.commands] == [f"/exec/{api.namespace}/some-worker/main"]
    assert names(tmp_path / "here") == [f"runs/{run.directory}/{name}" for name in names(there)]  # no temporary files

    assert fetch(run.full, "--to", tmp_path / "here", "--all") == 0
    assert "checkpoints/step-00000020/weights.pt" in names(there)
    assert fetch("run", "--to", tmp_path / "here") == 2
    assert f"--to: {there}: expected none with checkpoints" in capsys.readouterr().err
    assert "checkpoints/step-00000020/weights.pt" in names(there)


def test_a_run_that_is_over_is_read_through_a_pod_that_goes_again(api, stage, kubelet, volume, fetch, tmp_path):
    (run,) = stage.submit(nodes=2, rdma={"resource": "rdma/hca"}, image={"pullSecrets": ["registry"]})
    account(api, run.full)
    stage.conditions(run, "Succeeded")
    fill(volume, run)
    seen = kubelet.play_later(api.namespace, "fino1/fetch", RUNNING)
    assert fetch("run", "--to", tmp_path / "here") == 0
    assert names(tmp_path / "here/runs" / run.directory) == ["done.json", "model/model.safetensors"]
    assert gone(api)
    (pod,) = seen
    assert pod["metadata"]["labels"]["fino1/fetch"] == run.full and "fino1/run" not in pod["metadata"]["labels"]
    (container,) = pod["spec"]["containers"]
    assert container["image"].startswith("ghcr.io/fino1/train:")
    assert container["volumeMounts"] == [{"name": "work", "mountPath": "/work", "readOnly": True}]
    assert pod["spec"]["volumes"] == [{"name": "work", "persistentVolumeClaim": {"claimName": "fino1-work"}}]
    assert pod["spec"]["imagePullSecrets"] == [{"name": "registry"}]
    assert container["securityContext"]["capabilities"] == {"drop": ["ALL"]}


def account(api, name):
    api.create({"apiVersion": "v1", "kind": "ServiceAccount", "metadata": {"name": name}})


def gone(api, seconds=10):
    """Deleted: at once, or marked so for the kubelet that has it."""
    deadline = time.monotonic() + seconds
    while time.monotonic() < deadline:
        pods = api.list("v1", "Pod", label_selector="fino1/fetch")
        if all(pod["metadata"].get("deletionTimestamp") for pod in pods):
            return True
        time.sleep(0.05)
    return False


@pytest.mark.parametrize("backend", ["job", "jobset", "trainjob"])
def test_every_backend_has_a_reader(api, stage, kubelet, volume, fetch, tmp_path, backend):
    from fino1.k8s.objects.render import render
    from fino1.spec import load

    (run,) = stage.submit(backend=backend)
    if backend == "trainjob":
        document = {"method": "sft", "model": {"hub": "a/b"}, "data": {"path": "/work/rows.jsonl"}, "gpus_per_node": 0}
        objects = render(load.build({**document, "backend": backend}, "test"), "run")
        stage.api.create(next(thing for thing in objects if thing["kind"] == "TrainingRuntime"))
    account(api, run.full)
    fill(volume, run)
    kubelet.play_later(api.namespace, "fino1/fetch", RUNNING)
    assert fetch("run", "--to", tmp_path / "here") == 0
    assert gone(api)


def test_an_evaluation_brings_its_cells(api, stage, kubelet, volume, fetch, tmp_path):
    runs = stage.submit("eval")
    for place, run in enumerate(runs):
        key = f"{place}{KEY[1:]}"
        write(volume / "runs" / run.directory / "done.json", json.dumps({"cells": [key, "../../runs"]}))
        write(volume / "cells" / key / "cell.json", "{}")
        write(volume / "cells" / key / "samples.jsonl", "{}\n")
        kubelet.start(api.namespace, f"pod-{place}", labels={"fino1/run": run.full})
    write(volume / "cells/another/cell.json")
    mine = tmp_path / "here/cells" / f"0{KEY[1:]}" / "cell.json"
    write(mine, "finished here")
    assert fetch("run", "--to", tmp_path / "here") == 0
    assert sorted(path.name for path in (tmp_path / "here/cells").iterdir()) == [f"0{KEY[1:]}", f"1{KEY[1:]}"]
    assert names(tmp_path / "here/cells" / f"1{KEY[1:]}") == ["cell.json", "samples.jsonl"]
    assert mine.read_text() == "finished here"
    assert {path.name for path in (tmp_path / "here/runs").iterdir()} == {run.directory for run in runs}


def test_several_names_on_one_volume_are_one_request(api, stage, kubelet, volume, kubeconfig, tmp_path, capsys):
    one, two = *stage.submit(name="one"), *stage.submit(name="two")
    fill(volume, one)
    fill(volume, two)
    kubelet.start(api.namespace, "some-worker", labels={"fino1/run": one.full})
    where = {"kubeconfig": str(kubeconfig), "context": None, "namespace": api.namespace, "to": tmp_path / "here"}
    (came,) = fetch_runs(argparse.Namespace(**where), ["two", "one", two.full], everything=False)
    assert came.runs == [two.directory, one.directory] and len(kubelet.commands) == 1
    assert capsys.readouterr().out == "two, one, 2 of 2 runs: 4 files, 1.9 MiB (Pending: not all)\n"


def test_what_breaks_off_leaves_nothing(api, stage, kubelet, volume, fetch, tmp_path, capsys):
    (run,) = stage.submit()
    fill(volume, run)
    kubelet.start(api.namespace, "some-worker", labels={"fino1/run": run.full})
    kubelet.limit = 300_000
    assert fetch("run", "--to", tmp_path / "here") == 1
    assert f"Pod {api.namespace}/some-worker: the connection" in capsys.readouterr().err
    assert list((tmp_path / "here").iterdir()) == []


def test_a_run_that_has_left_nothing(api, stage, kubelet, fetch, tmp_path, capsys):
    (run,) = stage.submit()
    kubelet.start(api.namespace, "some-worker", labels={"fino1/run": run.full})
    assert fetch("run", "--to", tmp_path / "here") == 1
    assert f"runs/{run.directory}: expected the run's directory, got none" in capsys.readouterr().err


def test_a_name_that_is_none(fetch, capsys):
    assert fetch("nothing") == 2
    assert "nothing: expected a run in namespace" in capsys.readouterr().err


def test_a_reader_whose_image_is_not_there(api, stage, kubelet, fetch, tmp_path, capsys):
    (run,) = stage.submit()
    account(api, run.full)
    stage.conditions(run, "Failed")
    kubelet.play_later(api.namespace, "fino1/fetch", {"waiting": {"reason": "ErrImagePull", "message": "no such tag"}})
    assert fetch("run", "--to", tmp_path / "here") == 1
    assert "to read the run's volume: ErrImagePull: no such tag" in capsys.readouterr().err
    assert gone(api)


def test_ctrl_c_takes_the_reader_along(api, stage, kubeconfig, tmp_path):
    (run,) = stage.submit()
    account(api, run.full)
    stage.conditions(run, "Succeeded")
    command = [sys.executable, "-m", "fino1.k8s.cli", "fetch", "run", "--kubeconfig", kubeconfig, "-n", api.namespace]
    process = subprocess.Popen(
        [*map(str, command), "--to", str(tmp_path)],
        stderr=subprocess.PIPE,
        text=True,
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL),  # a shell's background jobs ignore it
    )
    deadline = time.monotonic() + 90
    while not left(api):
        assert time.monotonic() < deadline and process.poll() is None
        time.sleep(0.05)
    process.send_signal(signal.SIGINT)
    _, errors = process.communicate(timeout=90)  # 30 were too few where 15 processes wanted two cores
    assert process.returncode == 130 and errors == ""
    assert left(api) == []


def test_who_may_not_execute_is_told_so(api, stage, kubelet, account_of, volume, tmp_path, capsys):
    (run,) = stage.submit()
    fill(volume, run)
    kubelet.start(api.namespace, "some-worker", labels={"fino1/run": run.full})
    assert cli.main(["fetch", "run", "--kubeconfig", str(account_of), "-n", api.namespace, "--to", str(tmp_path)]) == 1
    said = capsys.readouterr().err
    assert f"pods/exec in namespace {api.namespace}; the Role in docs/rbac.md has it" in said and said.count("\n") == 1


@pytest.fixture
def account_of(account, namespace):
    groups = {"": ["pods"], "batch": ["jobs"], "kubeflow.org": ["pytorchjobs"], "jobset.x-k8s.io": ["jobsets"]}
    groups |= {"trainer.kubeflow.org": ["trainjobs"]}
    rules = [{"apiGroups": [group], "resources": kinds, "verbs": ["get", "list"]} for group, kinds in groups.items()]
    return account(namespace, rules)
