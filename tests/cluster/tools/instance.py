"""What is one running API server: which processes, files and ports, and how do they start and end?"""

import json
import random
import secrets
import shutil
import signal
import socket
import time
from collections.abc import Iterator
from dataclasses import asdict
from pathlib import Path

from tests.cluster.tools import processes, programs
from tests.cluster.tools.api import Api
from tests.cluster.tools.cache import ToolError
from tests.cluster.tools.processes import Process

START_S = 180  # seconds that a server may take to answer; 4 on an idle machine, 36 were seen on a busy one


class Instance:
    """One etcd and one kube-apiserver with their data in `folder`."""

    host = "127.0.0.1"  # where the API server listens
    servers = ("etcd", "kube-apiserver")

    def __init__(self, folder: Path, die_with_parent: bool = False) -> None:
        self.folder = folder.absolute()
        self.die_with_parent = die_with_parent
        self.state_file = self.folder / "instance.json"
        self.kubeconfig = self.folder / "kubeconfig"
        self.pki = self.folder / "pki"
        state = json.loads(self.state_file.read_text()) if self.state_file.exists() else {}
        self.ports: dict[str, int] = state.get("ports", {})
        self.token: str = state.get("token", "")
        self.settings: dict[str, str] = state.get("settings", {})  # of the kernel, as they were; a Node changes them
        self.processes = {name: Process(**process) for name, process in state.get("processes", {}).items()}

    @property
    def server(self) -> str:
        """Which address does the API server have?"""
        return f"https://{self.host}:{self.ports['kube-apiserver']}"

    @property
    def api(self) -> Api:
        """The API as the administrator sees it."""
        return Api(self.server, self.pki / "apiserver.crt", self.token)

    def running(self) -> bool:
        """Did `up` finish here, and do all processes still run?"""
        alive = {name for name, process in self.processes.items() if process.alive()}
        return alive == set(self.servers) and self.kubeconfig.exists()

    def up(self) -> None:
        """Start everything in an empty folder; return when the CRDs are served."""
        crds = programs.crds()
        self._begin()
        self._start("etcd", self._etcd_command())
        self.start_apiserver()
        # What a controller-manager would make: without it no pod in `default` is admitted.
        account = {"apiVersion": "v1", "kind": "ServiceAccount", "metadata": {"name": "default"}}
        self.api.apply("/api/v1/namespaces/default/serviceaccounts/default", json.dumps(account).encode())
        self.api.install_crds(crds)
        self._write_kubeconfig()  # last: where it is, the instance is whole

    def _begin(self) -> None:
        """Choose what the instance is known by, and record it first: a folder without that file is not ours to empty."""
        self.ports = dict(zip(("kube-apiserver", "etcd", "etcd-peer"), free_ports(3), strict=True))
        self.token = secrets.token_hex(16)
        self.folder.chmod(0o700)  # it will hold the administrator's token
        self._record()
        (self.folder / "tokens.csv").write_text(f'{self.token},admin,admin,"system:masters"\n')

    def clear(self) -> None:
        """End the processes that were recorded here, if they still run, and empty the folder."""
        for name in list(self.processes):
            self._stop(name, signal.SIGKILL)  # at once: what they hold goes too
        for path in set(self.folder.iterdir()) - {self.state_file}:
            shutil.rmtree(path) if path.is_dir() else path.unlink()
        self.state_file.unlink(missing_ok=True)

    def down(self) -> None:
        """End the processes that were recorded here, and remove the folder."""
        self.clear()
        self.folder.rmdir()

    def start_apiserver(self) -> None:
        """Start the API server, on the same port and data as before if there was one; return when it is ready."""
        self._start("kube-apiserver", self._apiserver_command())
        self.wait_ready()

    def wait_ready(self) -> None:
        """Return when the API server is ready; raise if it ends before, or takes too long."""
        deadline = time.monotonic() + START_S
        while not ((self.pki / "apiserver.crt").exists() and self.api.ready()):
            for name in self.processes:
                self._check(name, deadline)
            time.sleep(0.05)

    def stop_apiserver(self, number: int = signal.SIGTERM) -> None:
        """Stop the API server and leave etcd. SIGTERM ends watches in order, SIGKILL as a crash would."""
        self._stop("kube-apiserver", number)

    def _start(self, name: str, command: list[str]) -> None:
        assert not (name in self.processes and self.processes[name].alive()), f"{name} already runs"
        self.processes[name] = processes.start(command, self.folder / f"{name}.log", self.die_with_parent)
        self._record()

    def _stop(self, name: str, number: int = signal.SIGTERM) -> None:
        if name in self.processes:
            self.processes[name].end(number)
            del self.processes[name]
            self._record()

    def _check(self, name: str, deadline: float) -> None:
        """Raise if the server ended or takes too long, with the end of its log."""
        if self.processes[name].alive() and time.monotonic() < deadline:
            return
        why = "does not answer" if self.processes[name].alive() else "ended"
        log = (self.folder / f"{name}.log").read_text(errors="replace")
        raise ToolError(f"{name} {why}; the end of {self.folder / name}.log:\n{log[-3000:]}")

    def _record(self) -> None:
        """Write what `down` needs, before it is needed: temporary file, rename."""
        running = {name: asdict(process) for name, process in self.processes.items()}
        temporary = self.state_file.with_suffix(".new")
        state = {"ports": self.ports, "token": self.token, "settings": self.settings, "processes": running}
        temporary.write_text(json.dumps(state, indent=1))
        temporary.replace(self.state_file)

    def _etcd_command(self) -> list[str]:
        """Plain HTTP on loopback: other users of this machine could write to it, so keep nothing of worth here."""
        clients, peers = (f"http://127.0.0.1:{self.ports[name]}" for name in ("etcd", "etcd-peer"))
        return [
            str(programs.etcd()),
            f"--data-dir={self.folder / 'etcd'}",
            f"--listen-client-urls={clients}",
            f"--advertise-client-urls={clients}",
            f"--listen-peer-urls={peers}",
            f"--initial-advertise-peer-urls={peers}",
            f"--initial-cluster=default={peers}",
            "--unsafe-no-fsync",  # the data lives no longer than the tests
            "--log-level=warn",
        ]

    def _apiserver_command(self) -> list[str]:
        key = self.pki / "apiserver.key"  # written by the API server itself, before it reads the account keys
        return [
            str(programs.kubernetes() / "kube-apiserver"),
            f"--etcd-servers=http://127.0.0.1:{self.ports['etcd']}",
            f"--bind-address={self.host}",
            f"--advertise-address={self.host}",
            f"--secure-port={self.ports['kube-apiserver']}",
            f"--cert-dir={self.pki}",
            f"--token-auth-file={self.folder / 'tokens.csv'}",
            "--authorization-mode=Node,RBAC",
            "--enable-admission-plugins=NodeRestriction",
            "--service-account-issuer=https://kubernetes.default.svc",
            f"--service-account-signing-key-file={key}",
            f"--service-account-key-file={key}",
            "--service-cluster-ip-range=10.96.0.0/16",
            "--endpoint-reconciler-type=none",  # Endpoints may not hold a loopback address
            "--allow-privileged",
            "--shutdown-watch-termination-grace-period=2s",  # unset, an open watch holds a SIGTERM up for 60 s
            # Kubelets are not verified (no --kubelet-certificate-authority), so a test can be one.
            "--kubelet-preferred-address-types=InternalIP",
        ]

    def _write_kubeconfig(self) -> None:
        self._write_user(self.kubeconfig, "admin", self.token)

    def _write_user(self, file: Path, user: str, token: str) -> None:
        """JSON, which is YAML. The self-signed certificate comes with its authority in one file."""
        cluster = {"server": self.server, "certificate-authority": str(self.pki / "apiserver.crt")}
        content = {
            "apiVersion": "v1",
            "kind": "Config",
            "clusters": [{"name": "fino1", "cluster": cluster}],
            "users": [{"name": user, "user": {"token": token}}],
            "contexts": [{"name": "fino1", "context": {"cluster": "fino1", "user": user, "namespace": "default"}}],
            "current-context": "fino1",
        }
        file.write_text(json.dumps(content, indent=1) + "\n")


def free_ports(count: int) -> Iterator[int]:
    """Which ports are free? Below the range of outgoing connections, so that none is taken while a server restarts."""
    candidates = random.sample(range(20000, 32000), 500)
    for port in candidates:
        with socket.socket() as probe:
            try:
                probe.bind(("127.0.0.1", port))
            except OSError:
                continue
        yield port
        count -= 1
        if not count:
            return
    raise ToolError("no free port on 127.0.0.1 between 20000 and 32000")
