"""Method `eval`: every model answers every task (docs/design.md C9, C10).

Everything that can be checked is checked before a model is served or a request is paid for. A model that fails does not
keep the others from being asked; its problems are reported at the end. Of several shards each asks its questions; the
shard that finds all of a cell's answers finishes the cell, and the shard that finds all cells finished ends the run.
"""

import contextlib
import dataclasses
import functools
import json
import os
import signal
import sys
import threading
import time
from collections.abc import Awaitable, Callable, Iterator, Sequence
from pathlib import Path
from types import FrameType
from typing import Any

from fino1 import cells, exits, files, inputs, runs
from fino1.cells import Cell
from fino1.errors import SpecError, ToolError
from fino1.evaluate import extraction, serve
from fino1.evaluate.budget import Account, BudgetSpent, Cost
from fino1.evaluate.cell import PlannedCell, digest_results, run_cell
from fino1.evaluate.endpoint import Answer, Cancelled, Endpoint
from fino1.evaluate.extraction import Extract
from fino1.evaluate.models import Source
from fino1.evaluate.plan import plan, read_versions
from fino1.evaluate.questions import Question
from fino1.evaluate.rates import Rates
from fino1.evaluate.rescore import adopt
from fino1.evaluate.samples import WHOLE, Shard, find_shard
from fino1.evaluate.sidecar import Sidecar
from fino1.spec.evaluation import EvalBlock
from fino1.spec.run import RunSpec

Connect = Callable[[Source], contextlib.AbstractContextManager[Endpoint]]


def main(spec: RunSpec, name: str, work: Path, server: str | None = None) -> int:
    """Run the evaluation; returns the exit code: 0, 74 for the disk, 143 after SIGTERM with all samples on disk.

    `server` is the URL of a server of the model without `base_url`; if it is None, such models are served by this process.

    Raises SpecError with every problem found before the start, or by an endpoint (a wrong key); ToolError where a
    server or an endpoint failed, with an exit code of its own (docs/design.md C5).
    """

    def run(stop: threading.Event) -> None:
        started = time.monotonic()
        shard = find_shard(spec.eval.shards, os.environ)
        sidecar = Sidecar(server, stop) if server is not None else None
        runs.check_work(work)
        directory = runs.directory(work, name, spec)
        inputs.check(directory, spec)
        planned = plan(spec, work, stop, sidecar)
        runs.write_config(directory / "config.json", spec)
        inputs.check(directory, spec, writes=True)
        files.write_json(directory / runs.CELLS_FILE, _list_cells(planned))
        planned = [adopt(cell, shard, stop) for cell in planned]
        connect = functools.partial(open_endpoint, spec.eval, sidecar, directory, stop)
        account = Account(spec.eval.budget, shard.count, _sum_costs(planned, shard))
        with _open_extractor(planned, connect) as extractor:
            extract = functools.partial(extraction.extract, extractor, account, spec.eval.concurrency, stop, shard)
            _ask_all(planned, spec.eval, connect, account, shard, stop, extract)
        _write_done(directory, name, planned, time.monotonic() - started)

    return run_until_stopped(run, "evaluate", "samples")


def run_until_stopped(run: Callable[[threading.Event], None], method: str, bought: str) -> int:
    """Run a method whose `bought` things are on disk at once; returns its exit code. SIGTERM sets the event it is given."""
    stop = threading.Event()
    with _catch_sigterm(stop):
        try:
            run(stop)
        except Cancelled:
            print(f"{method}: terminated; the {bought} so far are on disk", file=sys.stderr)
            return exits.TERMINATED
        except (PermissionError, FileExistsError, NotADirectoryError, IsADirectoryError) as error:
            if error.filename is None:
                raise
            got = error.strerror.lower()
            raise SpecError(f"{error.filename}: expected what {method} may read and write, got {got}") from error
        except OSError as error:
            if error.errno not in exits.DISK_ERRORS:
                raise
            print(f"{method}: {error}; the {bought} so far are on disk", file=sys.stderr)
            return exits.DISK
    return exits.DONE


def _sum_costs(planned: Sequence[PlannedCell], shard: Shard) -> Cost:
    """Add up what the answers on disk cost, whichever run bought them."""
    return sum((cell.sum_costs(shard) for cell in planned), Cost())


def _open_extractor(
    planned: Sequence[PlannedCell], connect: Connect
) -> contextlib.AbstractContextManager[Endpoint | None]:
    """Open the extractor's endpoint, one for all cells, so that its rates hold for the run; None where none is needed."""
    found = (cell.extractor for cell in planned if cell.extractor and cell.questions)
    extractor = next(found, None)
    return connect(extractor.source) if extractor else contextlib.nullcontext()


def _ask_all(
    planned: Sequence[PlannedCell],
    block: EvalBlock,
    connect: Connect,
    account: Account,
    shard: Shard,
    stop: threading.Event,
    extract: Extract,
) -> None:
    """Ask one model after the other; once the budget is spent, no further model.

    Raises afterwards SpecError with the problems of all models, else the first ToolError.
    """
    failures: list[SpecError | ToolError] = []
    for name in dict.fromkeys(cell.source.name for cell in planned):
        group = [c for c in planned if c.source.name == name and cells.find_finished(c.directory) is None]
        try:
            if group:
                _ask_model([cell.asked for cell in group], block, connect, account, shard, stop)
            for cell in group:
                if cell.extractor:
                    extract(cell)
        except BudgetSpent as error:
            left = [cost for cell in planned for cost in cell.estimate_remaining(shard)]
            failures.append(error.explain(len(left), sum(left, Cost())))
            break
        except (SpecError, ToolError) as error:
            failures.append(error)
            print(f"evaluate: {name}: {error}", file=sys.stderr)
        if stop.is_set():
            raise Cancelled
    mistakes = [problem for error in failures if isinstance(error, SpecError) for problem in error.problems]
    if mistakes:
        raise SpecError(mistakes)
    if failures:
        raise failures[0]


