"""What does a user of the whole cluster type, and what does the node hold of it?"""

import contextlib
import json
import os
import secrets
import shutil
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from fino1 import files
from tests.cluster.tools import programs
from tests.cluster.tools.node import Node

ROOT = Path(__file__).parents[2]
RUNS = ROOT / "manifests" / "runs"
OWNER = 10001  # as whom our containers run; a hostPath knows no fsGroup
CLAIMS = ("fino1-work", "fino1-models")
# They test the way, not the learning (make demo does): 40 steps, two updates of 64 episodes.
SHORT_SFT = "data.size=640"
SHORT_PPO = (
    "ppo.total_episodes=128",
    "ppo.global_batch_size=64",
    "ppo.num_mini_batches=2",
    "ppo.value_warmup_updates=1",
    "data.size=1000",  # of 20,000 the prompts alone take more than training
    "data.eval_size=16",
)
START_S = 120  # a pod of ours: container, imports, first line; 20 on an idle machine


_left: list["Shell"] = []  # whose namespaces are being deleted


@dataclass(frozen=True)
class Shell:
    """What a user types, in a namespace of the test's own, and what the node holds of it."""

    node: Node
    namespace: str

    def run(self, *command: str | Path, code: int = 0, timeout_s: float = 600, stdin: str = "") -> str:
        """Standard output of a command that has to end with `code`."""
        folders = (programs.helm4().parent, programs.kubectl().parent, Path(sys.executable).parent)
        environment = os.environ | {
            "KUBECONFIG": str(self.node.kubeconfig),
            "PATH": os.pathsep.join([*map(str, folders), os.environ["PATH"]]),
        }
        ran = subprocess.run(
            list(map(str, command)),
            env=environment,
            cwd=ROOT,
            input=stdin,
            capture_output=True,
            text=True,
            timeout=timeout_s,
        )
        assert ran.returncode == code, f"{' '.join(map(str, command))}: {ran.returncode}\n{ran.stdout}{ran.stderr}"
        return ran.stdout if code == 0 else ran.stdout + ran.stderr

    def fino1(self, verb: str, *arguments: str | Path, code: int = 0, timeout_s: float = 600) -> str:
        """Output of a verb of fino1-k8s."""
        return self.run("fino1-k8s", verb, *arguments, "-n", self.namespace, code=code, timeout_s=timeout_s)

    def helm(self, *arguments: str | Path, code: int = 0) -> str:
        """Output of helm."""
        return self.run("helm", *arguments, "-n", self.namespace, code=code)

    def kubectl(self, *arguments: str | Path, code: int = 0, stdin: str = "") -> str:
        """Output of kubectl."""
        return self.run("kubectl", "-n", self.namespace, *arguments, code=code, stdin=stdin)

    def get(self, *what: str) -> Any:
        """What kubectl gets, parsed."""
        return json.loads(self.kubectl("get", *what, "-o", "json"))

    def apply(self, *objects: dict[str, Any]) -> None:
        """Apply objects as a user's manifest."""
        self.kubectl(
            "apply",
            "--server-side",
            "-f",
            "-",
            stdin=json.dumps({"apiVersion": "v1", "kind": "List", "items": objects}),
        )

    def submit(self, run: str, name: str, *settings: str, wait: bool = True, code: int = 0) -> str:
        """`fino1-k8s submit`; the name of the run object. It waits for its end unless told otherwise."""
        options = [word for setting in settings for word in ("--set", setting)]
        self.fino1("submit", RUNS / f"{run}.yaml", "--name", name, *options, *(["--wait"] if wait else []), code=code)
        listed = json.loads(self.fino1("ps", "-o", "json"))["runs"]
        return next(run["run"] for run in listed if run["name"] == name)

    def pods(self, run: str) -> list[dict[str, Any]]:
        """The pods of a run object, as the API server has them, but those of `helm test`."""
        found = self.node.api.call("GET", f"/api/v1/namespaces/{self.namespace}/pods?labelSelector=fino1/run={run}")
        return [pod for pod in found["items"] if pod["metadata"]["labels"]["app.kubernetes.io/component"] != "test"]

    def until(self, what: str, true: Callable[[], Any], timeout_s: float = START_S) -> Any:
        """Wait until `true()` is; what it was. The failure names `what`, and shows the namespace."""
        deadline = time.monotonic() + timeout_s
        while True:
            began = time.monotonic()
            if answer := true():
                return answer
            if time.monotonic() > deadline:
                pytest.fail(f"not in {timeout_s:.0f} s: {what}\n{self.kubectl('get', 'pods,events', '-o', 'wide')}")
            time.sleep(max(0.3, 2 * (time.monotonic() - began)))  # a command asked without a pause takes half a core

    @property
    def work(self) -> Path:
        """Which folder of the node is the volume that pods see as /work?"""
        return self.node.volumes / self.namespace / "fino1-work"

    def directory(self, name: str) -> Path:
        """Which directory has the run `name`, one of those that started?"""
        (found,) = self.work.glob(f"runs/{name}-??????????")
        return found

    def step(self, name: str) -> int:
        """How far has the run come? Its last step in metrics.jsonl; 0 before the first."""
        found = list(self.work.glob(f"runs/{name}-??????????/metrics.jsonl"))
        lines = found[0].read_text().splitlines() if found else []
        steps = [json.loads(line).get("step", 0) for line in lines if line.endswith("}")]
        return max(steps, default=0)

    def artefact(self, name: str) -> str:
        """The hash of the model that the run made, as it recorded it; checked against the files that lie there."""
        directory = self.directory(name)
        recorded = json.loads((directory / "done.json").read_text())["artefact_sha256"]
        assert files.artefact_hash(directory / "model") == recorded
        return recorded


@contextlib.contextmanager
def new_shell(node: Node) -> Iterator[Shell]:
    """A user's shell in a new namespace that enforces Pod Security `restricted` and has the two claims' volumes."""
    shell = Shell(node, f"e2e-{secrets.token_hex(3)}")
    restricted = {"pod-security.kubernetes.io/enforce": "restricted"}
    shell.apply({"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": shell.namespace, "labels": restricted}})
    shell.apply(*(_volume(shell, claim) for claim in CLAIMS))
    yield shell
    shell.kubectl("delete", "namespace", shell.namespace, "--wait=false")
    _left.append(shell)


def clear() -> None:
    """Wait until the namespaces that were left are gone, and remove their volumes. Not after each test: it takes 11 seconds."""
    for shell in _left:
        shell.kubectl("wait", "--for=delete", f"namespace/{shell.namespace}", "--timeout=120s")
        shell.kubectl("delete", "persistentvolume", *(f"{shell.namespace}-{claim}" for claim in CLAIMS))
        shutil.rmtree(shell.node.volumes / shell.namespace)
    _left.clear()


def _volume(shell: Shell, claim: str) -> dict[str, Any]:
    """A folder of the node as the volume of one claim: what a provisioner would make."""
    folder = shell.node.volumes / shell.namespace / claim
    folder.mkdir(parents=True)
    os.chown(folder, OWNER, OWNER)
    return {
        "apiVersion": "v1",
        "kind": "PersistentVolume",
        "metadata": {"name": f"{shell.namespace}-{claim}"},
        "spec": {
            "capacity": {"storage": "200Gi"},
            "accessModes": ["ReadWriteMany"],
            "hostPath": {"path": str(folder)},
            "claimRef": {"namespace": shell.namespace, "name": claim},
        },
    }
