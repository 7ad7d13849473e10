"""Which cells are asked for, what are their keys, and can they be asked at all? (DESIGN C10)"""

import contextlib
import dataclasses
import importlib.metadata
import platform
import threading
from collections.abc import Iterator, Sequence
from pathlib import Path
from urllib.parse import urlsplit

from fino1.errors import SpecError
from fino1.evaluate import cell as cells_on_disk
from fino1.evaluate import counter, models, questions
from fino1.evaluate.cell import Cell
from fino1.evaluate.models import Source
from fino1.evaluate.questions import Rows
from fino1.evaluate.sidecar import Sidecar
from fino1.spec import canonical
from fino1.spec.evaluation import EvalBlock, EvalTask, ServerBlock
from fino1.spec.run import RunSpec
from fino1.tasks import scoring


def plan(spec: RunSpec, work: Path, stop: threading.Event, sidecar: Sidecar | None = None) -> list[Cell]:
    """Which cells are asked for, model by model? Unfinished ones hold their questions.

    Raises SpecError with all problems, before a model is loaded or a request is paid for; Cancelled on `stop`. The sidecar
    is waited for where only it can say which engine it is, which the keys hold: EndpointLost where it does not come.
    """
    problems: list[str] = []
    sources: list[Source] = []
    tables: list[tuple[Rows, EvalTask]] = []
    for model in spec.eval.models:
        with _collect(problems, "eval.models: "):
            sources.append(models.find(model, work))
    for task in spec.eval.tasks:
        with _collect(problems, "eval.tasks: "):
            rows = questions.read(task, spec.seed)
            if spec.eval.prompt not in rows.task.prompts:
                known = ", ".join(rows.task.prompts)
                raise SpecError(f"{task.task}: prompt: expected one of {known}, got {spec.eval.prompt}")
            tables.append((rows, task))
    with _collect(problems, ""):
        sources = _served_by(sources, spec.eval.server, sidecar, is_sound=not problems)
    cells: list[Cell] = []
    for source in sources:
        with _collect(problems, f"eval.models: {source.name}: "):
            cells += _of_model(source, tables, spec.eval, work, stop)
    problems += _twice(cells)
    if problems:
        raise SpecError(problems)
    return cells


def _served_by(sources: Sequence[Source], block: ServerBlock, sidecar: Sidecar | None, is_sound: bool) -> list[Source]:
    """Which engine serves the models without `base_url`? Asks the sidecar where the run file says nothing."""
    names = [source.name for source in sources if source.served]
    engine = block.engine
    if sidecar is None:
        if names and engine == "vllm":
            raise SpecError("eval.server.engine: expected transformers where no --server is given, got vllm")
        engine = "transformers"
    elif len(names) > 1:
        raise SpecError(f"--server: expected one model without base_url, got {', '.join(names)}")
    elif engine is None:
        engine = sidecar.engine if names and is_sound else "transformers"
    return [
        dataclasses.replace(source, engine=engine, server_args=tuple(block.args)) if source.served else source
        for source in sources
    ]


def _of_model(
    source: Source, tables: Sequence[tuple[Rows, EvalTask]], block: EvalBlock, work: Path, stop: threading.Event
) -> list[Cell]:
    """Which cells has one model? Its tokenizer is read only where something is left to ask."""
    problems: list[str] = []
    cells = [_cell(source, rows, asked, block, work) for rows, asked in tables]
    todo = [i for i, cell in enumerate(cells) if cells_on_disk.finished(cell.directory) is None]
    budget = _budget(source, block) if todo else None
    count = counter.counter(source.tokenizer) if todo and (budget is not None or source.served) else None
    for i in todo:
        with _collect(problems, ""):
            asked = questions.ask(tables[i][0], block.prompt, budget, count, stop)
            cells[i] = dataclasses.replace(cells[i], questions=asked)
    if problems:
        raise SpecError(problems)
    return cells


def _cell(source: Source, rows: Rows, asked: EvalTask, block: EvalBlock, work: Path) -> Cell:
    """Everything that can change the numbers goes into the key.

    The name in the leaderboard, concurrency, time-outs and retries do not.
    """
    settings = {
        "model": source.identity,
        "server": source.kind,
        "max_tokens": block.max_tokens,
        "temperature": block.temperature,
        "context_length": source.context_length,
        "task": rows.task.name,
        "dataset": rows.identity,
        "prompt": rows.task.prompts[block.prompt],
        "scorer": scoring.SCORER_VERSION,
        "limit": asked.limit,
    }
    if asked.fold:
        settings["fold"] = asked.fold
    if source.server_args:
        settings["server_args"] = list(source.server_args)
    if source.served and source.context_length and counter.way(source.tokenizer) == "estimate":
        settings["prompt_tokens"] = "estimate"  # long documents are cut elsewhere than by the model's own tokenizer
    key = canonical.digest(settings)
    provenance = {
        "versions": versions(("fino1", "openai", "transformers", "torch") if source.served else ("fino1", "openai")),
        "server": _server_kind(source),
        "model": source.served or source.model_id,
        "dataset": rows.where,
        "preset": block.prompt,
    }
    return Cell(key, source, rows.task, work / "cells" / key, settings, provenance)


def _budget(source: Source, block: EvalBlock) -> int | None:
    """How many tokens may a prompt have? None: as many as it has. Raises SpecError where none are left."""
    if source.context_length is None:
        return None
    if source.context_length <= block.max_tokens:
        raise SpecError(
            f"eval.max_tokens: expected fewer than the {source.context_length} tokens of the model's context, "
            f"got {block.max_tokens}"
        )
    return source.context_length - block.max_tokens


def _twice(cells: Sequence[Cell]) -> list[str]:
    """Which models or tasks are the same under two names?"""
    first: dict[str, Cell] = {}
    return [
        f"eval: {cell.source.name} on {cell.task.name}: expected each model and task once, got the same as "
        f"{first[cell.key].source.name} on {first[cell.key].task.name}"
        for cell in cells
        if first.setdefault(cell.key, cell) is not cell
    ]


def _server_kind(source: Source) -> str:
    if not source.base_url:
        return source.kind
    host = urlsplit(source.base_url).hostname or ""
    return "endpoint on this machine" if host in ("localhost", "127.0.0.1", "::1") else f"endpoint {host}"


def versions(packages: Sequence[str]) -> dict[str, str]:
    """Which versions of these packages, and of Python, are at work?"""
    found = {"python": platform.python_version()}
    for package in packages:
        with contextlib.suppress(importlib.metadata.PackageNotFoundError):
            found[package] = importlib.metadata.version(package)
    return found


@contextlib.contextmanager
def _collect(problems: list[str], prefix: str) -> Iterator[None]:
    try:
        yield
    except SpecError as error:
        problems += [prefix + problem for problem in error.problems]
