"""What do the node's servers read? One function a file; a dict is written as JSON, which is YAML."""

from pathlib import Path
from typing import Any

from tests.cluster.tools import machine

NODE = "fino1-node"
REGISTRY = "127.0.0.1:5000"
OPEN_FILES = 20000  # the hard limit on machines without CAP_SYS_RESOURCE


def containerd(folder: Path, sandbox: str) -> str:
    """What containerd reads, whose pods' first container is `sandbox`.

    oom_score_adj cannot be lowered without CAP_SYS_RESOURCE; there is no AppArmor.
    """
    return f"""version = 2
root = "{folder}/containerd"
state = "{folder}/run"
disabled_plugins = ["io.containerd.internal.v1.opt"]
[grpc]
address = "{folder}/containerd.sock"
[plugins."io.containerd.grpc.v1.cri"]
sandbox_image = "{sandbox}"
restrict_oom_score_adj = true
disable_apparmor = true
netns_mounts_under_state_dir = true
stream_server_address = "127.0.0.1"
[plugins."io.containerd.grpc.v1.cri".cni]
bin_dir = "{machine.CNI}"
conf_dir = "{folder}/cni"
[plugins."io.containerd.grpc.v1.cri".registry]
config_path = "{folder}/certs.d"
[plugins."io.containerd.grpc.v1.cri".containerd.runtimes.runc]
runtime_type = "io.containerd.runc.v2"
[plugins."io.containerd.grpc.v1.cri".containerd.runtimes.runc.options]
SystemdCgroup = false
"""


def kubelet(folder: Path, eviction_hard: dict[str, str]) -> dict[str, Any]:
    """What the kubelet reads. `eviction_hard`: signal to the amount below which it evicts."""
    return {
        "apiVersion": "kubelet.config.k8s.io/v1beta1",
        "kind": "KubeletConfiguration",
        "address": machine.ADDRESS,
        "healthzBindAddress": "127.0.0.1",
        "authentication": {
            "anonymous": {"enabled": False},
            "webhook": {"enabled": True},
            "x509": {"clientCAFile": str(folder / "pki" / "kubelet-client.crt")},
        },
        "authorization": {"mode": "Webhook"},
        "cgroupDriver": "cgroupfs",
        "failCgroupV1": False,
        "failSwapOn": False,
        "oomScoreAdj": 0,
        "maxOpenFiles": OPEN_FILES,
        "clusterDNS": [machine.ADDRESS],
        "clusterDomain": "cluster.local",
        "resolvConf": str(folder / "resolv.conf"),
        "containerRuntimeEndpoint": f"unix://{folder / 'containerd.sock'}",
        "enforceNodeAllocatable": ["pods"],
        "evictionHard": eviction_hard,
        "evictionPressureTransitionPeriod": "5s",
        "imageGCHighThresholdPercent": 100,
        "serializeImagePulls": False,
        "nodeStatusUpdateFrequency": "2s",
        "podLogsDir": str(folder / "pod-logs"),
        "volumePluginDir": str(folder / "volume-plugins"),
    }


def cni(folder: Path) -> dict[str, Any]:
    """How pods get their network. No masquerading: who has to leave the cluster has no business here."""
    addresses = {
        "type": "host-local",
        "ranges": [[{"subnet": machine.SUBNET, "rangeStart": "10.244.0.10", "gateway": machine.ADDRESS}]],
        "routes": [{"dst": "0.0.0.0/0"}],
        "dataDir": str(folder / "addresses"),
    }
    bridge = {"type": "bridge", "bridge": machine.BRIDGE, "isGateway": True, "hairpinMode": True, "ipam": addresses}
    return {"cniVersion": "1.0.0", "name": "fino1", "plugins": [bridge]}


def registry(folder: Path) -> dict[str, Any]:
    """What the registry reads."""
    return {
        "version": 0.1,
        "log": {"level": "warn"},
        "storage": {"filesystem": {"rootdirectory": str(folder / "registry")}, "delete": {"enabled": True}},
        "http": {"addr": REGISTRY},
    }


def corefile(kubeconfig: Path) -> str:
    """What CoreDNS reads. Names outside the cluster do not exist, and whoever asks for one is in the log.

    Two blocks: in one, `template` would answer before `kubernetes` is asked, whatever their order here.
    """
    return f"""cluster.local:53 in-addr.arpa:53 {{
  bind {machine.ADDRESS}
  errors
  kubernetes cluster.local in-addr.arpa {{
    kubeconfig {kubeconfig} fino1
    pods insecure
    ttl 0
  }}
}}
.:53 {{
  bind {machine.ADDRESS}
  errors
  log
  template ANY ANY . {{
    rcode NXDOMAIN
  }}
}}
"""


def kube_proxy(kubeconfig: Path) -> dict[str, Any]:
    """What kube-proxy reads."""
    return {
        "apiVersion": "kubeproxy.config.k8s.io/v1alpha1",
        "kind": "KubeProxyConfiguration",
        "mode": "iptables",
        "bindAddress": machine.ADDRESS,
        "healthzBindAddress": "127.0.0.1:10256",
        "metricsBindAddress": "127.0.0.1:10249",
        "hostnameOverride": NODE,
        "clusterCIDR": machine.SUBNET,
        "clientConnection": {"kubeconfig": str(kubeconfig)},
        "conntrack": {"maxPerCore": 0, "min": 0, "tcpEstablishedTimeout": "0s", "tcpCloseWaitTimeout": "0s"},
    }
