"""Which program builds images here, and how is it asked, so that nothing of the user's own containers is touched?

podman and buildah work in a storage of ours, `${XDG_CACHE_HOME:-~/.cache}/fino1/containers`; docker's is its daemon's.
"""

import os
import resource
import shutil
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from tests.cluster.tools import cache, packages
from tests.cluster.tools.cache import ToolError

OF_OUR_STORAGE = ("podman", "buildah")
ENGINES = (*OF_OUR_STORAGE, "docker")
# Builds share the host's network: no bridge and no iptables rule that would have to be removed afterwards.
_NETWORK = ["--network", "host"]


@dataclass(frozen=True)
class Engine:
    """One of ENGINES, and how every command of it begins."""

    name: str
    command: tuple[str, ...]
    environment: dict[str, str]

    def ask(self, *arguments: str, stdin: str | None = None) -> str:
        """What does the engine print? Raises ToolError with what it said where it fails."""
        command = [*self.command, *arguments]
        ran = subprocess.run(command, env=self.environment, input=stdin, capture_output=True, text=True)
        if ran.returncode:
            raise ToolError(f"{self.name} {' '.join(arguments)}: {(ran.stderr or ran.stdout).strip()[-3000:]}")
        return ran.stdout.strip()

    @contextmanager
    def alone(self) -> Iterator[None]:
        """One build at a time for this block: `prune` takes away the layers that another one is making."""
        with cache.lock("images"):
            yield

    def build(self, context: Path, reference: str, *arguments: str) -> None:
        """Build `context`, layers cached, as `reference`."""
        ours = [] if self.name == "docker" else ["--format", "oci", "--layers", *_NETWORK]
        self.ask("build", *ours, *arguments, "--tag", reference, str(context))

    def run(self, reference: str, program: str, *arguments: str, stdin: str | None = None) -> str:
        """What does a program of the image print? It has no network, and its container is removed."""
        if self.name != "buildah":
            options = ["--rm", "--interactive", "--network", "none", "--entrypoint", program]
            return self.ask("run", *options, reference, *arguments, stdin=stdin)
        container = self.ask("from", reference)
        try:
            return self.ask("run", "--network", "none", container, "--", program, *arguments, stdin=stdin)
        finally:
            self.ask("rm", container)

    def describe(self, reference: str) -> tuple[str, str]:
        """The image's id (the digest of its config, the same wherever it is pushed) and size; ("", "") where there is none."""
        found = self.ask("images", "--no-trunc", "--format", "{{.ID}}\t{{.Size}}", reference)
        return tuple(found.splitlines()[0].split("\t")) if found else ("", "")

    def prune(self) -> None:
        """Remove the images without a name that builds leave (inside `alone`); docker's are not only ours."""
        if self.name == "podman":
            self.ask("image", "prune", "--force", "--external")  # and the containers of a build that was killed
        elif self.name == "buildah":
            self.ask("rmi", "--prune")


def find(name: str | None = None, among: tuple[str, ...] = ENGINES) -> Engine:
    """Which engine: the one named, else the first of `among` that works here, else podman, installed by apt (root)."""
    found = [each for each in ([name] if name else among) if _works(each)]
    if not found and name in (None, "podman"):
        packages.install({"podman": "podman", "runc": "runc"})
        found = ["podman"]
    if not found:
        raise ToolError(f"ENGINE: expected one of {', '.join(ENGINES)} that works here, got {name}")
    if found[0] == "docker":
        return Engine("docker", ("docker",), os.environ | {"DOCKER_BUILDKIT": "1"})
    storage, state = cache.root().parent / "containers", _state()
    storage.mkdir(parents=True, exist_ok=True)
    state.mkdir(mode=0o700, parents=True, exist_ok=True)
    conf = storage / "containers.conf"
    conf.write_text(_configuration(state))
    # Without skip_mount_home the storage stays mounted on itself after every command.
    options = ("--root", str(storage), "--runroot", str(state), "--storage-driver", "overlay")
    options += ("--storage-opt", "overlay.skip_mount_home=true")
    return Engine(found[0], (found[0], *options), os.environ | {"CONTAINERS_CONF": str(conf)})


def _works(name: str) -> bool:
    """Is it in PATH, and is docker's daemon there? Its client often comes alone."""
    if not shutil.which(name):
        return False
    return name != "docker" or subprocess.run(["docker", "version"], capture_output=True).returncode == 0


def _state() -> Path:
    """Where are locks and mounts recorded? In memory: after a reboot a record of mounts would be wrong."""
    memory = os.environ.get("XDG_RUNTIME_DIR") or ("/run" if os.geteuid() == 0 else f"/tmp/{os.getuid()}")  # noqa: S108
    return Path(memory) / "fino1-containers"


def _configuration(state: Path) -> str:
    """The settings: crun refuses hybrid cgroups, systemd may be absent, and without CAP_SYS_RESOURCE no limit rises."""
    limits = {"nofile": (resource.RLIMIT_NOFILE, 20000), "nproc": (resource.RLIMIT_NPROC, 30000)}
    # podman lowers its own limit of processes (seen: below 96365), so the machine's is no measure; enough is enough.
    most = {
        name: min(n for n in (*resource.getrlimit(kind), enough) if n >= 0) for name, (kind, enough) in limits.items()
    }
    ulimits = ", ".join(f'"{name}={limit}:{limit}"' for name, limit in most.items())
    return (
        f'[engine]\nruntime = "runc"\ncgroup_manager = "cgroupfs"\nevents_logger = "file"\ntmp_dir = "{state}/libpod"\n'
        f"[containers]\ndefault_ulimits = [{ulimits}]\n"
    )
