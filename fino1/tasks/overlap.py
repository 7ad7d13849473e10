"""Which rows share a page, a table or the question's words with rows of an evaluation set? (docs/design.md C7)"""

import re
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import Literal

from fino1.tasks.record import Record


@dataclass(frozen=True)
class Overlap:
    """A record, the first of the others that it shares something with, and what that is."""

    record: Record
    other: Record
    by: Literal["page or table", "question", "the same prompt"]


def leave_out(name: str | None, records: Sequence[Record], others: Iterable[Record]) -> list[Record]:
    """Leave out the records that share page, table or question text with one of the others. `name` is the task's, if any."""
    shared = {id(overlap.record) for overlap in find_overlaps(name, records, others)}
    return [record for record in records if id(record) not in shared]


def find_overlaps(name: str | None, records: Sequence[Record], others: Iterable[Record]) -> list[Overlap]:
    """List the records that `leave_out` leaves out, each with one that it shares something with."""
    sources: dict[str, Record] = {}
    questions: dict[str, Record] = {}
    for other in others:
        for source in _sources(other):
            sources.setdefault(source, other)
        if name != "ledger":  # which asks the same question texts of every page: only the page tells its records apart
            questions.setdefault(_wording(other), other)
    found = []
    for record in records:
        if shared := sorted(_sources(record) & sources.keys()):
            found.append(Overlap(record, sources[shared[0]], "page or table"))
        elif other := questions.get(_wording(record)):
            found.append(Overlap(record, other, "question"))
    return found


def find_repeated(records: Sequence[Record], render: Callable[[Record], str]) -> list[Overlap]:
    """List the records that have the prompt of an earlier one."""
    first: dict[str, Record] = {}
    pairs = ((record, first.setdefault(render(record), record)) for record in records)
    return [Overlap(record, earlier, "the same prompt") for record, earlier in pairs if earlier is not record]


def _sources(record: Record) -> set[str]:
    """A record's page and the hash of its table: of one page's rows some name the page and others do not."""
    return {record.page, record.fields.get("table_hash", "")} - {""}


def _wording(record: Record) -> str:
    """The words of a record's question, after those of a conversation's earlier turns: many ask "what is the difference?"."""
    return words_of(f"{record.fields.get('earlier', '')} {record.question}")


def words_of(question: str) -> str:
    """The words of a question in lower case, without punctuation and the labels around them."""
    text = re.sub(r"\A\s*question:|answer:\s*\Z", "", question.lower())
    return " ".join(re.findall(r"\w+", text))
