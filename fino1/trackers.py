"""Which trackers does a run report to, and are they installed? (docs/design.md C11)

Trackers are placement: no part of `config.json`. The pod and the local backend name them in FINO1_REPORT_TO.
"""

import os
import sys
from collections.abc import Iterable
from importlib.metadata import PackageNotFoundError, version

from fino1.errors import SpecError

VARIABLE = "FINO1_REPORT_TO"
_PACKAGES = {  # tracker → packages one of which it needs; also the names of our extras
    "mlflow": ("mlflow", "mlflow-skinny"),
    "tensorboard": ("tensorboard",),
    "wandb": ("wandb",),
}


def from_environment() -> list[str]:
    """Return the trackers that FINO1_REPORT_TO names, each once. Raises SpecError for one that is unknown."""
    names = list(dict.fromkeys(name for name in os.environ.get(VARIABLE, "").split(",") if name))
    if unknown := [name for name in names if name not in _PACKAGES]:
        raise SpecError(f"{VARIABLE}: expected of {', '.join(_PACKAGES)}, got {name}" for name in unknown)
    return names


def missing(names: Iterable[str]) -> list[str]:
    """Return a line for each of these trackers that is not installed; the caller puts the file that names it in front."""
    return [
        f"report_to: expected {name} to be installed, got none; pip install 'fino1[{name}]'"
        for name in dict.fromkeys(names)
        if not any(map(_is_installed, _PACKAGES[name]))
    ]


def hide_others() -> None:
    """Make imports of the trackers that are not named fail: deepspeed and trl import all that are installed, in two seconds."""
    for name in _PACKAGES.keys() - set(from_environment()):
        sys.modules.setdefault(name, None)  # type: ignore[arg-type]  # None: an import of it raises ImportError


def check(source: str) -> None:
    """Raise SpecError, naming `source`, for a tracker that the environment names and that is not installed."""
    if problems := missing(from_environment()):
        raise SpecError(f"{source}: {text}" for text in problems)


def _is_installed(package: str) -> bool:
    """Return True if the package's metadata is there: an import would find any folder of its name, such as W&B's `wandb`."""
    try:
        version(package)
    except PackageNotFoundError:
        return False
    return True
