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


@pytest.mark.slow
def test_an_application_is_the_run_of_its_folder(tmp_path):
    found = application(needed(programs.helm4), "sft", tmp_path)
    assert found["metadata"]["name"] == "fino1-sft"
    assert found["metadata"]["annotations"] == {"argocd.argoproj.io/manifest-generate-paths": "/runs/sft"}
    source = found["spec"]["source"]
    assert not (ROOT / source["path"]).is_symlink()
    assert source["helm"]["releaseName"] == "sft" and source["helm"]["skipTests"]
    first, run = source["helm"]["valueFiles"]
    assert (ROOT / first[1:]).is_file() and run == "/runs/sft/run.yaml"


def render_for_argocd(path, *options):
    """What the chart makes of a run file behind Argo CD's first values file, by kind."""
    command = [needed(programs.helm4), "template", path.stem, CHARTS / "fino1"]
    command += ["-f", GITOPS / "argocd" / "values.yaml", "-f", path, *options]
    done = subprocess.run(command, capture_output=True, text=True, timeout=60)
    assert done.returncode == 0, done.stderr
    return [thing for thing in yaml.safe_load_all(done.stdout) if thing]


@pytest.mark.slow
def test_argocd_renders_the_same_runs_and_a_publisher_beside_an_evaluation():
    path = next(path for path in RUNS if path.stem == "eval")
    image = ("--set", "image.repository=mine", "--set", "image.tag=x", "--set", "volumes.work.claimName=disk")
    found = render_for_argocd(path, *image)
    (job,) = [thing for thing in found if thing["kind"] == "Job" and "-report-" in thing["metadata"]["name"]]
    runs = [thing for thing in found if thing["kind"] == "Job" and thing is not job]
    assert len(runs) == len(read_yaml(path)["eval"]["models"])
    pod = job["spec"]["template"]
    (container,) = pod["spec"]["containers"]
    assert container["args"][3:] == [run["metadata"]["annotations"]["fino1/directory"] for run in runs]
    assert container["image"] == "mine:x" and container["resources"]["limits"] == {"cpu": "1", "memory": "2Gi"}
    assert pod["spec"]["volumes"][0]["persistentVolumeClaim"] == {"claimName": "disk"}
    assert pod["spec"]["automountServiceAccountToken"] is False
    (policy,) = [
        thing["spec"]
        for thing in found
        if thing["kind"] == "NetworkPolicy" and thing["metadata"]["name"] == job["metadata"]["name"]
    ]
    assert policy["podSelector"]["matchLabels"].items() <= pod["metadata"]["labels"].items()
    assert set(policy) == {"podSelector", "policyTypes"}  # no rule: nothing goes in or out
    assert "app.kubernetes.io/part-of" not in job["metadata"]["labels"]  # else it would be a run for `fino1-k8s`


@pytest.mark.slow
def test_argocd_keeps_claims_and_trains_a_renamed_run_once():
    found = render_for_argocd(next(path for path in RUNS if path.stem == "sft"))
    claims = [thing["metadata"]["annotations"] for thing in found if thing["kind"] == "PersistentVolumeClaim"]
    assert [each["argocd.argoproj.io/sync-options"] for each in claims] == ["Prune=false"] * 2
    assert '"FINO1_ONCE"' in json.dumps(found)


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


# The leaderboard


@pytest.mark.slow
def test_the_publisher_reports_what_has_finished_and_the_newest_of_each(tmp_path):
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
    program.write_text('#!/bin/sh\nprintf "%s " "$@"\necho\n')
    program.chmod(0o755)
    work, mine = f"{tmp_path}/work", "eval-a-0000000002"  # git was reverted to it: newer than what has finished since
    command = [sys.executable, CHARTS / "fino1" / "files" / "publish.py", work, "eval", mine]
    environment = os.environ | {"PATH": f"{program.parent}:{os.environ['PATH']}"}
    done = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=60)
    assert done.stdout.splitlines() == [
        f"report --work {work} --out {work}/reports/eval --run {mine} ",
        f"report --work {work} --out {work}/reports --run {mine} --run eval-b.c-0000000001 ",
    ], done.stderr


def test_images_are_of_this_version():
    images = re.findall(r"image: (ghcr\.io/fino1/\w+):(\S+)", (ROOT / "manifests" / "volumes.yaml").read_text())
    assert [tag for _, tag in images] == [__version__]


# The check in the repository's own CI


@pytest.mark.slow
def test_the_workflow_refuses_a_broken_file_and_one_without_a_method(tmp_path):
    (job,) = yaml.safe_load((GITOPS / "lint.yaml").read_text())["jobs"].values()
    script = job["steps"][-1]["run"].replace("fino1-k8s", f"{sys.executable} -m fino1.k8s.cli")
    files = {"good": "method: sft\n", "none": "seed: 1\n", "broken": "method: [\n", "Upper": "method: sft\n"}
    for name, text in files.items():
        (tmp_path / "runs" / name).mkdir(parents=True)
        (tmp_path / "runs" / name / "run.yaml").write_text(text)

    def lint():
        environment = os.environ | {"PYTHONPATH": str(ROOT)}
        command = ["bash", "-euo", "pipefail", "-c", script]
        return subprocess.run(command, cwd=tmp_path, env=environment, capture_output=True, text=True, timeout=120)

    done = lint()
    assert done.returncode == 1
    said = done.stderr
    assert "runs/none/run.yaml: method: expected a value, got none" in said
    assert (
        "runs/broken/run.yaml" in said and "(--name, or that of its file): expected" in said and "runs/good" not in said
    )
    for name in files.keys() - {"good"}:
        shutil.rmtree(tmp_path / "runs" / name)
    assert lint().returncode == 0


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
