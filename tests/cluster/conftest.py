"""A real API server for tests: `cluster`, `namespace`, `account`, `helm` (see tests/cluster/tools).

FINO1_E2E_KUBECONFIG points the same tests at another cluster. Where Go cannot be had they are skipped, loudly; under
CI=true they fail instead.
"""

import json
import os
import secrets
import subprocess
import tempfile
import threading
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from fino1 import exits
from fino1.k8s import cli
from fino1.k8s.cluster.client import Api, connect
from fino1.k8s.objects.backends import KINDS
from fino1.k8s.state.run import list_runs
from tests.cluster.kubelet import Kubelet
from tests.cluster.stage import Stage
from tests.cluster.tools import programs
from tests.cluster.tools.instance import Instance
from tests.needs import needed


@dataclass(frozen=True)
class Cluster:
    """A cluster as its administrator sees it; `instance` is None where it is not ours to stop."""

    kubeconfig: Path
    instance: Instance | None = None

    def kubectl(self, *arguments: str, stdin: object = None) -> subprocess.CompletedProcess[str]:
        """What does kubectl say? `stdin` is sent as JSON; the caller judges the exit code."""
        command = [programs.kubectl(), "--kubeconfig", self.kubeconfig, *arguments]
        return subprocess.run(command, input=json.dumps(stdin) if stdin else "", capture_output=True, text=True)

    def ask(self, *arguments: str, stdin: object = None) -> Any:
        """The same, where it has to work; its answer, parsed."""
        ran = self.kubectl(*arguments, "-o", "json", stdin=stdin)
        assert ran.returncode == 0, f"kubectl {' '.join(arguments)}: {ran.stderr}"
        return json.loads(ran.stdout)

    def apply(self, *objects: dict[str, Any]) -> Any:
        """Apply objects server-side, strictly validated."""
        content = {"apiVersion": "v1", "kind": "List", "items": objects}
        return self.ask("apply", "--server-side", "--validate=strict", "-f", "-", stdin=content)


@pytest.fixture(scope="package")
def cluster() -> Iterator[Cluster]:
    """One API server for this folder's tests; it dies with this process, however that ends."""
    if given := os.environ.get("FINO1_E2E_KUBECONFIG"):
        yield Cluster(Path(given))
        return
    for make in (programs.etcd, programs.kubernetes, programs.crds, programs.kubectl):
        needed(make)
    # Not pytest's tmp_path: it keeps the folders of earlier runs, and etcd's data is 64 MB.
    with tempfile.TemporaryDirectory(prefix="fino1-cluster-") as folder:
        instance = Instance(Path(folder), die_with_parent=True)
        try:
            instance.up()
            yield Cluster(instance.kubeconfig, instance)
        finally:
            instance.clear()


@pytest.fixture(scope="package")
def instance(cluster: Cluster) -> Instance:
    """The API server's processes, for tests that stop and start it."""
    if not cluster.instance:
        pytest.skip("FINO1_E2E_KUBECONFIG names a cluster that is not ours to restart")
    return cluster.instance


@pytest.fixture(scope="package")
def kubeconfig(cluster: Cluster) -> Path:
    """The administrator's kubeconfig."""
    return cluster.kubeconfig


@pytest.fixture(scope="session", params=["helm4", "helm3"])
def helm(request: pytest.FixtureRequest) -> Path:
    """Each helm in turn."""
    return needed(getattr(programs, request.param))


@pytest.fixture
def namespace(admin: Api) -> Iterator[str]:
    """A namespace of the test's own, in which every pod must meet Pod Security `restricted`."""
    name = f"fino1-test-{secrets.token_hex(4)}"
    labels = {"pod-security.kubernetes.io/enforce": "restricted"}
    admin.create({"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": name, "labels": labels}})
    # A controller-manager would make it, and none runs here; without it no pod is admitted.
    admin.create({"apiVersion": "v1", "kind": "ServiceAccount", "metadata": {"name": "default", "namespace": name}})
    yield name
    # Without a controller-manager it stays Terminating: names are never used again.
    admin.delete("v1", "Namespace", name)


