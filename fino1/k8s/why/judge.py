"""Why does a run not run, or why did it fail? From the facts to one sentence and its evidence; nothing is read here.

The causes stand in an order in which an earlier one explains the later ones; the first that is found is the verdict.
"""

import re
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from fino1 import exits
from fino1.k8s import times
from fino1.k8s.finding import Finding, merged
from fino1.k8s.objects.backends import BY_KIND, CONTROLLERS, KINDS
from fino1.k8s.state.pods import root_failures
from fino1.k8s.state.run import Run
from fino1.k8s.why import claims, pods, queue
from fino1.k8s.why.facts import Facts, flat, when

_UNTOUCHED_S = 60
_CODE = re.compile(r"exit(?:ed with)? code:? (\d+)")
_DEADLINE = re.compile(r"DeadlineExceeded|active longer than specified deadline")
_RESTARTS = re.compile(r"BackoffLimitExceeded|ReachedMaxRestarts|backoff limit|FailedIndexes|MaxFailedIndexes")
_EVENTS_SHOWN = 6


@dataclass(frozen=True)
class Diagnosis:
    """The `verdict` on one run in a sentence, all findings, the last events, and the last lines of the container `tail_of`."""

    run: Run
    verdict: str
    findings: Sequence[Finding]
    events: Sequence[str] = ()
    tail: Sequence[str] = ()
    tail_of: str = ""

    @property
    def advice(self) -> str:
        """What to do about the first cause; empty where nothing is known to help."""
        return next((each.advice for each in self.findings), "")

    def to_dict(self) -> dict[str, Any]:
        """For `-o json`."""
        return {
            "run": self.run.full,
            "kind": self.run.kind,
            "phase": self.run.phase,
            "verdict": self.verdict,
            "advice": self.advice or None,
            "findings": [each.to_dict() for each in self.findings],
            "events": list(self.events),
            "lastLines": {"of": self.tail_of, "lines": list(self.tail)} if self.tail else None,
        }


def diagnose(facts: Facts) -> Diagnosis:
    """Find the causes of a run's state, and put the first into a sentence."""
    run = facts.run
    causes = {"Succeeded": (), "Failed": _FAILED}.get(run.phase, _GOING)
    findings = merged(finding for cause in causes for finding in cause(facts))
    verdict = f"{run.full} {_state(facts)}"
    if findings:
        verdict += f": {findings[0].says}"
    elif run.phase in ("Running", "Succeeded"):
        verdict += ": nothing is wrong"
    else:
        verdict += ": nothing that can be read says why"
    events = [] if run.phase == "Succeeded" else _format_events(facts.events)
    of = f"{facts.tail_of.pod} ({facts.tail_of.container})" if facts.tail_of else ""
    return Diagnosis(run, verdict, findings, events, list(facts.tail), of)


def _state(facts: Facts) -> str:
    """Its phase and since when, as the beginning of a sentence."""
    run = facts.run
    since = times.ago(run.since, facts.now)
    if run.phase == "Running" and (bad := sum(not rank.is_running for rank in facts.ranks)):
        return f"runs, without {bad} of its {run.wanted} pods (for {since})"
    phase = run.phase.lower()
    return f"has {phase} ({since} ago)" if run.is_over else f"is {phase} ({since})"


def _deadline(facts: Facts) -> Iterator[Finding]:
    for each in _failed_conditions(facts.run):
        if _DEADLINE.search(f"{each.get('reason')} {each.get('message')}"):
            limit = _limit(facts.run, "activeDeadlineSeconds")
            says = f"it ran for longer than its deadline{f' ({times.short(limit)}, activeDeadlineSeconds)' if limit else ''}"
            advice = "raise activeDeadlineSeconds and submit again: it goes on from its newest checkpoint"
            yield Finding("DeadlineExceeded", says, (f"{facts.run.kind} {facts.run.full}",), _words(each), advice)


def _exhausted(facts: Facts) -> Iterator[Finding]:
    """The controller has given up after too many restarts; with the end of the last one."""
    for each in _failed_conditions(facts.run):
        if _RESTARTS.search(f"{each.get('reason')} {each.get('message')}"):
            limit = _limit(facts.run, "backoffLimit")
            says = f"it was started again as often as it may{f' (backoffLimit {limit})' if limit is not None else ''}"
            last = [ended.says for ended in pods.ended(facts)]
            says += "".join(f"; at last {words}" for words in last)
            advice = "`fino1-k8s retry` goes on from its newest checkpoint"
            yield Finding("BackoffLimitExceeded", says, (f"{facts.run.kind} {facts.run.full}",), _words(each), advice)


def _given_up(facts: Facts) -> Iterator[Finding]:
    """The controller's own words on the failure, with the exit code if it names one, where no pod is left that says more."""
    if root_failures(facts.ranks):
        return
    for each in _failed_conditions(facts.run):
        text = f"{each.get('reason')} {each.get('message')}"
        if _DEADLINE.search(text) or _RESTARTS.search(text):
            continue
        about, code = (f"{facts.run.kind} {facts.run.full}",), _CODE.search(text)
        if code:
            says = f"a container ended with exit code {code[1]}: {exits.meaning(int(code[1]))}"
            yield Finding(f"Exit{code[1]}", says, about, _words(each), "", {"exitCode": int(code[1])})
        else:
            says = f"its controller says: {each.get('message') or each.get('reason')}"
            yield Finding(each.get("reason") or "Failed", says, about)


