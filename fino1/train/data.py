"""How do records become token ids? (DESIGN C7)

Rows are read, de-duplicated against the evaluation sets, split with the run's seed, rendered with the tokenizer's own chat
template and, where they are too long, shortened in the document only. Nothing is dropped silently: `Counts` goes to data.json.
"""

import random
import re
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from transformers import PreTrainedTokenizerBase

from fino1.errors import SpecError
from fino1.spec.inputs import DataBlock, RowsBlock
from fino1.tasks import ledger, task
from fino1.tasks.fold import group, take
from fino1.tasks.record import Record, fit, solution
from fino1.train import c7

Example = dict[str, list[int]]


@dataclass
class Counts:
    """What became of the rows."""

    read: int = 0
    without_solution: int = 0
    excluded: int = 0
    train: int = 0
    evaluation: int = 0
    cut: int = 0


@dataclass(frozen=True)
class Rows:
    """Training and held-out records of a run, and how a record is put into words."""

    train: list[Record]
    evaluation: list[Record]
    render: Callable[[Record], str]
    counts: Counts = field(default_factory=Counts)

    def as_dict(self) -> dict[str, int]:
        """The counts, for data.json."""
        return asdict(self.counts)


def read(block: DataBlock, method: str, seed: int) -> Rows:
    """Which rows does this run train on and hold out? Raises SpecError naming file, line and field of every bad row."""
    counts = Counts()
    if block.task == "ledger" and block.path is None:
        split = "sft" if method == "sft" else "ppo"
        slip_rate = block.slip_rate if method == "sft" else 0.0
        train = ledger.generate(split, n=block.size, seed=seed, slip_rate=slip_rate)[: block.limit]
        evaluation = ledger.generate("validation", n=block.eval_size, seed=seed)
        for rows in (evaluation, *(evaluated(other, seed) for other in block.exclude)):
            ledger.check_held_out(train, rows)
        counts.read = len(train)
    else:
        records = read_file(block, method)
        counts.read = len(records)
        if method == "sft":
            records = [r for r in records if r.cot and r.response]
            counts.without_solution = counts.read - len(records)
        kept = without(block.task, records, [r for other in block.exclude for r in evaluated(other, seed)])
        counts.excluded = len(records) - len(kept)
        held_in, evaluation = _split(kept, block.eval_size, seed)
        train = without(block.task, held_in, evaluation)
        counts.excluded += len(held_in) - len(train)
    if not train:
        raise SpecError(f"data: {block.source}: expected rows to train on, got none of {counts.read} read")
    counts.train, counts.evaluation = len(train), len(evaluation)
    return Rows(train, evaluation, _renderer(block), counts)


def prompt_ids(tokenizer: PreTrainedTokenizerBase, text: str) -> list[int]:
    """Token ids of one user message in the chat template, up to where the answer starts."""
    return tokenizer.encode(_chat(tokenizer, text), add_special_tokens=False)


def completion_ids(tokenizer: PreTrainedTokenizerBase, text: str, completion: str) -> list[int]:
    """Token ids of an answer to the user message `text`, as the chat template puts it, up to its end-of-sequence token.

    Raises SpecError where the template's conversation does not begin with its own prompt, or the answer itself spells the
    end-of-sequence token.
    """
    prompt, whole = _chat(tokenizer, text), _chat(tokenizer, text, completion)
    if not whole.startswith(prompt):
        raise SpecError("expected a chat template whose conversation begins with its generation prompt, got another")
    answer = whole[len(prompt) :].rpartition(tokenizer.eos_token)[0] or whole[len(prompt) :]
    ids = tokenizer.encode(answer, add_special_tokens=False)
    if tokenizer.eos_token_id in ids:
        raise SpecError(f"expected an answer without the end-of-sequence token {tokenizer.eos_token}, got one with it")
    return [*ids, tokenizer.eos_token_id]


def _chat(tokenizer: PreTrainedTokenizerBase, text: str, completion: str | None = None) -> str:
    messages = [{"role": "user", "content": text}]
    if completion is None:
        return tokenizer.apply_chat_template(messages, tokenize=False, add_generation_prompt=True)
    return tokenizer.apply_chat_template([*messages, {"role": "assistant", "content": completion}], tokenize=False)


def fitted_prompt(
    rows: Rows, record: Record, tokenizer: PreTrainedTokenizerBase, budget: int
) -> tuple[list[int], bool]:
    """Token ids of the record's prompt, its document shortened to fit `budget` tokens, and whether it was.

    Raises SpecError where question and answer do not fit even without the document.
    """
    try:
        shorter, was_cut = fit(record, budget, lambda r: len(prompt_ids(tokenizer, rows.render(r))))
    except ValueError as error:
        raise SpecError(f"data: row {record.id}: expected a question and answer that fit, got {error}") from error
    return prompt_ids(tokenizer, rows.render(shorter)), was_cut


