"""Does a run wait for its turn in a Kueue queue, and give way to a more important one without losing anything?

The queue has quota for one run; Kueue 0.10 is the real one. Its webhooks see every Job and PyTorchJob of the cluster.
"""

import json
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from tests.cluster.tools.node import Node
from tests.e2e.killing import Witness
from tests.e2e.shell import Shell, new_shell

pytestmark = pytest.mark.timeout(1500)

KUEUE = "kueue.x-k8s.io/v1beta1"
SHARE = "200m"  # of a CPU: what a run asks for, and all that the queue has
STEPS = 100
# It saves nothing before its end, unless it is told to end.
LONG = (f"data.size={16 * STEPS}", "sft.logging_steps=1", f"sft.save_steps={10 * STEPS}")
SHORT = ("data.size=160", "sft.save_steps=1000")
LONG_S = 600  # where a pod starts beside those of others; 15 on an idle machine


@dataclass(frozen=True)
class Queue:
    """A namespace with a LocalQueue `team`, whose ClusterQueue has one run's quota, and two priorities."""

    shell: Shell

    def objects(self) -> list[dict[str, Any]]:
        """What an administrator makes. All but the LocalQueue belong to no namespace, so they are named after ours."""
        name = self.shell.namespace
        flavor = {"name": name, "resources": [{"name": "cpu", "nominalQuota": SHARE}]}
        cluster = {
            "namespaceSelector": {"matchLabels": {"kubernetes.io/metadata.name": name}},
            "preemption": {"withinClusterQueue": "LowerPriority"},
            "resourceGroups": [{"coveredResources": ["cpu"], "flavors": [flavor]}],
        }
        local = {"name": "team", "namespace": name}
        return [
            _kueue("ResourceFlavor", {"name": name}, spec={}),
            _kueue("ClusterQueue", {"name": name}, spec=cluster),
            _kueue("LocalQueue", local, spec={"clusterQueue": name}),
            _kueue("WorkloadPriorityClass", {"name": f"{name}-low"}, value=1),
            _kueue("WorkloadPriorityClass", {"name": f"{name}-high"}, value=10),
        ]

    def submit(self, name: str, priority: str, *settings: str) -> str:
        """Submit an SFT run to the queue; the name of its run object."""
        placed = (f"workloadPriorityClass={self.shell.namespace}-{priority}", f"resources.requests.cpu={SHARE}")
        return self.shell.submit("sft-tiny", name, "queue=team", *placed, *settings, wait=False)

    @property
    def undisturbed(self) -> str:
        """The hash of the model that the long run makes: without a queue, so whatever its quota, Kueue has no part in it."""
        self.shell.fino1("wait", "undisturbed")
        return self.shell.artefact("undisturbed")

    def phase(self, run: str) -> str:
        """How does the run object stand, as `ps` says it?"""
        listed = json.loads(self.shell.fino1("ps", "-o", "json"))["runs"]
        return next(each["phase"] for each in listed if each["run"] == run)

    def why(self, name: str) -> tuple[list[str], dict[str, Any]]:
        """The causes that `why` finds, and the numbers of the last."""
        findings = json.loads(self.shell.fino1("why", name, "-o", "json"))["runs"][0]["findings"]
        return [each["cause"] for each in findings], findings[-1].get("numbers", {}) if findings else {}


def _kueue(kind: str, metadata: dict[str, str], **content: Any) -> dict[str, Any]:
    return {"apiVersion": KUEUE, "kind": kind, "metadata": metadata, **content}


@pytest.fixture(scope="module")
def queue(node: Node) -> Iterator[Queue]:
    """One queue for all tests: its runs have the undisturbed one to compare themselves with."""
    with new_shell(node) as shell:
        queue = Queue(shell)
        shell.apply(*queue.objects())
        shell.submit("sft-tiny", "undisturbed", *LONG, wait=False)
        yield queue
        shell.kubectl("delete", "pytorchjobs,jobs", "--all")
        for each in reversed(queue.objects()):
            shell.kubectl("delete", each["kind"], each["metadata"]["name"])


def test_the_second_waits_for_quota(queue: Queue) -> None:
    shell = queue.shell
    first = queue.submit("first", "low", *LONG)
    second = queue.submit("second", "low", "backend=job", *SHORT)
    shell.until("the second is judged", lambda: queue.why("second")[0] == ["QuotaPending"])
    said = f"0.2 of 0.2 cpu reserved, it asks for 0.2; reserved by {first} 0.2"
    assert said in shell.fino1("why", "second")
    (numbers,) = queue.why("second")[1]["quota"]
    wanted = {"resource": "cpu", "asked": 0.2, "nominal": 0.2, "reserved": 0.2, "reservedBy": {first: 0.2}}
    assert wanted.items() <= numbers.items()
    assert "team, 0 of 1 waiting here are before it" in shell.fino1("status", "second")
    assert queue.phase(second) == "Queued" and shell.pods(second) == []

    shell.fino1("suspend", "second")
    assert "suspended there; `fino1-k8s resume second`" in shell.fino1("status", "second")
    shell.until("it is suspended", lambda: queue.why("second")[0] == ["Deactivated"])
    shell.fino1("resume", "second")
    assert not any(cause.startswith("Evicted") for cause in queue.why("second")[0])

    for name in ("first", "second"):
        shell.fino1("wait", name)
    assert shell.artefact("first") == queue.undisturbed != shell.artefact("second")


def test_who_names_no_queue_is_not_kueues(queue: Queue) -> None:
    assert queue.undisturbed
    workloads = queue.shell.get("workloads.kueue.x-k8s.io")["items"]
    owners = {each["metadata"]["ownerReferences"][0]["name"].rpartition("-")[0] for each in workloads}
    assert "undisturbed" not in owners and {"first", "second"} <= owners


@pytest.fixture
def witness(queue: Queue, tmp_path: Path) -> Iterator[Witness]:
    witness = Witness(queue.shell, tmp_path / "pods.json")
    yield witness
    witness.close()


@pytest.mark.parametrize(("backend", "container"), [("pytorchjob", "pytorch"), ("job", "train")])
def test_preempted(queue: Queue, witness: Witness, backend: str, container: str) -> None:
    """SIGTERM, a checkpoint, 143, a place in the queue; then on from there."""
    shell, name = queue.shell, f"low-{backend}"
    low = queue.submit(name, "low", f"backend={backend}", *LONG)
    shell.until("it trains", lambda: shell.step(name) > STEPS // 5, LONG_S)
    high = queue.submit(f"high-{backend}", "high", f"backend={backend}", *SHORT)
    shell.until("it gives way", lambda: queue.phase(high) != "Queued" and not shell.pods(low))
    assert queue.phase(low) == "Queued"
    causes, numbers = queue.why(name)
    assert causes == ["EvictedPreempted", "QuotaPending"] and numbers["quota"][0]["reservedBy"] == {high: 0.2}
    (saved,) = shell.directory(name).glob("checkpoints/step-*")
    step = shell.step(name)
    assert saved.name == f"step-{step:08}" and step < STEPS

    for each in (f"high-{backend}", name):
        shell.fino1("wait", each)
    ends = [witness.end(low, container, number).split()[0] for number in witness.started(low, container)]
    assert sorted(ends) == ["0", "143"]
    lines = (shell.directory(name) / "metrics.jsonl").read_text().splitlines()
    assert [json.loads(line)["step"] for line in lines] == list(range(1, STEPS + 1))
    assert shell.artefact(name) == queue.undisturbed
