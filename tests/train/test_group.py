"""Which launchers meet, and how does each learn of the others' end? Real processes and sockets, without ranks.

(docs/design.md C12)
"""

import json
import os
import selectors
import signal
import socket
import subprocess
import sys
import time
from pathlib import Path

import pytest

pytestmark = pytest.mark.slow

NODE, ROOT = Path(__file__).with_name("node.py"), Path(__file__).parents[2]
LOST, FATAL, DISK, KILLED = 145, 2, 74, 137
QUICK = {"BEAT_S": 0.2, "SILENT_S": 1.5, "GRACE_S": 0.5}
SOON, NOW = 30, 1.5  # seconds: for what must happen; for what must not


class Node:
    def __init__(self, port, node, nodes, **options):
        command = [sys.executable, NODE, json.dumps({"port": port, "node": node, "nodes": nodes, **options})]
        pipes = {name: subprocess.PIPE for name in ("stdin", "stdout", "stderr")}
        self.process = subprocess.Popen(command, **pipes, env={**os.environ, "PYTHONPATH": str(ROOT)}, text=True)
        self.port = port

    def word(self, timeout=SOON):
        """The attempt's word and port; None if it does not join in time."""
        with selectors.DefaultSelector() as selector:
            selector.register(self.process.stdout, selectors.EVENT_READ)
            return (self.process.stdout.readline().split() or None) if selector.select(timeout) else None

    def connects(self):
        """Wait until it, or another node, has connected to node 0."""
        deadline = time.monotonic() + SOON
        while not any(
            line.split()[1].endswith(f":{self.port:04X}") and line.split()[3] == "01"  # the server's end, established
            for line in Path("/proc/net/tcp").read_text().splitlines()[1:]
        ):
            assert time.monotonic() < deadline
            time.sleep(0.05)

    def end(self, code):
        self.process.stdin.write(f"{code}\n")
        self.process.stdin.flush()

    def code(self):
        return self.process.wait(SOON)

    def says(self, text):
        """Wait for a line with this text."""
        while text not in (line := self.process.stderr.readline()):
            assert line, f"ended without {text}"

    def said(self):
        return self.process.stderr.read()


@pytest.fixture
def start():
    """Start a node; all nodes of a test use one port."""
    with socket.socket() as some:
        some.bind(("", 0))
        port = some.getsockname()[1]
    nodes = []

    def one(node, nodes_in_all=2, **options):
        nodes.append(Node(port, node, nodes_in_all, **options))
        return nodes[-1]

    yield one
    for node in nodes:
        node.process.kill()
        node.process.communicate()


def test_all_go_with_the_same_word_and_with_another_the_next_time(start):
    words = []
    for _ in range(2):
        nodes = [start(node, 3) for node in (2, 1)]
        assert nodes[0].word(NOW) is None
        nodes.append(start(0, 3))
        said = [node.word() for node in nodes]
        assert said[0] and said == [said[0]] * 3
        words.append(said[0])
        for node in nodes:
            node.end(0)
        assert [node.code() for node in nodes] == [0, 0, 0]
    assert words[0][0] != words[1][0]


def test_nodes_of_two_attempts_never_go_together(start):
    old = start(0, attempt="a")
    new = start(1, attempt="b")
    new.says("node 0 is of attempt 'a', node 1 of 'b'")
    assert new.word(NOW) is None and old.word(0) is None
    old.process.kill()
    assert [node.word() for node in (start(0, attempt="b"), new)].count(None) == 0


def test_a_newcomer_waits_while_others_train_and_then_joins_its_own(start):
    old = [start(0, times=QUICK), start(1)]
    before = [node.word() for node in old]
    new = start(1)  # a pod deleted by force may still run when the next of its name does
    assert new.word(NOW) is None
    old[1].process.kill()
    assert old[0].code() == LOST
    assert new.word(0) is None
    after = [start(0).word(), new.word()]
    assert after[0] and after == [after[0]] * 2 and after[0] != before[0]