@pytest.fixture
def account(cluster: Cluster, admin: Api, tmp_path: Path) -> Callable[[str, list[dict[str, Any]]], Path]:
    """`account(namespace, rules)`: the kubeconfig of a new service account that has only these rules, only there."""

    def make(namespace: str, rules: list[dict[str, Any]]) -> Path:
        name = f"account-{secrets.token_hex(4)}"
        metadata = {"name": name, "namespace": namespace}
        role = {"apiGroup": "rbac.authorization.k8s.io", "kind": "Role", "name": name}
        subject = {"kind": "ServiceAccount", "name": name, "namespace": namespace}
        rbac = {"apiVersion": "rbac.authorization.k8s.io/v1", "metadata": metadata}
        for thing in (
            {"apiVersion": "v1", "kind": "ServiceAccount", "metadata": metadata},
            rbac | {"kind": "Role", "rules": rules},
            rbac | {"kind": "RoleBinding", "roleRef": role, "subjects": [subject]},
        ):
            admin.create(thing)
        token = cluster.ask("create", "token", name, "--namespace", namespace)["status"]["token"]
        content = cluster.ask("config", "view", "--raw", "--minify", "--flatten")
        content["users"] = [{"name": name, "user": {"token": token}}]
        context = {"cluster": content["clusters"][0]["name"], "user": name, "namespace": namespace}
        content["contexts"] = [{"name": name, "context": context}]
        content["current-context"] = name
        file = tmp_path / f"{name}.kubeconfig"
        file.write_text(json.dumps(content))
        return file

    return make


@pytest.fixture(scope="module")
def admin(cluster: Cluster) -> Api:
    """The administrator's own client."""
    return connect(str(cluster.kubeconfig))


@pytest.fixture
def api(kubeconfig: Path, namespace: str) -> Api:
    """The same, in the test's namespace."""
    return connect(str(kubeconfig), namespace=namespace)


@pytest.fixture
def stage(api: Api, namespace: str) -> Stage:
    """Plays controllers and kubelets in the test's namespace."""
    return Stage(api, namespace)


@pytest.fixture(scope="module")
def kubelet(admin: Api, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Kubelet]:
    """A node whose kubelet serves logs."""
    kubelet = Kubelet(admin, tmp_path_factory.mktemp("kubelet"))
    yield kubelet
    kubelet.close()


@pytest.fixture
def start(kubelet, namespace):
    """`start(run, rank)`: a running pod of a run, with a log."""
    pods = []

    def make(run, rank=0):
        key = "training.kubeflow.org/replica-index" if run.kind == "PyTorchJob" else None
        labels = {**run.labels, key or "batch.kubernetes.io/job-completion-index": str(rank)}
        labels = {name: value for name, value in labels.items() if "/" in name and "helm" not in name}
        pods.append(kubelet.start(namespace, f"{run.full}-{rank}", labels))
        return pods[-1]

    yield make
    for pod in pods:
        pod.delete()


@pytest.fixture
def fino1(kubeconfig: Path, namespace: str, capsys: pytest.CaptureFixture) -> Callable[..., tuple[int, str, str]]:
    """`fino1(verb, …)`: exit code, standard output and error of a verb in the test's namespace."""

    def run(verb: str, *arguments: str, kubeconfig: Path = kubeconfig) -> tuple[int, str, str]:
        code = cli.main([verb, *arguments, "--kubeconfig", str(kubeconfig), "-n", namespace])
        captured = capsys.readouterr()
        return code, captured.out, captured.err

    return run


@pytest.fixture
def submitted(fino1, api):
    """`submitted(backend)`: the run object of a run called `run`."""

    def submit(backend="pytorchjob", *more, name="run"):
        code, _, err = fino1("submit", "sft-tiny", "--name", name, "--set", f"backend={backend}", *more)
        assert code == exits.DONE, err
        return list_runs(api, selector=f"app.kubernetes.io/instance={name}")[0]

    return submit


@pytest.fixture
def collector(api):
    """Plays the garbage collector: what waits for its dependents to go has none, so it goes."""
    over = threading.Event()

    def collect():
        while not over.wait(0.1):
            for kind, version in KINDS.items():
                for item in api.list(version, kind):
                    if "foregroundDeletion" in item["metadata"].get("finalizers", []):
                        api.patch(version, kind, item["metadata"]["name"], {"metadata": {"finalizers": None}})

    thread = threading.Thread(target=collect)
    thread.start()
    yield
    over.set()
    thread.join()
