"""What is one row of a benchmark, its prompt, and the verdict on an answer?"""

import functools
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import jinja2
from jinja2.sandbox import ImmutableSandboxedEnvironment

from fino1.errors import SpecError
from fino1.headings import FINAL, THINKING

LETTERS = "ABCDEFGHIJ"
"""Of a choice's options."""


@dataclass(frozen=True)
class Record:
    """One question with its gold answer and the document it is asked about.

    `before`, `table` and `after` are the document: sentences and table rows in reading order, the only text that may be
    cut when a prompt is too long. `page` names the source page, so that training rows of an evaluated page can be left
    out. `cot` and `response` are a worked solution where the source has one ("" where not). `basis` is what the row says of
    its gold, as keyword arguments of the scorer (basis.py); of a choice its `options`. `other_gold` is a second gold of the same
    row: what others corrected it to, or where that is the target, what was published.
    """

    id: str
    question: str
    target: float | bool | str
    before: tuple[str, ...] = ()
    table: tuple[str, ...] = ()
    after: tuple[str, ...] = ()
    page: str = ""
    fields: Mapping[str, str] = field(default_factory=dict)
    cot: str = ""
    response: str = ""
    basis: Mapping[str, Any] = field(default_factory=dict)
    other_gold: float | None = None


class Records(list[Record]):
    """The records of a file; `left_out` questions have none, and `why` says in words which."""

    def __init__(
        self, records: Iterable[Record] = (), left_out: int = 0, why: str = "whose answer is no number"
    ) -> None:
        super().__init__(records)
        self.left_out = left_out
        self._why = why

    def map(self, change: Callable[[Record], Record]) -> "Records":
        """Return the records changed, with the same ones left out."""
        return Records(map(change, self), self.left_out, self._why)

    @property
    def remark(self) -> str:
        """Says how many are left out, to stand behind the file's name; "" where none are."""
        return f" (without {self.left_out} questions {self._why})" if self.left_out else ""


@dataclass(frozen=True)
class Verdict:
    """What was read out of a completion and whether it is right (docs/design.md C8).

    `extracted` is the text found, `value` the number or truth value it was read as, in the question's unit (None for the
    letter of a choice). Both are None, and so are both verdicts, where nothing could be parsed: unparsed is neither right nor
    the number 0.
    `sign_from_question` marks a number accepted by magnitude because the question itself asks for a decrease.
    `same_program` says of an answer that is a program whether it is the gold one; None where there is none to compare.
    """

    extracted: str | None = None
    value: float | bool | None = None
    strict: bool | None = None
    docmath_compat: bool | None = None
    sign_from_question: bool = False
    same_program: bool | None = None


Scorer = Callable[..., Verdict]
"""`score(completion, question, target, **basis)`."""


@dataclass(frozen=True)
class Task:
    """One benchmark: how its rows are read, asked and scored.

    `read(path)` raises SpecError naming file, row and field. `prompts` maps a preset's name (`fino1`, `paper`) to a
    jinja2 template over `document` (one string), `question`, for a choice `options` (one string) and the record's `fields`.
    `score(completion, question, target, **basis)` is used by the PPO reward and by the evaluation alike. `kinds` are those of
    its answers. `rows` says where the rows are if the run file does not (keys of a run file's block). `decides` is empty for a
    built-in task; of another it is what of its file decides on verdicts and rows, for a cell's key. `unit` is that of the
    golds, where no row says it.
    """

    name: str
    read: Callable[[Path], Records]
    prompts: Mapping[str, str]
    score: Scorer
    kinds: tuple[str, ...] = ("number", "yes/no")
    license: str = ""
    source: str = ""
    rows: Mapping[str, str] = field(default_factory=dict)
    decides: Mapping[str, Any] = field(default_factory=dict)
    unit: str | None = None

    def prompt(self, record: Record, preset: str = "fino1") -> str:
        """Write the user message that asks this record. Raises SpecError for a preset, or a variable, that is not there."""
        if preset not in self.prompts:
            raise SpecError(f"{self.name}: prompt: expected one of {', '.join(self.prompts)}, got {preset}")
        document = "\n".join((*record.before, *record.table, *record.after))
        offered = zip(LETTERS, record.basis.get("options", ()), strict=False)
        options = "\n".join(f"{letter}. {option}" for letter, option in offered)
        given = {"document": document, "question": record.question, "options": options, **record.fields}
        try:
            return _compile(self.prompts[preset]).render(given)
        except (jinja2.TemplateError, ArithmeticError, AttributeError, LookupError, TypeError, ValueError) as error:
            raise SpecError(f"{self.name}: prompts.{preset}: expected a template of its rows, got {error}") from error


@functools.cache
def _compile(template: str) -> jinja2.Template:
    return ENVIRONMENT.from_string(template)


ENVIRONMENT = ImmutableSandboxedEnvironment(undefined=jinja2.StrictUndefined, trim_blocks=True, lstrip_blocks=True)


def judge(score: Scorer, completion: str, record: Record) -> Verdict:
    """Judge a completion by all that the record says of its gold."""
    return score(completion, record.question, record.target, **record.basis)


def fit(record: Record, budget: int, length: Callable[[Record], int]) -> tuple[Record, bool]:
    """Shorten the document until the prompt has at most `budget` tokens. Returns the record and whether it was cut.

    Whole sentences and rows are dropped, those farthest from the table first: `after` from its end, `before` from its
    start, then table rows from the bottom. The question is never touched. Raises ValueError where the record does not
    fit even without any document. `length(record)` counts the tokens of the record's prompt.
    """
    if length(record) <= budget:
        return record, False
    total = len(record.before) + len(record.table) + len(record.after)
    low, high = 0, total  # invariant: keeping `low` pieces fits, or nothing does
    if length(_keep(record, 0)) > budget:
        raise ValueError(f"the question alone has {length(_keep(record, 0))} tokens, {max(budget, 0)} are there")
    while low < high:
        middle = (low + high + 1) // 2
        if length(_keep(record, middle)) <= budget:
            low = middle
        else:
            high = middle - 1
    return _keep(record, low), True


def _keep(record: Record, pieces: int) -> Record:
    table = record.table[: min(pieces, len(record.table))]
    left = pieces - len(table)
    before = record.before[len(record.before) - min(left, len(record.before)) :]
    after = record.after[: left - len(before)]
    return replace(record, before=before, table=table, after=after)


def well_formed(completion: str) -> bool:
    """True if the text has each of the two headings once, in order, a blank line after each (PPO's format reward)."""
    return (
        completion.count(THINKING) == 1
        and completion.count(FINAL) == 1
        and 0 <= completion.find(THINKING + "\n\n") < completion.find("\n\n" + FINAL + "\n\n")
    )


def solution(cot: str, response: str) -> str:
    """Join reasoning and response under their headings: the completion that SFT trains on (docs/design.md C7).

    Without reasoning it is the response alone: a call of a search for reasoning paths.
    """
    return f"{THINKING}\n\n{cot}\n\n{FINAL}\n\n{response}" if cot else response
