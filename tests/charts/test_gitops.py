"""Does manifests/gitops say what it means? Health scripts in a real Lua, an Application of every run file, the hook."""

import importlib
import json
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
import yaml

from fino1 import __version__
from fino1.k8s.state.run import KINDS
from fino1.spec.yamlfile import read_yaml
from tests.charts.applications import GITOPS, RUNS, application
from tests.charts.equality import CHARTS
from tests.cluster.tools import programs
from tests.needs import needed

ROOT = CHARTS.parent


def read(name):
    return yaml.safe_load((GITOPS / name).read_text())


# Health


@pytest.fixture(scope="module")
def health():
    """`health(KIND, object)`: what Argo CD would say, by a real Lua (Argo CD's own is Lua 5.1's language)."""
    lua = needed(lambda: importlib.import_module("lupa.lua51"))
    prefix = "resource.customizations.health."
    scripts = {key.removeprefix(prefix): text for key, text in read("argocd/health.yaml")["data"].items()}

    def ask(kind, thing):
        runtime = lua.LuaRuntime(unpack_returned_tuples=True)
        runtime.globals()["obj"] = runtime.table_from(thing, recursive=True)
        answer = runtime.execute(scripts[kind])
        return answer["status"], answer["message"]

    return ask


def conditions(*true, reason=None, **false):
    return {
        "status": {
            "conditions": [
                *({"type": kind, "status": "True", "message": f"is {kind}", "reason": reason or kind} for kind in true),
                *({"type": kind, "status": "False", "message": text} for kind, text in false.items()),
            ]
        }
    }


PYTORCHJOB, JOBSET = "kubeflow.org_PyTorchJob", "jobset.x-k8s.io_JobSet"
TRAINJOB, WORKLOAD = "trainer.kubeflow.org_TrainJob", "kueue.x-k8s.io_Workload"


@pytest.mark.parametrize(
    ("kind", "thing", "expected"),
    [
        (PYTORCHJOB, {}, ("Progressing", "not looked at yet")),
        (PYTORCHJOB, conditions("Created"), ("Progressing", "is Created")),
        (PYTORCHJOB, conditions("Created", "Running"), ("Progressing", "is Running")),
        (PYTORCHJOB, conditions("Created", "Restarting", Running="was"), ("Progressing", "is Restarting")),
        (PYTORCHJOB, conditions("Created", "Suspended", Running="was"), ("Suspended", "is Suspended")),
        (PYTORCHJOB, conditions("Created", "Succeeded", Running="was"), ("Healthy", "is Succeeded")),
        (PYTORCHJOB, conditions("Created", "Failed", Restarting="was"), ("Degraded", "is Failed")),
        (PYTORCHJOB, {"spec": {"runPolicy": {"suspend": True}}}, ("Suspended", "suspended")),
        (JOBSET, {}, ("Progressing", "restarts: 0")),
        (JOBSET, {"status": {"restarts": 2}}, ("Progressing", "restarts: 2")),
        (JOBSET, conditions(Suspended="was"), ("Progressing", "restarts: 0")),
        (JOBSET, {"spec": {"suspend": True}}, ("Suspended", "suspended")),
        (JOBSET, conditions("Suspended"), ("Suspended", "is Suspended")),
        (JOBSET, conditions("Completed"), ("Healthy", "is Completed")),
        (JOBSET, conditions("Failed"), ("Degraded", "is Failed")),
        (TRAINJOB, {}, ("Progressing", "not ended yet")),
        (TRAINJOB, conditions("Suspended"), ("Suspended", "is Suspended")),
        (TRAINJOB, conditions("Complete", Suspended="was"), ("Healthy", "is Complete")),
        (TRAINJOB, conditions("Failed", Suspended="was"), ("Degraded", "is Failed")),
        (WORKLOAD, {}, ("Suspended", "in the queue")),
        (WORKLOAD, conditions(QuotaReserved="8 more GPUs needed"), ("Suspended", "8 more GPUs needed")),
        (WORKLOAD, {"spec": {"active": False}}, ("Suspended", "not active")),
        (WORKLOAD, conditions("QuotaReserved", "Admitted"), ("Progressing", "is Admitted")),
        (WORKLOAD, conditions("Finished", "Admitted", reason="Succeeded"), ("Healthy", "is Finished")),
        (WORKLOAD, conditions("Finished", reason="Failed"), ("Degraded", "is Finished")),
    ],
)
def test_health(health, kind, thing, expected):
    assert health(kind, {"spec": {}, **thing}) == expected


