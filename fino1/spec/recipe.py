"""What is a recipe? An ordered list of named run files with overrides, and the report at the end.

A later stage takes an earlier one's model, or rows, by the stage's name (docs/design.md C13).
"""

from collections.abc import Iterable
from pathlib import Path
from typing import Any

import pydantic
from pydantic import StrictBool

from fino1.errors import SpecError
from fino1.spec import load
from fino1.spec.fields import Block, Name
from fino1.spec.run import RunSpec
from fino1.spec.yamlfile import read_yaml


class Stage(Block):
    """One run of a recipe."""

    name: Name
    run: str
    """Built-in run file by name, or a path from the current directory."""
    set: dict[str, Any] = {}
    """Overrides, laid on the run file by Helm's rules."""
    background: StrictBool = False
    """Run beside the following stages; one that takes its model or rows waits for it."""
    needs: list[str] = []
    """Paths without which the stage is skipped, and the report says so."""
    needs_hint: str = ""
    """How to get them."""


class Recipe(Block):
    """A chain of runs and its report."""

    title: str
    note: str = ""
    """What the report's figures show, in a few sentences."""
    stages: list[Stage]


_PACKAGE = Path(__file__).parents[1]
_FOLDERS = (_PACKAGE / "manifests", _PACKAGE.parent / "manifests")  # wheel, checkout


def find(name: str) -> Path:
    """Path of the file that RUN names, which is a path or a built-in name. Raises SpecError that lists the built-in names."""
    if "/" in name or name.endswith((".yaml", ".yml")):
        return Path(name)
    there = built_in()
    for path in there:
        if path.stem == name:
            return path
    raise SpecError(f"{name}: expected a path or one of {', '.join(sorted(path.stem for path in there))}")


def built_in() -> list[Path]:
    """Paths of the recipes and run files that come with the package."""
    folder = next(folder for folder in _FOLDERS if folder.is_dir())
    return sorted(folder.glob("recipes/*.yaml")) + sorted(folder.glob("runs/*.yaml"))


def is_recipe(document: dict[str, Any]) -> bool:
    """True for a recipe, False for a run file."""
    return "stages" in document


def build(document: dict[str, Any], source: str) -> Recipe:
    """Validate a recipe. `source` names it in messages. Raises SpecError with every problem."""
    try:
        recipe = Recipe.model_validate(document)
    except pydantic.ValidationError as error:
        raise SpecError(f"{source}: {load.problem(item, Recipe)}" for item in error.errors()) from None
    names = [stage.name for stage in recipe.stages]
    twice = sorted({name for name in names if names.count(name) > 1})
    if twice or not names:
        raise SpecError(f"{source}: stages: expected at least one, each name once, got {', '.join(twice) or 'none'}")
    return recipe


def read_run(
    name: str, values: Iterable[Path], assignments: Iterable[str], run_name: str | None
) -> tuple[RunSpec, str]:
    """Read and validate the run that RUN, `--values` and `--set` ask for; return it with its name. Raises SpecError."""
    path = find(name)
    document = read_yaml(path)
    if is_recipe(document):
        raise SpecError(f"{path}: expected a run file, got a recipe, which is for `fino1 run`")
    layers = [(f"{file}: ", read_yaml(file)) for file in values] + [("--set ", load.parse_set(assignments))]
    try:
        spec = load.build(load.layered([document, *(over for _, over in layers)]), str(path))
    except SpecError as error:
        raise load.attributed(error, str(path), layers) from error
    return spec, run_name or path.stem


def find_named(name: str, planned: Path | None) -> tuple[Path, RunSpec] | None:
    """Read the run file behind a run's `name`, as the run file `planned` takes it: that of the stage of a built-in recipe which
    runs `planned` too, one beside it, or a built-in one. Returns its path and the run; None without any.
    """
    there = built_in()
    files = {path.stem: path for path in there if path.parent.name == "runs"}
    for path in there if planned in files.values() else ():
        stages = build(document, str(path)).stages if is_recipe(document := read_yaml(path)) else []
        stage = next((stage for stage in stages if stage.name == name), None)
        if stage and stage.run in files and planned and planned.stem in {each.run for each in stages}:
            file = files[stage.run]
            return file, load.build(load.layered([read_yaml(file), stage.set]), str(path))
    beside = planned.with_name(f"{name}.yaml") if planned else None
    found = beside if beside and beside.is_file() else files.get(name)
    document = read_yaml(found) if found else {}
    return (found, load.build(document, str(found))) if found and not is_recipe(document) else None
