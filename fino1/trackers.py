"""Which trackers is a run told of, and are they installed? (docs/design.md C11)

Trackers are placement (docs/design.md C3): no part of `config.json`. The pod and the local backend name them in FINO1_REPORT_TO.
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


def named() -> list[str]:
    """Which trackers does the environment name, each once? Raises SpecError for one that is none."""
    names = list(dict.fromkeys(name for name in os.environ.get(VARIABLE, "").split(",") if name))
    if unknown := [name for name in names if name not in _PACKAGES]:
        raise SpecError(f"{VARIABLE}: expected of {', '.join(_PACKAGES)}, got {name}" for name in unknown)
    return names


def missing(names: Iterable[str]) -> list[str]:
    """Which of these are not installed? One line each, without the file that asks for it."""
    return [
        f"report_to: expected {name} to be installed, got none; pip install 'fino1[{name}]'"
        for name in dict.fromkeys(names)
        if not any(map(_is_installed, _PACKAGES[name]))
    ]


def hide_others() -> None:
    """Let no import find a tracker that is not named: deepspeed and trl import all there are, for two seconds."""
    for name in _PACKAGES.keys() - set(named()):
        sys.modules.setdefault(name, None)  # type: ignore[arg-type]  # None: an import of it raises ImportError


def check(source: str) -> None:
    """Can the run that `source` describes report? Raises SpecError."""
    if problems := missing(named()):
        raise SpecError(f"{source}: {text}" for text in problems)


def _is_installed(package: str) -> bool:
    """By its metadata: an import finds any folder of that name, such as the `wandb` that W&B leaves in the current one."""
    try:
        version(package)
    except PackageNotFoundError:
        return False
    return True
