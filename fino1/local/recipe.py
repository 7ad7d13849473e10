"""How does a recipe, or a single run, go through on this machine?"""

import argparse
import json
import time
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from fino1 import exits, runs
from fino1.errors import SpecError
from fino1.local import page
from fino1.local.run import LocalRun, check, describe, run_to_end
from fino1.spec import load, recipe, yamlfile
from fino1.spec.recipe import Recipe, Stage
from fino1.spec.run import RunSpec


def main(arguments: argparse.Namespace) -> int:
    """Verb `run`."""
    return run(arguments.run, arguments.values, arguments.set, arguments.work, arguments.name)


def run(name: str, values: Iterable[Path], assignments: list[str], work: Path, run_name: str | None) -> int:
    """Run a run file or a recipe to its end; return the exit code. Everything is read and checked before anything starts."""
    path = recipe.find(name)
    document = yamlfile.read_yaml(path)
    overlays = [yamlfile.read_yaml(file) for file in values]
    if recipe.is_recipe(document):
        if run_name is not None:
            raise SpecError(f"--name: expected none, {path} is a recipe whose stages have names, got {run_name}")
        chain = _Chain(recipe.build(document, str(path)), path, overlays, assignments, work)
        runs.check_work(work)
        return chain.run()
    spec = _sound(load.layered([document, *overlays, load.parse_set(assignments)]), work, {}, str(path))
    local = LocalRun(spec, run_name or path.stem, work)
    runs.check_work(work)
    print(describe(spec, local.name))
    code = run_to_end(local, [])
    print(_ending(local, code))
    return code


def _sound(document: dict[str, Any], work: Path, stages: Mapping[str, str], source: str) -> RunSpec:
    """Which run is this, its input runs named by hash? Raises SpecError with all that keeps it from running here."""
    problems: list[str] = []
    for step in (
        lambda: check(load.build(document, source), source),
        lambda: runs.pin(document, work, stages, source),
    ):
        try:
            step()
        except SpecError as error:
            problems += error.problems
    if problems:
        raise SpecError(problems)
    return load.build(runs.pin(document, work, stages, source), source)


class _Chain:
    """A recipe under way."""

    def __init__(
        self, wanted: Recipe, path: Path, overlays: list[dict[str, Any]], assignments: list[str], work: Path
    ) -> None:
        self.recipe, self.path, self.work, self.overlays = wanted, path, work, overlays
        self.assignments = assignments
        self.directories: dict[str, str] = {}  # stage → its run's directory
        self.skipped: dict[str, str] = {}  # stage → why
        self._check_assignments()
        problems: list[str] = []
        for stage in wanted.stages:  # nothing starts before every stage is known to be sound
            try:
                self._spec(stage, {name: f"{name}-0000000000" for name in self._names_before(stage)})
            except SpecError as error:
                problems += error.problems
        if problems:
            raise SpecError(dict.fromkeys(problems))

    def run(self) -> int:
        """Run the stages in their order, then write the report."""
        beside: list[LocalRun] = []
        for stage in self.recipe.stages:
            if why := self._why_not(stage):
                self.skipped[stage.name] = f"{stage.name}: {why}"
                print(f"- {self.skipped[stage.name]}", flush=True)
                continue
            spec = self._spec(stage, self.directories)
            log = self.work / "logs" / f"{stage.name}.log" if stage.background else None
            local = LocalRun(spec, stage.name, self.work, log)
            self.directories[stage.name] = local.directory.name
            if stage.background:
                local.poll()
                beside.append(local)
                print(f"- {describe(spec, stage.name)}, beside the others; log: {log}", flush=True)
                continue
            code = self._finish(local, beside)
            if code:
                return self._abandon(beside, code)
        while beside:
            local = beside.pop(0)
            code = self._finish(local, beside)
            if code:
                return self._abandon(beside, code)
        return self._report()

    def _why_not(self, stage: Stage) -> str:
        """Why is this stage skipped, if it is? A file it needs is absent, or a stage whose model it takes was skipped."""
        absent = [path for path in stage.needs if not Path(path).exists()]
        if absent:
            return f"{', '.join(absent)} not found. {stage.needs_hint}".strip()
        taken = set(runs.inputs(self._document(stage)).values())
        missing = [name for name in self.skipped if name in taken and name in self._names_before(stage)]
        return f"takes the model of {' and '.join(missing)}, which was skipped." if missing else ""

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

    def _report(self) -> int:
        skipped = [part for text in self.skipped.values() for part in ("--skipped", text)]
        title = ("--title", self.recipe.title, "--note", self.recipe.note)
        return page.write(self.work, self.directories.values(), *title, *skipped)

    def _names_before(self, stage: Stage) -> list[str]:
        if stage.background:
            return []
        names = [each.name for each in self.recipe.stages if not each.background]
        return names[: names.index(stage.name)]

    def _spec(self, stage: Stage, directories: dict[str, str]) -> RunSpec:
        return _sound(self._document(stage), self.work, directories, f"{self.path}: stage {stage.name}")

    def _document(self, stage: Stage) -> dict[str, Any]:
        """What the stage's run file says under the recipe's overrides, `--values` and `--set`."""
        mine = [
            a.partition(":")[2] if self._stage_of(a) else a
            for a in self.assignments
            if self._stage_of(a) in (None, stage.name)
        ]
        file = yamlfile.read_yaml(recipe.find(stage.run))
        return load.layered([file, stage.set, *self.overlays, load.parse_set(mine)])

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


def _ending(local: LocalRun, code: int) -> str:
    """The one line about a finished stage."""
    if code:
        return f"✗ {local.name}: ended with {code} ({exits.meaning(code)}); {local.directory}"
    done = json.loads((local.directory / "done.json").read_text())
    seconds = time.monotonic() - local.started
    took = "finished before" if local.was_done else f"{seconds // 60:.0f} min {seconds % 60:02.0f} s"
    counts = ", ".join(f"{done[key]} {key}" for key in ("steps", "updates", "episodes", "rows") if key in done)
    if "cells" in done:
        counts = f"{len(done['cells'])} cells"
    return f"✓ {local.name}: {took}, {counts}; {local.directory}"
