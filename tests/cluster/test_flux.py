"""Flux's HelmRelease, step by step: source-controller's package, helm-controller's install and upgrade, by helm 3 itself.

The controllers do not build from their Go modules, so they do not run here. source-controller merges `valuesFiles` into the
package's values.yaml and, by `reconcileStrategy: Revision`, appends the commit to the chart's version (its
internal/helm/chart/builder_local.go); helm-controller does what `helm upgrade --install` does.
"""

import re
import shutil
import subprocess

import pytest
import yaml

from tests.charts.applications import GITOPS, MANIFESTS
from tests.cluster.tools import programs
from tests.needs import needed

pytestmark = [pytest.mark.cluster, pytest.mark.slow, pytest.mark.timeout(300)]

RELEASE = yaml.safe_load((GITOPS / "flux" / "release.yaml").read_text())["spec"]
LABEL = re.compile(r"[A-Za-z0-9]([-A-Za-z0-9_.]{0,61}[A-Za-z0-9])?")  # of Kubernetes' apimachinery


def run(*command):
    done = subprocess.run([needed(programs.helm3), *command], capture_output=True, text=True, timeout=120)
    assert done.returncode == 0, done.stderr
    return done.stdout


def merge(base, over):
    """As pkg/runtime's transform.MergeMaps: a null stays a null."""
    both = {key: merge(base[key], over[key]) for key in base.keys() & over.keys() if isinstance(over[key], dict)}
    return {**base, **over, **{key: value for key, value in both.items() if isinstance(base[key], dict)}}


def package(folder, commit):
    """What source-controller makes of the chart at this commit."""
    about = RELEASE["chart"]["spec"]
    chart = folder / commit / "fino1"
    shutil.copytree(MANIFESTS.parent / about["chart"], chart)
    values = {}
    for file in about["valuesFiles"]:
        values = merge(values, yaml.safe_load((MANIFESTS.parent / file).read_text()))
    (chart / "values.yaml").write_text(yaml.safe_dump(values))
    version = yaml.safe_load((chart / "Chart.yaml").read_text())["version"]
    run("package", chart, "--version", f"{version}+{commit}", "--destination", folder)
    return folder / f"fino1-{version}+{commit}.tgz"


def test_another_commit_is_the_same_run(kubeconfig, namespace, cluster, tmp_path):
    name, (first, second) = RELEASE["releaseName"], ("0a1b2c3d4e5f.1", "f5e4d3c2b1a0.1")
    packages = [package(tmp_path, commit) for commit in (first, second)]
    by_hand = run("template", name, MANIFESTS.parent / "charts" / "fino1", "-f", MANIFESTS / "runs" / "sft.yaml")
    names = {(thing["kind"], thing["metadata"]["name"]) for thing in yaml.safe_load_all(by_hand) if thing}

    def held():
        kinds = "pytorchjobs,configmaps,networkpolicies,serviceaccounts,persistentvolumeclaims"
        found = cluster.ask("get", kinds, "-n", namespace, "-l", f"app.kubernetes.io/instance={name}")["items"]
        for thing in found:
            assert all(LABEL.fullmatch(value) for value in thing["metadata"]["labels"].values())
        return {(thing["kind"], thing["metadata"]["name"]): thing["metadata"] for thing in found}

    where = ("--kubeconfig", str(kubeconfig), "--namespace", namespace)
    options = ("--install", "--no-hooks", *where)
    run("upgrade", name, packages[0], *options)
    before = held()
    assert before.keys() == {each for each in names if each[0] != "Pod"}
    run("upgrade", name, packages[1], *options)
    after = held()
    assert {key: thing["uid"] for key, thing in after.items()} == {key: thing["uid"] for key, thing in before.items()}
    assert {thing["labels"]["helm.sh/chart"] for thing in after.values()} == {f"fino1-0.1.0_{second}"}
