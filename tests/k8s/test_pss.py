import copy

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from fino1.k8s.objects import pss
from fino1.k8s.objects.lint import lint


def pod():
    security = {"allowPrivilegeEscalation": False, "capabilities": {"drop": ["ALL"]}}
    container = {"name": "c", "image": "r/i:1", "securityContext": security}
    return {
        "apiVersion": "v1",
        "kind": "Pod",
        "metadata": {"name": "p"},
        "spec": {
            "automountServiceAccountToken": False,
            "securityContext": {"runAsNonRoot": True, "seccompProfile": {"type": "RuntimeDefault"}},
            "initContainers": [{**copy.deepcopy(container), "name": "i"}],
            "containers": [container],
        },
    }


def edited(path, value):
    """`path` holds keys separated by blanks; the value None removes the last."""
    thing = node = pod()
    *keys, last = [int(key) if key.isdigit() else key for key in path.split()]
    for key in keys:
        node = node[key] if isinstance(node, list) else node.setdefault(key, {})
    if value is None:
        del node[last]
    else:
        node[last] = value
    return thing


INIT, MAIN, POD = "spec initContainers 0 securityContext", "spec containers 0 securityContext", "spec securityContext"
REFUSED = [
    ("allowPrivilegeEscalation", f"{MAIN} allowPrivilegeEscalation", True),
    ("allowPrivilegeEscalation", f"{MAIN} allowPrivilegeEscalation", None),
    ("allowPrivilegeEscalation", f"{INIT} allowPrivilegeEscalation", None),
    ("allowPrivilegeEscalation", f"{MAIN} allowPrivilegeEscalation", "false"),
    ("appArmorProfile", f"{POD} appArmorProfile", {"type": "Unconfined"}),
    ("appArmorProfile", f"{MAIN} appArmorProfile", {}),
    ("appArmorProfile", "metadata annotations container.apparmor.security.beta.kubernetes.io/c", "unconfined"),
    ("capabilities", f"{MAIN} capabilities", None),
    ("capabilities", f"{INIT} capabilities drop", ["NET_RAW"]),
    ("capabilities", f"{MAIN} capabilities drop", ["all"]),
    ("capabilities", f"{MAIN} capabilities add", ["NET_BIND_SERVICE", "IPC_LOCK"]),
    ("hostNamespaces", "spec hostNetwork", True),
    ("hostNamespaces", "spec hostPID", True),
    ("hostNamespaces", "spec hostIPC", True),
    ("hostPorts", "spec containers 0 ports", [{"containerPort": 80}, {"containerPort": 81, "hostPort": 81}]),
    ("privileged", f"{INIT} privileged", True),
    ("procMount", f"{MAIN} procMount", "Unmasked"),
    ("restrictedVolumes", "spec volumes", [{"name": "v", "hostPath": {"path": "/"}}]),
    ("restrictedVolumes", "spec volumes", [{"name": "v", "nfs": {"server": "s", "path": "/"}}]),
    ("runAsNonRoot", f"{POD} runAsNonRoot", False),
    ("runAsNonRoot", f"{MAIN} runAsNonRoot", False),
    ("runAsNonRoot", f"{POD} runAsNonRoot", None),
    ("runAsUser", f"{POD} runAsUser", 0),
    ("runAsUser", f"{INIT} runAsUser", 0),
    ("seLinuxOptions", f"{POD} seLinuxOptions", {"type": "spc_t"}),
    ("seLinuxOptions", f"{MAIN} seLinuxOptions", {"user": "u"}),
    ("seLinuxOptions", f"{MAIN} seLinuxOptions", {"role": "r"}),
    ("seccompProfile", f"{POD} seccompProfile", {"type": "Unconfined"}),
    ("seccompProfile", f"{INIT} seccompProfile", {"type": "Unconfined"}),
    ("seccompProfile", f"{POD} seccompProfile", None),
    ("sysctls", f"{POD} sysctls", [{"name": "kernel.msgmax", "value": "1"}]),
    ("windowsHostProcess", f"{POD} windowsOptions", {"hostProcess": True}),
    ("windowsHostProcess", f"{MAIN} windowsOptions", {"hostProcess": True}),
]
ADMITTED = [
    (f"{MAIN} capabilities add", ["NET_BIND_SERVICE"]),
    (f"{MAIN} runAsUser", 10001),
    (f"{MAIN} procMount", "Default"),
    (f"{MAIN} privileged", False),
    (f"{POD} appArmorProfile", {"type": "Localhost", "localhostProfile": "p"}),
    ("metadata annotations container.apparmor.security.beta.kubernetes.io/c", "localhost/p"),
    (f"{MAIN} seccompProfile", {"type": "Localhost", "localhostProfile": "p"}),
    (f"{POD} seLinuxOptions", {"type": "container_engine_t", "level": "s0"}),
    (f"{POD} sysctls", [{"name": "net.ipv4.tcp_rmem", "value": "4096 87380 6291456"}]),
    ("spec volumes", [{"name": "v", "emptyDir": {}}, {"name": "w"}, {"name": "x", "image": {"reference": "r"}}]),
    ("spec containers 0 ports", [{"containerPort": 80, "hostPort": 0}]),
    ("spec hostNetwork", False),
]


