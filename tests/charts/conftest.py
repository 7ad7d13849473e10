"""Which helm do the tests take? Both: see tests/cluster/tools/programs.py."""

import pytest

from tests.cluster.tools import programs
from tests.needs import needed


@pytest.fixture(scope="session", params=["helm4", "helm3"])
def helm(request):
    """A helm program, once each of its versions."""
    return needed(getattr(programs, request.param))
