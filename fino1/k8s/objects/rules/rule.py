"""What is a rule of `lint`, and what does it say when it is broken?"""

import json
from dataclasses import dataclass
from typing import Any, Literal


@dataclass(frozen=True)
class Rule:
    """One rule: why it is there, and the upstream source that says so."""

    id: str
    level: Literal["error", "warning"]
    reason: str
    source: str

    def at(self, path: str, message: str) -> "Fault":
        """Say that the rule is broken at `path` of an object; `message` is `expected X, got Y`."""
        return Fault(self, path, message)


@dataclass(frozen=True)
class Fault:
    """A rule broken at a place."""

    rule: Rule
    path: str
    message: str


def show(value: Any) -> str:
    """How does a value look in a message? As JSON, cut short; nothing for what is not there."""
    if value is None:
        return "nothing"
    try:
        printed = json.dumps(value, ensure_ascii=False, default=repr, skipkeys=True)
    except (ValueError, RecursionError):  # a YAML alias inside itself
        printed = f"a {type(value).__name__}"
    return printed if len(printed) <= 60 else f"{printed[:57]}..."
