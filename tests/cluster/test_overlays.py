"""Does a real API server admit what kustomize builds, and what Argo CD and Flux would be given?

The CRDs of Argo CD and Flux are their own, from their Go modules. The objects of the runs are test_admission.py's business.
"""

import subprocess
import time
from pathlib import Path

import pytest
import yaml

from fino1.k8s.cluster.client import connect
from tests.charts.applications import application
from tests.cluster.tools import gitops, programs
from tests.needs import needed

pytestmark = [pytest.mark.cluster, pytest.mark.slow, pytest.mark.timeout(300)]

MANIFESTS = Path(__file__).parents[2] / "manifests"
KUSTOMIZATIONS = sorted(path.parent for path in MANIFESTS.rglob("kustomization.yaml") if "base" not in path.parts)


@pytest.fixture
def api(kubeconfig, namespace):
    return connect(str(kubeconfig), namespace=namespace)


def objects_in(text):
    return [thing for thing in yaml.load_all(text, Loader=yaml.CSafeLoader) if thing is not None]


def admit(api, objects):
    for thing in objects:
        api.apply(thing, dry_run=True, before={})
        assert api.apply(thing, before={}).object["metadata"]["name"] == thing["metadata"]["name"]


@pytest.mark.parametrize("folder", KUSTOMIZATIONS, ids=lambda path: path.name)
def test_what_kustomize_builds_is_admitted(api, folder):
    done = subprocess.run([programs.kubectl(), "kustomize", folder], capture_output=True, text=True, timeout=60)
    assert done.returncode == 0, done.stderr
    objects = objects_in(done.stdout)
    assert objects
    admit(api, objects)
    for thing in objects:
        if thing["kind"] in ("PyTorchJob", "Job"):
            spec = thing["spec"]
            template = spec.get("template") or spec["pytorchReplicaSpecs"]["Worker"]["template"]
            pod = {"apiVersion": "v1", "kind": "Pod", "spec": template["spec"] | {"serviceAccountName": "default"}}
            api.create(pod | {"metadata": template["metadata"] | {"name": thing["metadata"]["name"]}})


def test_the_pod_that_holds_the_volumes_is_admitted(api):
    admit(api, objects_in((MANIFESTS / "volumes.yaml").read_text()))
    (namespace,) = objects_in((MANIFESTS / "namespace.yaml").read_text())
    api.apply(namespace, dry_run=True)


@pytest.fixture(scope="module")
def gitops_crds(cluster):
    """Argo CD's and Flux's kinds, in the API server."""
    folder = needed(gitops.crds)
    crds = [crd for file in folder.glob("*.yaml") for crd in objects_in(file.read_text())]
    assert len(crds) == 6
    cluster.apply(*crds)
    names = [f"crd/{crd['metadata']['name']}" for crd in crds]
    # `kubectl wait --for=condition` ends at once with an error where nobody has written a status yet.
    established = "-o=jsonpath={.items[*].status.conditions[?(@.type=='Established')].status}"
    for _ in range(60):
        done = cluster.kubectl("get", *names, established)
        if done.stdout.split() == ["True"] * len(crds):
            return
        time.sleep(1)
    raise AssertionError(done.stdout + done.stderr)


@pytest.mark.parametrize("name", ["argocd/project", "argocd/runs", "flux/source", "flux/overlay", "flux/release"])
def test_gitops_objects_are_admitted(gitops_crds, api, name):
    (thing,) = objects_in((MANIFESTS / "gitops" / f"{name}.yaml").read_text())
    thing["metadata"]["namespace"] = api.namespace
    admit(api, [thing])


def test_the_application_is_admitted(gitops_crds, api, tmp_path):
    thing = application(programs.helm4(), "sft", tmp_path)
    thing["metadata"]["namespace"] = api.namespace
    admit(api, [{"apiVersion": "argoproj.io/v1alpha1", "kind": "Application", **thing}])
