"""What does `fino1 evaluate` make of an endpoint's faults? `pytest -s` prints the table (faults.py has the scenarios)."""

import pytest

from fino1 import exits
from tests.evaluate import faults
from tests.evaluate.faults import CONCURRENCY, SAMPLES, SCENARIOS, SECRET
from tests.needs import missing

# Where a client left, the server has requests under way that are the client's no more.
LEAVES = {"accepted, never answered", "answered after the time-out", "SIGTERM among faults", "SIGKILL among faults"}
pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def outcomes(request, tmp_path_factory):
    """All scenarios that the chosen tests need."""
    wanted = {item.callspec.params.get("scenario") for item in request.session.items if hasattr(item, "callspec")}
    scenarios = [scenario for scenario in SCENARIOS if scenario.name in wanted]
    return dict(faults.rows(scenarios, tmp_path_factory.mktemp("faults")))


@pytest.mark.parametrize("scenario", [scenario.name for scenario in SCENARIOS])
def test_no_sample_is_lost_and_none_is_bought_twice(outcomes, scenario):
    if scenario == "disk full" and isinstance(error := outcomes[scenario].exception(), OSError):
        missing(f"a disk to fill: {error}")
    o = outcomes[scenario].result()
    (expected,) = (s for s in SCENARIOS if s.name == scenario)
    assert o.codes == list(expected.codes), o.text[-2000:]
    assert (o.lost, o.twice) == (0, 0)
    assert o.charged == SAMPLES  # by a server that knows the Idempotency-Key
    # What was under way when it was killed was answered to nobody.
    assert o.after <= (CONCURRENCY if exits.KILLED in o.codes else 0)
    assert SECRET not in o.text
    if scenario not in LEAVES:
        assert o.busiest <= CONCURRENCY


def test_all_the_concurrency_that_was_asked_for_is_used(outcomes):
    assert outcomes["none"].result().busiest == CONCURRENCY
    assert outcomes["none"].result().requests == SAMPLES


def test_the_first_run_keeps_what_it_bought(outcomes):
    for scenario in SCENARIOS:
        if len(scenario.codes) > 1 and scenario.name != "404 at once":
            if scenario.small_disk and outcomes[scenario.name].exception():
                continue
            first, second = outcomes[scenario.name].result().kept
            assert 0 < first < second == SAMPLES, scenario.name


def test_of_a_full_disk_no_answer_is_asked_again(outcomes):
    """The requests that were under way when it was full are answered, and written into the room reserved for them."""
    if isinstance(error := outcomes["disk full"].exception(), OSError):
        missing(f"a disk to fill: {error}")
    o = outcomes["disk full"].result()
    assert o.requests == SAMPLES
    assert "No space left on device; the samples so far are on disk" in o.text


def test_the_budget_is_not_passed(outcomes):
    tokens = outcomes["budget of tokens spent"].result()
    assert tokens.kept[0] * sum(list(faults.USED.values())[:2]) <= 4000
    assert "eval.budget.tokens: expected room for the" in tokens.text
    dollars = outcomes["budget of dollars spent"].result()
    assert dollars.kept[0] * 280e-6 <= 0.008 < (dollars.kept[0] + 7) * 280e-6  # a request is held at no more than seven
    assert "eval.budget.dollars: expected room for the" in dollars.text
    assert dollars.cost == {"tokens": 100 * SAMPLES, "dollars": 0.0112, "estimated": 0, "unheard": 0}


def test_requests_that_were_not_heard_are_counted(outcomes):
    assert outcomes["answered after the time-out"].result().cost["unheard"] == SAMPLES // 16 + 1
    assert outcomes["500"].result().cost["unheard"] == 0
