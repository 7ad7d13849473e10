"""What keeps pods from being made (admission, quotas, limits) and claims from being bound (classes, provisioners)?"""

from collections.abc import Iterator, Mapping
from typing import Any

from fino1.k8s import times
from fino1.k8s.finding import Finding
from fino1.k8s.state.volumes import is_default_class
from fino1.k8s.why.facts import Facts, flat, when

_REFUSALS = {  # words of the API server → cause
    "exceeded quota": "QuotaExceeded",
    "violates PodSecurity": "PodSecurity",
    "admission webhook": "Webhook",
    "error looking up service account": "NoServiceAccount",
    "no PriorityClass": "NoPriorityClass",
    " usage per ": "LimitRange",
}
_ADVICE = {"QuotaExceeded": "its controller tries again when others end", "LimitRange": "change resources"}
_LATER = "WaitForFirstConsumer"


def find_refused_pods(facts: Facts) -> Iterator[Finding]:
    """Pods that the API server does not admit: while pods are missing, by events that are newer than the newest pod."""
    live = [rank for rank in facts.ranks if not rank.pod["metadata"].get("deletionTimestamp")]
    if facts.run.is_over or len(live) >= facts.run.expected_pods:
        return
    made = max((rank.pod["metadata"]["creationTimestamp"] for rank in live), default="")
    by_message = {
        flat(event.get("message")): event
        for event in facts.events
        if event["involvedObject"].get("kind") != "Pod"
        and "FailedCreate" in event.get("reason", "")
        and when(event) >= made
    }
    for message, event in list(by_message.items())[-3:]:
        cause = next((cause for words, cause in _REFUSALS.items() if words in message), "FailedCreate")
        about = (f"{event['involvedObject'].get('kind')} {event['involvedObject'].get('name')}",)
        evidence = (f"{when(event)} {event.get('reason')} (×{event.get('count') or 1}): {message}",)
        says = f"its pods cannot be made: {message.rpartition(' is forbidden: ')[2]}"
        yield Finding(cause, says, about, evidence, _ADVICE.get(cause, ""))


def find_unbound_claims(facts: Facts) -> Iterator[Finding]:
    """Claims that do not exist, are lost, or wait for a volume."""
    for name, claim in facts.claims.items():
        about = (f"PersistentVolumeClaim {name}",)
        phase = ((claim or {}).get("status") or {}).get("phase", "Pending")
        if claim is None:
            advice = "create it, or let the chart: volumes.*.create"
            yield Finding("NoClaim", f"PersistentVolumeClaim {name} does not exist", about, (), advice)
        elif phase == "Lost":
            yield Finding("ClaimLost", f"claim {name} has lost its volume", about)
        elif phase == "Pending":
            yield from _explain_pending(name, claim, facts, about)


def _explain_pending(name: str, claim: Mapping[str, Any], facts: Facts, about: tuple[str, ...]) -> Iterator[Finding]:
    spec = claim["spec"]
    wanted, modes = spec.get("storageClassName"), spec.get("accessModes", [])
    identity = ("PersistentVolumeClaim", name)
    events = [e for e in facts.events if identity == tuple(e["involvedObject"].get(key) for key in ("kind", "name"))]
    latest = [f"{event.get('reason')}: {flat(event.get('message'))}" for event in events[-3:]]
    failed = [line for line in latest if "ProvisioningFailed" in line]
    classes = {each["metadata"]["name"]: each for each in facts.classes or []}
    found, there = classes.get(wanted or ""), ", ".join(classes) or "none"
    asked = f"asks for {spec['resources']['requests'].get('storage')} {', '.join(modes)}"
    evidence = (f"{asked}, storage class {wanted or '(default)'}", *latest)
    says = f"claim {name} is not bound"
    advice = "does that provisioner offer ReadWriteMany? Block storage does not" if "ReadWriteMany" in modes else ""
    if facts.classes is not None and wanted and not found:
        says += f": storage class {wanted} does not exist (there: {there})"
        yield Finding("NoStorageClass", says, about, evidence, "its class cannot be changed: delete it, make it anew")
    elif facts.classes is not None and wanted is None and not any(map(is_default_class, facts.classes)):
        says += ": it names no storage class, and the cluster has no default"
        yield Finding("NoStorageClass", says, about, (*evidence, f"classes: {there}"), "set volumes.*.storageClassName")
    elif failed:
        yield Finding("ProvisioningFailed", f"{says}: {failed[-1]}", about, evidence, advice)
    elif (
        not found or found.get("volumeBindingMode") != _LATER or any(r.pod["spec"].get("nodeName") for r in facts.ranks)
    ):
        # A claim that waits for its first consumer is bound when a pod has a node.
        says += f": provisioner {found['provisioner']} has not made a volume" if found else ""
        since = times.ago(claim["metadata"]["creationTimestamp"], facts.now)
        yield Finding("UnboundClaim", f"{says} (for {since})", about, evidence, advice)
