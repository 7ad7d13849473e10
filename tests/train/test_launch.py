"""With which code do the ranks end? (docs/design.md C5)"""

import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from types import SimpleNamespace

import pytest

from fino1 import exits
from fino1.train.launch import launch

ROOT = Path(__file__).parents[2]
LAUNCHER = """
import sys
from fino1.train.launch import launch

options = ["--rdzv-backend=c10d", "--rdzv-endpoint=localhost:0", "--max-restarts=0", "--no-python"]
parsed = launch.get_args_parser().parse_args([*options, sys.executable, "-c", *sys.argv[1:]])
config, *command = launch.config_from_args(parsed)
sys.exit(launch._elastic(config, command, ()))
"""
RANK = """
import pathlib, signal, sys, time

def write(*_):
    time.sleep(6)
    pathlib.Path(sys.argv[1], "written").touch()
    sys.exit(143)

signal.signal(signal.SIGTERM, write)
pathlib.Path(sys.argv[1], "started").touch()
time.sleep(300)
"""


def ended(failures):
    """Ranks from 0 with process ids from 100; each pair is a time and an exit code."""
    return {
        rank: SimpleNamespace(timestamp=time, exitcode=code, pid=100 + rank)
        for rank, (time, code) in enumerate(failures)
    }


@pytest.mark.parametrize(
    ("failures", "code"),
    [
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
        ([(5, 145), (6, 145)], 145),  # the rank that failed was another node's
        ([(5, 134)], 134),
    ],
)
def test_the_rank_that_failed_first_says_it(failures, code):
    assert launch._first_code(ended(failures)) == code


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
    assert launch._first_code(ended(failures), killed={100}) == code


def test_a_rank_that_could_say_nothing_is_named(capsys):
    launch._first_code(ended([(2, 145), (2, -11)]))
    assert capsys.readouterr().err == "fino1: rank 1 ended with 139: ended by signal 11: tried again\n"
    launch._first_code(ended([(2, 2)]))
    assert capsys.readouterr().err == ""


@pytest.mark.slow
def test_a_rank_may_write_for_longer_than_torch_would_wait(tmp_path):
    command = [sys.executable, "-c", LAUNCHER, RANK, str(tmp_path)]
    environment = {**os.environ, "TORCH_ELASTIC_SHUTDOWN_TIMEOUT": "2"}  # 30 by default
    with subprocess.Popen(command, cwd=ROOT, env=environment) as launcher:
        while launcher.poll() is None and not (tmp_path / "started").exists():
            time.sleep(0.1)
        launcher.send_signal(signal.SIGTERM)
        assert launcher.wait(300) == exits.TERMINATED
    assert (tmp_path / "written").exists()


def test_the_ranks_that_remain_after_one_has_failed_get_what_torch_gives_them(monkeypatch):
    given = []
    monkeypatch.setattr(launch, "_close_in", lambda context, death_sig, timeout: given.append(timeout))
    launch._close(None, signal.SIGTERM)  # the agent handles no exception then
    assert given == [30]
