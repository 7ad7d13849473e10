"""What keeps pods from being made (admission, quotas, limits) and claims from being bound (classes, provisioners)?"""

import re
from collections.abc import Iterator, Mapping
from typing import Any

from fino1.k8s import times
from fino1.k8s.finding import Finding
from fino1.k8s.state.volumes import is_default_class
from fino1.k8s.why.facts import Facts, flat, when

_REFUSALS = (  # pattern of the API server's message, cause, what it says, advice
    (
        r"exceeded quota: (?P<quota>\S+), requested: (?P<requested>.+?), used: (?P<used>.+?), limited: (?P<limit>.+?)$",
        "QuotaExceeded",
        "quota {} is used up: asked {}, used {}, limit {}",
        "its controller tries again when others end",
    ),
    (r'violates PodSecurity "([^"]+)": (.+)$', "PodSecurity", "Pod Security {} refuses its pods: {}", ""),
    (
        r'admission webhook "([^"]+)" denied the request: (.+)$',
        "Webhook",
        "admission webhook {} refuses its pods: {}",
        "",
    ),
    (
        r'serviceaccount "([^"]+)" not found',
        "NoServiceAccount",
        "ServiceAccount {} does not exist",
        "submit the run again, or create it",
    ),
    (r"no PriorityClass with name (\S+) was found", "NoPriorityClass", "PriorityClass {} does not exist", ""),
    (
        r"((?:maximum|minimum) \S+ usage per (?:Container|Pod) is .+)",
        "LimitRange",
        "a LimitRange refuses its pods: {}",
        "change resources",
    ),
)
_LATER = "WaitForFirstConsumer"


def find_refused_pods(facts: Facts) -> Iterator[Finding]:
    """Pods that the API server does not admit: while pods are missing, by events that are newer than the newest pod."""
    live = [rank for rank in facts.ranks if not rank.pod["metadata"].get("deletionTimestamp")]
    if facts.run.is_over or len(live) >= facts.run.expected_pods:
        return
    made = max((rank.pod["metadata"]["creationTimestamp"] for rank in live), default="")
    events = [
        event
        for event in facts.events
        if event["involvedObject"].get("kind") != "Pod"
        and "FailedCreate" in event.get("reason", "")
        and when(event) >= made
    ]
    by_message = {flat(event.get("message")): event for event in events}
    for message in list(by_message)[-3:]:
        yield _explain_refusal(message, by_message[message])


def _explain_refusal(message: str, event: Mapping[str, Any]) -> Finding:
    about = (f"{event['involvedObject'].get('kind')} {event['involvedObject'].get('name')}",)
    evidence = (f"{when(event)} {event.get('reason')} (×{event.get('count') or 1}): {message}",)
    for pattern, cause, says, advice in _REFUSALS:
        if found := re.search(pattern, message):
            return Finding(cause, says.format(*found.groups()), about, evidence, advice, found.groupdict())
    return Finding("FailedCreate", f"its pods cannot be made: {message}", about, evidence)


def find_unbound_claims(facts: Facts) -> Iterator[Finding]:
    """Claims that do not exist, are lost, or wait for a volume."""
    for name, claim in facts.claims.items():
        about = (f"PersistentVolumeClaim {name}",)
        if claim is None:
            advice = "create it, or let the chart: volumes.*.create"
            yield Finding("NoClaim", f"PersistentVolumeClaim {name} does not exist", about, (), advice)
            continue
        phase = (claim.get("status") or {}).get("phase", "Pending")
        if phase == "Lost":
            yield Finding("ClaimLost", f"claim {name} has lost its volume", about)
        if phase == "Pending":
            yield from _explain_pending(name, claim, facts, about)


def _explain_pending(name: str, claim: Mapping[str, Any], facts: Facts, about: tuple[str, ...]) -> Iterator[Finding]:
    spec = claim["spec"]
    asked = f"{spec['resources']['requests'].get('storage')} {', '.join(spec.get('accessModes', []))}"
    events = [
        event
        for event in facts.events
        if event["involvedObject"].get("name") == name
        and event["involvedObject"].get("kind") == "PersistentVolumeClaim"
    ]
    latest = [f"{event.get('reason')}: {flat(event.get('message'))}" for event in events[-3:]]
    wanted = spec.get("storageClassName")
    classes = {each["metadata"]["name"]: each for each in facts.classes or []}
    found = classes.get(wanted or "")
    evidence = (f"asks for {asked}, storage class {wanted or '(default)'}", *latest)
    if facts.classes is not None and wanted and not found:
        says = (
            f"claim {name} is not bound: storage class {wanted} does not exist (there: {', '.join(classes) or 'none'})"
        )
        yield Finding("NoStorageClass", says, about, evidence, "its class cannot be changed: delete it, make it anew")
    elif facts.classes is not None and wanted is None and not any(map(is_default_class, facts.classes)):
        says = f"claim {name} is not bound: it names no storage class, and the cluster has no default"
        names = ", ".join(classes) or "none"
        yield Finding("NoStorageClass", says, about, (*evidence, f"classes: {names}"), "set volumes.*.storageClassName")
    elif any("ProvisioningFailed" in line for line in latest):
        says = f"claim {name} is not bound: {next(line for line in reversed(latest) if 'ProvisioningFailed' in line)}"
        yield Finding("ProvisioningFailed", says, about, evidence, _advise(spec))
    elif found and found.get("volumeBindingMode") == _LATER and not _has_node(facts):
        return  # it is bound when a pod has a node
    else:
        by = f": provisioner {found['provisioner']} has not made a volume" if found else ""
        since = times.ago(claim["metadata"]["creationTimestamp"], facts.now)
        yield Finding("UnboundClaim", f"claim {name} is not bound{by} (for {since})", about, evidence, _advise(spec))


def _has_node(facts: Facts) -> bool:
    """Whether one of its pods has a node: then a claim that waits for its first consumer should be bound."""
    return any(rank.pod["spec"].get("nodeName") for rank in facts.ranks)


def _advise(spec: Mapping[str, Any]) -> str:
    many = "ReadWriteMany" in spec.get("accessModes", [])
    return "does that provisioner offer ReadWriteMany? Block storage does not" if many else ""
