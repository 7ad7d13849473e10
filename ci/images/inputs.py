"""What goes into a build besides the Dockerfile: base image, wheels, and this machine's package configuration?"""

import ast
import atexit
import functools
import os
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from ci.images.engine import Engine
from tests.cluster.tools import cache, packages
from tests.cluster.tools.cache import ToolError, say

REPOSITORY = Path(__file__).parents[2]
SUITE, MIRROR = "bookworm", "http://deb.debian.org"  # has Python 3.11, which torch's CPU wheel is made for
_SECRETS = "/run/secrets"
_PIP_OPTIONS = ("index-url", "extra-index-url", "trusted-host", "proxy", "timeout", "default-timeout", "retries")


def debian(builder: Engine) -> str:
    """Which image is a minimal Debian, made here by debootstrap? For machines that can pull no published base."""
    reference = f"localhost/fino1/debian:{SUITE}"
    if not builder.describe(reference)[0]:
        folder = cache.entry(f"debian-{SUITE}-minbase", _debootstrap)
        say(f"{reference} from {folder}")
        builder.build(folder, reference)
    return reference


def _debootstrap(keep: Path) -> None:
    if os.geteuid() != 0:
        raise ToolError("debootstrap needs root; without it name a base image: BASE=published or BASE=IMAGE")
    packages.install({"debootstrap": "debootstrap"})
    say(f"debootstrap {SUITE}")
    root = cache.scratch(keep) / "root"
    command = ["debootstrap", "--variant=minbase", SUITE, str(root), f"{MIRROR}/debian"]
    ran = subprocess.run(command, capture_output=True, text=True)
    if ran.returncode:
        raise ToolError(f"debootstrap: {ran.stdout[-2000:]}{ran.stderr[-2000:]}")
    suites = [("debian", SUITE), ("debian", f"{SUITE}-updates"), ("debian-security", f"{SUITE}-security")]
    lines = [f"deb {MIRROR}/{archive} {suite} main\n" for archive, suite in suites]
    (root / "etc/apt/sources.list").write_text("".join(lines))
    for name in ("etc/hostname", "etc/resolv.conf"):  # copies of this machine's
        (root / name).unlink()
    for pattern in ("var/cache/apt/archives/*.deb", "var/lib/apt/lists/*_*", "var/log/*.log"):
        for file in root.glob(pattern):
            file.unlink()
    subprocess.run(["tar", "--sort=name", "-C", root, "-cf", keep / "rootfs.tar", "."], check=True)
    (keep / "Dockerfile").write_text("FROM scratch\nADD rootfs.tar /\n")


def find_links() -> list[str]:
    """Where does pip look for wheels besides its index? `../shared/wheels` counts where it exists."""
    shared = REPOSITORY.parent / "shared" / "wheels"
    return [*pip().get("find-links", "").split(), *([str(shared)] if shared.is_dir() else [])]


@contextmanager
def context(part: str, torch: str) -> Iterator[Path]:
    """Lay out the build context: requirements of the part, fino1's wheel, torch's for the CPU where it is asked for."""
    with tempfile.TemporaryDirectory(prefix="fino1-image-") as name:
        folder = Path(name)
        wheels = folder / "wheels"
        shutil.copytree(_fino1(), wheels)
        for file in (REPOSITORY / "images" / part).glob("requirements*.txt"):
            shutil.copyfile(file, folder / file.name)
        if part == "train" and torch == "cpu":
            for source in find_links():
                for wheel in Path(source).glob("torch-*+cpu-*.whl"):
                    shutil.copyfile(wheel, wheels / wheel.name)
        yield folder


@functools.cache
def _fino1() -> Path:
    """A folder with fino1's wheel, made once for all images of this process: its build fetches hatchling, which takes 10 s."""
    folder = Path(tempfile.mkdtemp(prefix="fino1-wheel-"))
    atexit.register(shutil.rmtree, folder, ignore_errors=True)
    command = [sys.executable, "-m", "pip", "wheel", "--quiet", "--no-deps", "--wheel-dir", folder, REPOSITORY]
    ran = subprocess.run(command, capture_output=True, text=True)
    if ran.returncode:
        raise ToolError(f"fino1's wheel: {ran.stderr.strip()}")
    return folder


@contextmanager
def secrets() -> Iterator[list[str]]:
    """Which options hand this machine's package configuration to a build, without a trace in the image?"""
    with tempfile.TemporaryDirectory(prefix="fino1-secrets-") as name:
        folder, options, told = Path(name), pip(), {}
        if trusted := certificates():
            shutil.copyfile(trusted, folder / "ca")
            told["cert"] = f"{_SECRETS}/ca"
        told |= {option: options[option] for option in _PIP_OPTIONS if option in options}
        if urls := [link for link in options.get("find-links", "").split() if "://" in link]:
            told["find-links"] = " ".join(urls)
        text = "".join(f"{option} = {value}\n".replace("\n", "\n  ").rstrip(" ") for option, value in told.items())
        (folder / "pip").write_text(f"[global]\n{text}")
        (folder / "apt").write_text(_apt())
        yield [f"--secret=id={file.name},src={file}" for file in sorted(folder.iterdir())]


def certificates() -> str | None:
    """Which file has the certificates that this machine's pip trusts? None where pip's own do."""
    return pip().get("cert") or os.environ.get("SSL_CERT_FILE")


def pip() -> dict[str, str]:
    """What are pip's options on this machine? The effective ones: the environment's win over the files'."""
    said = subprocess.run([sys.executable, "-m", "pip", "config", "list"], capture_output=True, text=True, check=True)
    strongest_last = sorted(said.stdout.splitlines(), key=lambda line: line.startswith(":env:"))
    lines = (line.partition("=") for line in strongest_last)
    return {key.rpartition(".")[2]: ast.literal_eval(value) for key, _, value in lines}


def _apt() -> str:
    """How apt fetches on this machine (proxies, checks)."""
    if not shutil.which("apt-config"):
        return ""
    said = subprocess.run(["apt-config", "dump"], capture_output=True, text=True, check=True).stdout
    lines = [line for line in said.splitlines() if line.startswith("Acquire::")]
    named = [f'Acquire::https::CaInfo "{_SECRETS}/ca";' if "CaInfo" in line else line for line in lines]
    return "\n".join(named) + "\n"
