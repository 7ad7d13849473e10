"""Why does a run not run, or why did it fail? From the facts to one sentence and its evidence; nothing is read here."""

import re
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import replace
from typing import Any

from fino1 import exits
from fino1.k8s import times
from fino1.k8s.finding import Finding, merged
from fino1.k8s.objects.backends import BY_KIND, KINDS
from fino1.k8s.state.pods import Rank, find_root_failures
from fino1.k8s.state.run import Run
from fino1.k8s.why.claim_causes import find_refused_pods, find_unbound_claims
from fino1.k8s.why.facts import Facts, flat, when
from fino1.k8s.why.pod_causes import find_disruptions, find_failed_containers, find_waiting_pods
from fino1.k8s.why.queue_causes import find_queue_causes

_EVENTS_SHOWN = 6
_HANDLED_S = 60  # within which a controller that runs has written a status
_CODE = re.compile(r"exit(?:ed with)? code:? (\d+)")
_DEADLINE = re.compile(r"DeadlineExceeded|active longer than specified deadline")
_RESTARTS = re.compile(r"BackoffLimitExceeded|ReachedMaxRestarts|backoff limit|FailedIndexes|MaxFailedIndexes")


def diagnose(facts: Facts) -> dict[str, Any]:
    """The causes of a run's state, the first of which is the `verdict` in a sentence; the last events, and the last lines of
    the container that failed first. As `-o json` prints it.
    """
    run = facts.run
    causes = {"Succeeded": (), "Failed": _CAUSES_OF_FAILURE}.get(run.phase, _CAUSES_OF_WAITING)
    findings = merged(finding for cause in causes for finding in cause(facts))
    is_well = run.phase in ("Running", "Succeeded")
    otherwise = "nothing is wrong" if is_well else "no cause is found in what this user can read"
    source = f"{facts.first_failure.pod} ({facts.first_failure.container})" if facts.first_failure else ""
    return {
        "run": run.full,
        "kind": run.kind,
        "phase": run.phase,
        "verdict": f"{run.full} {_describe_state(facts)}: {findings[0].says if findings else otherwise}",
        "advice": (findings[0].advice if findings else "") or None,
        "findings": [each.to_dict() for each in findings],
        "events": [] if run.phase == "Succeeded" else _format_events(facts.events),
        "lastLines": {"of": source, "lines": list(facts.tail)} if facts.tail else None,
    }


def _describe_state(facts: Facts) -> str:
    """Its phase and since when, as the beginning of a sentence."""
    run = facts.run
    since = times.ago(run.since, facts.now)
    if run.phase == "Running" and (bad := sum(map(_is_down, facts.ranks))):
        return f"runs, without {bad} of its {run.expected_pods} pods (for {since})"
    phase = run.phase.lower()
    return f"has {phase} ({since} ago)" if run.is_over else f"is {phase} ({since})"


def _format_events(events: Sequence[Mapping[str, Any]]) -> list[str]:
    """The last warnings, each once; without warnings the last events."""
    chosen = [event for event in events if event.get("type") == "Warning"] or list(events)
    lines = [
        f"{when(event)} {event['involvedObject'].get('kind')}/{event['involvedObject'].get('name')}"
        f" {event.get('reason')}: {flat(event.get('message'))}"
        for event in chosen
    ]
    return list(dict.fromkeys(lines))[-_EVENTS_SHOWN:]


def _find_exhausted_limits(facts: Facts) -> Iterator[Finding]:
    """The run was ended at its deadline, or after as many restarts as it may have; then with the end of the last one."""
    for words in _list_failures(facts.run):
        if _DEADLINE.search(words):
            limit = _read_limit(facts.run, "activeDeadlineSeconds")
            says = f"it ran for longer than its deadline{f' ({times.short(limit)}, activeDeadlineSeconds)' if limit else ''}"
            advice = "raise activeDeadlineSeconds and submit again: it goes on from its newest checkpoint"
            yield Finding("DeadlineExceeded", says, (), (words,), advice)
        elif _RESTARTS.search(words):
            limit = _read_limit(facts.run, "backoffLimit")
            says = f"it was started again as often as it may{f' (backoffLimit {limit})' if limit is not None else ''}"
            says += "".join(f"; at last {ended.says}" for ended in find_failed_containers(facts))
            advice = "`fino1-k8s retry` goes on from its newest checkpoint"
            yield Finding("BackoffLimitExceeded", says, (), (words,), advice)


