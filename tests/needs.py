"""What does a test do where this machine lacks something? Under CI it fails, elsewhere it is skipped with a warning.

Only what CI's machine cannot have (a GPU, another system than Linux, rows that are not ours to publish) is skipped there too.
"""

import os
import warnings
from collections.abc import Callable
from typing import NoReturn, TypeVar

import pytest

from tests.cluster.tools.cache import ToolError

T = TypeVar("T")


def missing(what: str) -> NoReturn:
    """End the test that cannot run here: `what` says what it lacks."""
    if os.environ.get("CI") == "true":
        pytest.fail(what)
    warnings.warn(f"not tested: {what}", stacklevel=2)
    pytest.skip(what)


def needed(make: Callable[[], T]) -> T:
    """What `make` makes: a tool that is built or fetched, or what a module imports."""
    try:
        return make()
    except (ToolError, ImportError) as error:
        missing(str(error))
