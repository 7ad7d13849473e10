"""What has a look at a run file, a cluster or a run found? The one result type of `lint`, `plan`, `doctor` and `why`."""

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field, replace
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
        fields = {"level": self.level, "cause": self.cause, "says": self.says, "about": list(self.about)}
        fields |= {"evidence": list(self.evidence), "advice": self.advice, "numbers": self.numbers}
        return {key: value for key, value in fields.items() if value}


def _of_level(level: Level) -> Callable[..., Finding]:
    def make(about: str, says: str, **numbers: Any) -> Finding:
        return Finding("", says, (about,), numbers=numbers, level=level)

    return make


ok = _of_level("ok")  # `about` is as the run needs it
note = _of_level("note")  # whether it is cannot be told
wait = _of_level("wait")  # the run would wait for it
missing = _of_level("missing")  # the run would fail without it


def merged(findings: Iterable[Finding]) -> list[Finding]:
    """Findings with the same cause and words as one, about all their subjects; in the order of the first of each."""
    groups: dict[tuple[str, str], list[Finding]] = {}
    for each in findings:
        groups.setdefault((each.cause, each.says), []).append(each)
    return [
        replace(
            same[0],
            about=tuple(dict.fromkeys(name for each in same for name in each.about)),
            evidence=tuple(dict.fromkeys(line for each in same for line in each.evidence)),
        )
        for same in groups.values()
    ]
