"""What does a model write on the way to a reasoning path, and what is kept of it? (docs/paths.md)

The replies are JSON objects and read strictly: these keys, these types, nothing before or behind.
"""

import json
import re
from dataclasses import dataclass
from typing import Annotated, Any, Literal, TypeVar

import pydantic
from pydantic import AfterValidator, BaseModel, ConfigDict, model_validator

from fino1.tasks.record import FINAL, THINKING, Record

Action = Literal["think", "conclude", "check"]
Strategy = Literal["Exploring New Paths", "Backtracking", "Verification", "Correction"]
FIRST: tuple[Strategy, ...] = ("Exploring New Paths", "Verification", "Correction")
LATER: tuple[Strategy, ...] = (*FIRST, "Backtracking")  # there is nothing to go back to before the first further step
JudgedBy = Literal["rule", "judge", "nobody"]
Failure = Literal["wrong", "form", "response", "budget"]

_WORDS = {
    "extra_forbidden": "a key that is not asked for",
    "list_type": "expected a list",
    "missing": "expected it, got nothing",
    "model_type": "expected an object",
    "string_type": "expected text",
}
_FENCE = re.compile(r"\A```(?:json)?\n(.*)\n```\Z", re.DOTALL)


class BadReply(Exception):
    """A reply that does not have the form that was asked for; says what is wrong with it."""


def _check_characters(text: str) -> str:
    try:
        text.encode()
    except UnicodeEncodeError as error:  # no request and no file could hold it
        raise ValueError("expected whole characters, got half a surrogate pair") from error
    return text


def _check_text(text: str) -> str:
    if not text.strip():
        raise ValueError("expected text, got an empty one")
    if THINKING in text or FINAL in text:  # a row has each once (docs/design.md C7)
        raise ValueError(f"expected no heading {THINKING!r} or {FINAL!r}, got one")
    return _check_characters(text)


Title = Annotated[str, AfterValidator(_check_characters)]
Prose = Annotated[str, AfterValidator(_check_text)]


class Reply(BaseModel):
    """Base of all replies."""

    model_config = ConfigDict(extra="forbid", frozen=True, strict=True)


class Step(Reply):
    """One step of a chain."""

    action: Action
    title: Title = ""
    content: Prose


class Chain(Reply):
    """Steps that end in a conclusion and a check of it."""

    steps: list[Step]

    @model_validator(mode="after")
    def _ends(self) -> "Chain":
        actions = [step.action for step in self.steps]
        if actions[-2:] != ["conclude", "check"] or actions.count("conclude") > 1 or len(actions) < 3:
            got = ", ".join(actions) or "none"
            raise ValueError(f"expected steps, then one of action conclude, then one of action check, got {got}")
        return self


class Rewriting(Reply):
    """A chain as prose in the first person."""

    reasoning: Prose


class Response(Reply):
    """The answer that a user reads."""

    response: Prose


class Opinion(Reply):
    """A judge's verdict."""

    verdict: Literal["right", "wrong"]


Kind = TypeVar("Kind", bound=Reply)


def parse(text: str, kind: type[Kind]) -> Kind:
    """Read a reply, which may stand in a fenced block. Raises BadReply with everything that is wrong with it."""
    text = text.strip()
    if fenced := _FENCE.match(text):
        text = fenced[1]
    try:
        document = json.loads(text, parse_constant=_refuse)
        return kind.model_validate(document)
    except pydantic.ValidationError as error:
        raise BadReply("; ".join(_describe(item) for item in error.errors()[:5])) from error
    except (ValueError, RecursionError) as error:
        raise BadReply("expected one JSON object and nothing else") from error


def _refuse(constant: str) -> None:
    raise ValueError(f"{constant} is not JSON")


def _describe(item: Any) -> str:
    """Describe one of pydantic's errors in words of ours: they are part of the next prompt, and a new pydantic has others."""
    where = ".".join(str(part) for part in item["loc"])
    what = _WORDS.get(item["type"], "not of the form that is asked for")
    if item["type"] in ("value_error", "literal_error"):
        context = item["ctx"]
        what = str(context["error"]) if "error" in context else f"expected {context['expected']}"
    return f"{where}: {what}" if where else what


def show_gold(record: Record) -> float | str:
    """Return a record's gold as prompts and rows have it: a truth value as yes or no."""
    return ("yes" if record.target else "no") if isinstance(record.target, bool) else record.target


@dataclass(frozen=True)
class Turn:
    """A chain that the search has made: how, and whether its conclusion is right. `attempt` counts from 1, 0 is before all."""

    strategy: Strategy | Literal["Initial", "Gold shown"]
    attempt: int
    steps: tuple[Step, ...]
    right: bool
    judged_by: JudgedBy

    @property
    def conclusion(self) -> str:
        """The text of its conclusion."""
        return self.steps[-2].content

    def to_dict(self) -> dict[str, Any]:
        """Return it as a line of paths.jsonl has it."""
        steps = [step.model_dump() for step in self.steps]
        verdict = {"right": self.right, "judged_by": self.judged_by}
        return {"strategy": self.strategy, "attempt": self.attempt, **verdict, "steps": steps}


@dataclass(frozen=True)
class ReasoningPath:
    """What became of one question. `failure` is None where it has a row: the search's chains, reasoning and response.

    `wrong`: no chain had the right conclusion. `form`: a reply stayed malformed after its repair. `response`: the response
    to the user was not right. `budget`: the next call might have passed what one question may take.
    """

    turns: tuple[Turn, ...]
    failure: Failure | None
    cot: str = ""
    response: str = ""
    complaint: str = ""

    @property
    def shows_gold(self) -> bool:
        """True where the writer was shown the gold for it."""
        return bool(self.turns) and self.turns[-1].strategy == "Gold shown"
