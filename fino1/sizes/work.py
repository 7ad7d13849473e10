"""How much work is a run: its batches, steps, questions and calls, as far as the run file says?"""

import math
from collections.abc import Iterator
from typing import Any

from fino1 import jsonlines, runs
from fino1.commandline import WORK
from fino1.errors import SpecError
from fino1.spec import canonical
from fino1.spec.inputs import DataBlock, RowsBlock
from fino1.spec.paths import LEAST_CALLS
from fino1.spec.run import RunSpec

Line = tuple[str, str]
"""Heading and text of a line of `plan`."""


def divide_batch(spec: RunSpec) -> dict[str, int] | None:
    """Global = per device × ranks × accumulation (× mini-batches), which the run file's check has seen to. None: no training."""
    if not spec.trains:
        return None
    block, ranks = spec.trained, spec.world_size
    mini = {"mini_batches": spec.ppo.num_mini_batches} if spec.method == "ppo" else {}
    unit = block.per_device_train_batch_size * ranks * mini.get("mini_batches", 1)
    batch = {"global": block.global_batch_size, "per_device": block.per_device_train_batch_size, "ranks": ranks}
    return {**batch, "accumulation": block.global_batch_size // unit, **mini}


def count_steps(spec: RunSpec) -> dict[str, Any]:
    """Optimizer steps (no training: questions), None where the run file does not say; `of`: what they are counted from."""
    if not spec.trains:
        sizes, models = [count_rows(task) for task in spec.asking.tasks], len(spec.eval.models)
        is_eval = spec.method == "eval"
        known = None if None in sizes else sum(size or 0 for size in sizes) * (models if is_eval else 1)
        of = f"{count(models, 'model')} × " if is_eval else ""
        of += count(len(sizes), "task")
        return {"questions": known, "of": f"not known until the tasks are read ({of})" if known is None else of}
    if spec.method == "ppo":
        block = spec.ppo
        updates = -(-block.total_episodes // block.global_batch_size)
        factors = ((block.num_ppo_epochs, "passes"), (block.num_mini_batches, "mini-batches"))
        of = " × ".join([f"{updates} updates", *(f"{count} {noun}" for count, noun in factors if count > 1)])
        return {"steps": updates * block.num_ppo_epochs * block.num_mini_batches, "of": of}
    block = spec.trained
    if block.max_steps:
        return {"steps": block.max_steps, "of": "max_steps"}
    rows, epochs = count_rows(spec.data), block.num_train_epochs
    if rows is None:
        why = f"; run {spec.data.run} is not in {WORK}/runs" if spec.data.run else ""
        return {"steps": None, "of": f"{epochs:g} epochs; number of rows not known{why}"}
    steps = math.ceil(-(-rows // block.global_batch_size) * epochs)
    return {"steps": steps, "of": f"{epochs:g} epochs of at most {rows} rows"}


def count_calls(spec: RunSpec, questions: int | None) -> dict[str, Any] | None:
    """Count the calls of an evaluation's models or a search's writer, and what their replies take at most.

    Dollars are those of models with a price. None for what is not known, and for other methods.
    """
    writer = spec.paths.writer
    if spec.method == "eval":
        least = most = spec.eval.samples
        asked = [(spec.eval.max_tokens, model.price) for model in spec.eval.models]
    elif spec.method == "paths" and writer is not None:
        least, most = LEAST_CALLS, spec.paths.most_calls
        asked = [(writer.max_tokens, writer.price)]
    else:
        return None
    budget, replies = spec.asking.budget, None if questions is None else questions // len(asked) * most
    priced = [limit * price.output for limit, price in asked if price]
    return {
        "per_question": [least, most],
        "all": None if questions is None else [questions * least, questions * most],
        "reply_tokens": None if replies is None else sum(replies * limit for limit, _ in asked),
        "reply_dollars": None if replies is None or not priced else replies * sum(priced) / 1e6,
        "budget": budget and budget.given(),
    }


def describe_calls(found: dict[str, Any] | None) -> Iterator[Line]:
    """Yield the lines of `plan` about these calls."""
    if found is None:
        return
    least, most = found["per_question"]
    each, every = (_format_range(found[key]) for key in ("per_question", "all"))
    others = ", and those of the judge and for malformed replies" if least < most else ""
    yield "calls", f"{every} ({each} a question){others}"
    if found["reply_tokens"]:
        dollars = "" if found["reply_dollars"] is None else f", {found['reply_dollars']:.2f} dollars"
        yield "", f"their replies take at most {found['reply_tokens']} tokens{dollars}; prompts are not in it"
    budget = found["budget"] or {}
    limits = [f"{canonical.dumps(budget[unit])} {unit}" for unit in ("tokens", "dollars") if budget.get(unit)]
    yield "budget", f"{' or '.join(limits)}, then the run ends" if limits else "none"


def _format_range(ends: list[int] | None) -> str:
    return "not known" if ends is None else " … ".join(map(str, dict.fromkeys(ends)))


def count_rows(block: RowsBlock) -> int | None:
    """Rows that are read at most; None where only the file knows."""
    there = block.size if block.is_generated else _count_searched(block)
    return block.limit if there is None else min(there, block.limit or there)


def _count_searched(block: RowsBlock) -> int | None:
    """Count the rows for SFT of the run that the block names; None without one, and where it has not finished on this machine."""
    if not isinstance(block, DataBlock) or block.run is None:
        return None
    try:
        done = jsonlines.read_object(runs.finished(WORK, block.run) / "done.json")
    except SpecError:
        return None
    return done.get("rows") if done.get("method") == "paths" else None


def count(number: int, noun: str) -> str:
    """Return a number of things in words."""
    return f"{number} {noun}" + ("" if number == 1 else "s")
