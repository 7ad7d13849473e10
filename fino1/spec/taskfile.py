"""What may a task file say? A benchmark without code: rows, columns, prompts, kind of answer, licence (docs/tasks.md)."""

from typing import Annotated, Any, Literal

from pydantic import BeforeValidator, Field, model_validator

from fino1.spec.fields import Block, NonNegative, Positive, Text, matching

Kind = Literal["number", "yes/no", "choice"]
Unit = Literal["one", "thousand", "million", "billion", "trillion", "percent", "fraction"]
Reader = Literal["columns", "bizbench", "convfinqa", "docmath", "finqa", "tatqa", "xbrl_math", "xfinbench"]
TaskName = Annotated[str, matching(r"^[a-z0-9][-_.a-z0-9]{0,63}$", "a name of lower-case letters, digits, -, _ and .")]


def _as_list(value: Any) -> Any:
    return value if isinstance(value, list) else [value]


Texts = Annotated[list[Text], Field(min_length=1), BeforeValidator(_as_list)]
"""One text, or a list of them."""


class RowsPlace(Block):
    """Where the rows are, if the run file does not say."""

    path: Text | None = None
    """Relative to the task file."""
    hub: Text | None = None
    """Hub dataset id."""
    revision: Text | None = None
    """Commit, tag or branch of `hub`."""
    split: Text | None = None
    """Split of `hub`, or a file of it; null: the run file's."""

    @model_validator(mode="after")
    def _one(self) -> "RowsPlace":
        if (self.path is None) == (self.hub is None):
            raise ValueError(f"expected one of path, hub, got {'none' if self.path is None else 'both'}")
        return self


class ColumnsBlock(Block):
    """Which column holds what. A dot leads into an object (`qa.question`)."""

    question: Text = "question"
    answer: Text = "answer"
    """The gold answer."""
    id: Text | None = None
    """Null: the task's name and the row's number."""
    document: Texts | None = None
    """Texts, lists of texts and tables (lists of rows) that a prompt calls `document`, and that may be cut."""
    options: Texts | None = None
    """Of a choice: a column with a list, a map of letters or lines such as "A. text", or a column for each option."""
    kind: Text | None = None
    """Says by `answer.kinds` which kind of answer a row has. Null: a row with options is a choice."""
    unit: Text | None = None
    """The row's unit: one, thousand, million, billion, trillion, percent or fraction; empty: not known."""
    page: Text | None = None
    """What rows of one page share. Null: the document."""
    cot: Text | None = None
    """The reasoning that SFT teaches."""
    response: Text | None = None
    """The response that SFT teaches."""
    others: dict[TaskName, Text] = {}
    """Name in the prompts → column."""


class ToleranceBlock(Block):
    """How far off a number may be; without it docs/scoring.md §8 holds."""

    relative: NonNegative = 0.0
    """Share of the gold."""
    absolute: NonNegative = 0.0
    """In the gold's unit."""


class AnswerBlock(Block):
    """What an answer is and when it is right."""

    kind: Annotated[list[Kind], Field(min_length=1), BeforeValidator(_as_list)]
    """One, or a list of those that the rows have."""
    kinds: dict[Text, Kind] = {}
    """Value of `columns.kind` → kind of answer."""
    unit: Unit | None = None
    """Unit of the golds, where the row does not say; null: not known."""
    step: Positive | None = None
    """Unit of the golds' last decimal, where all are rounded to it; null: the digits of each say it."""
    percent_from: Positive | None = None
    """From where on a gold may be in percent, where nothing says whether it is; null: 10."""
    tolerance: ToleranceBlock | None = None


class TaskFile(Block):
    """A benchmark: where its rows are, how they are asked and judged, and whose they are."""

    name: TaskName | None = None
    """Name in tables; null: that of the file."""
    license: Text
    """Of the rows, such as CC-BY-4.0; `unknown` where nobody says."""
    source: Text
    """Where the rows come from: a page, a paper."""
    how_to_get: Text | None = None
    """Shown where the rows are missing."""
    reader: Reader = "columns"
    """`columns` reads JSON, JSONL, CSV, TSV and Parquet rows by `columns`; the others read the format of a built-in task."""
    rows: RowsPlace | None = None
    columns: ColumnsBlock = ColumnsBlock()
    leave_out: dict[Text, list[str]] = {}
    """Column → values whose rows are left out and counted; an empty list: any but an empty one."""
    skip_other_answers: bool = False
    """True: rows whose answer is of no such kind are left out and counted; false: they are errors."""
    prompts: Annotated[dict[Literal["fino1", "paper"], Text], Field(min_length=1)]
    """`eval.prompt` → jinja2 template over `question`, `document`, `options` and the names of `columns.others`."""
    answer: AnswerBlock
