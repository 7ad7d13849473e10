"""Where does a server find the model that is asked? Under a path that is known before a run's directory is (docs/design.md C13).

The server's container is started with a fixed command line, and `{run: NAME}` is known only once that run has finished.
"""

import contextlib
import os
import secrets
from pathlib import Path

from fino1 import runs
from fino1.errors import SpecError
from fino1.spec.evaluation import EvalModel
from fino1.spec.run import RunSpec


def find_served(spec: RunSpec, source: str) -> tuple[str, EvalModel]:
    """Return the key and the one model without `base_url`. Raises SpecError, naming the config `source`, for none or several."""
    found = [(key, model) for key, model in spec.asked.items() if model.base_url is None]
    if len(found) != 1:
        names = ", ".join(model.name for _, model in found) or "none"
        raise SpecError(f"{source}: {spec.method}: expected one model without base_url, got {names}")
    return found[0]


def link(key: str, model: EvalModel, to: Path, work: Path) -> str:
    """Make `to` a symbolic link to the model's directory; returns a line to print about it. A model of the hub needs no link.

    An older link is replaced atomically. Raises SpecError where the model is not there, or `to` is something else.
    """
    where, _ = runs.resolve(model, work, key=key)
    if model.hub is not None:
        return f"{model.name}: {where} is taken from the hub by its name, no link is needed"
    target = Path(where).resolve()
    if to.is_symlink() or not to.exists():
        _replace(to, target)
        return f"{model.name}: {to} -> {target}"
    raise SpecError(f"--to: {to}: expected a link or nothing there, got a {'directory' if to.is_dir() else 'file'}")


def _replace(to: Path, target: Path) -> None:
    temporary = to.with_name(f".{to.name}.{secrets.token_hex(6)}.tmp")
    try:
        to.parent.mkdir(parents=True, exist_ok=True)
        temporary.symlink_to(target, target_is_directory=True)
        os.replace(temporary, to)
    except (PermissionError, FileExistsError, NotADirectoryError) as error:
        with contextlib.suppress(OSError):
            temporary.unlink()
        raise SpecError(f"--to: {to}: expected a place that can be written, got {error.strerror}") from error
