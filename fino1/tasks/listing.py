"""Which tasks are there, and whose are their rows? The verb `fino1 tasks`."""

from collections.abc import Sequence
from pathlib import Path
from typing import TextIO

from fino1 import tasks
from fino1.errors import SpecError
from fino1.spec.inputs import TASK_IDS, names_file
from fino1.tasks.record import Task

_TITLES = ("task", "answers", "licence", "source", "rows")


def main(files: Sequence[str], out: TextIO) -> None:
    """Write a line for each task file, or without any for each built-in task. Raises SpecError with the problems of all.

    The rows that a task file names are read where they are files that are there.
    """
    problems: list[str] = []
    lines = [_TITLES if files else _TITLES[:-1]]
    for name in files or TASK_IDS:
        try:
            task = _read(name) if files else tasks.task(name)
            about = (task.name, ", ".join(task.kinds), task.license, task.source)
            lines.append((*about, _describe_rows(task)) if files else about)
        except SpecError as error:
            problems += error.problems
    if problems:
        raise SpecError(problems)
    widths = [max(map(len, column)) for column in zip(*lines, strict=True)]
    for line in lines:
        padded = (text.ljust(width) for text, width in zip(line, widths, strict=True))
        print("  ".join(padded).rstrip(), file=out)


def _read(name: str) -> Task:
    if not names_file("task", name):
        raise SpecError(f"{name}: expected a task file, whose name ends in .yaml or .yml")
    return tasks.task(name)


def _describe_rows(task: Task) -> str:
    """Read the rows of a task file and count them. Raises SpecError with what is wrong with them."""
    if "hub" in task.rows:
        return f"{task.rows['hub']}, not read: on the hub"
    if "path" not in task.rows:
        return "none named"
    path = Path(task.rows["path"])
    if not path.exists():
        return f"{path}, not read: not here"
    found = task.read(path)
    return f"{len(found):,}{found.remark}"
