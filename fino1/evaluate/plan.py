"""Which cells does an evaluation have, what are their keys, and what keeps one from being evaluated? (docs/design.md C10)"""

import contextlib
import dataclasses
import importlib.metadata
import platform
import threading
from collections.abc import Iterator, Sequence
from pathlib import Path
from urllib.parse import urlsplit

from fino1 import cells, doctor
from fino1.errors import SpecError
from fino1.evaluate import counter, models, questions
from fino1.evaluate.cell import PlannedCell
from fino1.evaluate.extractor import Extractor
from fino1.evaluate.models import Source
from fino1.evaluate.questions import Rows
from fino1.evaluate.sidecar import Sidecar
from fino1.evaluate.store import Store
from fino1.spec import canonical
from fino1.spec.evaluation import EvalBlock, EvalTask, ExtractionBlock
from fino1.spec.run import RunSpec
from fino1.tasks import scoring


def plan(spec: RunSpec, work: Path, stop: threading.Event, sidecar: Sidecar | None = None) -> list[PlannedCell]:
    """List the cells of an evaluation, model by model. Unfinished ones hold their questions.

    Raises SpecError with all problems, before a model is loaded or a request is paid for; Cancelled on `stop`. A key
    holds the engine of the server: where the run file names none, the sidecar is asked; EndpointLost where it does not answer.
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
                raise SpecError(f"{rows.task.name}: prompt: expected one of {known}, got {spec.eval.prompt}")
            tables.append((rows, task))
    extractor = None
    if spec.eval.extraction:
        with _collect(problems, "eval.extraction: "):
            extractor = Extractor(models.find(spec.eval.extraction, work), spec.eval.extraction)
            _limit_prompt(extractor.source, spec.eval.extraction)
    with _collect(problems, ""):
        sources = set_engine(sources, spec, sidecar, is_sound=not problems)
    planned: list[PlannedCell] = []
    store = Store(spec.eval.store, stop) if spec.eval.store and not problems else None
    for source in sources:
        with _collect(problems, f"eval.models: {source.name}: "):
            planned += _plan_model(source, tables, spec, work, stop, store, extractor)
    problems += _find_repeated(planned)
    if problems:
        raise SpecError(problems)
    return planned


def set_engine(sources: Sequence[Source], spec: RunSpec, sidecar: Sidecar | None, is_sound: bool) -> list[Source]:
    """Name the engine that serves the models without `base_url`. Asks the sidecar where the run file says nothing.

    Raises SpecError for an engine that is not installed, or models that are not served here.
    """
    names = [source.name for source in sources if source.served]
    arguments = {model.name: spec.list_server_args(model) for model in spec.asked.values() if not model.base_url}
    engine = spec.asking.server.engine
    if sidecar is None:
        if problems := doctor.missing_server(spec) if names else []:
            raise SpecError(problems)
        engine = engine or "transformers"
    elif len(names) > 1:
        raise SpecError(f"--server: expected one model without base_url, got {', '.join(names)}")
    elif engine is None:
        engine = sidecar.engine if names and is_sound else "transformers"
    return [
        dataclasses.replace(source, engine=engine, server_args=tuple(arguments[source.name]))
        if source.served
        else source
        for source in sources
    ]


def _plan_model(
    source: Source,
    tables: Sequence[tuple[Rows, EvalTask]],
    spec: RunSpec,
    work: Path,
    stop: threading.Event,
    store: Store | None,
    extractor: Extractor | None,
) -> list[PlannedCell]:
    """Plan the cells of one model. Its tokenizer is read only where something is left to ask."""
    problems: list[str] = []
    block, seed = spec.eval, spec.seed
    planned = [dataclasses.replace(_plan_cell(source, rows, asked, spec, work), store=store) for rows, asked in tables]
    if extractor is not None:
        planned = [_add_extractor(cell, extractor, asked) for cell, (_, asked) in zip(planned, tables, strict=True)]
    for cell in planned if store else []:
        store.fetch(cell.directory)
        if cell.answers is not None:
            store.fetch(cell.answers.directory)
    todo = [i for i, cell in enumerate(planned) if cells.find_finished(cell.directory) is None]
    budget = _limit_prompt(source, block, "eval.") if todo else None
    counts = todo and (budget is not None or source.served)
    count = counter.make_counter(source.tokenizer, source.chat_template_kwargs) if counts else None
    for i in todo:
        with _collect(problems, ""):
            asked = questions.make(tables[i][0], block.prompt, budget, count, stop)
            asked = questions.repeat(asked, block.samples, seed)
            answers = planned[i].answers and dataclasses.replace(planned[i].answers, questions=asked)
            planned[i] = dataclasses.replace(planned[i], questions=asked, answers=answers)
    if problems:
        raise SpecError(problems)
    return planned


def _plan_cell(source: Source, rows: Rows, asked: EvalTask, spec: RunSpec, work: Path) -> PlannedCell:
    """Plan one cell, without its questions.

    Everything that can change the numbers goes into the key. The name in the leaderboard, concurrency, time-outs and
    retries do not.
    """
    block = spec.eval
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
    if block.samples > 1:
        settings |= {"samples": block.samples, "seed": spec.seed}
    if rows.task.decides:
        settings["task_file"] = rows.task.decides
    if asked.fold:
        settings["fold"] = asked.fold
    if source.chat_template_kwargs:
        settings["chat_template_kwargs"] = source.chat_template_kwargs
    if asked.answer != "text":
        settings["answer"] = asked.answer
    if asked.evidence:
        settings["evidence"] = asked.evidence
    if asked.gold != "published":
        settings["gold"] = asked.gold
    if source.server_args:
        settings["server_args"] = list(source.server_args)
    if source.served and source.context_length and counter.choose_way(source.tokenizer) == "estimate":
        settings["prompt_tokens"] = "estimate"  # long documents are cut elsewhere than by the model's own tokenizer
    key = canonical.digest(settings)
    provenance = {
        "versions": read_versions(
            ("fino1", "openai", "transformers", "torch") if source.served else ("fino1", "openai")
        ),
        "server": _describe_server(source),
        "model": source.served or source.model_id,
        "dataset": rows.where,
        "preset": block.prompt,
    }
    return PlannedCell(key, source, rows.task, work / "cells" / key, settings, provenance)


def _add_extractor(cell: PlannedCell, extractor: Extractor, asked: EvalTask) -> PlannedCell:
    """Return the cell with what the extractor reads in this cell's answers. Answers that are programs have none."""
    if asked.answer == "program":
        return cell
    settings = cell.settings | {"extraction": extractor.settings}
    key = canonical.digest(settings)
    directory = cell.directory.with_name(key)
    return dataclasses.replace(cell, key=key, directory=directory, settings=settings, extractor=extractor, answers=cell)