def _coded_events(facts: Facts) -> Iterator[Finding]:
    """An exit code in an event about a pod that is gone: the Training Operator deletes pods before it makes them anew."""
    if facts.run.phase == "Running" or any(rank.last_end for rank in facts.ranks):
        return
    codes = [(int(found[1]), e) for e in facts.events if (found := _CODE.search(e.get("message", "")))]
    failures = sorted((each for each in codes if each[0]), key=lambda each: (each[0] == exits.PEER_LOST, when(each[1])))
    for code, event in failures[:1]:
        says = f"a pod ended with exit code {code}: {exits.meaning(code)}"
        evidence = (f"{when(event)} {event.get('reason')}: {event['message']}",)
        yield Finding(f"Exit{code}", says, (event["involvedObject"].get("name", ""),), evidence, "", {"exitCode": code})


def _suspended(facts: Facts) -> Iterator[Finding]:
    if facts.run.phase == "Suspended":
        says = "its user has suspended it, or submitted it so"
        yield Finding("Suspended", says, (), (), f"fino1-k8s resume {facts.run.name}", level="note")


def _untouched(facts: Facts) -> Iterator[Finding]:
    """A run object without any status: its controller writes one within seconds, if it runs."""
    run = facts.run
    if run.status.get("conditions") or run.status.get("startTime") or facts.ranks or run.is_suspended:
        return
    age, controller = times.short(facts.age_s), CONTROLLERS[run.kind]
    if facts.age_s <= _UNTOUCHED_S:
        yield Finding("New", f"it was created {age} ago; {controller} has not answered yet", level="wait")
    else:
        says = f"no controller has touched it for {age}: {controller} does not run"
        advice = f"`fino1-k8s doctor` looks for it; {run.kind} is of {KINDS[run.kind]}"
        yield Finding("NoController", says, (f"{run.kind} {run.full}",), (), advice)


def _no_pods(facts: Facts) -> Iterator[Finding]:
    """Its controller has written a status, and there is no pod."""
    run = facts.run
    if facts.pods_known and not facts.ranks and run.status.get("conditions") and not run.is_suspended:
        words = [f"{c['type']}={c['status']} {c.get('reason', '')}: {c.get('message', '')}" for c in run.conditions]
        yield Finding("NoPods", "its controller has seen it, and has not made its pods", (), tuple(words[-3:]))


def _ended(facts: Facts) -> Iterator[Finding]:
    """Failures of containers; while all pods run again they are no cause."""
    if facts.run.phase != "Running" or any(not rank.is_running for rank in facts.ranks):
        yield from pods.ended(facts)


def _restarted(facts: Facts) -> Iterator[Finding]:
    """A run that runs again after restarts."""
    total = sum(rank.restarts for rank in facts.ranks)
    if facts.run.phase == "Running" and total:
        for each in pods.ended(facts):
            says = f"it runs again, after {total} restarts; the last because {each.says}"
            numbers = {**each.numbers, "restarts": total}
            yield Finding("Restarted", says, each.about, each.evidence, numbers=numbers, level="note")


Cause = Callable[[Facts], Iterable[Finding]]
_FAILED: tuple[Cause, ...] = (
    _deadline,
    _exhausted,
    pods.ended,
    pods.disrupted,
    _coded_events,
    _given_up,
)
_GOING: tuple[Cause, ...] = (
    _suspended,
    queue.causes,
    _untouched,
    claims.refused,
    claims.unbound,
    pods.waiting,
    pods.disrupted,
    _ended,
    _restarted,
    _coded_events,
    _no_pods,
)


def _failed_conditions(run: Run) -> list[Mapping[str, Any]]:
    return [each for each in run.conditions if each["status"] == "True" and each["type"] == "Failed"]


def _words(condition: Mapping[str, Any]) -> tuple[str, ...]:
    return (f"{condition['type']} {condition.get('reason', '')}: {flat(condition.get('message'))}",)


def _limit(run: Run, key: str) -> int | None:
    """`activeDeadlineSeconds` or `backoffLimit`, where the run's kind has it; None where it is not set."""
    return BY_KIND[run.kind].find_limit(run.object["spec"], key)


def _format_events(events: Sequence[Mapping[str, Any]]) -> list[str]:
    """The last warnings, each once; without warnings the last events."""
    chosen = [event for event in events if event.get("type") == "Warning"] or list(events)
    lines = [
        f"{when(event)} {event['involvedObject'].get('kind')}/{event['involvedObject'].get('name')}"
        f" {event.get('reason')}: {flat(event.get('message'))}"
        for event in chosen
    ]
    return list(dict.fromkeys(lines))[-_EVENTS_SHOWN:]