@pytest.mark.parametrize("other", [{"run": "other"}, {"ranks": 8}])
def test_what_trains_something_else_is_told_so_and_leaves(start, other):
    start(0)
    node = start(1, **other)
    assert node.code() == LOST
    (key, value), *_ = other.items()
    assert f"expected {'run' if key == 'run' else 1!r}, got {value!r}" in node.said()


def test_of_two_that_come_as_the_same_node_the_later_stays(start):
    start(0, 3)
    first = start(1, 3)
    first.connects()
    assert first.word(NOW) is None
    second = start(1, 3)
    assert first.code() == LOST and "another pod came as node 1" in first.said()
    start(2, 3)
    assert second.word()


def test_nobody_goes_without_a_node_that_died_or_hangs_while_it_waited(start):
    zero, one = start(0, 3, times={"_READY_S": 0.5}), start(1, 3)
    assert one.word(NOW) is None
    one.process.send_signal(signal.SIGSTOP)
    two = start(2, 3)
    assert two.word(NOW) is None
    one = start(1, 3)
    assert None not in [node.word() for node in (zero, one, two)]


@pytest.mark.parametrize("node", [0, 1])
def test_nobody_waits_for_ever(start, node):
    alone = start(node, wait=1)
    assert alone.code() == LOST
    assert "expected 2 nodes to meet within 1 s" in alone.said()


def test_nobody_waits_for_those_who_are_done(start, tmp_path):
    node = start(1, done=str(tmp_path / "done.json"))
    assert node.word(NOW) is None
    (tmp_path / "done.json").touch()
    assert node.code() == 0


@pytest.mark.parametrize("lost", [0, 1])
@pytest.mark.parametrize("how", [signal.SIGKILL, signal.SIGSTOP])
def test_a_node_that_is_killed_or_silent_ends_the_others(start, lost, how):
    nodes = [start(node, 3, times=QUICK) for node in range(3)]
    assert None not in [node.word() for node in nodes]
    started = time.monotonic()
    nodes[lost].process.send_signal(how)
    others = [node for node in nodes if node is not nodes[lost]]
    assert [node.code() for node in others] == [LOST, LOST]
    assert time.monotonic() - started < QUICK["SILENT_S"] + 2 * QUICK["GRACE_S"] + 2
    how_told = "was silent for" if how == signal.SIGSTOP else "was lost"
    assert all(f"node {lost} {how_told}" in node.said() for node in others)


@pytest.mark.parametrize(
    ("own", "ends"),
    [
        ([LOST, FATAL, LOST], [FATAL, FATAL, FATAL]),
        ([DISK, LOST, LOST], [DISK, DISK, DISK]),
        ([LOST, KILLED, LOST], [LOST, KILLED, LOST]),
        ([LOST, LOST, LOST], [LOST, LOST, LOST]),
        ([0, FATAL, 0], [0, FATAL, 0]),  # the model was written
        ([KILLED, 0, 0], [KILLED, LOST, LOST]),
    ],
)
def test_the_code_of_the_node_that_failed_is_that_of_all(start, own, ends):
    nodes = [start(node, 3) for node in range(3)]
    assert None not in [node.word() for node in nodes]
    for node, code in zip(nodes, own, strict=True):
        node.end(code)
        if code == 0:
            nodes[0].process.wait(SOON)  # node 0 is done before it hears of the others' ends
    assert [node.code() for node in nodes] == ends


def test_why_it_ends_for_good_is_said_by_a_node_whose_ranks_ended_first(start):
    zero, one = (start(node) for node in range(2))
    assert zero.word() and one.word()
    zero.end(LOST)
    time.sleep(NOW)
    one.end(FATAL)
    assert [node.code() for node in (zero, one)] == [FATAL, FATAL]
    why = "fino1: node 1 ended with 2: the user's mistake"
    assert [node.said().count(why) for node in (zero, one)] == [1, 0]


def test_the_others_are_not_done_before_the_first(start):
    nodes = [start(node) for node in range(2)]
    assert None not in [node.word() for node in nodes]
    nodes[1].end(0)
    time.sleep(NOW)
    assert nodes[1].process.poll() is None
    nodes[0].end(0)
    assert [node.code() for node in nodes] == [0, 0]