def test_a_restricted_pod_is_admitted():
    assert pss.violations(pod()) == []
    assert lint([pod()]) == []


@pytest.mark.parametrize(("check", "path", "value"), REFUSED, ids=lambda value: str(value)[:50])
def test_refused_by_exactly_one_check(check, path, value):
    found = pss.violations(edited(path, value))
    assert {violation.check for violation in found} == {check}
    assert all(violation.message.startswith("expected ") for violation in found)


@pytest.mark.parametrize(("path", "value"), ADMITTED, ids=lambda value: str(value)[:50])
def test_admitted(path, value):
    assert pss.violations(edited(path, value)) == []


def test_every_check_has_a_case_and_a_rule():
    assert {check for check, *_ in REFUSED} == set(pss.CHECKS)
    found = {finding.rule for _, path, value in REFUSED for finding in lint([edited(path, value)])}
    assert len(found) == len(pss.CHECKS)
    assert all(rule.startswith("pss-") for rule in found)


def test_what_only_containers_set_is_enough():
    thing = pod()
    of_pod = thing["spec"].pop("securityContext")
    for key in ("initContainers", "containers"):
        thing["spec"][key][0]["securityContext"] |= of_pod
    assert pss.violations(thing) == []


def test_places():
    thing = edited(f"{POD} runAsNonRoot", None)
    assert [violation.path for violation in pss.violations(thing, "spec.template")] == [
        "spec.template.spec.initContainers[0].securityContext.runAsNonRoot",
        "spec.template.spec.containers[0].securityContext.runAsNonRoot",
    ]


def test_sidecars_and_ephemeral_containers_count():
    bare = {"name": "b", "image": "r/i:1"}
    for key, body in (("initContainers", {**bare, "restartPolicy": "Always"}), ("ephemeralContainers", bare)):
        found = pss.violations(edited(f"spec {key}", [body]))
        assert {violation.check for violation in found} == {"allowPrivilegeEscalation", "capabilities"}


def test_windows_pods_cannot_set_three_fields():
    thing = edited("spec os", {"name": "windows"})
    thing["spec"]["securityContext"].pop("seccompProfile")
    for key in ("initContainers", "containers"):
        thing["spec"][key][0].pop("securityContext")
    assert pss.violations(thing) == []


anything = st.recursive(
    st.none() | st.booleans() | st.integers(-2, 2) | st.sampled_from(["", "ALL", "RuntimeDefault"]),
    lambda inner: st.lists(inner, max_size=2) | st.dictionaries(st.text(max_size=3), inner, max_size=2),
    max_leaves=4,
)


@settings(max_examples=150, deadline=None)
@given(st.sampled_from([path for _, path, _ in REFUSED]), anything)
def test_never_raises(path, value):
    keys = path.split()
    for end in range(1, len(keys) + 1):
        if not keys[end - 1].isdigit():
            try:
                thing = edited(" ".join(keys[:end]), value)
            except KeyError:  # None removes what is not there
                continue
            for violation in pss.violations(thing):
                assert violation.path