def _limit_prompt(source: Source, block: EvalBlock | ExtractionBlock, at: str = "") -> int | None:
    """Compute how many tokens a prompt may have; None for any number. Raises SpecError, at the key, where none are left."""
    if source.context_length is None:
        return None
    if source.context_length <= block.max_tokens:
        raise SpecError(
            f"{at}max_tokens: expected fewer than the {source.context_length} tokens of the model's context, "
            f"got {block.max_tokens}"
        )
    return source.context_length - block.max_tokens


def _find_repeated(planned: Sequence[PlannedCell]) -> list[str]:
    """Describe the models and tasks that are the same under two names."""
    first: dict[str, PlannedCell] = {}
    return [
        f"eval: {cell.source.name} on {cell.task.name}: expected each model and task once, got the same as "
        f"{first[cell.key].source.name} on {first[cell.key].task.name}"
        for cell in planned
        if first.setdefault(cell.key, cell) is not cell
    ]


def _describe_server(source: Source) -> str:
    if not source.base_url:
        return source.kind
    host = urlsplit(source.base_url).hostname or ""
    return "endpoint on this machine" if host in ("localhost", "127.0.0.1", "::1") else f"endpoint {host}"


def read_versions(packages: Sequence[str]) -> dict[str, str]:
    """Read the versions of Python and of those of these packages that are installed."""
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
