"""What is one cause that a run does not run, and how are causes told? The words that all of `why` shares."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any


@dataclass(frozen=True)
class Finding:
    """One cause. `says` is a sentence without a subject's name, so that ranks that suffer alike are told together.

    `numbers` is for programs, `advice` what to do about it, `about` which ranks or objects it concerns.
    """

    cause: str
    says: str
    about: tuple[str, ...] = ()
    evidence: tuple[str, ...] = ()
    advice: str = ""
    numbers: Mapping[str, Any] = field(default_factory=dict)

    def told(self) -> dict[str, Any]:
        """As data, without what is empty."""
        keys = {"cause": self.cause, "says": self.says, "about": list(self.about), "evidence": list(self.evidence)}
        return {key: value for key, value in {**keys, "advice": self.advice, "numbers": self.numbers}.items() if value}


def merged(findings: Iterable[Finding]) -> list[Finding]:
    """The same cause in several pods as one finding, in the order of the first."""
    groups: dict[tuple[str, str], list[Finding]] = {}
    for each in findings:
        groups.setdefault((each.cause, each.says), []).append(each)
    return [_one(same) for same in groups.values()]


def _one(same: Sequence[Finding]) -> Finding:
    first = same[0]
    about = tuple(dict.fromkeys(name for each in same for name in each.about))
    evidence = tuple(dict.fromkeys(line for each in same for line in each.evidence))
    return Finding(first.cause, first.says, about, evidence, first.advice, first.numbers)
