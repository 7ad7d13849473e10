"""Which rule stands for each check of Pod Security `restricted`? (fino1/k8s/objects/pss.py)"""

from collections.abc import Iterator

from fino1.k8s.objects import pss
from fino1.k8s.objects.rules.rule import Fault, Rule
from fino1.k8s.objects.rules.walk import Thing

_IDS = {
    "allowPrivilegeEscalation": "pss-privilege-escalation",
    "appArmorProfile": "pss-app-armor",
    "capabilities": "pss-capabilities",
    "hostNamespaces": "pss-host-namespaces",
    "hostPorts": "pss-host-ports",
    "privileged": "pss-privileged",
    "procMount": "pss-proc-mount",
    "restrictedVolumes": "pss-volume-types",
    "runAsNonRoot": "pss-run-as-non-root",
    "runAsUser": "pss-run-as-user",
    "seLinuxOptions": "pss-selinux",
    "seccompProfile": "pss-seccomp",
    "sysctls": "pss-sysctls",
    "windowsHostProcess": "pss-windows-host-process",
}
_FILES = {"capabilities": "capabilities_restricted", "seccompProfile": "seccompProfile_restricted"}
RULES = {
    check: Rule(
        name,
        "error",
        "A namespace that enforces Pod Security restricted refuses the pod; the object above it is made and stays without.",
        f"kubernetes/pod-security-admission release-1.33 policy/check_{_FILES.get(check, check)}.go",
    )
    for check, name in _IDS.items()
}


def check(thing: Thing) -> Iterator[Fault]:
    """What would a restricted namespace refuse of this object's pods?"""
    for pod in thing.pods:
        for violation in pss.violations(pod.template, pod.path):
            yield RULES[violation.check].at(violation.path, violation.message)