def ppo_prompts(
    rows: Rows, tokenizer: PreTrainedTokenizerBase, budget: int, workers: int
) -> tuple[list[list[int]], list[list[int]]]:
    """Token ids of the training and the held-out prompts, none longer than `budget` tokens, made by `workers` threads.

    Raises SpecError naming the rows that do not fit.
    """

    def make(record: Record) -> tuple[list[int], bool]:
        return fitted_prompt(rows, record, tokenizer, budget)

    train, rows.counts.cut = _each(rows.train, make, workers)
    return train, _each(rows.evaluation, make, workers)[0]


def sft_examples(
    rows: Rows, tokenizer: PreTrainedTokenizerBase, max_length: int
) -> tuple[list[Example], list[Example]]:
    """Training and held-out rows as `input_ids` (T) and `labels` (T), −100 on the prompt; none has over `max_length` tokens.

    Raises SpecError naming the rows that cannot be.
    """

    def make(record: Record) -> tuple[Example, bool]:
        try:
            answer = completion_ids(tokenizer, rows.render(record), solution(record.cot, record.response))
        except SpecError as error:
            raise SpecError(f"data: row {record.id}: {error}") from error
        prompt, was_cut = fitted_prompt(rows, record, tokenizer, max_length - len(answer))
        return {"input_ids": prompt + answer, "labels": [-100] * len(prompt) + answer}, was_cut

    train, rows.counts.cut = _each(rows.train, make)
    return train, _each([r for r in rows.evaluation if r.cot], make)[0]


def _each(
    records: Sequence[Record], make: Callable[[Record], tuple[Any, bool]], workers: int = 0
) -> tuple[list[Any], int]:
    """What `make` makes of each record, and how many it had to cut. Raises SpecError with the problems of all."""

    def attempt(record: Record) -> tuple[Any, bool] | SpecError:
        try:
            return make(record)
        except SpecError as error:
            return error

    with ThreadPoolExecutor(max(workers, 1)) as pool:
        found = list(pool.map(attempt, records))
    problems = [problem for each in found if isinstance(each, SpecError) for problem in each.problems]
    if problems:
        raise SpecError(c7.shown(problems, "data"))
    return [made for made, _ in found], sum(was_cut for _, was_cut in found)


def _renderer(block: RowsBlock) -> Callable[[Record], str]:
    if block.task is None:
        return lambda record: "".join(
            (record.fields["head"], *record.before, *record.table, *record.after, record.question)
        )
    chosen = task(block.task)
    preset = getattr(block, "prompt", "fino1")
    return lambda record: chosen.prompt(record, preset)


def evaluated(block: RowsBlock, seed: int) -> list[Record]:
    """Which records does this evaluation set hold?"""
    if block.task == "ledger" and block.path is None:
        return ledger.generate("test", n=block.size, seed=seed)[: block.limit]
    return read_file(block, "ppo")


def read_file(block: RowsBlock, method: str) -> list[Record]:
    """Which records of a file, or a hub dataset, are asked for?"""
    if block.task is not None and block.path is not None:
        records = task(block.task).read(Path(block.path))
    else:
        records = c7.read(block, method)
    return take(records, block.fold, block.limit)


def without(name: str | None, records: list[Record], others: list[Record]) -> list[Record]:
    """Which records share neither page nor table nor question text with one of the others?"""
    sources = {source for record in others for source in _sources(record)}
    # A ledger's pages say it all, and its questions repeat.
    questions = set() if name == "ledger" else {plain(record.question) for record in others}
    return [r for r in records if not sources & _sources(r) and plain(r.question) not in questions]


def _sources(record: Record) -> set[str]:
    """Where is it from? By page and by table: of one page's rows some name the page and others do not."""
    return {record.page, record.fields.get("table_hash", "")} - {""}


def plain(question: str) -> str:
    """Which words does a question have, however it is written?"""
    text = re.sub(r"\A\s*question:|answer:\s*\Z", "", question.lower())
    return " ".join(re.findall(r"\w+", text))


def _split(records: list[Record], eval_size: int, seed: int) -> tuple[list[Record], list[Record]]:
    """Hold out `eval_size` records or a few fewer, at most a tenth, whole tables and pages, chosen by `seed` alone: every
    rank and every attempt agrees.
    """
    wanted = min(eval_size, len(records) // 10)
    groups: dict[str, list[int]] = {}
    order = list(range(len(records)))
    random.Random(seed).shuffle(order)
    for i in order:
        groups.setdefault(group(records[i]), []).append(i)
    held: set[int] = set()
    for members in groups.values():
        if len(held) + len(members) <= wanted:
            held.update(members)
    return [r for i, r in enumerate(records) if i not in held], [records[i] for i in sorted(held)]
