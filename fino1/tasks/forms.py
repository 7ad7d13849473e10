"""In which form is a task answered, and by which evidence? The keys `answer` and `evidence` of its rows (docs/scoring.md §11)"""

from dataclasses import replace
from functools import partial
from pathlib import Path

from fino1.errors import SpecError
from fino1.spec.inputs import AnsweredRows
from fino1.tasks.programs import answer
from fino1.tasks.record import FINAL, Record, Records, Task

_PROGRAM = (
    f"Answer under the heading {FINAL}, followed by a blank line, with arithmetic such as (12 - 10) / 10, or with steps such as "
    "subtract(12, 10), divide(#0, 10)."
)


def as_asked(task: Task, block: AnsweredRows) -> Task:
    """Change a task as its rows' keys in the run file say: answers that are programs, the evidence of its prompts."""
    if block.evidence is not None:
        task = replace(task, read=partial(task.read, evidence=block.evidence))
    return answered_by_program(task) if block.answer == "program" else task


def answered_by_program(task: Task) -> Task:
    """Change a task so that it is answered by a program, which is run. Raises SpecError for one that cannot be."""
    if "choice" in task.kinds or "fino1" not in task.prompts:
        lacks = "choices" if "choice" in task.kinds else "no prompt fino1"
        raise SpecError(f"{task.name}: answer: expected text for a task with {lacks}, got program")
    read = task.read

    def read_and_change(path: Path) -> Records:
        found = read(path)
        return found.map(to_program)

    asked = task.prompts["fino1"].rpartition("\n\n")[0]
    prompts = {"fino1": f"{asked}\n\n{_PROGRAM}"}
    return replace(task, read=read_and_change, prompts=prompts, score=partial(answer.score, task.score))


def to_program(record: Record) -> Record:
    """Change a record so that its solution is its gold program, and its scorer knows that and the table's cells.

    A record whose program does not give its gold has no solution.
    """
    program = record.fields.get("program", "")
    cells = tuple(tuple(line.split("|")) for line in record.table)
    response = f"{FINAL}\n\n{program}" if program and record.cot else ""
    return replace(record, cot="", response=response, basis={**record.basis, "cells": cells, "program": program})
