"""Which code does a run end with, whatever its ranks end with? (docs/design.md C5)"""

import os
import signal
import subprocess
import time

import pytest

from tests import preloaded
from tests.needs import missing
from tests.train.conftest import SFT, TrainRun

pytestmark = pytest.mark.slow

BUG, USER, DISK, KILLED = 1, 2, 74, 137


def test_two_ranks_end_with_the_code_of_the_one_that_failed(tmp_path):
    run = TrainRun(SFT, tmp_path, ranks=2)
    faults = "user@backward:3@1,bug@backward:3@1"
    assert run.start(faults) == USER, run.output
    assert run.output.count("the fault's file: expected no fault, got one") == 1
    assert "Traceback" not in run.output
    assert run.start(faults) == BUG, run.output
    assert "Traceback" in run.output and "ZeroDivisionError: the fault's bug" in run.output


def test_what_all_ranks_find_wrong_is_said_once(tmp_path):
    run = TrainRun({**SFT, "data": {"path": "/nowhere.jsonl"}}, tmp_path, ranks=2)
    assert run.start() == USER, run.output
    assert run.output.strip() == "/nowhere.jsonl: expected a JSON, JSONL or Parquet file, got none"


@pytest.mark.parametrize(("number", "is_fresh"), [(signal.SIGTERM, True), (signal.SIGINT, False)])
def test_a_rank_that_waits_for_others_ends_at_once_when_it_is_told_to(number, is_fresh, tmp_path):
    """Torch runs no handler of Python's while it waits: a pod that was deleted then would stay for its grace period."""
    run = TrainRun(SFT, tmp_path, ranks=2)
    environment = run.environment("absent@meet:1@1")
    with open(os.devnull, "w") as log:
        if is_fresh:
            process = subprocess.Popen(run.command, env=environment, stdout=log, stderr=log)
        else:
            process = preloaded.Start(run.command[3:], environment, log)
    try:
        while not run.happened():
            assert process.poll() is None
            time.sleep(0.1)
        time.sleep(5)  # the other rank is there too, and waits
        process.send_signal(number)
        assert process.wait(15) == 128 + number
    finally:
        process.kill()
        process.wait()


@pytest.mark.parametrize("method", ["sft", "ppo"])
def test_a_killed_rank_ends_the_run_within_a_minute(method, tmp_path, request):
    document, fault = (
        (SFT, "kill-rank@backward:3@1")
        if method == "sft"
        else (request.getfixturevalue("ppo_document"), "kill-rank@rollout:20@1")
    )
    run = TrainRun(document, tmp_path, ranks=2)
    started = time.monotonic()
    assert run.start(fault) == KILLED, run.output
    assert time.monotonic() - started < 90  # of which most is its start
    assert "another rank was lost" in run.output


@pytest.fixture
def small_disk(tmp_path):
    disk = tmp_path / "disk"
    disk.mkdir()
    if subprocess.run(["mount", "-t", "tmpfs", "-o", "size=16m", "tmpfs", disk], capture_output=True).returncode:
        missing("mounting a disk takes root")
    yield disk
    subprocess.run(["umount", "--lazy", disk], check=True)


def test_a_full_disk_leaves_the_checkpoints_and_goes_on_when_it_is_mended(sft, small_disk):
    run = TrainRun(SFT, small_disk)
    faults = "fill50@save:2,fill200@save:1"  # the weights do not fit; the weights do, the optimizer does not
    for number in (1, 2):
        assert run.start(faults) == DISK, run.output
        assert run.happened() == number
        assert "expected a disk that can be written" in run.output
        assert "Traceback" not in run.output
        assert run.steps == [2]
        assert [path.name for path in run.checkpoints.iterdir()] == ["step-00000002"]
        (small_disk / "balloon").unlink()
    assert run.start(faults) == 0, run.output
    assert run.sha256 == sft.sha256
    assert run.lines() == sft.lines()
