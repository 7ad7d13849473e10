"""What keeps a run in its Kueue queue, with the quota's numbers?"""

import re
from collections import Counter, defaultdict
from collections.abc import Iterator, Mapping, Sequence
from decimal import Decimal
from typing import Any

from fino1.k8s.finding import Finding
from fino1.k8s.objects.backends import OPERATORS
from fino1.k8s.state.nodes import format_amount, parse_quantity, pod_requests
from fino1.k8s.state.queue import GROUP, Queue, condition, is_true, owners, stopped
from fino1.k8s.why.facts import Facts

_NEVER = re.compile(r"request > maximum capacity|exceeds? max(imum)? (quota|capacity)|insufficient nominal")
_NEVER_REASONS = ("ExceedsMaxQuota", "NoMatchingFlavor", "Misconfigured")
_TAKE_UP_S = 30  # after which a Kueue that manages the kind has made a Workload


def find_queue_causes(facts: Facts) -> Iterator[Finding]:
    """Causes in the queue's objects, from the outside in: Kueue, Workload, LocalQueue, ClusterQueue, quota."""
    queue, name = facts.queue, facts.run.queue
    if queue is None or facts.run.is_over:
        return
    about = (f"LocalQueue {name}",)
    if not queue.installed:
        if facts.run.is_suspended:
            advice = f"submit it without `queue`, or install Kueue: {OPERATORS[GROUP].how}"
            yield Finding("NoKueue", f"it waits in queue {name}, and the cluster has no Kueue", about, (), advice)
        return
    yield from _find_eviction(queue)
    if is_true(queue.workload, "Admitted"):
        return
    if queue.local is None and not queue.is_partial:
        says = f"LocalQueue {name} does not exist in its namespace"
        yield Finding("NoLocalQueue", says, about, (), "`fino1-k8s doctor` lists the queues that do")
    for kind, thing in (("LocalQueue", queue.local), ("ClusterQueue", queue.cluster)):
        for cause, words in stopped(thing) if thing else ():
            subject = f"{kind} {thing['metadata']['name']}"
            yield Finding(cause, f"{subject} {words}", (subject,))
    if queue.workload is None:
        yield from _find_missing_workload(facts, queue, about)
    else:
        yield from _find_admission_causes(queue, about)


def _find_missing_workload(facts: Facts, queue: Queue, about: tuple[str, ...]) -> Iterator[Finding]:
    if queue.is_partial:
        return
    if not facts.run.is_suspended:  # Kueue's webhook suspends at once what it manages; 0.10 has no TrainJobs
        says = f"Kueue does not manage the {facts.run.kind}: it runs without waiting in its queue, whatever the quota"
        yield Finding("Unmanaged", says, about, (), "another backend, or a Kueue with that integration enabled")
        return
    late = facts.age_s > _TAKE_UP_S
    says = f"Kueue has not taken it up {f'for {int(facts.age_s)} s' if late else 'yet'}: it has no Workload"
    advice = f"is the {facts.run.kind} integration enabled in Kueue's configuration, and does its controller run?"
    yield Finding("NoWorkload", says, about, (), advice if late else "", level="error" if late else "wait")


def _find_eviction(queue: Queue) -> Iterator[Finding]:
    """Kueue has ended the pods of a run that was admitted; the condition `Preempted` says for whom."""
    evicted, preempted = condition(queue.workload, "Evicted"), condition(queue.workload, "Preempted")
    reason = evicted.get("reason", "")
    # Suspended by a user, or finished: the condition stays until the Workload is admitted again.
    is_old = reason.startswith(("Deactivated", "InactiveWorkload")) and (queue.is_active or "DueTo" not in reason)
    if evicted.get("status") != "True" or is_old:
        return
    by = preempted if preempted.get("status") == "True" else {}
    requeue = (((queue.workload or {}).get("status") or {}).get("requeueState") or {}).get("requeueAt")
    lines = [by.get("message", ""), f"to be queued again at {requeue}" if requeue else ""]
    numbers = {"preemption": by.get("reason")} if by else {}
    says = f"Kueue has ended its pods ({reason}): {evicted.get('message', '')}"
    yield Finding(f"Evicted{reason}", says, _about(queue), tuple(filter(None, lines)), numbers=numbers)


