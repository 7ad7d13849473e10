"""What holds for all tests."""

import pytest

from fino1 import processes


@pytest.hookimpl(wrapper=True)
def pytest_collection() -> object:
    """Tests are imported as a run's modules are."""
    with processes.loading_modules():
        return (yield)
