"""What is a whole cluster on this machine: one node, its containers and network, and the servers around it?

Fixed on the machine, so one at a time: the bridge fino1br0 (10.244.0.1/24) with the API server on 6443, the kubelet on 10250
and DNS on 53; on 127.0.0.1 the registry on 5000 and health on 10248, 10249, 10256, 10257 and 10259. Nothing listens elsewhere.
Pods reach the node and each other, and nothing outside: whatever they send there is refused and counted (machine.py).
"""

import json
import secrets
import signal
import time
from pathlib import Path
from typing import Any

from tests.cluster.tools import configuration, machine, oci, programs
from tests.cluster.tools.api import ApiError
from tests.cluster.tools.configuration import NODE, REGISTRY
from tests.cluster.tools.instance import START_S, Instance

USERS = {  # user: (group, server that it is)
    "system:kube-controller-manager": ("", "kube-controller-manager"),
    "system:kube-scheduler": ("", "kube-scheduler"),
    "system:kube-proxy": ("", "kube-proxy"),
    f"system:node:{NODE}": ("system:nodes", "kubelet"),
    "coredns": ("system:masters", "coredns"),
}


class Node(Instance):
    """An instance whose objects run."""

    host = machine.ADDRESS
    # In the order of their start; they end in the other order.
    servers = (
        "etcd",
        "kube-apiserver",
        "registry",
        "containerd",
        "kube-controller-manager",
        "kube-scheduler",
        "coredns",
        "kube-proxy",
        "kubelet",
    )

    def __init__(self, folder: Path, die_with_parent: bool = False) -> None:
        super().__init__(folder, die_with_parent)
        self.eviction_hard = {"memory.available": "200Mi", "nodefs.available": "1%", "imagefs.available": "1%"}

    @property
    def volumes(self) -> Path:
        """Under which folder do the volumes lie, as NAMESPACE/CLAIM?"""
        return self.folder / "volumes"

    def up(self) -> None:
        """Start everything in an empty folder; return when the node is Ready."""
        machine.refuse_strangers()
        self.settings = machine.settings()
        super().up()
        self._start("registry", [str(programs.server("registry")), "serve", str(self.folder / "registry.yaml")])
        sandbox = _patiently(lambda: oci.push(REGISTRY, "pause", programs.server("pause"), "/pause"))
        self._write("containerd.toml", configuration.containerd(self.folder, sandbox))
        self._start("containerd", ["/usr/bin/containerd", "--config", str(self.folder / "containerd.toml")])
        kubernetes = programs.kubernetes()
        manager = [
            f"--root-ca-file={self.pki / 'apiserver.crt'}",
            f"--service-account-private-key-file={self.pki / 'apiserver.key'}",
            "--bind-address=127.0.0.1",
            "--leader-elect=false",
            "--use-service-account-credentials",  # the controllers' rights are those of their accounts
            "--kube-api-qps=100",
            "--kube-api-burst=200",
        ]
        for name, arguments in (
            ("kube-controller-manager", manager),
            ("kube-scheduler", ["--bind-address=127.0.0.1", "--leader-elect=false"]),
        ):
            self._start(name, [str(kubernetes / name), f"--kubeconfig={self._user(name)}", *arguments])
        self._start("coredns", [str(programs.server("coredns")), "-conf", str(self.folder / "Corefile")])
        self._start("kube-proxy", [str(kubernetes / "kube-proxy"), f"--config={self.folder / 'kube-proxy.json'}"])
        self.start_kubelet()

    def start_kubelet(self) -> None:
        """Start the kubelet with the eviction thresholds of now; return when the node is Ready."""
        began = time.time()
        self._write("kubelet.json", configuration.kubelet(self.folder, self.eviction_hard))
        self._start(
            "kubelet",
            [
                str(programs.kubernetes() / "kubelet"),
                f"--config={self.folder / 'kubelet.json'}",
                f"--kubeconfig={self._user('kubelet')}",
                f"--root-dir={self.folder / 'kubelet'}",
                f"--cert-dir={self.pki / 'kubelet'}",
                f"--hostname-override={NODE}",
                f"--node-ip={self.host}",
            ],
        )
        deadline = time.monotonic() + START_S
        while not self._ready_since(began):
            for name in self.servers:
                self._check(name, deadline)
            time.sleep(0.1)

    def stop_kubelet(self) -> None:
        """Stop the kubelet; the pods stay."""
        self._stop("kubelet")

    def clear(self) -> None:
        """End the processes and containers that were started here, put the machine back, and empty the folder."""
        for name in reversed(self.servers):
            self._stop(name, signal.SIGKILL)
        if self.settings:
            machine.restore(self.settings, self.folder)
            self.settings = {}
        super().clear()

    def _ready_since(self, moment: float) -> bool:
        """Has the kubelet that started then said that the node is ready?"""
        try:
            conditions = self.api.call("GET", f"/api/v1/nodes/{NODE}")["status"].get("conditions", [])
        except (ApiError, OSError):
            return False
        ready = next((c for c in conditions if c["type"] == "Ready"), None)
        heard = ready and time.mktime(time.strptime(ready["lastHeartbeatTime"], "%Y-%m-%dT%H:%M:%SZ")) - time.timezone
        return bool(ready and ready["status"] == "True" and heard >= int(moment))

    def _begin(self) -> None:
        super()._begin()
        self.ports["kube-apiserver"] = 6443
        self._record()
        tokens = {user: secrets.token_hex(16) for user in USERS}
        with (self.folder / "tokens.csv").open("a") as file:
            for user, (group, _) in USERS.items():
                file.write(f'{tokens[user]},{user},{user},"{group}"\n')
        (self.folder / "users").mkdir()
        for user, (_, server) in USERS.items():
            self._write_user(self._user(server), user, tokens[user])
        machine.prepare()
        self._write_configuration()

    def _user(self, server: str) -> Path:
        """Which kubeconfig has the server?"""
        return self.folder / "users" / server

    def _write_configuration(self) -> None:
        """Write all files that the servers read, and the API server's certificate for the kubelet."""
        self.pki.mkdir()
        subject = ["-subj", "/O=system:masters/CN=kube-apiserver", "-addext", "extendedKeyUsage=clientAuth"]
        key, certificate = self.pki / "kubelet-client.key", self.pki / "kubelet-client.crt"
        out = ["-keyout", str(key), "-out", str(certificate), "-days", "30", "-nodes"]
        machine.run("openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", *out, *subject)
        self._write("cni/10-fino1.conflist", configuration.cni(self.folder))
        self._write("certs.d/ghcr.io/hosts.toml", f'[host."http://{REGISTRY}"]\ncapabilities = ["pull", "resolve"]\n')
        self._write("registry.yaml", configuration.registry(self.folder))
        self._write("Corefile", configuration.corefile(self._user("coredns")))
        self._write("kube-proxy.json", configuration.kube_proxy(self._user("kube-proxy")))
        self._write("resolv.conf", f"nameserver {self.host}\n")
        self.volumes.mkdir(mode=0o755)

    def _write(self, name: str, content: str | dict[str, Any]) -> None:
        """Write a file of the folder; a dict as JSON, which is YAML."""
        file = self.folder / name
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(content if isinstance(content, str) else json.dumps(content, indent=1) + "\n")

    def _apiserver_command(self) -> list[str]:
        lone = "--endpoint-reconciler-type=none"  # here pods reach the API server, so its Endpoints are wanted
        return [
            *(option for option in super()._apiserver_command() if option != lone),
            f"--kubelet-client-certificate={self.pki / 'kubelet-client.crt'}",
            f"--kubelet-client-key={self.pki / 'kubelet-client.key'}",
        ]


def _patiently(ask: Any) -> Any:
    """What does a server answer that has only just been started?"""
    deadline = time.monotonic() + START_S
    while True:
        try:
            return ask()
        except OSError:
            if time.monotonic() > deadline:
                raise
            time.sleep(0.1)
