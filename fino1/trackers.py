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
    """The trackers that FINO1_REPORT_TO names, each once. Raises SpecError for one that is unknown."""
    names = list(dict.fromkeys(name for name in os.environ.get(VARIABLE, "").split(",") if name))
    if unknown := [name for name in names if name not in _PACKAGES]:
        raise SpecError(f"{VARIABLE}: expected of {', '.join(_PACKAGES)}, got {name}" for name in unknown)
    return names


def missing(names: Iterable[str]) -> list[str]:
    """One line for each of these trackers that is not installed, without the file that asks for it."""
    return [
        f"report_to: expected {name} to be installed, got none; pip install 'fino1[{name}]'"
        for name in dict.fromkeys(names)
        if not any(map(_is_installed, _PACKAGES[name]))
    ]


def hide_others() -> None:
    """Let no import find a tracker that is not named: deepspeed and trl import all there are, for two seconds."""
    for name in _PACKAGES.keys() - set(from_environment()):
        sys.modules.setdefault(name, None)  # type: ignore[arg-type]  # None: an import of it raises ImportError


def check(source: str) -> None:
    """Raise SpecError, naming `source`, for a tracker that the environment names and that is not installed."""
    if problems := missing(from_environment()):
        raise SpecError(f"{source}: {text}" for text in problems)


def _is_installed(package: str) -> bool:
    """Look for its metadata: an import finds any folder of that name, such as the `wandb` that W&B leaves behind."""
    try:
        version(package)
    except PackageNotFoundError:
        return False
    return True
