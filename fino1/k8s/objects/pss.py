"""Would a namespace that enforces Pod Security `restricted` admit this pod? (policy v1.33: all baseline and restricted checks)

Follows kubernetes/pod-security-admission, branch release-1.33, `policy/check_*.go`, over init, sidecar, main and ephemeral
containers. Left out: the relaxation for user namespaces, which is a feature gate of the API server.
"""

from collections.abc import Callable, Iterator
from typing import Any, NamedTuple

from fino1.k8s.objects.rules.rule import show
from fino1.k8s.objects.rules.walk import Pod, entries, get, join, listing, mapping, text

SELINUX_TYPES = ("", "container_t", "container_init_t", "container_kvm_t", "container_engine_t")  # since 1.31
SYSCTLS = frozenset(
    {
        "kernel.shm_rmid_forced",
        "net.ipv4.ip_local_port_range",
        "net.ipv4.tcp_syncookies",
        "net.ipv4.ping_group_range",
        "net.ipv4.ip_unprivileged_port_start",
        "net.ipv4.ip_local_reserved_ports",  # since 1.27
        "net.ipv4.tcp_keepalive_time",  # since 1.29, with the next three
        "net.ipv4.tcp_fin_timeout",
        "net.ipv4.tcp_keepalive_intvl",
        "net.ipv4.tcp_keepalive_probes",
        "net.ipv4.tcp_rmem",  # since 1.32
        "net.ipv4.tcp_wmem",
    }
)
VOLUMES = frozenset(
    [
        "configMap",
        "csi",
        "downwardAPI",
        "emptyDir",
        "ephemeral",
        "image",
        "persistentVolumeClaim",
        "projected",
        "secret",
    ]
)
_CONTEXT = "securityContext"
_PROFILES = ("RuntimeDefault", "Localhost")
_APPARMOR = "container.apparmor.security.beta.kubernetes.io/"


class Violation(NamedTuple):
    """What the policy refuses: which check of it, where, and what it expected."""

    check: str
    path: str
    message: str


def violations(template: dict[Any, Any], path: str = "") -> list[Violation]:
    """What does `restricted` refuse in this pod template, which lies at `path` of its object?"""
    pod = Pod(path, template, 1)
    return [Violation(check, where, message) for check, look in CHECKS.items() for where, message in look(pod)]


Faults = Iterator[tuple[str, str]]


def _is_windows(pod: Pod) -> bool:
    """Windows pods are exempt from three checks since 1.25: they cannot set these fields."""
    return get(pod.spec, "os", "name") == "windows"


def _contexts(pod: Pod, key: str) -> Iterator[tuple[str, Any]]:
    """A field's values in the securityContexts of pod and containers, and whose; None where it is not set."""
    yield pod.spec_path, get(pod.spec, _CONTEXT, key)
    yield from _containers(pod, key)


def _containers(pod: Pod, key: str) -> Iterator[tuple[str, Any]]:
    for container in pod.containers:
        yield container.path, container.security.get(key)


def _privilege_escalation(pod: Pod) -> Faults:
    for path, value in _containers(pod, "allowPrivilegeEscalation"):
        if value is not False and not _is_windows(pod):
            yield join(path, _CONTEXT, "allowPrivilegeEscalation"), f"expected false, got {show(value)}"


def _app_armor(pod: Pod) -> Faults:
    for path, profile in _contexts(pod, "appArmorProfile"):
        if profile is not None and get(profile, "type") not in _PROFILES:
            where = join(path, _CONTEXT, "appArmorProfile", "type")
            yield where, f"expected RuntimeDefault or Localhost, got {show(get(profile, 'type'))}"
    for key, value in mapping(pod.template, "metadata", "annotations").items():
        if not isinstance(key, str) or not key.startswith(_APPARMOR) or value in ("", "runtime/default"):
            continue
        if not (isinstance(value, str) and value.startswith("localhost/")):
            path = join(pod.path, "metadata", "annotations", key)
            yield path, f"expected runtime/default or localhost/…, got {show(value)}"


def _capabilities(pod: Pod) -> Faults:
    if _is_windows(pod):
        return
    for path, capabilities in _containers(pod, "capabilities"):
        if "ALL" not in listing(capabilities, "drop"):
            where = join(path, _CONTEXT, "capabilities", "drop")
            yield where, f'expected ["ALL"], got {show(get(capabilities, "drop"))}'
        added = [name for name in listing(capabilities, "add") if name != "NET_BIND_SERVICE"]
        if added:
            where = join(path, _CONTEXT, "capabilities", "add")
            yield where, f"expected none but NET_BIND_SERVICE, got {show(added)}"