def _find_controller_failure(facts: Facts) -> Iterator[Finding]:
    """The controller's own words on the failure, with the exit code if it names one, where no pod is left that says more."""
    for words in () if find_root_failures(facts.ranks) else _list_failures(facts.run):
        if _DEADLINE.search(words) or _RESTARTS.search(words):
            continue
        if code := _CODE.search(words):
            says = f"a container ended with exit code {code[1]}: {exits.meaning(int(code[1]))}"
            yield Finding(f"Exit{code[1]}", says, (), (words,), "", {"exitCode": int(code[1])})
        else:
            yield Finding("Failed", f"its controller says: {words.partition(': ')[2] or words.removesuffix(': ')}")


def _find_exit_code_events(facts: Facts) -> Iterator[Finding]:
    """An exit code in an event about a pod that is gone: the Training Operator deletes pods before it makes them anew."""
    if facts.run.phase == "Running" or any(rank.last_end for rank in facts.ranks):
        return
    codes = [(int(found[1]), e) for e in facts.events if (found := _CODE.search(e.get("message", "")))]
    failures = sorted((each for each in codes if each[0]), key=lambda each: (each[0] == exits.PEER_LOST, when(each[1])))
    for code, event in failures[:1]:
        says = f"a pod ended with exit code {code}: {exits.meaning(code)}"
        evidence = (f"{when(event)} {event.get('reason')}: {event['message']}",)
        yield Finding(f"Exit{code}", says, (event["involvedObject"].get("name", ""),), evidence, "", {"exitCode": code})


def _find_suspension(facts: Facts) -> Iterator[Finding]:
    """The run is suspended: by its user, or submitted so."""
    if facts.run.phase == "Suspended":
        says = "its user has suspended it, or submitted it so"
        yield Finding("Suspended", says, (), (), f"fino1-k8s resume {facts.run.name}", level="note")


def _find_unhandled_run(facts: Facts) -> Iterator[Finding]:
    """A run object without any status: its controller writes one within seconds, if it runs."""
    run = facts.run
    if run.status.get("conditions") or run.status.get("startTime") or facts.ranks or run.is_suspended:
        return
    age_s, controller = facts.age_s, BY_KIND[run.kind].controller
    age = times.short(age_s)
    if age_s <= _HANDLED_S:
        yield Finding("New", f"it was created {age} ago; {controller} has not answered yet", level="wait")
    else:
        says = f"no controller has touched it for {age}: {controller} does not run"
        advice = f"`fino1-k8s doctor` looks for it; {run.kind} is of {KINDS[run.kind]}"
        yield Finding("NoController", says, (), (), advice)


def _find_missing_pods(facts: Facts) -> Iterator[Finding]:
    """Its controller has written a status, and there is no pod."""
    run = facts.run
    if facts.pods_known and not facts.ranks and run.status.get("conditions") and not run.is_suspended:
        words = [f"{c['type']}={c['status']} {c.get('reason', '')}: {c.get('message', '')}" for c in run.conditions]
        yield Finding("NoPods", "its controller has seen it, and has not made its pods", (), tuple(words[-3:]))


def _find_current_failures(facts: Facts) -> Iterator[Finding]:
    """Failures of containers; where all pods run again or have succeeded they are no cause, only worth knowing."""
    total = sum(rank.restarts for rank in facts.ranks)
    if facts.run.phase != "Running" or any(map(_is_down, facts.ranks)):
        yield from find_failed_containers(facts)
    elif total:
        for each in find_failed_containers(facts):
            says = f"it runs again, after {total} restarts; the last because {each.says}"
            yield replace(
                each, cause="Restarted", says=says, advice="", numbers={**each.numbers, "restarts": total}, level="note"
            )


def _is_down(rank: Rank) -> bool:
    """Whether its pod neither runs nor has succeeded, as a shard of an evaluation does before the others."""
    return not rank.is_running and rank.phase != "Succeeded"


def _list_failures(run: Run) -> Iterator[str]:
    """Reason and message of each condition that says that the run has failed."""
    failed = (each for each in run.conditions if each["status"] == "True" and each["type"] == "Failed")
    return (f"{each.get('reason', '')}: {flat(each.get('message'))}" for each in failed)


def _read_limit(run: Run, key: str) -> int | None:
    return BY_KIND[run.kind].find_limit(run.object["spec"], key)


# An earlier cause explains the later ones: the first that is found is the verdict.
Cause = Callable[[Facts], Iterable[Finding]]
_CAUSES_OF_FAILURE: tuple[Cause, ...] = (
    _find_exhausted_limits,
    find_failed_containers,
    find_disruptions,
    _find_exit_code_events,
    _find_controller_failure,
)
_CAUSES_OF_WAITING: tuple[Cause, ...] = (
    _find_suspension,
    find_queue_causes,
    _find_unhandled_run,
    find_refused_pods,
    find_unbound_claims,
    find_waiting_pods,
    find_disruptions,
    _find_current_failures,
    _find_exit_code_events,
    _find_missing_pods,
)
