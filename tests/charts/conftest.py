"""Which helm do the tests take? Both: see ci/cluster/tools.py."""

import os
import sys
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).parents[2] / "ci" / "cluster"))
sys.path.insert(0, str(Path(__file__).parent))


@pytest.fixture(scope="session", params=["helm4", "helm3"])
def helm(request):
    """A helm program, once each of its versions. Where it cannot be had the test is skipped, under CI it fails."""
    import tools

    try:
        return getattr(tools, request.param)()
    except Exception as error:
        if os.environ.get("CI") == "true":
            raise
        pytest.skip(f"{request.param} cannot be had: {error}")
