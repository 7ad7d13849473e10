"""Which of Debian's packages are missing here? They are installed by apt, as root; none of ours starts a daemon by it."""

import os
import shutil
import subprocess
from collections.abc import Mapping

from tests.cluster.tools import cache
from tests.cluster.tools.cache import ToolError, say


def install(needed: Mapping[str, str]) -> None:
    """Install those packages of `needed` (package: a program of it, by name or by path) whose program is missing.

    Raises ToolError with the command to type where this process may not install them, or where apt fails.
    """
    missing = _missing(needed)
    if not missing:
        return
    options = ["install", "--yes", "--no-install-recommends"]
    if os.geteuid() != 0 or not shutil.which("apt-get"):
        programs = ", ".join(needed[name] for name in missing)
        raise ToolError(f"expected {programs}: apt-get {' '.join([*options, *missing])}")
    with cache.lock("apt"):  # which refuses where another one runs
        missing = _missing(needed)  # the one that we waited for may have installed some
        say(f"installing {', '.join(missing)}")
        for command in (["update"], [*options, *missing]):
            ran = subprocess.run(["apt-get", "--quiet", *command], capture_output=True, text=True)
            if ran.returncode:
                raise ToolError(f"apt-get {' '.join(command)}: {(ran.stderr or ran.stdout).strip()}")


def _missing(needed: Mapping[str, str]) -> list[str]:
    return [package for package, program in needed.items() if not shutil.which(program)]
