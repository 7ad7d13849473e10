"""Which causes do the run object, its conditions and its events show?"""

import re
from collections.abc import Iterator
from dataclasses import replace

from fino1 import exits
from fino1.k8s import times
from fino1.k8s.finding import Finding
from fino1.k8s.objects.backends import BY_KIND, CONTROLLERS, KINDS
from fino1.k8s.state.pods import find_root_failures
from fino1.k8s.state.run import Run
from fino1.k8s.why.facts import Facts, flat, when
from fino1.k8s.why.pod_causes import find_failed_containers

_HANDLED_S = 60  # within which a controller that runs has written a status
_CODE = re.compile(r"exit(?:ed with)? code:? (\d+)")
_DEADLINE = re.compile(r"DeadlineExceeded|active longer than specified deadline")
_RESTARTS = re.compile(r"BackoffLimitExceeded|ReachedMaxRestarts|backoff limit|FailedIndexes|MaxFailedIndexes")


def find_limits(facts: Facts) -> Iterator[Finding]:
    """The run was ended at its deadline, or after as many restarts as it may have; then with the end of the last one."""
    for words in _list_failures(facts.run):
        if _DEADLINE.search(words):
            limit = _find_limit(facts.run, "activeDeadlineSeconds")
            says = f"it ran for longer than its deadline{f' ({times.short(limit)}, activeDeadlineSeconds)' if limit else ''}"
            advice = "raise activeDeadlineSeconds and submit again: it goes on from its newest checkpoint"
            yield Finding("DeadlineExceeded", says, (), (words,), advice)
        elif _RESTARTS.search(words):
            limit = _find_limit(facts.run, "backoffLimit")
            says = f"it was started again as often as it may{f' (backoffLimit {limit})' if limit is not None else ''}"
            says += "".join(f"; at last {ended.says}" for ended in find_failed_containers(facts))
            advice = "`fino1-k8s retry` goes on from its newest checkpoint"
            yield Finding("BackoffLimitExceeded", says, (), (words,), advice)


def find_controller_failure(facts: Facts) -> Iterator[Finding]:
    """The controller's own words on the failure, with the exit code if it names one, where no pod is left that says more."""
    for words in () if find_root_failures(facts.ranks) else _list_failures(facts.run):
        if _DEADLINE.search(words) or _RESTARTS.search(words):
            continue
        if code := _CODE.search(words):
            says = f"a container ended with exit code {code[1]}: {exits.meaning(int(code[1]))}"
            yield Finding(f"Exit{code[1]}", says, (), (words,), "", {"exitCode": int(code[1])})
        else:
            yield Finding("Failed", f"its controller says: {words.partition(': ')[2] or words.removesuffix(': ')}")


def find_exit_code_events(facts: Facts) -> Iterator[Finding]:
    """An exit code in an event about a pod that is gone: the Training Operator deletes pods before it makes them anew."""
    if facts.run.phase == "Running" or any(rank.last_end for rank in facts.ranks):
        return
    codes = [(int(found[1]), e) for e in facts.events if (found := _CODE.search(e.get("message", "")))]
    failures = sorted((each for each in codes if each[0]), key=lambda each: (each[0] == exits.PEER_LOST, when(each[1])))
    for code, event in failures[:1]:
        says = f"a pod ended with exit code {code}: {exits.meaning(code)}"
        evidence = (f"{when(event)} {event.get('reason')}: {event['message']}",)
        yield Finding(f"Exit{code}", says, (event["involvedObject"].get("name", ""),), evidence, "", {"exitCode": code})


def find_suspension(facts: Facts) -> Iterator[Finding]:
    """The run is suspended: by its user, or submitted so."""
    if facts.run.phase == "Suspended":
        says = "its user has suspended it, or submitted it so"
        yield Finding("Suspended", says, (), (), f"fino1-k8s resume {facts.run.name}", level="note")


def find_unhandled_run(facts: Facts) -> Iterator[Finding]:
    """A run object without any status: its controller writes one within seconds, if it runs."""
    run = facts.run
    if run.status.get("conditions") or run.status.get("startTime") or facts.ranks or run.is_suspended:
        return
    age_s, controller = facts.age_s, CONTROLLERS[run.kind]
    age = times.short(age_s)
    if age_s <= _HANDLED_S:
        yield Finding("New", f"it was created {age} ago; {controller} has not answered yet", level="wait")
    else:
        says = f"no controller has touched it for {age}: {controller} does not run"
        advice = f"`fino1-k8s doctor` looks for it; {run.kind} is of {KINDS[run.kind]}"
        yield Finding("NoController", says, (), (), advice)


def find_missing_pods(facts: Facts) -> Iterator[Finding]:
    """Its controller has written a status, and there is no pod."""
    run = facts.run
    if facts.pods_known and not facts.ranks and run.status.get("conditions") and not run.is_suspended:
        words = [f"{c['type']}={c['status']} {c.get('reason', '')}: {c.get('message', '')}" for c in run.conditions]
        yield Finding("NoPods", "its controller has seen it, and has not made its pods", (), tuple(words[-3:]))


def find_current_failures(facts: Facts) -> Iterator[Finding]:
    """Failures of containers; where all pods run again they are no cause, only worth knowing."""
    total = sum(rank.restarts for rank in facts.ranks)
    if facts.run.phase != "Running" or any(not rank.is_running for rank in facts.ranks):
        yield from find_failed_containers(facts)
    elif total:
        for each in find_failed_containers(facts):
            says = f"it runs again, after {total} restarts; the last because {each.says}"
            yield replace(
                each, cause="Restarted", says=says, advice="", numbers={**each.numbers, "restarts": total}, level="note"
            )


def _list_failures(run: Run) -> Iterator[str]:
    """Reason and message of each condition that says that the run has failed."""
    failed = (each for each in run.conditions if each["status"] == "True" and each["type"] == "Failed")
    return (f"{each.get('reason', '')}: {flat(each.get('message'))}" for each in failed)


def _find_limit(run: Run, key: str) -> int | None:
    return BY_KIND[run.kind].find_limit(run.object["spec"], key)
