"""Which benchmarks are there? A task file each: its rows, prompts and kind of answer (docs/tasks.md, docs/scoring.md §12)."""

import functools
from pathlib import Path
from typing import TypeVar

from fino1.errors import SpecError
from fino1.spec.inputs import TASK_IDS, RowsBlock, names_file
from fino1.tasks import taskfile
from fino1.tasks.record import Task

_FOLDER = Path(__file__).parent / "files"
Block = TypeVar("Block", bound=RowsBlock)


def task(name: str) -> Task:
    """Return the task of this id, one of TASK_IDS, or that of a task file, by its path or its text.

    Raises SpecError with the known ids, or with what is wrong with the file.
    """
    if name in TASK_IDS:
        return _read_built_in(name)
    if names_file("task", name):
        return taskfile.read_path(Path(name))
    if "\n" in name:
        return taskfile.read_text(name)
    raise SpecError(f"task: expected one of {', '.join(TASK_IDS)}, or a task file such as ./my-task.yaml, got {name!r}")


def locate(block: Block) -> Block:
    """Return the block with the rows that its task file names, where it names none itself.

    Raises SpecError where neither does, and as `task` does.
    """
    if block.task is None or block.path or block.hub or not block.has_rows:
        return block
    found = task(block.task)
    if not found.rows:
        raise SpecError(f"{found.name}: rows: expected path or hub, in the task file or beside `task`, got none")
    return block.model_copy(update=dict(found.rows))


@functools.cache
def _read_built_in(name: str) -> Task:
    if name == "ledger":  # which generates its rows
        from fino1.tasks import ledger

        return ledger.TASK
    return taskfile.read_built_in(_FOLDER / f"{'docmath' if name.startswith('docmath_') else name}.yaml", name)