def _ask_model(
    group: Sequence[PlannedCell],
    block: EvalBlock,
    connect: Connect,
    account: Account,
    shard: Shard,
    stop: threading.Event,
) -> None:
    source = group[0].source
    needed = any(cell.find_remaining(shard) for cell in group)
    with connect(source) if needed else contextlib.nullcontext() as endpoint:

        def ask(cell: PlannedCell, question: Question, halt: threading.Event) -> Awaitable[Answer]:
            assert endpoint is not None, f"{cell.key}: nothing was left to ask, now {question.id} is"
            label = f"{cell.key} {question.id}" + (f" {question.number}" if question.number else "")
            return account.ask(endpoint, cell.tariff, question.prompt, block.temperature, halt, label, question.seed)

        for cell in group:
            if endpoint is not None:  # `unsupported` is filled while the model answers, before the cell is written
                cell = dataclasses.replace(cell, provenance=cell.provenance | {"left_out": endpoint.unsupported})
            finished = run_cell(cell, functools.partial(ask, cell), block.concurrency, stop, shard)
            print(f"{source.name} on {cell.task.name}: {_describe(finished, shard)}", flush=True)


def _describe(finished: Cell | None, shard: Shard) -> str:
    if finished is None:
        return f"shard {shard.index + 1} of {shard.count} has its answers, others are being asked"
    s, dollars = finished.summary, finished.cost.get("dollars")
    price = "" if dollars is None else f", {dollars:.2f} dollars"
    return f"{s.k}/{s.n} right, {s.unparsed} unparsed, {s.truncated} truncated, {s.cut} cut{price}"


@contextlib.contextmanager
def open_endpoint(
    block: EvalBlock, sidecar: Sidecar | None, directory: Path, stop: threading.Event, source: Source
) -> Iterator[Endpoint]:
    """Open the endpoint of a model. One without `base_url` is served by the sidecar, or here until the block ends."""
    with contextlib.ExitStack() as stack:
        limits = (source.requests_per_minute, source.tokens_per_minute)
        rates = Rates(*(limit and limit / block.shards for limit in limits))
        options: dict[str, Any] = {"timeout_s": block.timeout_s, "max_retries": block.max_retries, "rates": rates}
        if source.chat_template_kwargs:
            options["extra_body"] = {"chat_template_kwargs": source.chat_template_kwargs}
        if source.base_url:
            key = os.environ[source.api_key_env] if source.api_key_env else None
            endpoint = Endpoint(source.base_url, source.model_id, api_key=key, **options)
        else:
            assert source.served is not None, source
            if sidecar is not None:
                base_url, model = sidecar.base_url, sidecar.find_model(source)
            else:
                log = directory / f"serve-{source.name}.log"
                server = stack.enter_context(serve.serve(_choose_program(source), log, stop))
                base_url, model = server.base_url, server.model
                options["check"] = server.check
            if source.engine == "transformers":  # vLLM needs no more than the standard parameters
                options.setdefault("extra_body", {}).update(serve.build_sampling(source.served, block.temperature))
            endpoint = Endpoint(base_url, model, is_local=True, **options)
        stack.callback(endpoint.close)
        yield endpoint


def _choose_program(source: Source) -> serve.Program:
    assert source.served is not None, source
    if source.engine == "vllm":
        return serve.vllm(source.served, source.name, source.context_length, source.server_args)
    return serve.transformers(source.served, source.server_args)


def _write_done(directory: Path, name: str, planned: Sequence[PlannedCell], seconds: float) -> None:
    """Write `done.json` once all cells are finished, unless it says the same already.

    `artefact_sha256` is the digest of the results, without the seconds they took.
    """
    found = []
    for cell in planned:
        finished = cells.find_finished(cell.directory)
        if finished is None:
            return  # other shards have questions left; the last of them will come here
        found.append(finished)
    path = directory / "done.json"
    artefact = digest_results(found)
    if path.is_file() and json.loads(path.read_text(encoding="utf-8")).get("artefact_sha256") == artefact:
        return
    files.write_json(
        path,
        {
            "method": "eval",
            "name": name,
            **_list_cells(planned),
            "seconds": round(seconds, 3),
            "artefact_sha256": artefact,
            "cost": _sum_costs(planned, WHOLE).to_dict(is_priced=any(cell.is_priced for cell in planned)),
            "versions": read_versions(("fino1", "openai", "transformers", "torch")),
        },
    )


def _list_cells(planned: Sequence[PlannedCell]) -> dict[str, list[str]]:
    """List keys, models (a cell may have been finished under another name) and tasks, as `cells.json` and `done.json` do."""
    return {
        "cells": [cell.key for cell in planned],
        "models": [cell.source.name for cell in planned],
        "tasks": [cell.task.name for cell in planned],
    }


@contextlib.contextmanager
def _catch_sigterm(stop: threading.Event) -> Iterator[None]:
    """Make SIGTERM set `stop` while the block runs; does nothing outside the main thread, which may not set handlers."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return

    def handle(number: int, frame: FrameType | None) -> None:
        stop.set()

    before = signal.signal(signal.SIGTERM, handle)
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, before)
