"""Two pods train as two ranks of one do, and end together within a minute, whichever of them is lost. (docs/design.md C12)"""

import os
import signal
import socket
import subprocess
import time
from pathlib import Path

import pytest

from tests import preloaded
from tests.needs import missing
from tests.train.conftest import SFT, WHOLE, TrainRun

pytestmark = pytest.mark.slow

USER, TERMINATED, LOST = 2, 143, 145


class Pods(TrainRun):
    """A run of two nodes with a rank each: one `fino1 train` a node, as an operator starts them."""

    def __post_init__(self):
        super().__post_init__()
        with socket.socket() as some:
            some.bind(("", 0))
            self.port = some.getsockname()[1]

    def pod(self, node, faults="", before=()):
        variables = {
            "PET_NNODES": "2",
            "PET_NPROC_PER_NODE": "1",
            "PET_NODE_RANK": str(node),
            "PET_MASTER_ADDR": "127.0.0.1",
            "PET_MASTER_PORT": str(self.port),
        }
        return Pod(before, self.command, self.environment(faults) | variables, self.work)


class Pod:
    def __init__(self, before, command, environment, folder):
        self.log = folder / f"{len(list(folder.glob('*.log')))}.log"
        with self.log.open("wb") as log:
            if before:
                command, kwargs = [*before, *command], {"stdout": log, "stderr": subprocess.STDOUT}
                self.process = subprocess.Popen(command, env=environment, start_new_session=True, **kwargs)
            else:
                self.process = preloaded.Start(command[3:], environment, log, start_new_session=True)

    @property
    def said(self):
        return self.log.read_text()

    def end(self):
        """Its exit code."""
        return self.process.wait(90)


@pytest.fixture
def pods(tmp_path, monkeypatch):
    """A run whose pods are gone when the test is over."""
    run, started = Pods({**SFT, **WHOLE}, tmp_path, ranks=2), []

    def pod(*arguments):
        started.append(Pods.pod(run, *arguments))
        return started[-1]

    monkeypatch.setattr(run, "pod", pod)
    yield run
    for each in started:
        if each.process.poll() is None:
            os.killpg(each.process.pid, signal.SIGKILL)
            each.process.wait()


def wait_for(what, pod):
    """Until something is so; `pod` is there until then."""
    while not what():
        assert pod.process.poll() is None, pod.said
        time.sleep(0.05)


def test_lost_nodes_end_their_peers_and_attempts_never_mix(pods, sft_of_two):
    faults = "kill@backward:5@1,stop@backward:2@0"
    zero, one = (pods.pod(node, faults) for node in range(2))
    wait_for(lambda: pods.happened() == 1, zero)
    started = time.monotonic()
    one = pods.pod(1, faults)  # as an operator does: at once, while node 0 is of the attempt before
    assert zero.end() == LOST, zero.said
    print(f"node 1 killed: node 0 ended after {time.monotonic() - started:.1f} s")
    assert pods.steps == [2, 4]

    zero = pods.pod(0, faults)
    wait_for(lambda: pods.happened() == 2, one)
    started = time.monotonic()
    assert one.end() == LOST, one.said  # its rank hangs in a collective
    print(f"node 0 stopped: node 1 ended after {time.monotonic() - started:.1f} s")
    assert time.monotonic() - started < 60
    assert "fino1: node 0 was silent for 30 s; this node ends too" in one.said

    pair = [pods.pod(node) for node in range(2)]
    wait_for(lambda: f"process {zero.process.pid}, since" in pair[0].said, pair[0])  # it holds the run's directory
    os.killpg(zero.process.pid, signal.SIGKILL)
    assert [pod.end() for pod in pair] == [0, 0], [pod.said for pod in pair]
    assert pods.sha256 == sft_of_two.sha256
    assert pods.lines() == sft_of_two.lines()


def test_the_users_mistake_on_one_node_ends_both_for_good(pods):
    pair = [pods.pod(node, "user@backward:3@1") for node in range(2)]
    assert [pod.end() for pod in pair] == [USER, USER], [pod.said for pod in pair]
    assert "fino1: node 1 ended with 2: the user's mistake" in pair[0].said
    assert [pod.said.count("the fault's file: expected no fault, got one") for pod in pair] == [0, 1]


def test_a_node_that_waits_ends_at_once_when_it_is_asked_to(pods):
    first_process = ["unshare", "--pid", "--fork", "--kill-child"]
    if subprocess.run([*first_process, "true"], capture_output=True).returncode:
        missing("a first process takes root")
    pod = pods.pod(0, "", first_process)
    wait_for(lambda: "node 0 waits for 1 more" in pod.said, pod)
    number = pod.process.pid
    os.kill(int(Path(f"/proc/{number}/task/{number}/children").read_text()), signal.SIGTERM)
    started = time.monotonic()
    assert pod.end() == TERMINATED, pod.said
    assert time.monotonic() - started < 5