# Applications


@pytest.fixture(scope="module")
def applications(tmp_path_factory):
    """The Application of each run file, by the run's name."""
    helm = needed(programs.helm4)
    return {path.stem: application(helm, path, tmp_path_factory.mktemp("chart")) for path in RUNS}


@pytest.mark.slow
@pytest.mark.parametrize("path", RUNS, ids=lambda path: path.stem)
def test_an_application_is_the_run(applications, path):
    application = applications[path.stem]
    assert application["metadata"]["name"] == f"fino1-{path.stem}"
    method = read_yaml(path)["method"]
    sources = application["spec"].get("sources", [application["spec"]["source"]])
    assert len(sources) == (2 if method == "eval" else 1)
    assert sources[0]["path"] == "charts/fino1" and not (ROOT / sources[0]["path"]).is_symlink()
    assert sources[0]["helm"] == {
        "releaseName": path.stem,
        "valueFiles": [f"/manifests/runs/{path.name}"],
        "skipTests": True,
    }
    for source in sources[1:]:
        assert (ROOT / source["path"] / "kustomization.yaml").is_file()
        assert source["kustomize"] == {"nameSuffix": f"-{path.stem}"}


def test_a_run_that_is_there_stays_as_it_is():
    """Of all kinds that hold pods: Argo CD sends what is there, Flux applies them once."""
    kinds = {(version, kind) for kind, version in KINDS.items()} | {
        ("trainer.kubeflow.org/v1alpha1", "TrainingRuntime")
    }
    template = read("argocd/runs.yaml")["spec"]["template"]["spec"]
    assert "RespectIgnoreDifferences=true" in template["syncPolicy"]["syncOptions"]
    ignored = {(each["group"], each["kind"]): each["jsonPointers"] for each in template["ignoreDifferences"]}
    assert ignored == {(version.partition("/")[0], kind): ["/spec"] for version, kind in kinds}
    (patch,) = read("flux/overlay.yaml")["spec"]["patches"]
    assert all(re.fullmatch(patch["target"]["kind"], kind) for _, kind in kinds)


@pytest.mark.slow
def test_fluxs_patch_is_of_runs_alone(tmp_path):
    kubectl = needed(programs.kubectl)
    shutil.copytree(ROOT / "manifests" / "base" / "sft-tiny", tmp_path / "base")
    patches = read("flux/overlay.yaml")["spec"]["patches"]
    (tmp_path / "kustomization.yaml").write_text(json.dumps({"resources": ["base"], "patches": patches}))
    done = subprocess.run([kubectl, "kustomize", tmp_path], capture_output=True, text=True, timeout=60)
    assert done.returncode == 0, done.stderr
    annotation = "kustomize.toolkit.fluxcd.io/ssa"
    once = {
        thing["kind"]
        for thing in yaml.safe_load_all(done.stdout)
        if thing["metadata"].get("annotations", {}).get(annotation) == "IfNotPresent"
    }
    assert once == {"PyTorchJob"}


def test_tiny_runs_are_left_out():
    (generator,) = read("argocd/runs.yaml")["spec"]["generators"]
    found = {path for file in generator["git"]["files"] if not file.get("exclude") for path in ROOT.glob(file["path"])}
    found -= {path for file in generator["git"]["files"] if file.get("exclude") for path in ROOT.glob(file["path"])}
    assert {path.stem for path in found} == {path.stem for path in RUNS if not path.stem.endswith("-tiny")}


