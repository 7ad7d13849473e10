"""Is the whole cluster up when `up` says so, also when it is up already or has crashed, and is nothing left after `down`?

Last of all tests: it takes the cluster down.
"""

import signal
import subprocess
import sys

import pytest

from tests.cluster.tools import machine
from tests.cluster.tools.cluster import default_dir
from tests.cluster.tools.node import Node
from tests.e2e.shell import ROOT, clear


def cluster(command: str) -> str:
    ran = subprocess.run(
        [sys.executable, "-m", "tests.cluster.tools.cluster", command, "--node"],
        cwd=ROOT,
        capture_output=True,
        text=True,
    )
    assert ran.returncode == 0, ran.stderr
    return ran.stdout + ran.stderr


@pytest.mark.alone
def test_up_twice_after_a_crash_and_down(node: Node) -> None:
    clear()
    before = node.settings
    assert "already running" in cluster("up")
    for process in node.processes.values():
        process.end(signal.SIGKILL)
    assert machine.leftovers(node.folder), "a crash leaves containers, which is what `up` has to deal with"
    assert "KUBECONFIG=" in cluster("up")
    node = Node(default_dir(Node))
    assert node.running() and node.settings == before
    assert "is removed" in cluster("down")
    assert not node.folder.exists() and machine.leftovers(node.folder) == []
    assert {name: value for name, value in machine.settings().items() if before[name] != value} == {}
