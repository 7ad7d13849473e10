"""The helm that runs the pages' helm commands."""

import pytest

from tests.cluster.tools import programs
from tests.needs import needed


@pytest.fixture(scope="session")
def helm():
    """Helm 4's program."""
    return needed(programs.helm4)
