"""What has a look at a run file, a cluster or a run found? The one result type of `lint`, `plan`, `doctor` and `why`."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal

Level = Literal["ok", "note", "wait", "missing", "warning", "error"]


@dataclass(frozen=True)
class Finding:
    """One finding. `says` is a sentence without its subject, so that findings alike can be merged; `about` names the subjects.

    `cause` is its name for programs (a rule of lint, a cause of why), `evidence` what it was seen by, `advice` what to do,
    `numbers` the figures for programs. Levels: `ok`, `note` (not known, or worth knowing), `wait` (the run starts later),
    `missing` (the run would fail), `warning` and `error` (of a run file; a cause of why is an `error` unless it says otherwise).
    """

    cause: str
    says: str
    about: tuple[str, ...] = ()
    evidence: tuple[str, ...] = ()
    advice: str = ""
    numbers: Mapping[str, Any] = field(default_factory=dict)
    level: Level = "error"

    def __str__(self) -> str:
        name = f" [{self.cause}]" if self.cause else ""
        return f"{self.level}: {': '.join(filter(None, (', '.join(self.about), self.says)))}{name}"

    def to_dict(self) -> dict[str, Any]:
        """The finding as JSON data, without its empty fields."""
        lists = {"about": list(self.about), "evidence": list(self.evidence)}
        keys = {"level": self.level, "cause": self.cause, "says": self.says, **lists}
        return {key: value for key, value in {**keys, "advice": self.advice, "numbers": self.numbers}.items() if value}


def ok(about: str, says: str, **numbers: Any) -> Finding:
    """A finding of level `ok`: `about` is as the run needs it."""
    return Finding("", says, (about,), numbers=numbers, level="ok")


def note(about: str, says: str, **numbers: Any) -> Finding:
    """A finding of level `note`: whether `about` is as the run needs it cannot be told."""
    return Finding("", says, (about,), numbers=numbers, level="note")


def wait(about: str, says: str, **numbers: Any) -> Finding:
    """A finding of level `wait`: the run would wait for `about`."""
    return Finding("", says, (about,), numbers=numbers, level="wait")


def missing(about: str, says: str, **numbers: Any) -> Finding:
    """A finding of level `missing`: the run would fail without `about`."""
    return Finding("", says, (about,), numbers=numbers, level="missing")


def merged(findings: Iterable[Finding]) -> list[Finding]:
    """Findings with the same cause and words as one, about all their subjects; in the order of the first of each."""
    groups: dict[tuple[str, str], list[Finding]] = {}
    for each in findings:
        groups.setdefault((each.cause, each.says), []).append(each)
    return [_one(same) for same in groups.values()]


def _one(same: Sequence[Finding]) -> Finding:
    first = same[0]
    about = tuple(dict.fromkeys(name for each in same for name in each.about))
    evidence = tuple(dict.fromkeys(line for each in same for line in each.evidence))
    return Finding(first.cause, first.says, about, evidence, first.advice, first.numbers, first.level)
