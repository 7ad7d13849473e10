"""What keeps a run in its Kueue queue, with the quota's numbers?"""

import re
from collections import Counter
from collections.abc import Iterator, Mapping
from decimal import Decimal
from typing import Any

from fino1.k8s.finding import Finding, Level
from fino1.k8s.objects.backends import OPERATORS
from fino1.k8s.state.nodes import format_amount, parse_quantity, pod_requests
from fino1.k8s.state.queue import GROUP, Queue, condition, is_true, owners, stopped
from fino1.k8s.why.facts import Facts

_NEVER = re.compile(r"request > maximum capacity|exceeds? max(imum)? (quota|capacity)|insufficient nominal")
_NEVER_REASONS = ("ExceedsMaxQuota", "NoMatchingFlavor", "Misconfigured")
_TAKE_UP_S = 30  # after which a Kueue that manages the kind has made a Workload
_EVICTED = {
    "Preempted": "preempted by another workload",
    "PodsReadyTimeout": "put back, since its pods were not all ready in time",
    "AdmissionCheck": "put back by an admission check",
    "ClusterQueueStopped": "put back, since its ClusterQueue was stopped",
    "LocalQueueStopped": "put back, since its LocalQueue was stopped",
    "Deactivated": "deactivated, after it was put back too often",
    "InactiveWorkload": "deactivated, after it was put back too often",
    "MaximumExecutionTimeExceeded": "deactivated, since it ran for longer than it may",
}


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
    yield from _find_stopped_queues(queue)
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
    advice = f"is the {facts.run.kind} integration enabled in Kueue's configuration, and does its controller run?"
    since = f"for {int(facts.age_s)} s" if late else "yet"
    says = f"Kueue has not taken it up {since}: it has no Workload"
    yield Finding("NoWorkload", says, about, (), advice if late else "", level="error" if late else "wait")


def _find_stopped_queues(queue: Queue) -> Iterator[Finding]:
    for kind, thing in (("LocalQueue", queue.local), ("ClusterQueue", queue.cluster)):
        if thing is None:
            continue
        subject = f"{kind} {thing['metadata']['name']}"
        for cause, words in stopped(thing):
            yield Finding(cause, f"{subject} {words}", (subject,))


def _find_eviction(queue: Queue) -> Iterator[Finding]:
    """Kueue has ended the pods of a run that was admitted; the condition `Preempted` says for whom."""
    evicted, preempted = condition(queue.workload, "Evicted"), condition(queue.workload, "Preempted")
    if evicted.get("status") != "True":
        return
    reason = evicted.get("reason", "")
    if reason.startswith(("Deactivated", "InactiveWorkload")) and (queue.is_active or "DueTo" not in reason):
        return  # suspended by a user or finished: the condition stays until the Workload is admitted again
    lines = [evicted.get("message", ""), preempted.get("message", "") if preempted.get("status") == "True" else ""]
    requeue = (((queue.workload or {}).get("status") or {}).get("requeueState") or {}).get("requeueAt")
    lines += [f"to be queued again at {requeue}"] if requeue else []
    known = next((text for word, text in _EVICTED.items() if reason.startswith(word)), reason)
    says = f"Kueue has ended its pods: {known}"
    numbers = {"preemption": preempted.get("reason")} if preempted.get("status") == "True" else {}
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
    message, reason = reserved.get("message", ""), reserved.get("reason", "")
    lines = filter(None, [message, *_quota_lines(queue)])
    never = reason in _NEVER_REASONS or bool(_NEVER.search(message)) or _exceeds(queue)
    place = f"{queue.ahead} of {queue.waiting} before it" if queue.ahead else "next in line"
    says = "Kueue can never admit it: it asks for more than the quota" if never else f"it waits for quota ({place})"
    if reason == "NoMatchingFlavor":
        says = "Kueue can never admit it: no flavor fits its nodes and tolerations"
    advice = "ask for less, or use another queue" if never else "it starts when others end"
    numbers = {"ahead": queue.ahead, "waiting": queue.waiting, "quota": list(_numbers(queue))}
    level: Level = "error" if never else "wait"
    yield Finding(f"Quota{reason or 'NotReserved'}", says, about, tuple(lines), advice, numbers, level)


