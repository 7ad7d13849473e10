"""Method `paths`: questions with gold answers become training rows with reasoning (docs/paths.md).

Everything that can be checked is checked before a model is served or a request is paid for. The state is the journal of
calls: what is left to do, and the result, are found by searching again with its replies. Of several shards each searches its
questions; the one that finds all of them searched writes the rows.
"""

import contextlib
import functools
import os
import threading
import time
from collections import Counter
from collections.abc import Callable, Sequence
from pathlib import Path

from fino1 import files, inputs, jsonlines, runs
from fino1.evaluate import samples
from fino1.evaluate.batches import iterate_answers
from fino1.evaluate.budget import Account, BudgetSpent, Cost
from fino1.evaluate.endpoint import Endpoint
from fino1.evaluate.main import run_until_stopped
from fino1.evaluate.plan import read_versions
from fino1.evaluate.questions import Question
from fino1.evaluate.samples import WHOLE, Shard, find_shard
from fino1.evaluate.sidecar import Sidecar
from fino1.paths import output
from fino1.paths.journal import name_of
from fino1.paths.output import Result
from fino1.paths.pool import RESERVED_TOKENS, Asked, Pool, Searched, plan
from fino1.paths.records import ReasoningPath
from fino1.paths.search import Role
from fino1.progress import Progress
from fino1.spec import canonical
from fino1.spec.paths import PathsBlock
from fino1.spec.run import RunSpec

Open = Callable[[Asked], contextlib.AbstractContextManager[Endpoint]]


def main(spec: RunSpec, name: str, work: Path, server: str | None = None) -> int:
    """Run the search; returns the exit code: 0, 74 for the disk, 143 after SIGTERM with all calls on disk.

    `server` is as in `evaluate`: the URL of a server of the model without `base_url`.

    Raises SpecError with every problem found before the start, by an endpoint (a wrong key), or where the budget is spent;
    ToolError where a server or an endpoint failed, with an exit code of its own (docs/design.md C5).
    """

    def run(stop: threading.Event) -> None:
        started = time.monotonic()
        shard = find_shard(spec.paths.shards, os.environ, "paths.shards")
        runs.check_work(work)
        directory = runs.directory(work, name, spec)
        inputs.check(directory, spec)
        sidecar = Sidecar(server, stop) if server is not None else None
        pools = plan(spec, work, stop, sidecar)
        runs.write_config(directory / "config.json", spec)
        inputs.check(directory, spec, writes=True)
        with contextlib.ExitStack() as stack:
            # In one order: two runs must not wait for each other.
            for pool in sorted(pools, key=lambda pool: pool.directory):
                pool.directory.mkdir(parents=True, exist_ok=True)
                stack.enter_context(samples.lock(pool.directory, shard, stop))
                pool.journal.load()  # another process may have held the lock until now
                pool.journal.tidy(name_of(shard))
            _search_all(pools, functools.partial(_open, spec.paths, sidecar, directory, stop), shard, stop)
            _finish(pools, directory, name, time.monotonic() - started)

    return run_until_stopped(run, "paths", "calls")


def _search_all(pools: Sequence[Pool], open_: Open, shard: Shard, stop: threading.Event) -> None:
    """Search the questions of a shard that are left. Raises SpecError once the budget is spent, and what ends a search."""
    found = [(pool, pool.replay(shard)) for pool in pools]
    if not any(_list_left(searched) for _, searched in found):
        return
    account = Account(pools[0].block.budget, shard.count, _sum_costs(found), "paths.budget")
    with contextlib.ExitStack() as stack:
        endpoints: dict[Role, Endpoint] = {
            role: stack.enter_context(open_(model)) for role, model in pools[0].models.items()
        }
        for pool, searched in found:
            try:
                _search_pool(pool, searched, endpoints, account, shard, stop)
            except BudgetSpent as error:
                rest = [_estimate(each, q.prompt) for each in pools for q in _list_left(each.replay(shard))]
                raise error.explain(len(rest), sum(rest, Cost())) from error


