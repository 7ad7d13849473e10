"""Which rows have what an evaluation asks: its page, its table, its question, or passages of its text? (docs/rows.md)"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from fino1.errors import SpecError
from fino1.evaluate import questions
from fino1.rows.row import Row
from fino1.spec import load
from fino1.spec.evaluation import EvalTask
from fino1.spec.inputs import TASK_IDS, names_file
from fino1.spec.yamlfile import read_yaml
from fino1.tasks import locate
from fino1.tasks.ngrams import Index, Passage, Words, compare, write_document
from fino1.tasks.overlap import Overlap, find_overlaps
from fino1.tasks.record import Record

Kind = Literal["page", "table", "question", "n-grams", "near duplicate"]
_SEED = 42  # of generated evaluation sets: the default of run files


@dataclass(frozen=True)
class EvaluationSet:
    """The rows of an evaluation, under the name that matches have."""

    name: str
    records: tuple[Record, ...]
    identity: dict[str, Any]


@dataclass(frozen=True)
class Match:
    """A row that is left out, what it is like, and by what. `share` is that of n-grams which the row has, of the other."""

    row: Row
    kind: Kind
    of: str
    other: Record
    passage: Passage

    def to_dict(self) -> dict[str, Any]:
        """Return it as a line of matches.jsonl."""
        return {
            "kind": self.kind,
            "of": self.of,
            "share": round(self.passage.share, 3),
            "task": self.row.task,
            "id": self.row.id,
            "other_id": self.other.id,
            "page": self.row.page,
            "other_page": self.other.page,
            "question": self.row.question,
            "other_question": self.other.question,
            "text": self.passage.text,
            "other_text": self.passage.other_text,
            "source": self.row.source,
        }


def read_sets(arguments: Iterable[str]) -> list[EvaluationSet]:
    """Read evaluation sets: `TASK=FILE`, `ledger`, or the run file of an evaluation. Raises SpecError with all problems."""
    problems: list[str] = []
    found: list[EvaluationSet] = []
    for argument in arguments:
        try:
            found += [_read_set(block, seed) for block, seed in _list_blocks(argument)]
        except SpecError as error:
            problems += [f"--exclude: {problem}" for problem in error.problems]
    if problems:
        raise SpecError(problems)
    return found


def _list_blocks(argument: str) -> list[tuple[EvalTask, int]]:
    task, equals, path = argument.partition("=")
    if not equals and Path(argument).suffix in (".yaml", ".yml"):
        document = read_yaml(Path(argument))
        if "prompts" in document and "method" not in document:
            return [(EvalTask(task=argument), _SEED)]
        spec = load.build(document, argument, world_size=1)
        if spec.method != "eval":
            raise SpecError(f"{argument}: method: expected eval, got {spec.method}")
        return [(block, spec.seed) for block in spec.eval.tasks]
    is_known = task in TASK_IDS or names_file("task", task)
    if not is_known or bool(path) == (task == "ledger" and not equals):
        raise SpecError(
            f"expected TASK=FILE with one of {', '.join(TASK_IDS)} or a task file, ledger, a task file that names its rows, or "
            f"an evaluation's run file, got {argument}"
        )
    return [(EvalTask(task=task, path=path or None), _SEED)]


def _read_set(block: EvalTask, seed: int) -> EvaluationSet:
    rows = questions.read(block, seed)
    block = locate(block)
    where = Path(block.path).name if block.path else block.hub or "generated"
    return EvaluationSet(f"{rows.task.name} {where}", rows.records, rows.identity)


def find_matches(rows: Sequence[Row], sets: Sequence[EvaluationSet], share: float) -> list[Match]:
    """List the rows that have something of an evaluated one, each with the first that is found."""
    names = {id(record): each.name for each in sets for record in each.records}
    others = [record for each in sets for record in each.records]
    found: dict[Row, Match] = {}
    for task in sorted({row.task for row in rows}):
        of_task = [(row.as_record(), row) for row in rows if row.task == task]
        by_record = {id(record): row for record, row in of_task}
        for overlap in find_overlaps(task or None, [record for record, _ in of_task], others):
            row = by_record[id(overlap.record)]
            passage = compare(row.document, write_document(overlap.other))
            found[row] = Match(row, _name_kind(overlap), names[id(overlap.other)], overlap.other, passage)
    index = Index(others)
    for row in rows:
        if row in found:
            continue
        if like := index.find(Words(f"{row.document}\n{row.question}"), share):
            found[row] = Match(row, "n-grams", names[id(like[0])], *like)
    return [found[row] for row in rows if row in found]


def _name_kind(overlap: Overlap) -> Kind:
    if overlap.by == "question":
        return "question"
    return "page" if overlap.record.page and overlap.record.page == overlap.other.page else "table"
