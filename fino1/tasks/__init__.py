"""Which benchmarks are there? Records, prompts and answer matching (docs/design.md C8, C13)."""

import importlib
from typing import Any

from fino1.errors import SpecError
from fino1.tasks.record import Task

_MODULES = {
    "finqa": "finqa",
    "xbrl_math": "xbrl_math",
    "docmath_simplong": "docmath",
    "docmath_complong": "docmath",
    "docmath_simpshort": "docmath",
    "docmath_compshort": "docmath",
    "ledger": "ledger",
}
TASK_IDS = tuple(_MODULES)


def task(name: str) -> Task:
    """Which task has this id (docs/design.md C13's spelling)? Raises SpecError with the known ids."""
    if name not in _MODULES:
        raise SpecError(f"task: expected one of {', '.join(TASK_IDS)}, got {name!r}")
    module = importlib.import_module(f"fino1.tasks.{_MODULES[name]}")
    return module.TASK if hasattr(module, "TASK") else module.TASKS[name]


def __getattr__(name: str) -> Any:
    """`TASKS`, built when first asked for: importing this package loads no task's module."""
    if name == "TASKS":
        return globals().setdefault("TASKS", {known: task(known) for known in TASK_IDS})
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
