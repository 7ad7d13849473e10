"""Does a run that gets nowhere end, where no controller counts its restarts?"""

import pytest

from fino1 import exits
from fino1.errors import ToolError
from fino1.train.launch.attempts import Attempts
from tests.train.conftest import SFT, TrainRun


def attempt(directory, code, limit=1):
    """One attempt, which ends with `code`; None for one whose process is killed."""
    attempts = Attempts(directory, limit)
    attempts.begin()
    if code is not None:
        attempts.end(code)


def test_after_the_limit_without_a_checkpoint_it_gives_up_and_begins_anew_when_somebody_asks(tmp_path):
    attempt(tmp_path, exits.KILLED)
    attempt(tmp_path, None)
    with pytest.raises(ToolError, match=r"after step 0 in 2 attempts \(backoffLimit 1\)") as error:
        attempt(tmp_path, exits.DONE)
    assert not exits.is_retryable(error.value.exit_code)
    attempt(tmp_path, exits.KILLED)


def test_a_checkpoint_begins_the_count_anew(tmp_path):
    for step in range(4):
        attempt(tmp_path, exits.KILLED)
        (tmp_path / "checkpoints" / f"step-{step + 1:08}").mkdir(parents=True)


def test_attempts_that_were_asked_to_end_do_not_count(tmp_path):
    for _ in range(4):
        attempt(tmp_path, exits.TERMINATED)
    attempt(tmp_path, exits.DONE)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.slow
def test_a_run_that_dies_at_the_same_step_each_time_ends_for_good(tmp_path, monkeypatch):
    monkeypatch.setenv("FINO1_BACKOFF_LIMIT", "1")
    run = TrainRun(SFT, tmp_path)
    faults = "kill@backward:3,kill@backward:3"  # before the first checkpoint, after step 2
    assert [run.start(faults), run.start(faults), run.start(faults)] == [137, 137, exits.BUG]
    assert "giving up" in run.output