def _find_admission_causes(queue: Queue, about: tuple[str, ...]) -> Iterator[Finding]:
    workload = queue.workload or {}
    if not queue.is_active:
        says = "it is suspended in its queue, by its user or, after too many attempts, by Kueue"
        yield Finding("Deactivated", says, _about(queue), (), "fino1-k8s resume")
        return
    for check in (workload.get("status") or {}).get("admissionChecks") or []:
        if is_true(workload, "QuotaReserved") and check.get("state") != "Ready":
            says = f"it has its quota, and waits for admission check {check['name']}: {check.get('state')}"
            evidence = tuple(filter(None, (check.get("message"),)))
            yield Finding("AdmissionCheck", says, _about(queue), evidence, level="wait")
    reserved = condition(workload, "QuotaReserved")
    if reserved.get("status") == "True":
        return
    message, reason, quota = reserved.get("message", ""), reserved.get("reason", ""), _list_quota(queue)
    fitting = {each["resource"] for each in quota if each["asked"] <= each["nominal"] or each["cohort"]}
    exceeds = any(each["resource"] not in fitting for each in quota)
    never = reason in _NEVER_REASONS or bool(_NEVER.search(message)) or exceeds
    says = "Kueue can never admit it: it asks for more than the quota"
    if reason == "NoMatchingFlavor":
        says = "Kueue can never admit it: no flavor fits its nodes and tolerations"
    elif not never:
        place = f"{queue.ahead} of {queue.waiting} before it" if queue.ahead else "next in line"
        says = f"it waits for quota ({place})"
    advice = "ask for less, or use another queue" if never else "it starts when others end"
    numbers = {"ahead": queue.ahead, "waiting": queue.waiting, "quota": quota}
    lines = tuple(filter(None, [message, *_format_quota(queue, quota)]))
    yield Finding(f"Quota{reason or 'NotReserved'}", says, about, lines, advice, numbers, "error" if never else "wait")


def _list_quota(queue: Queue) -> list[dict[str, Any]]:
    """For each flavor and resource that the Workload asks for: how much, the quota, and what is reserved by whom."""
    if queue.cluster is None or queue.workload is None:
        return []
    spec = queue.cluster["spec"]
    asked: Counter[str] = Counter()
    for pods in queue.workload["spec"].get("podSets") or []:
        for resource, amount in pod_requests(pods["template"]["spec"]).items():
            asked[resource] += amount * pods.get("count", 1)  # type: ignore[assignment]
    shares = _share_reservations(queue)
    return [
        {
            "flavor": flavor["name"],
            "resource": each["name"],
            "asked": float(asked[each["name"]]),
            "nominal": float(parse_quantity(each["nominalQuota"])),
            "reserved": float(sum(shares[flavor["name"], each["name"]].values())),
            "reservedBy": {name: float(share) for name, share in shares[flavor["name"], each["name"]].items()},
            "cohort": spec.get("cohortName") or spec.get("cohort"),
        }
        for group in spec.get("resourceGroups") or []
        for flavor in group["flavors"]
        for each in flavor["resources"]
        if asked[each["name"]]
    ]


def _share_reservations(queue: Queue) -> dict[tuple[str, str], Counter[str]]:
    """By flavor and resource: how much each run has reserved. Runs of other namespaces, which are not read, count as one."""
    found: dict[tuple[str, str], Counter[str]] = defaultdict(Counter)
    for workload in queue.holders:
        name = (owners(workload) or [workload["metadata"]])[0]["name"]
        for pods in workload["status"]["admission"].get("podSetAssignments") or []:
            for resource, flavor in (pods.get("flavors") or {}).items():
                found[flavor, resource][name] += parse_quantity(pods["resourceUsage"][resource])  # type: ignore[assignment]
    for flavor, resource, amount in _list_reservations(queue.cluster):
        own = found[flavor, resource]
        if amount > sum(own.values()):  # else the ClusterQueue's status is behind the Workloads'
            own["other namespaces"] = amount - sum(own.values())  # type: ignore[assignment]
    return found


def _list_reservations(queue: Mapping[str, Any] | None) -> Iterator[tuple[str, str, Decimal]]:
    """Flavor, resource and amount of all that is reserved through a LocalQueue or ClusterQueue."""
    for flavor in ((queue or {}).get("status") or {}).get("flavorsReservation") or []:
        for each in flavor.get("resources") or []:
            yield flavor["name"], each["name"], parse_quantity(each.get("total", 0))


def _format_quota(queue: Queue, quota: Sequence[Mapping[str, Any]]) -> Iterator[str]:
    """A line for each flavor and resource; what is known without it where the ClusterQueue cannot be read."""
    for each in quota:
        resource = each["resource"]
        keys = ("reserved", "nominal", "asked")
        reserved, nominal, asked = (format_amount(resource, Decimal(each[key])) for key in keys)
        shares = each["reservedBy"].items()
        by = ", ".join(f"{name} {format_amount(resource, Decimal(share))}" for name, share in shares)
        may = f" (may borrow in cohort {each['cohort']})" if each["cohort"] else ""
        whose = f"; reserved by {by}" if by else ""
        yield f"flavor {each['flavor']}: {reserved} of {nominal} {resource} reserved, it asks for {asked}{may}{whose}"
    if queue.cluster is None and queue.local is not None:
        for flavor, resource, total in _list_reservations(queue.local):
            yield f"flavor {flavor}: {format_amount(resource, total)} {resource} reserved through this queue"
        yield f"(the quota of ClusterQueue {queue.local['spec'].get('clusterQueue')} could not be read)"


def _about(queue: Queue) -> tuple[str, ...]:
    return (f"Workload {queue.workload['metadata']['name']}",) if queue.workload else ()
