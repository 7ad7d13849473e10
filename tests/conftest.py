"""What holds for all tests."""

import pytest

from fino1 import processes


@pytest.hookimpl(wrapper=True)
def pytest_collection() -> object:
    """Tests are imported as a run's modules are."""
    with processes.pause_gc():
        return (yield)


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Files that start ranks or servers first: a worker that has no more of them goes on with short ones."""
    slow = {item.path for item in items if item.get_closest_marker("slow")}
    items.sort(key=lambda item: item.path not in slow)
