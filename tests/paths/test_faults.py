"""What does `fino1 paths` make of the faults of a writer and a judge? `pytest -s` prints the table of faults.py."""

import pytest

from tests.paths import faults
from tests.paths.faults import CONCURRENCY, SCENARIOS

TESTED = [scenario for scenario in SCENARIOS if not scenario.by_hand]
pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def outcomes(request, tmp_path_factory):
    """All scenarios that the chosen tests need."""
    wanted = {item.callspec.params.get("scenario") for item in request.session.items if hasattr(item, "callspec")}
    scenarios = [scenario for scenario in TESTED if scenario.name in wanted]
    return dict(faults.rows(scenarios, tmp_path_factory.mktemp("faults")))


@pytest.mark.parametrize("scenario", [scenario.name for scenario in TESTED])
def test_no_item_is_lost_and_no_call_is_bought_twice(outcomes, scenario):
    o = outcomes[scenario].result()
    (expected,) = (s for s in TESTED if s.name == scenario)
    assert o.codes == list(expected.codes), o.text[-2000:]
    assert (o.lost, o.twice) == (0, 0)
    assert o.same == expected.same
    assert not o.secret
    if o.codes[0] == 2 and expected.budget:
        assert "paths.budget.tokens: expected room for the " in o.text
    if o.codes[0] == 2 and not expected.budget:
        assert "expected a valid API key (api_key_env), got 401" in o.text
    assert o.requests <= o.charged * 2 + CONCURRENCY


def test_what_is_no_verdict_makes_no_row(outcomes):
    """And a judge that says one thing of a chain and another of its response makes some."""
    assert outcomes["a judge whose word is no word"].result().failed == {"form": faults.ITEMS}
    assert outcomes["a judge that contradicts itself"].result().failed["response"] > 0
