"""Which task does a task file describe? (docs/tasks.md)"""

import functools
import importlib
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import jinja2
import pydantic
from jinja2 import meta

from fino1.errors import SpecError
from fino1.spec import load
from fino1.spec.inputs import TASK_IDS
from fino1.spec.taskfile import TaskFile
from fino1.spec.yamlfile import read_yaml, read_yaml_text
from fino1.tasks import columns
from fino1.tasks.record import ENVIRONMENT, Records, Task
from fino1.tasks.scoring.answer import score

_OFFERED = {"question", "document", "options"}


def read_path(path: Path) -> Task:
    """Read a task file. Raises SpecError with every problem, each `FILE: KEY: expected X, got Y`."""
    return _make(read_yaml(path), str(path), path.stem, path.parent)


def read_text(text: str) -> Task:
    """Read the text of a task file, which a run file holds; paths in it are relative to the current directory."""
    return _make(read_yaml_text(text, "task"), "task", "", Path())


def read_built_in(path: Path, name: str) -> Task:
    """Read the file of a built-in task, which may serve several names."""
    file = _validate(read_yaml(path), str(path))
    return _build(file, name, {}, {})


def _make(document: dict[str, Any], source: str, name: str, folder: Path) -> Task:
    file = _validate(document, source)
    problems = [f"{source}: {problem}" for problem in _list_problems(file, name)]
    if problems:
        raise SpecError(problems)
    rows = file.rows.given() if file.rows else {}
    if "path" in rows:
        rows["path"] = str(folder / rows["path"])
    decides = {key: value for key, value in file.given().items() if key not in _DECIDES_NOTHING}
    return _build(file, file.name or name, rows, decides)


_DECIDES_NOTHING = ("name", "license", "source", "how_to_get", "rows", "prompts")
"""Keys of a task file that decide on no verdict; the cell's key has its name, rows and prompt under settings of their own."""


def _validate(document: dict[str, Any], source: str) -> TaskFile:
    try:
        return TaskFile.model_validate(document)
    except pydantic.ValidationError as error:
        raise SpecError(f"{source}: {load.problem(item, TaskFile)}" for item in error.errors()) from None


def _list_problems(file: TaskFile, stem: str) -> list[str]:
    """List the problems that single keys do not show."""
    found = []
    name = file.name or stem
    if not name:
        found.append("name: expected one, got none")
    elif name in TASK_IDS:
        found.append(f"name: expected one that no built-in task has, got {name}")
    given = file.given()
    if file.reader != "columns" and given["columns"] != columns.ColumnsBlock().given():
        found.append(f"columns: expected none with reader: {file.reader}, got some")
    if len(set(file.answer.kind)) < len(file.answer.kind):
        found.append(f"answer.kind: expected each kind once, got {', '.join(file.answer.kind)}")
    if "choice" in file.answer.kind and file.reader == "columns" and file.columns.options is None:
        found.append("columns.options: expected a column with answer.kind: choice, got none")
    strange = [kind for kind in file.answer.kinds.values() if kind not in file.answer.kind]
    if strange:
        found.append(f"answer.kinds: expected {' or '.join(file.answer.kind)} (answer.kind), got {strange[0]}")
    if (file.columns.kind is None) == bool(file.answer.kinds):
        found.append("answer.kinds: expected it with columns.kind, and that with it, got one of them")
    found += [
        f"columns.others.{name}: expected a name that prompts do not have, got {name}"
        for name in sorted(_OFFERED & file.columns.others.keys())
    ]
    for preset, text in file.prompts.items():
        found += [f"prompts.{preset}: {problem}" for problem in _list_template_problems(text, file)]
    return found


def _list_template_problems(text: str, file: TaskFile) -> list[str]:
    try:
        names = meta.find_undeclared_variables(ENVIRONMENT.parse(text))
    except jinja2.TemplateError as error:
        return [f"expected a jinja2 template, got {error.message}"]
    offered = _OFFERED | file.columns.others.keys()
    unknown = sorted(names - offered) if file.reader == "columns" else []
    problems = [f"expected {', '.join(sorted(offered))} (columns.others adds some), got {name}" for name in unknown]
    if "question" not in names:
        problems.append("expected a template with {{ question }}, got one without")
    return problems


def _build(file: TaskFile, name: str, rows: Mapping[str, str], decides: Mapping[str, Any]) -> Task:
    return Task(
        name=name,
        read=_find_reader(file, name),
        prompts=dict(file.prompts),
        score=functools.partial(score, **_read_arguments(file)),
        kinds=tuple(file.answer.kind),
        license=file.license,
        source=file.source,
        rows=rows,
        decides=decides,
        unit=file.answer.unit,
    )


def _find_reader(file: TaskFile, name: str) -> Callable[[Path], Records]:
    if file.reader == "columns":
        return lambda path: columns.read(path, file, name)
    return importlib.import_module(f"fino1.tasks.{file.reader}").read


def _read_arguments(file: TaskFile) -> dict[str, Any]:
    """Return what the file says of its golds as arguments of the scorer (docs/scoring.md §4, §6, §8)."""
    answer = file.answer
    unit = 1.0 if answer.unit == "one" else None
    tolerance = answer.tolerance and (answer.tolerance.relative, answer.tolerance.absolute)
    found = {"unit": unit, "step": answer.step, "percent_from": answer.percent_from, "tolerance": tolerance}
    return {key: value for key, value in found.items() if value is not None}
