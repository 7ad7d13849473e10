"""What is a row on its way from searches and files to a data set?"""

import hashlib
import re
from dataclasses import dataclass

from fino1.tasks.record import Record, solution

_QUESTION = re.compile(r"question:\s*", re.IGNORECASE)
_END = re.compile(r"\n\s*\n|\n?\s*answer:", re.IGNORECASE)


@dataclass(frozen=True, eq=False)
class Row:
    """A question with reasoning and response, from `source` (a run's directory or a file, by name).

    `document` and `question` are parts of the prompt. `gold` is None where it is not known. `rejected` is the thinking and
    the conclusion of the last chain that was judged wrong, None where there is none.
    """

    source: str
    id: str
    task: str
    page: str
    table: str
    prompt: str
    document: str
    question: str
    cot: str
    response: str
    gold: str | None = None
    shows_gold: bool = False
    rejected: tuple[str, str] | None = None

    @property
    def completion(self) -> str:
        """What SFT trains on."""
        return solution(self.cot, self.response)

    @property
    def is_for_ppo(self) -> bool:
        """True where PPO may ask it: the gold is known, and its writer was not shown it."""
        return self.gold is not None and not self.shows_gold

    @property
    def rank(self) -> tuple[bool, bool, str, str, str]:
        """The order of rows, which does not depend on that of the files; of two alike the first stays."""
        text = "\0".join((self.source, self.prompt, self.cot, self.response, self.gold or ""))
        return self.shows_gold, self.gold is None, self.task, self.id, hashlib.sha256(text.encode()).hexdigest()

    def as_record(self) -> Record:
        """Return it as the reader of a benchmark would, for comparing it with evaluated ones."""
        return Record(
            id=self.id,
            question=self.question,
            target="",
            before=(self.document,) if self.document else (),
            page=self.page,
            fields={"table_hash": self.table},
        )


def split_prompt(prompt: str, document: str = "") -> tuple[str, str]:
    """Split a prompt into its document and its question, by `document` where the row names it.

    The question is what follows the last `Question:`, up to a blank line or `Answer:`; without that mark it is all that is
    not the document, and the document is all that is not the question.
    """
    before, _, after = prompt.partition(document) if document else ("", "", prompt)
    rest = before + after
    marks = list(_QUESTION.finditer(rest))
    if not marks:
        return document, rest.strip()
    start = marks[-1].end()
    end = _END.search(rest, start)
    question = rest[start : end.start() if end else len(rest)].strip() or rest.strip()
    return document or rest[: marks[-1].start()].strip() or rest[end.end() if end else len(rest) :].strip(), question
