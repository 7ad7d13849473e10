"""The verb `run`: how is a recipe, or a single run, run on this machine?

Every stage is read, checked and given its directory name before any starts: the hash in that name follows from the files
alone, so later stages can name the runs whose models or rows they take.
"""

import argparse
import json
import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from fino1 import exits, runs
from fino1.errors import SpecError
from fino1.local import page
from fino1.local.run import LocalRun, check, describe, run_to_end
from fino1.spec import load, recipe, yamlfile
from fino1.spec.fields import NAME
from fino1.spec.recipe import Recipe, Stage
from fino1.spec.run import RunSpec


def main(arguments: argparse.Namespace) -> int:
    """Run a run file or a recipe to its end; return the exit code."""
    path = recipe.find(arguments.run)
    document = yamlfile.read_yaml(path)
    overlays = [yamlfile.read_yaml(file) for file in arguments.values]
    if recipe.is_recipe(document):
        if arguments.name is not None:
            problem = f"expected none, {path} is a recipe whose stages have names, got {arguments.name}"
            raise SpecError(f"--name: {problem}")
        chain = Chain(recipe.build(document, str(path)), path, overlays, arguments.set, arguments.work)
        runs.check_work(arguments.work)
        return chain.run()
    assigned = load.parse_set(arguments.set)
    layers = [*zip((f"{file}: " for file in arguments.values), overlays, strict=True), ("--set ", assigned)]
    try:
        spec = checked(load.layered([document, *overlays, assigned]), arguments.work, {}, str(path))
    except SpecError as error:
        raise load.attributed(error, str(path), layers) from error
    local = LocalRun(spec, arguments.name or _stem(path), arguments.work, str(path))
    runs.check_work(arguments.work)
    print(describe(spec, local.name))
    code = run_to_end(local, [])
    print(_ending(local, code))
    return code


def checked(document: dict[str, Any], work: Path, stages: Mapping[str, str], source: str) -> RunSpec:
    """Validate a run, its input runs named by hash. Raises SpecError with all that keeps it from running on this machine.

    Args:
        document: The run file under its overlays.
        work: Work directory, whose finished runs it may take models and rows of.
        stages: Stages whose models and rows it may take: name → directory name.
        source: What messages name.

    """
    problems, missing = [], []
    try:
        document = runs.pin(document, work, stages, source)
    except SpecError as error:
        missing = error.problems
    try:
        spec = load.build(document, source)
        check(spec, source)
    except SpecError as error:
        problems = error.problems
    if problems or missing:
        raise SpecError(problems + missing)
    return spec


@dataclass(frozen=True)
class _Prepared:
    """A stage that may start: its run, and the names of the runs whose models or rows it takes."""

    stage: Stage
    run: LocalRun
    takes: frozenset[str]