def test_the_project_allows_what_the_charts_make():
    allowed = {
        (rule["group"], rule["kind"]) for rule in read("argocd/project.yaml")["spec"]["namespaceResourceWhitelist"]
    }
    made = set()
    for file in (ROOT / "manifests" / "base").glob("*/objects.yaml"):
        for thing in yaml.load_all(file.read_text(), Loader=yaml.CSafeLoader):
            group, _, version = thing["apiVersion"].rpartition("/")
            assert version
            made.add((group, thing["kind"]))
    assert made <= allowed


# The leaderboard's hook


@pytest.mark.slow
def test_the_hook_reports_the_newest_of_each_evaluation(tmp_path):
    for seconds, name, method in [
        (1, "eval-a-0000000001", "eval"),
        (3, "eval-a-0000000003", "eval"),
        (2, "eval-a-0000000002", "eval"),
        (4, "eval-b.c-0000000001", "eval"),
        (5, "sft-0000000001", "sft"),
    ]:
        done = tmp_path / "work" / "runs" / name / "done.json"
        done.parent.mkdir(parents=True)
        done.write_text(json.dumps({"method": method}))
        os.utime(done, (seconds, seconds))
    program = tmp_path / "bin" / "fino1"
    program.parent.mkdir()
    program.write_text('#!/bin/sh\nprintf "%s\\n" "$@"\n')
    program.chmod(0o755)
    (container,) = read("argocd/leaderboard/job.yaml")["spec"]["template"]["spec"]["containers"]
    interpreter, *arguments, work = container["command"]
    assert (interpreter, work) == ("python", "/work")
    command = [sys.executable, *arguments, tmp_path / "work"]
    environment = os.environ | {"PATH": f"{program.parent}:{os.environ['PATH']}"}
    done = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=60)
    assert done.stdout.split() == [
        *("report", "--work", f"{tmp_path}/work", "--out", f"{tmp_path}/work/reports"),
        *("--run", "eval-a-0000000003", "--run", "eval-b.c-0000000001"),
    ], done.stderr


def test_hooks_have_no_traps():
    """docs/gitops.md: no TTL, no sidecar, a fixed name that the next sync replaces."""
    hook = read("argocd/leaderboard/job.yaml")
    assert hook["metadata"]["annotations"] == {
        "argocd.argoproj.io/hook": "PostSync",
        "argocd.argoproj.io/hook-delete-policy": "BeforeHookCreation",
    }
    assert "ttlSecondsAfterFinished" not in hook["spec"]
    assert "initContainers" not in hook["spec"]["template"]["spec"]


def test_images_are_of_this_version():
    for file in (GITOPS / "argocd" / "leaderboard" / "job.yaml", ROOT / "manifests" / "volumes.yaml"):
        images = re.findall(r"image: (ghcr\.io/fino1/\w+):(\S+)", file.read_text())
        assert [tag for _, tag in images] == [__version__], file


# Flux


def test_flux_points_at_what_is_there():
    (source,) = {read(f"flux/{name}.yaml")["metadata"]["name"] for name in ("source",)}
    overlay, release = read("flux/overlay.yaml")["spec"], read("flux/release.yaml")["spec"]
    chart = release["chart"]["spec"]
    assert {overlay["sourceRef"]["name"], chart["sourceRef"]["name"]} == {source}
    assert (ROOT / overlay["path"] / "kustomization.yaml").is_file()
    assert (ROOT / chart["chart"] / "Chart.yaml").is_file()
    assert not (ROOT / chart["chart"]).is_symlink()  # Flux drops links
    assert [Path(file).name for file in chart["valuesFiles"]] == ["values.yaml", f"{release['releaseName']}.yaml"]
    assert all((ROOT / file).is_file() for file in chart["valuesFiles"])
