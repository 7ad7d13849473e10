"""A whole cluster for tests: real pods of our own images, real operators (see tests/cluster/tools and docs/development.md).

`make e2e` brings it up, runs these and takes it down. A test goes through the doors that a user has: helm, fino1-k8s, kubectl;
it looks at the volumes' folders only to see what lies there, and kills on the node only what it is about to kill.
"""

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.cluster.tools import cluster as cluster_command
from tests.cluster.tools.node import Node
from tests.e2e.shell import Shell, clear, new_shell


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Every test of this folder needs the whole cluster."""
    for item in items:
        if Path(__file__).parent in item.path.parents:
            item.add_marker(pytest.mark.e2e)
            item.add_marker(pytest.mark.slow)


@pytest.fixture(scope="session")
def node() -> Iterator[Node]:
    """The whole cluster that runs here, with all operators. At the end nothing is left in it of what the tests made."""
    node = Node(cluster_command.default_dir(Node))
    assert node.running(), "no whole cluster runs; `make e2e` and `make node-up` bring one up"
    yield node
    clear()


@pytest.fixture
def shell(node: Node) -> Iterator[Shell]:
    """A user's shell in a namespace of the test's own."""
    with new_shell(node) as shell:
        yield shell