class Chain:
    """A recipe on this machine. Raises SpecError, before anything starts, with what is wrong with any of its stages."""

    def __init__(
        self, wanted: Recipe, path: Path, overlays: list[dict[str, Any]], assignments: list[str], work: Path
    ) -> None:
        self.recipe, self.path, self.work, self.overlays = wanted, path, work, overlays
        self.assignments = assignments
        self.skipped: dict[str, str] = {}  # stage → why
        self._check_assignments()
        self.stages: list[_Prepared] = []
        directories: dict[str, str] = {}  # of the earlier stages
        problems: list[str] = []
        for stage in wanted.stages:
            try:
                self.stages.append(self._prepare(stage, directories))
                directories[stage.name] = self.stages[-1].run.directory.name
            except SpecError as error:
                problems += error.problems
                directories[stage.name] = f"{stage.name}-0000000000"  # so that those after it are checked too
        if problems:
            raise SpecError(dict.fromkeys(problems))

    def run(self) -> int:
        """Run the stages in their order, then write the report."""
        beside: list[LocalRun] = []
        ran: list[LocalRun] = []
        for prepared in self.stages:
            stage, local = prepared.stage, prepared.run
            if why := self._why_not(prepared):
                self.skipped[stage.name] = f"{stage.name}: {why}"
                print(f"- {self.skipped[stage.name]}", flush=True)
                continue
            ran.append(local)
            for other in [each for each in beside if each.name in prepared.takes]:
                beside.remove(other)
                if code := self._finish(other, [*beside]):
                    return self._abandon(beside, code)
            if stage.background:
                local.poll()
                beside.append(local)
                print(f"- {describe(local.spec, stage.name)}, beside the others; log: {local.log}", flush=True)
            elif code := self._finish(local, beside):
                return self._abandon(beside, code)
        while beside:
            if code := self._finish(beside.pop(0), beside):
                return self._abandon(beside, code)
        skipped = [part for text in self.skipped.values() for part in ("--skipped", text)]
        title = ("--title", self.recipe.title, "--note", self.recipe.note)
        return page.write(self.work, [local.directory.name for local in ran], *title, *skipped)

    def _why_not(self, prepared: _Prepared) -> str:
        """Say why this stage is skipped, for want of a file or of what a skipped stage would have left; "" where it is not."""
        absent = [path for path in prepared.stage.needs if not Path(path).exists()]
        if absent:
            return f"{', '.join(absent)} not found. {prepared.stage.needs_hint}".strip()
        missing = [name for name in self.skipped if name in prepared.takes]
        return f"takes the model or rows of {' and '.join(missing)}, which was skipped." if missing else ""

    def _finish(self, local: LocalRun, beside: list[LocalRun]) -> int:
        code = run_to_end(local, beside)
        print(_ending(local, code), flush=True)
        return code

    def _abandon(self, beside: list[LocalRun], code: int) -> int:
        for local in beside:
            local.stop()
        for local in beside:
            run_to_end(local, [])
        return code

    def _prepare(self, stage: Stage, directories: dict[str, str]) -> _Prepared:
        """Check a stage that may take what the stages in `directories` leave: name → directory name."""
        mine = [
            assignment.partition(":")[2] if self._stage_of(assignment) else assignment
            for assignment in self.assignments
            if self._stage_of(assignment) in (None, stage.name)
        ]
        file = yamlfile.read_yaml(recipe.find(stage.run))
        document = load.layered([file, stage.set, *self.overlays, load.parse_set(mine)])
        source = f"{self.path}: stage {stage.name}"
        spec = checked(document, self.work, directories, source)
        log = self.work / "logs" / f"{stage.name}.log" if stage.background else None
        taken = frozenset(runs.inputs(document).values()) & directories.keys()
        return _Prepared(stage, LocalRun(spec, stage.name, self.work, source, log), taken)

    def _stage_of(self, assignment: str) -> str | None:
        stage, colon, _ = assignment.partition("=")[0].partition(":")
        return stage if colon else None

    def _check_assignments(self) -> None:
        names = [stage.name for stage in self.recipe.stages]
        unknown = [a for a in self.assignments if self._stage_of(a) not in (None, *names)]
        if unknown:
            raise SpecError(
                f"--set {a}: expected a stage of {', '.join(names)}, got {self._stage_of(a)}" for a in unknown
            )


def _stem(path: Path) -> str:
    """Return the name of the run that this file describes. Raises SpecError for one that no run may have."""
    if not re.fullmatch(NAME, path.stem):
        raise SpecError(
            f"{path}: expected a file name, which names the run, of at most 34 lower-case letters, digits, - and ., "
            f"got {path.stem!r}; --name gives another"
        )
    return path.stem


def _ending(local: LocalRun, code: int) -> str:
    """Return the line to print about a stage that has ended."""
    if code:
        return f"✗ {local.name}: ended with {code} ({exits.meaning(code)}); {local.directory}"
    done = json.loads((local.directory / "done.json").read_text())
    took = "finished before" if local.was_done else f"{local.seconds // 60:.0f} min {local.seconds % 60:02.0f} s"
    counts = ", ".join(f"{done[key]} {key}" for key in ("steps", "updates", "episodes", "rows") if key in done)
    if "cells" in done:
        counts = f"{len(done['cells'])} cells"
    return f"✓ {local.name}: {took}, {counts}; {local.directory}"