def _quota_lines(queue: Queue) -> Iterator[str]:
    """A line for each flavor and resource that the Workload asks for."""
    for each in _numbers(queue):
        resource = each["resource"]
        used, nominal, asked = (
            format_amount(resource, parse_quantity(each[key])) for key in ("reserved", "nominal", "asked")
        )
        borrowed = f" (may borrow in cohort {each['cohort']})" if each["cohort"] else ""
        by = ", ".join(
            f"{name} {format_amount(resource, parse_quantity(amount))}" for name, amount in each["reservedBy"].items()
        )
        whose = f"; reserved by {by}" if by else ""
        yield f"flavor {each['flavor']}: {used} of {nominal} {resource} reserved, it asks for {asked}{borrowed}{whose}"
    if queue.cluster is None and queue.local is not None:
        name = queue.local["spec"].get("clusterQueue")
        for flavor in (queue.local.get("status") or {}).get("flavorsReservation") or []:
            for each in flavor.get("resources") or []:
                total = format_amount(each["name"], parse_quantity(each.get("total", 0)))
                yield f"flavor {flavor['name']}: {total} {each['name']} reserved through this queue"
        yield f"(the quota of ClusterQueue {name} could not be read)"


def _requested(workload: Mapping[str, Any]) -> dict[str, Decimal]:
    """The requests of all pods of a Workload together."""
    total: dict[str, Decimal] = {}
    for each in workload["spec"].get("podSets") or []:
        for resource, amount in pod_requests(each["template"]["spec"]).items():
            if resource != "pods":
                total[resource] = total.get(resource, Decimal(0)) + amount * each.get("count", 1)
    return total


def _numbers(queue: Queue) -> Iterator[dict[str, Any]]:
    """For each flavor and resource: what is asked for, the quota, and what is reserved by whom."""
    if queue.cluster is None or queue.workload is None:
        return
    wanted, spec = _requested(queue.workload), queue.cluster["spec"]
    reservations = {
        (flavor["name"], each["name"]): each.get("total", 0)
        for flavor in (queue.cluster.get("status") or {}).get("flavorsReservation") or []
        for each in flavor.get("resources") or []
    }
    for group in spec.get("resourceGroups") or []:
        for flavor in group["flavors"]:
            for each in flavor["resources"]:
                if wanted.get(each["name"]):
                    # The ClusterQueue's own status comes later than the Workloads'.
                    reserved = parse_quantity(reservations.get((flavor["name"], each["name"]), 0))
                    by = _reserved_by(queue, flavor["name"], each["name"], reserved)
                    yield {
                        "flavor": flavor["name"],
                        "resource": each["name"],
                        "asked": float(wanted[each["name"]]),
                        "nominal": float(parse_quantity(each["nominalQuota"])),
                        "reserved": max(float(reserved), sum(by.values())),
                        "reservedBy": by,
                        "cohort": spec.get("cohortName") or spec.get("cohort"),
                    }


def _reserved_by(queue: Queue, flavor: str, resource: str, reserved: Decimal) -> dict[str, float]:
    """The share of each run in what is reserved. Runs of other namespaces, which are not read, count as one."""
    found: Counter[str] = Counter()
    for workload in queue.holders:
        for pods in workload["status"]["admission"].get("podSetAssignments") or []:
            if (pods.get("flavors") or {}).get(resource) == flavor:
                found[(owners(workload) or [workload["metadata"]])[0]["name"]] += parse_quantity(
                    pods["resourceUsage"][resource]
                )  # type: ignore[assignment]
    if reserved > sum(found.values()):
        found["other namespaces"] = reserved - sum(found.values())  # type: ignore[assignment]
    return {name: float(amount) for name, amount in found.items()}


def _exceeds(queue: Queue) -> bool:
    """Whether it asks for more than any flavor has, with no cohort to borrow from."""
    most: dict[str, bool] = {}
    for each in _numbers(queue):
        fits = each["asked"] <= each["nominal"] or bool(each["cohort"])
        most[each["resource"]] = most.get(each["resource"], False) or fits
    return not all(most.values())


def _about(queue: Queue) -> tuple[str, ...]:
    return (f"Workload {queue.workload['metadata']['name']}",) if queue.workload else ()
