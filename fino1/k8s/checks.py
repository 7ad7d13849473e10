"""What did a look at one thing find, and which of it is in the way? The rows of `plan` and `doctor`."""

from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any, Literal

from fino1.k8s.cluster.errors import ApiError, KindMissing

Verdict = Literal["ok", "note", "wait", "missing"]


@dataclass(frozen=True)
class Check:
    """One finding. `wait`: it can be submitted and starts later; `missing`: it would fail; `note`: it is not known."""

    about: str
    verdict: Verdict
    text: str
    facts: Mapping[str, Any] = field(default_factory=dict)
    """The numbers in the text, for programs."""


def ok(about: str, text: str, **facts: Any) -> Check:
    """It is as the run needs it."""
    return Check(about, "ok", text, facts)


def note(about: str, text: str, **facts: Any) -> Check:
    """It may be as the run needs it, or not."""
    return Check(about, "note", text, facts)


def wait(about: str, text: str, **facts: Any) -> Check:
    """The run would wait for it."""
    return Check(about, "wait", text, facts)


def missing(about: str, text: str, **facts: Any) -> Check:
    """The run would fail for want of it."""
    return Check(about, "missing", text, facts)


def readable(about: str, look: Callable[[], Iterable[Check]]) -> Iterator[Check]:
    """What `look` finds; where this user may not read that, or the cluster has no such thing, a note that says so."""
    try:
        yield from look()
    except KindMissing as error:
        yield note(about, str(error))
    except ApiError as error:
        if error.status != 403:
            raise
        yield note(about, f"not checked, {error}")
