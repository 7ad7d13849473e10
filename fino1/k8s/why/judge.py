"""Why does a run not run, or why did it fail? From the facts to one sentence and its evidence; nothing is read here."""

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from fino1.k8s import times
from fino1.k8s.finding import Finding, merged
from fino1.k8s.state.run import Run
from fino1.k8s.why import run_causes
from fino1.k8s.why.claim_causes import find_refused_pods, find_unbound_claims
from fino1.k8s.why.facts import Facts, flat, when
from fino1.k8s.why.pod_causes import find_disruptions, find_failed_containers, find_waiting_pods
from fino1.k8s.why.queue_causes import find_queue_causes

# An earlier cause explains the later ones: the first that is found is the verdict.
Cause = Callable[[Facts], Iterable[Finding]]
_CAUSES_OF_FAILURE: tuple[Cause, ...] = (
    run_causes.find_limits,
    find_failed_containers,
    find_disruptions,
    run_causes.find_exit_code_events,
    run_causes.find_controller_failure,
)
_CAUSES_OF_WAITING: tuple[Cause, ...] = (
    run_causes.find_suspension,
    find_queue_causes,
    run_causes.find_unhandled_run,
    find_refused_pods,
    find_unbound_claims,
    find_waiting_pods,
    find_disruptions,
    run_causes.find_current_failures,
    run_causes.find_exit_code_events,
    run_causes.find_missing_pods,
)
_EVENTS_SHOWN = 6


@dataclass(frozen=True)
class Diagnosis:
    """The `verdict` on one run in a sentence, all findings, the last events, the last lines of the container `tail_source`."""

    run: Run
    verdict: str
    findings: Sequence[Finding]
    events: Sequence[str] = ()
    tail: Sequence[str] = ()
    tail_source: str = ""

    @property
    def advice(self) -> str:
        """Advice on the first cause; empty where nothing is known to help."""
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
            "lastLines": {"of": self.tail_source, "lines": list(self.tail)} if self.tail else None,
        }


def diagnose(facts: Facts) -> Diagnosis:
    """Find the causes of a run's state, and put the first into a sentence."""
    run = facts.run
    causes = {"Succeeded": (), "Failed": _CAUSES_OF_FAILURE}.get(run.phase, _CAUSES_OF_WAITING)
    findings = merged(finding for cause in causes for finding in cause(facts))
    verdict = f"{run.full} {_describe_state(facts)}"
    if findings:
        verdict += f": {findings[0].says}"
    elif run.phase in ("Running", "Succeeded"):
        verdict += ": nothing is wrong"
    else:
        verdict += ": no cause is found in what this user can read"
    events = [] if run.phase == "Succeeded" else _format_events(facts.events)
    source = f"{facts.first_failure.pod} ({facts.first_failure.container})" if facts.first_failure else ""
    return Diagnosis(run, verdict, findings, events, list(facts.tail), source)


def _describe_state(facts: Facts) -> str:
    """Its phase and since when, as the beginning of a sentence."""
    run = facts.run
    since = times.ago(run.since, facts.now)
    if run.phase == "Running" and (bad := sum(not rank.is_running for rank in facts.ranks)):
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
