"""Which tasks are there, and whose are their rows? The verb `fino1 tasks`."""

from collections.abc import Sequence
from typing import TextIO

from fino1 import tasks
from fino1.errors import SpecError
from fino1.spec.inputs import TASK_IDS, names_file
from fino1.tasks.record import Task

_TITLES = ("task", "answers", "licence", "source")


def main(files: Sequence[str], out: TextIO) -> None:
    """Write a line for each task file, or without any for each built-in task. Raises SpecError with the problems of all."""
    problems: list[str] = []
    lines = [_TITLES]
    for name in files or TASK_IDS:
        try:
            lines.append(_describe(_read(name) if files else tasks.task(name)))
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


def _describe(task: Task) -> tuple[str, ...]:
    return task.name, ", ".join(task.kinds), task.license, task.source
