"""Which rows does a run train on, and which does it hold out? (docs/design.md C7)

Rows are read, left out where an evaluation set has their page or question, and split with the run's seed. Nothing is dropped
silently: `Counts` goes to data.json.
"""

import random
from collections.abc import Callable
from dataclasses import asdict, dataclass, field
from pathlib import Path

from fino1.errors import SpecError
from fino1.paths.calls import make_calls
from fino1.spec.inputs import TASK_IDS, AnsweredRows, DataBlock, RowsBlock
from fino1.tasks import ledger, locate, task
from fino1.tasks.fold import group, take
from fino1.tasks.forms import as_asked, to_program
from fino1.tasks.hub import read_hub
from fino1.tasks.overlap import leave_out
from fino1.tasks.record import Record, Records, Task
from fino1.train.data import columns


@dataclass
class Counts:
    """What became of the rows: how many were read, left out, used, cut."""

    read: int = 0
    left_out: int = 0
    """A benchmark's questions that its task leaves out, such as those answered by a text; not in `read`."""
    without_solution: int = 0
    excluded: int = 0
    train: int = 0
    evaluation: int = 0
    cut: int = 0


@dataclass(frozen=True)
class Rows:
    """Training and held-out records of a run; `render` puts a record into words."""

    train: list[Record]
    evaluation: list[Record]
    render: Callable[[Record], str]
    counts: Counts = field(default_factory=Counts)

    def as_dict(self) -> dict[str, int]:
        """The counts, for data.json."""
        return asdict(self.counts)


def read_rows(block: DataBlock, method: str, seed: int) -> Rows:
    """Read a run's rows and split them. Raises SpecError naming file, line and field of every bad row."""
    counts = Counts()
    if block.is_generated:
        split = "sft" if method == "sft" else "ppo"
        slip_rate = block.slip_rate if method == "sft" else 0.0
        train = ledger.generate(split, n=block.size, seed=seed, slip_rate=slip_rate)[: block.limit]
        if method == "sft" and block.calls:
            n = round(len(train) * block.calls)
            train = make_calls(train[:n], slip_rate, seed) + train[n:]
        evaluation = ledger.generate("validation", n=block.eval_size, seed=seed)
        for rows in (evaluation, *(read_evaluation_set(other, seed) for other in block.exclude)):
            ledger.check_held_out(train, rows)
        counts.read = len(train)
    else:
        records = read_file(block, method)
        counts.read, counts.left_out = len(records), records.left_out
        if method == "sft":
            has_cot = block.task in TASK_IDS and block.answer == "text"
            records = [r for r in records if r.response and (r.cot or not has_cot)]
            counts.without_solution = counts.read - len(records)
        kept = leave_out(block.task, records, [r for other in block.exclude for r in read_evaluation_set(other, seed)])
        counts.excluded = len(records) - len(kept)
        held_in, evaluation = hold_out(kept, block.eval_size, seed)
        train = leave_out(block.task, held_in, evaluation)
        counts.excluded += len(held_in) - len(train)
    if not train:
        raise SpecError(f"data: {block.source}: expected rows to train on, got none of {counts.read} read")
    counts.train, counts.evaluation = len(train), len(evaluation)
    return Rows(train, evaluation, _renderer(block), counts)


def _renderer(block: RowsBlock) -> Callable[[Record], str]:
    if block.task is None:
        return lambda record: "".join(
            (record.fields["head"], *record.before, *record.table, *record.after, record.question)
        )
    chosen = find_task(block.task, block)
    preset = getattr(block, "prompt", "fino1")
    if preset not in chosen.prompts:
        raise SpecError(f"data.prompt: expected one of {', '.join(chosen.prompts)} of task {chosen.name}, got {preset}")
    return lambda record: chosen.prompt(record, preset)


def read_evaluation_set(block: RowsBlock, seed: int) -> list[Record]:
    """Read the records of an evaluation set, which training rows may not share a page or question with."""
    if block.is_generated:
        return ledger.generate("test", n=block.size, seed=seed)[: block.limit]
    return read_file(block, "ppo")


def read_file(block: RowsBlock, method: str) -> Records:
    """Read the records of a file or a hub dataset: of the fold asked for, the first `limit`."""
    block = locate(block)
    if block.task is None:
        records = Records(columns.read(block, method))
        if isinstance(block, DataBlock) and block.answer == "program":
            records = Records(to_program(record) for record in records)
    elif block.path is not None:
        records = find_task(block.task, block).read(Path(block.path))
    else:
        records, _ = read_hub(block, find_task(block.task, block))
    return Records(take(records, block.fold, block.limit), records.left_out)


def find_task(name: str, block: RowsBlock) -> Task:
    """Find the task of this name, answered as the block says if it is one of rows that are asked."""
    return as_asked(task(name), block) if isinstance(block, AnsweredRows) else task(name)


def hold_out(records: list[Record], eval_size: int, seed: int) -> tuple[list[Record], list[Record]]:
    """Hold out `eval_size` records or a few fewer, at most a tenth, as whole tables and pages.

    Chosen by `seed` alone: every rank and every attempt holds out the same.
    """
    wanted = min(eval_size, len(records) // 10)
    groups: dict[str, list[int]] = {}
    order = list(range(len(records)))
    random.Random(seed).shuffle(order)
    for i in order:
        groups.setdefault(group(records[i]), []).append(i)
    held: set[int] = set()
    for members in groups.values():
        if len(held) + len(members) <= wanted:
            held.update(members)
    return [r for i, r in enumerate(records) if i not in held], [records[i] for i in sorted(held)]
