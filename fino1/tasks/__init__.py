"""Which benchmarks are there? A module each: its rows, prompts and scorer (docs/scoring.md §12)."""

import importlib

from fino1.errors import SpecError
from fino1.tasks.record import Task

_MODULES = {
    "finqa": "finqa",
    "xbrl_math": "xbrl_math",
    "docmath_simplong": "docmath",
    "docmath_complong": "docmath",
    "docmath_simpshort": "docmath",
    "docmath_compshort": "docmath",
    "convfinqa": "convfinqa",
    "tatqa": "tatqa",
    "docfinqa": "docfinqa",
    "bizbench": "bizbench",
    "ledger": "ledger",
}
TASK_IDS = tuple(_MODULES)


def task(name: str) -> Task:
    """Return the task of this id, one of TASK_IDS. Raises SpecError with the known ids."""
    if name not in _MODULES:
        raise SpecError(f"task: expected one of {', '.join(TASK_IDS)}, got {name!r}")
    module = importlib.import_module(f"fino1.tasks.{_MODULES[name]}")
    return module.TASK if hasattr(module, "TASK") else module.TASKS[name]