def _search_pool(
    pool: Pool,
    searched: Sequence[Searched],
    endpoints: dict[Role, Endpoint],
    account: Account,
    shard: Shard,
    stop: threading.Event,
) -> None:
    left = _list_left(searched)
    outcomes = Counter(_outcome(each.path) for each in searched if each.path)
    slots = threading.Semaphore(pool.block.concurrency)
    buy = functools.partial(pool.buy, endpoints, account, shard, slots)
    first = len(searched) - len(left)
    threads = 2 * pool.block.concurrency  # while some wait for a reply, others write, read and render
    with (
        pool.journal.reserve(name_of(shard), pool.bound_bytes(left)),
        contextlib.closing(Progress("paths", len(searched), first, task=pool.task.name, **shard.labels)) as progress,
    ):
        for done, (_, path) in enumerate(iterate_answers(buy, left, threads, stop), first + 1):
            outcomes[_outcome(path)] += 1
            cost = account.spent.to_dict(_is_priced(pool))
            spent = {key: cost[key] for key in ("tokens", "dollars") if key in cost}
            progress.update(done, accepted=outcomes["accepted"], failed=outcomes["failed"], **spent)


def _list_left(searched: Sequence[Searched]) -> list[Question]:
    return [each.question for each in searched if each.path is None]


def _outcome(path: ReasoningPath) -> str:
    return "failed" if path.failure else "accepted"


def _open(
    block: PathsBlock, sidecar: Sidecar | None, directory: Path, stop: threading.Event, model: Asked
) -> contextlib.AbstractContextManager[Endpoint]:
    return model.open(directory, stop, block.timeout_s, block.max_retries, block.shards, sidecar)


def _estimate(pool: Pool, prompt: str) -> Cost:
    """Estimate the writer's cost for a question where every conclusion is wrong: full-length replies, no repair."""
    tariff, block = pool.models["writer"].tariff, pool.block
    around = RESERVED_TOKENS[block.wording] + (block.depth + 1) * tariff.max_tokens
    return sum((tariff.estimate(prompt, around) for _ in range(block.most_calls)), Cost())


def _sum_costs(found: Sequence[tuple[Pool, Sequence[Searched]]]) -> Cost:
    """Add up what the calls of these searches cost, whichever run made them."""
    return sum((pool.journal.sum_costs(each.keys) for pool, searched in found for each in searched), Cost())


def _is_priced(pool: Pool) -> bool:
    return any(model.source.price for model in pool.models.values())


def _finish(pools: Sequence[Pool], directory: Path, name: str, seconds: float) -> None:
    """Write the rows and `done.json`, unless another shard has questions left: the last of them will come here."""
    for pool in pools:
        pool.journal.load()
    found = [(pool, pool.replay(WHOLE)) for pool in pools]
    results = [
        Result(pool.task, pool.block.prompt, each.question, each.path, len(each.keys))
        for pool, searched in found
        for each in searched
        if each.path is not None
    ]
    if len(results) < sum(len(pool.questions) for pool in pools):
        print("paths: this shard has searched its questions, others have not yet", flush=True)
        return
    summary = output.write(directory, results, [(pool.task.name, each) for pool in pools for each in pool.excluded])
    print(f"paths: {summary['rows']} rows of {summary['questions']} questions, {summary['calls']} calls", flush=True)
    names = (output.ROWS, output.RL_ROWS, output.PATHS)
    artefact = canonical.digest({name: (directory / name).read_text(encoding="utf-8") for name in names})
    done = directory / "done.json"
    if done.is_file() and jsonlines.read_object(done).get("artefact_sha256") == artefact:
        return
    document = {
        "method": "paths",
        "name": name,
        "rows": summary["rows"],
        "questions": summary["questions"],
        "seconds": round(seconds, 3),
        "artefact_sha256": artefact,
        "cost": _sum_costs(found).to_dict(_is_priced(pools[0])),
        "versions": read_versions(("fino1", "openai", "transformers", "torch")),
    }
    files.write_json(done, document)
