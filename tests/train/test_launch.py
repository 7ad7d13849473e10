"""Which ranks run here, and with which code do they end? (docs/design.md C5)"""

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from fino1.errors import SpecError
from fino1.train.launch.launch import Node, read_node
from fino1.train.launch.ranks import Rank, first_code

ROOT = Path(__file__).parents[2]
LAUNCHER = """
import os, signal, sys, time
from pathlib import Path
from fino1.train.launch import ranks

folder = Path(sys.argv[1])
ranks.FAILED_TIMEOUT_S = 1

def on_sigterm(*_):
    time.sleep(3)
    (folder / "written").touch()
    os._exit(143)

def enter(explanation):
    if os.environ["RANK"] == "1":
        while not (folder / "started").exists():
            time.sleep(0.05)
        os.write(explanation, b"the user's mistake")
        return 2
    signal.signal(signal.SIGTERM, on_sigterm)
    (folder / "started").touch()
    time.sleep(300)

here = ranks.Ranks(int(sys.argv[2]), enter)
here.run(lambda local: {"RANK": str(local)})
print(here.told, [rank.code for rank in here.ended], here.explanations())
"""


def ended(failures):
    """Ranks from 0 with process ids from 100; each pair is a time and an exit code."""
    ranks = [(time, Rank(local, 100 + local, None, None, code)) for local, (time, code) in enumerate(failures)]
    return [rank for _, rank in sorted(ranks, key=lambda pair: pair[0])]


@pytest.mark.parametrize(
    ("failures", "code"),
    [
        ([(5, 0), (6, 0)], 0),
        ([(5, 2)], 2),
        ([(5, -9)], 137),
        ([(5, -15)], 143),
        ([(5, 74), (6, 145)], 74),
        ([(6, 145), (5, 74)], 74),
        ([(5, 145), (6, -9)], 137),  # who lost a peer was noticed before the peer
        ([(5, 145), (5, 2)], 2),
        ([(5, 1), (6, 2)], 1),  # the first by time
        ([(6, 2), (5, 1)], 1),
        ([(5, 2), (6, -15)], 2),  # the launcher ended the other
        ([(5, 0), (6, 2)], 2),
        ([(5, 145), (6, 145)], 145),  # the rank that failed was another node's
        ([(5, 134)], 134),
    ],
)
def test_the_rank_that_failed_first_says_it(failures, code):
    assert first_code(ended(failures), 0) == code


@pytest.mark.parametrize(
    ("failures", "code"),
    [
        ([(5, -9)], 145),  # it hung without its peer
        ([(5, -9), (6, 2)], 2),
        ([(5, -11)], 139),  # it had ended before
        ([(6, 145), (5, -9)], 137),  # not the one that we killed
    ],
)
def test_a_rank_that_we_have_killed_has_lost_its_peer(failures, code):
    assert first_code(ended(failures), 0, killed={100}) == code


def test_a_rank_that_could_say_nothing_is_named(capsys):
    first_code(ended([(2, 145), (2, -11)]), 4)
    assert capsys.readouterr().err == "fino1: rank 5 ended with 139: ended by signal 11: tried again\n"
    first_code(ended([(2, 2)]), 0)
    assert capsys.readouterr().err == ""


def started(folder, ranks):
    """A launcher whose first rank takes three seconds to end after SIGTERM; others fail at once."""
    launcher = subprocess.Popen(
        [sys.executable, "-c", LAUNCHER, str(folder), str(ranks)],
        cwd=ROOT,
        env=os.environ | {"PYTHONPATH": str(ROOT)},
        stdout=subprocess.PIPE,
        text=True,
    )
    while launcher.poll() is None and not (folder / "started").exists():
        time.sleep(0.05)
    return launcher


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_rank_may_write_for_longer_than_others_after_a_failure(tmp_path, number):
    launcher = started(tmp_path, ranks=1)
    launcher.send_signal(number)
    said, _ = launcher.communicate(timeout=60)
    assert said == f"{int(number)} [{143 if number == signal.SIGTERM else -number}] []\n"
    assert (tmp_path / "written").exists() == (number == signal.SIGTERM)  # the rank has no handler for the other


def test_a_rank_that_is_killed_before_it_knows_where_to_meet_the_others_is_one_that_was_killed():
    code = """
import os, signal
from fino1.train.launch import ranks

here = ranks.Ranks(2, lambda explanation: 0)
first = here._ranks[0].pid
os.kill(first, signal.SIGKILL)
os.waitid(os.P_PID, first, os.WEXITED | os.WNOWAIT)
here.run(lambda local: {})
print(sorted((rank.local, rank.code) for rank in here.ended)[0])
"""
    ran = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, timeout=60)
    assert (ran.stdout, ran.stderr) == (f"(0, {-signal.SIGKILL})\n", "")


def test_the_ranks_that_remain_after_one_has_failed_are_killed_when_they_do_not_end(tmp_path):
    said, _ = started(tmp_path, ranks=2).communicate(timeout=60)
    assert said == f'None [2, {-signal.SIGKILL}] ["the user\'s mistake"]\n'
    assert not (tmp_path / "written").exists()


def test_operators_say_which_ranks_run_here():
    assert read_node({}) == Node(0, 1, 1, "localhost", 29500)
    given = {"PET_NNODES": "4", "PET_NPROC_PER_NODE": "8", "PET_NODE_RANK": "2"}
    node = read_node(given | {"PET_MASTER_ADDR": "run-0.run", "PET_MASTER_PORT": "1234"})
    assert node == Node(2, 4, 8, "run-0.run", 1234)
    assert read_node({"PET_NNODES": "1:4"}).nodes == 4
    assert read_node({"PET_NPROC_PER_NODE": "cpu"}).ranks == os.cpu_count()
    variables = node.variables(3, 5678)
    ranks = [variables[name] for name in ("RANK", "LOCAL_RANK", "WORLD_SIZE", "LOCAL_WORLD_SIZE")]
    assert ranks == ["19", "3", "32", "8"]
    assert [variables[f"MASTER_{name}"] for name in ("ADDR", "PORT")] == ["run-0.run", "5678"]


def test_without_gpus_auto_is_the_number_of_cpus_and_gpu_is_refused(monkeypatch):
    monkeypatch.setattr("torch.cuda.device_count", lambda: 0)
    assert read_node({"PET_NPROC_PER_NODE": "auto"}).ranks == os.cpu_count()
    with pytest.raises(SpecError, match="PET_NPROC_PER_NODE: expected GPUs, as gpu says, got none"):
        read_node({"PET_NPROC_PER_NODE": "gpu"})
    monkeypatch.setattr("torch.cuda.device_count", lambda: 3)
    assert [read_node({"PET_NPROC_PER_NODE": kind}).ranks for kind in ("auto", "gpu")] == [3, 3]


@pytest.mark.parametrize(
    ("name", "value"), [("PET_NNODES", "two"), ("PET_NODE_RANK", "-1"), ("PET_NPROC_PER_NODE", "0")]
)
def test_what_is_no_number_is_refused(name, value):
    with pytest.raises(SpecError, match=f"{name}: expected a number from [01], got '{value}'"):
        read_node({name: value})


def test_a_node_that_the_run_does_not_have_is_refused():
    with pytest.raises(SpecError, match=r"PET_NODE_RANK: expected a number below 2 \(PET_NNODES\), got 2"):
        read_node({"PET_NNODES": "2", "PET_NODE_RANK": "2"})
