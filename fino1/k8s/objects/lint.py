"""What is wrong with these Kubernetes objects that no CRD and no schema says? (rules: fino1/k8s/rules, table: docs/lints.md)

Pure functions over plain dicts, any YAML that a user hands in; malformed input ends in a finding or in silence, never in a
traceback.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any, Literal

from fino1.k8s.objects.rules import gpus, jobs, jobset, names, pods, pytorchjob, rendezvous, secrets, security
from fino1.k8s.objects.rules.rule import Fault, Rule
from fino1.k8s.objects.rules.walk import RUNTIMES, Thing, get, listing, mapping

_MODULES = (names, pytorchjob, rendezvous, jobs, jobset, security, gpus, pods, secrets)
RULES = {
    rule.id: rule
    for rule in [
        *(value for module in _MODULES for value in vars(module).values() if isinstance(value, Rule)),
        *security.RULES.values(),
    ]
}


@dataclass(frozen=True)
class Finding:
    """One rule broken at one place: `object` is Kind/name, `message` what was expected and what was got."""

    rule: str
    level: Literal["error", "warning"]
    object: str
    path: str
    message: str
    reason: str
    source: str

    def __str__(self) -> str:
        place = f"{self.object}: {self.path}" if self.path else self.object
        return f"{self.level}: {place}: {self.message} [{self.rule}]"


@dataclass(frozen=True)
class _Around:
    """What do the other objects of the set tell?"""

    runtimes: set[tuple[str, str]]
    accounts: dict[str, Any]
    claims: dict[str, list[Any]]
    configs: list[str]


def lint(objects: Sequence[Any]) -> list[Finding]:
    """Which rules do these objects break? In the order of the objects, and each finding once."""
    found: dict[Finding, None] = {}
    things: list[Thing] = []
    for place, body in enumerate(_flat(objects)):
        if isinstance(body, dict):
            things.append(Thing(body))
        for label, fault in names.shape(body, place):
            found[_finding(label, fault)] = None
    around = _around(things)
    for thing in things:
        for fault in _faults(thing, around):
            found[_finding(thing.label, fault)] = None
    return list(found)


def _flat(objects: Sequence[Any]) -> Iterator[Any]:
    """Which objects are there? The items of a List are, empty YAML documents are none."""
    for body in objects:
        if isinstance(body, dict) and get(body, "kind") == "List" and isinstance(get(body, "items"), list):
            yield from listing(body, "items")
        elif body is not None:
            yield body


def _around(things: list[Thing]) -> _Around:
    return _Around(
        runtimes={(thing.kind, thing.name) for thing in things if thing.kind in RUNTIMES},
        accounts={
            thing.name: get(thing.body, "automountServiceAccountToken")
            for thing in things
            if thing.kind == "ServiceAccount"
        },
        claims={
            thing.name: listing(thing.body, "spec", "accessModes")
            for thing in things
            if thing.kind == "PersistentVolumeClaim"
        },
        configs=[
            value
            for thing in things
            if thing.kind == "ConfigMap"
            for value in mapping(thing.body, "data").values()
            if isinstance(value, str)
        ],
    )


def _faults(thing: Thing, around: _Around) -> Iterator[Fault]:
    for module in _MODULES:
        yield from module.check(thing)
    yield from names.check_kueue(thing, around.configs)
    yield from jobset.check_runtimes(thing, around.runtimes)
    yield from pods.check_tokens(thing, around.accounts)
    yield from pods.check_claims(thing, around.claims)


def _finding(label: str, fault: Fault) -> Finding:
    rule = fault.rule
    return Finding(rule.id, rule.level, label, fault.path, fault.message, rule.reason, rule.source)
