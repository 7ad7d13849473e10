"""What of this machine does a node change, and how is it put back?

A bridge, rules of iptables, five kernel settings, mounts and control groups: all under names of ours, or written down first.
Linux, root.
"""

import contextlib
import os
import shlex
import shutil
import signal
import subprocess
import time
from pathlib import Path

from tests.cluster.tools import packages
from tests.cluster.tools.cache import ToolError

BRIDGE = "fino1br0"
ADDRESS, SUBNET = "10.244.0.1", "10.244.0.0/24"
EGRESS = "FINO1-EGRESS"  # the chain that refuses, and counts, what pods send out of the cluster
CNI = Path("/usr/lib/cni")
CGROUPS = Path("/sys/fs/cgroup")
PODS = "kubepods"  # the kubelet's control group
_PACKAGES = {  # Debian's, with a program of each
    "containerd": "/usr/bin/containerd",
    "runc": "/usr/sbin/runc",
    "containernetworking-plugins": str(CNI / "bridge"),
    "iptables": "/usr/sbin/iptables",
    "conntrack": "/usr/sbin/conntrack",
    "iproute2": "/usr/sbin/ip",
    "openssl": "/usr/bin/openssl",
}
_OURS = {"net.ipv4.ip_forward": "1", "net.bridge.bridge-nf-call-iptables": "1"}
_KUBELETS = ("vm.overcommit_memory", "kernel.panic", "kernel.panic_on_oops")
_CHAINS = (":KUBE-", ":FINO1-")
_FAMILIES = ("iptables", "ip6tables")


def run(*command: str, check: bool = True) -> str:
    """What does the command print? Raises ToolError with what it said where it fails."""
    ran = subprocess.run(command, capture_output=True, text=True)
    if check and ran.returncode:
        raise ToolError(f"{' '.join(command)} failed with {ran.returncode}: {(ran.stderr or ran.stdout).strip()}")
    return ran.stdout


def install() -> None:
    """Install the packages that a node needs."""
    if os.geteuid() != 0:
        raise ToolError(
            "a node needs root: it mounts, makes a bridge and starts containers (`up` without --node does not)"
        )
    packages.install(_PACKAGES)


def settings() -> dict[str, str]:
    """Which values have the kernel settings that a node changes? For `restore`, before `prepare`."""
    if shutil.which("modprobe"):
        run("modprobe", "br_netfilter", check=False)  # without it the bridge's packets pass by kube-proxy's rules
    if not _setting("net.bridge.bridge-nf-call-iptables").exists():
        raise ToolError("the kernel has no br_netfilter, without which Services do not work on one bridge")
    return {name: _setting(name).read_text().strip() for name in (*_OURS, *_KUBELETS) if _setting(name).exists()}


def refuse_strangers() -> None:
    """Raise if another node's things are here: we would end what is not ours."""
    if (CGROUPS / "pids" / PODS).exists():
        raise ToolError(f"{CGROUPS / 'pids' / PODS} exists: another kubelet runs on this machine, or one has crashed")
    if BRIDGE in run("ip", "-brief", "link"):
        raise ToolError(f"the bridge {BRIDGE} exists; if it is no running cluster's: ip link delete {BRIDGE}")


def prepare() -> None:
    """Make the bridge that the pods share with this machine, and refuse what they send anywhere else."""
    run("ip", "link", "add", BRIDGE, "type", "bridge")
    run("ip", "address", "add", f"{ADDRESS}/24", "dev", BRIDGE)
    run("ip", "link", "set", BRIDGE, "up")
    for name, value in _OURS.items():
        _setting(name).write_text(value)
    run("iptables", "-N", EGRESS)
    run("iptables", "-A", EGRESS, "-j", "REJECT")
    run("iptables", "-I", "FORWARD", "-i", BRIDGE, "!", "-o", BRIDGE, "-j", EGRESS)


def refused_packets() -> int:
    """How many packets did pods send out of the cluster?"""
    return int(run("iptables", "-nvxL", EGRESS).splitlines()[2].split()[0])


def leftovers(folder: Path) -> list[str]:
    """What is there of a node? Nothing, once it is down."""
    chains = [
        f"{family} {line.split()[0][1:]}"
        for family in _FAMILIES
        for line in run(f"{family}-save", check=False).splitlines()
        if line.startswith(_CHAINS)
    ]
    return [
        *(f"process {pid}" for pid in [*_pods_processes(), *_shims(folder)]),
        *(f"mount {point}" for point in _mounts(folder)),
        *(f"control group {group}" for group in CGROUPS.glob(f"*/{PODS}")),
        *([f"bridge {BRIDGE}"] if BRIDGE in run("ip", "-brief", "link") else []),
        *chains,
    ]


def restore(before: dict[str, str], folder: Path) -> None:
    """Put the machine back: end the containers that hang on `folder`, unmount, remove groups, bridge and rules."""
    _end_containers(folder)
    for mount in _mounts(folder):
        run("umount", "--lazy", mount, check=False)
    for group in CGROUPS.glob(f"*/{PODS}"):
        for each in sorted((path for path in group.rglob("*") if path.is_dir()), reverse=True):
            each.rmdir()
        group.rmdir()
    run("ip", "link", "delete", BRIDGE, check=False)
    for family in _FAMILIES:
        for table in ("filter", "nat", "mangle"):
            _remove_chains(family, table)
    for name, value in before.items():
        _setting(name).write_text(value)


def _end_containers(folder: Path) -> None:
    """SIGKILL every process of a pod, then the shims that watched them: a shim's end alone would leave containers."""
    deadline = time.monotonic() + 20
    while pids := _pods_processes() or _shims(folder):
        for pid in pids:
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
        if time.monotonic() > deadline:
            raise ToolError(f"processes of pods do not end: {pids}")
        time.sleep(0.05)


def _pods_processes() -> list[int]:
    """Which processes run in pods?"""
    files = (CGROUPS / "pids").glob(f"{PODS}/**/cgroup.procs")
    return [int(pid) for file in files for pid in file.read_text().split()]


def _shims(folder: Path) -> list[int]:
    """Which processes are shims of the containerd in `folder`?"""
    found = []
    for file in Path("/proc").glob("[0-9]*/cmdline"):
        with contextlib.suppress(OSError):
            command = file.read_text().split("\0")
            if "containerd-shim" in command[0] and any(word.startswith(str(folder)) for word in command):
                found.append(int(file.parent.name))
    return found


def _mounts(folder: Path) -> list[str]:
    """What is mounted under `folder`? The innermost first."""
    points = [line.split()[4] for line in Path("/proc/self/mountinfo").read_text().splitlines()]
    return sorted((point for point in points if Path(point).is_relative_to(folder)), reverse=True)


def _remove_chains(family: str, table: str) -> None:
    """Remove the chains that a node makes, and the rules that lead to them."""
    saved = run(f"{family}-save", "-t", table, check=False).splitlines()
    ours = [line[1:].split()[0] for line in saved if line.startswith(_CHAINS)]
    for line in saved:
        words = line.split()
        if words[:1] == ["-A"] and words[1] not in ours and set(words[2:]) & set(ours):
            run(family, "-t", table, "-D", *shlex.split(line)[1:])
    for verb in ("-F", "-X"):
        for chain in ours:
            run(family, "-t", table, verb, chain)


def _setting(name: str) -> Path:
    return Path("/proc/sys") / name.replace(".", "/")