def _host_namespaces(pod: Pod) -> Faults:
    for key in ("hostNetwork", "hostPID", "hostIPC"):
        if pod.spec.get(key):
            yield join(pod.spec_path, key), f"expected false, got {show(pod.spec[key])}"


def _host_ports(pod: Pod) -> Faults:
    for container in pod.containers:
        for index, port in entries(container.body, "ports"):
            if port.get("hostPort"):
                yield join(container.path, "ports", index, "hostPort"), f"expected none, got {show(port['hostPort'])}"


def _privileged(pod: Pod) -> Faults:
    for path, value in _containers(pod, "privileged"):
        if value:
            yield join(path, _CONTEXT, "privileged"), f"expected false, got {show(value)}"


def _proc_mount(pod: Pod) -> Faults:
    for path, value in _containers(pod, "procMount"):
        if value not in (None, "Default"):
            yield join(path, _CONTEXT, "procMount"), f"expected Default, got {show(value)}"


def _volume_types(pod: Pod) -> Faults:
    """A volume without a source is an emptyDir by default."""
    for index, volume in entries(pod.spec, "volumes"):
        sources = [key for key, value in volume.items() if key != "name" and value is not None]
        if sources and not VOLUMES.intersection(key for key in sources if isinstance(key, str)):
            where = join(pod.spec_path, "volumes", index)
            yield where, f"expected one of {', '.join(sorted(VOLUMES))}, got {show(sources[0])}"


def _inherited(pod: Pod, key: str, is_good: Callable[[Any], bool], expected: str) -> Faults:
    """A field that a container takes over from its pod: bad where set to a bad value, or nowhere set."""
    of_pod = get(pod.spec, _CONTEXT, key)
    if of_pod is not None and not is_good(of_pod):
        yield join(pod.spec_path, _CONTEXT, key), f"expected {expected}, got {show(of_pod)}"
    for path, value in _containers(pod, key):
        if value is None and of_pod is None:
            yield join(path, _CONTEXT, key), f"expected {expected} here or in the pod's securityContext, got nothing"
        elif value is not None and not is_good(value):
            yield join(path, _CONTEXT, key), f"expected {expected}, got {show(value)}"


def _run_as_non_root(pod: Pod) -> Faults:
    return _inherited(pod, "runAsNonRoot", lambda value: value is True, "true")


def _run_as_user(pod: Pod) -> Faults:
    for path, value in _contexts(pod, "runAsUser"):
        if value == 0:
            yield join(path, _CONTEXT, "runAsUser"), "expected another user than 0 (root), got 0"


def _selinux(pod: Pod) -> Faults:
    for path, options in _contexts(pod, "seLinuxOptions"):
        kind, where = get(options, "type"), join(path, _CONTEXT, "seLinuxOptions") if options else ""
        if kind is not None and kind not in SELINUX_TYPES:
            yield join(where, "type"), f"expected one of {', '.join(SELINUX_TYPES[1:])}, got {show(kind)}"
        for key in ("user", "role"):
            if get(options, key):
                yield join(where, key), f"expected none, got {show(get(options, key))}"


def _seccomp(pod: Pod) -> Faults:
    if _is_windows(pod):
        return iter(())
    expected = "a profile of type RuntimeDefault or Localhost"
    return _inherited(pod, "seccompProfile", lambda profile: get(profile, "type") in _PROFILES, expected)


def _sysctls(pod: Pod) -> Faults:
    for index, sysctl in entries(pod.spec, _CONTEXT, "sysctls"):
        if text(sysctl, "name") not in SYSCTLS:
            path = join(pod.spec_path, _CONTEXT, "sysctls", index)
            yield path, f"expected one of the safe sysctls, got {show(sysctl.get('name'))}"


def _windows_host_process(pod: Pod) -> Faults:
    for path, options in _contexts(pod, "windowsOptions"):
        if get(options, "hostProcess"):
            where = join(path, _CONTEXT, "windowsOptions", "hostProcess")
            yield where, f"expected false, got {show(get(options, 'hostProcess'))}"


CHECKS: dict[str, Callable[[Pod], Faults]] = {
    "allowPrivilegeEscalation": _privilege_escalation,
    "appArmorProfile": _app_armor,
    "capabilities": _capabilities,
    "hostNamespaces": _host_namespaces,
    "hostPorts": _host_ports,
    "privileged": _privileged,
    "procMount": _proc_mount,
    "restrictedVolumes": _volume_types,
    "runAsNonRoot": _run_as_non_root,
    "runAsUser": _run_as_user,
    "seLinuxOptions": _selinux,
    "seccompProfile": _seccomp,
    "sysctls": _sysctls,
    "windowsHostProcess": _windows_host_process,
}
