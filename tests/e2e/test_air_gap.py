"""Do the runs need anything outside the cluster, once models lie on the volume?

Pods of this cluster cannot leave it: what they send out is refused and counted, an outside name does not exist, and whoever
asks for one is in CoreDNS's log. The runs' NetworkPolicies are looked at, not felt: this cluster's network plugin, a plain
bridge, enforces none.
"""

import json
import re
import shutil
from collections.abc import Iterable
from typing import Any

import pytest

from tests.cluster.tools import machine
from tests.cluster.tools.node import Node
from tests.e2e.shell import SHORT_PPO, Shell

pytestmark = pytest.mark.timeout(1500)

MODEL, COMMIT = "fino1/tiny", "c0ffee" + "0" * 34
OFFLINE = ("offline=true", "volumes.models.readOnly=true")
SFT = ("data.size=160", "sft.save_steps=1000")
PPO = (*SHORT_PPO, "ppo.value_model.init=null", f"ppo.value_model.hub={MODEL}")
EVAL = (f'eval.models=[{{"name": "tiny", "hub": "{MODEL}"}}]', 'eval.tasks=[{"task": "ledger", "size": 20}]')
_QUERY = re.compile(r'^\[INFO\] ([\d.]+):\d+ - \d+ "\S+ IN (\S+) ', re.MULTILINE)


class Detectors:
    """What pods have sent out of the cluster, and which names outside they have asked for, since this began."""

    def __init__(self, node: Node) -> None:
        self._log = node.folder / "coredns.log"
        self._packets, self._read = machine.refused_packets(), self._log.stat().st_size

    @property
    def refused(self) -> int:
        """Packets, of all pods of the cluster."""
        return machine.refused_packets() - self._packets

    def names(self, pods: Iterable[dict[str, Any]]) -> list[str]:
        """Outside names that these pods have asked for."""
        addresses = {pod["status"]["podIP"] for pod in pods}
        with self._log.open() as log:
            log.seek(self._read)
            return [name for address, name in _QUERY.findall(log.read()) if address in addresses]


@pytest.fixture
def detectors(node: Node) -> Detectors:
    return Detectors(node)


def test_who_tries_is_seen(shell: Shell, detectors: Detectors) -> None:
    """By its address, and by its name: neither detector is blind."""
    tries = (
        "import socket\nfor host in ('192.0.2.1', 'huggingface.co'):\n try: socket.create_connection((host, 443), 5)\n"
    )
    command = ["python3", "-c", tries + " except OSError as error: print(host, error)\n else: raise SystemExit(1)"]
    shell.kubectl("wait", "--for=create", "serviceaccount/default", "--timeout=60s")  # no pod is admitted before
    shell.apply(_pod("tries", command))
    shell.kubectl("wait", "--for=jsonpath={.status.phase}=Succeeded", "pod/tries", "--timeout=300s")
    assert detectors.refused > 0
    assert set(detectors.names([shell.get("pod", "tries")])) == {"huggingface.co."}


def test_runs_need_nothing_outside(shell: Shell, detectors: Detectors) -> None:
    shell.submit("sft-tiny", "seed", "offline=true", *SFT)
    _into_the_cache(shell, "seed")
    of_hub = ("model.init=null", f"model.hub={MODEL}", *OFFLINE)
    shell.submit("sft-tiny", "sft", *of_hub, *SFT, wait=False)
    shell.submit("ppo-tiny", "ppo", "model.run=null", *of_hub[1:], *PPO, wait=False)
    shell.submit("eval-tiny", "eval", *OFFLINE, *EVAL)
    for name in ("sft", "ppo"):
        shell.fino1("wait", name)
    assert len({shell.artefact(name) for name in ("seed", "sft", "ppo")}) == 3
    (cell,) = shell.work.glob("cells/*/cell.json")
    assert json.loads(cell.read_text())["summary"]["n"] == 20

    pods = shell.get("pods")["items"]
    assert len(pods) == 4
    assert (detectors.names(pods), detectors.refused) == ([], 0)
    rules = [rule for each in shell.get("networkpolicies")["items"] for rule in each["spec"]["egress"]]
    assert {port["port"] for rule in rules for port in rule.get("ports", [])} == {53}


def _into_the_cache(shell: Shell, run: str) -> None:
    """Lay the run's model into the volume of models, as `hf download` lays those of the hub."""
    folder = shell.node.volumes / shell.namespace / "fino1-models" / "hub" / f"models--{MODEL.replace('/', '--')}"
    shutil.copytree(shell.directory(run) / "model", folder / "snapshots" / COMMIT)
    (folder / "refs").mkdir()
    (folder / "refs" / "main").write_text(COMMIT)


def _pod(name: str, command: list[str]) -> dict[str, Any]:
    """A pod that runs a command of our image, as Pod Security `restricted` wants it."""
    secure = {"allowPrivilegeEscalation": False, "capabilities": {"drop": ["ALL"]}}
    container = {"name": "main", "image": "ghcr.io/fino1/eval:0.1.0", "command": command, "securityContext": secure}
    user = {"runAsNonRoot": True, "runAsUser": 10001, "seccompProfile": {"type": "RuntimeDefault"}}
    spec = {"containers": [container], "securityContext": user, "restartPolicy": "Never"}
    return {"apiVersion": "v1", "kind": "Pod", "metadata": {"name": name}, "spec": spec}
