"""How do records become token ids? (DESIGN C7)

Rows are read, de-duplicated against the evaluation sets, split with the run's seed, rendered with the tokenizer's own chat
template and, where they are too long, shortened in the document only. Nothing is dropped silently: `Counts` goes to data.json.
"""

import math
import random
import re
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from transformers import PreTrainedTokenizerBase

from fino1.errors import SpecError
from fino1.spec import DataBlock, RowsBlock
from fino1.tasks import ledger, task
from fino1.tasks import rows as task_rows
from fino1.tasks.record import FINAL, THINKING, Record, fit, solution

Example = dict[str, list[int]]

SFT_COLUMNS = ("Question", "Complex_CoT", "Response")
RL_COLUMNS = ("Open-ended Verifiable Question", "Ground-True Answer")
_CONTEXT = re.compile(r"\A(.*?context:)(.*?)(\bquestion:.*)\Z", re.DOTALL | re.IGNORECASE)
_SHOWN = 20  # problems listed of one file
Numbered = list[tuple[int, dict[str, Any]]]


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
        for rows in (evaluation, *(_evaluated(other, seed) for other in block.exclude)):
            ledger.check_held_out(train, rows)
        counts.read = len(train)
    else:
        records = _read_file(block, method)[: block.limit]
        counts.read = len(records)
        if method == "sft":
            records = [r for r in records if r.cot and r.response]
            counts.without_solution = counts.read - len(records)
        kept = _without(records, [r for other in block.exclude for r in _evaluated(other, seed)])
        counts.excluded = len(records) - len(kept)
        train, evaluation = _split(kept, block.eval_size, seed)
    if not train:
        raise SpecError(f"data: {block.path or block.hub}: expected rows to train on, got none of {counts.read} read")
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
        raise SpecError(_shown(problems, "data"))
    return [made for made, _ in found], sum(was_cut for _, was_cut in found)


def _renderer(block: RowsBlock) -> Callable[[Record], str]:
    if block.task is None:
        return lambda record: "".join(
            (record.fields["head"], *record.before, *record.table, *record.after, record.question)
        )
    chosen = task(block.task)
    preset = getattr(block, "prompt", "fino1")
    return lambda record: chosen.prompt(record, preset)


def _evaluated(block: RowsBlock, seed: int) -> list[Record]:
    """Which records does this evaluation set hold?"""
    if block.task == "ledger" and block.path is None:
        return ledger.generate("test", n=block.size, seed=seed)[: block.limit]
    return _read_file(block, "ppo")[: block.limit]


def _read_file(block: RowsBlock, method: str) -> list[Record]:
    if block.task is not None and block.path is not None:
        return task(block.task).read(Path(block.path))
    columns = SFT_COLUMNS if method == "sft" else RL_COLUMNS
    names = {column: getattr(block, "columns", {}).get(column, column) for column in columns}
    if block.path is not None:
        return _c7_records(block.path, *_load_local(Path(block.path)), names)
    return _c7_records(str(block.hub), _load_hub(block), [], names)


def _load_local(path: Path) -> tuple[Numbered, list[str]]:
    """Rows of a file (JSON arrays and Parquet numbered by index, JSONL by line), and what in it is none.

    It writes no cache: `/models` may be read-only (C4).
    """
    kinds = (".json", ".jsonl", ".parquet")
    if not path.is_file():
        raise SpecError(f"{path}: expected a JSON, JSONL or Parquet file, got none")
    if path.suffix not in kinds:
        raise SpecError(f"{path}: expected a name that ends in {', '.join(kinds)}, got {path.suffix or 'none'}")
    if path.suffix != ".parquet":
        numbered, problems = task_rows.read_json_rows(path, "")
        return numbered, problems.found
    import pyarrow
    from pyarrow import parquet

    try:
        return list(enumerate(parquet.read_table(path).to_pylist())), []
    except pyarrow.ArrowInvalid as error:
        raise SpecError(f"{path}: expected Parquet, got {error}") from error


def _load_hub(block: RowsBlock) -> Numbered:
    import datasets

    try:
        return list(enumerate(datasets.load_dataset(block.hub, revision=block.revision, split=block.split)))
    except (datasets.exceptions.DatasetNotFoundError, ConnectionError, OSError, ValueError) as error:
        raise SpecError(f"data.hub: {block.hub}: expected a dataset that can be read, got {error}") from error


def _c7_records(source: str, raw: Numbered, problems: list[str], names: dict[str, str]) -> list[Record]:
    """C7 rows as records: the text between `Context:` and `Question:` is the document, the rest is never cut."""
    records = []
    for number, row in raw:
        found = [
            f"{source}:{number}: {name}: {problem}"
            for column, name in names.items()
            if (problem := _c7_problem(column, row.get(name)))
        ]
        problems += found
        if found:
            continue
        question, *answers = (str(row[name]) for name in names.values())
        parts = _CONTEXT.match(question)
        head, document, tail = parts.groups() if parts else ("", "", question)
        records.append(
            Record(
                id=f"{number}",
                question=tail,
                target=answers[0] if len(answers) == 1 else "",
                before=tuple(document.splitlines(keepends=True)),
                fields={"head": head},
                cot=answers[0] if len(answers) == 2 else "",
                response=answers[1] if len(answers) == 2 else "",
            )
        )
    if problems:
        raise SpecError(_shown(problems, source))
    return records


def _c7_problem(column: str, value: Any) -> str:
    """What is wrong with this field of a C7 row? "" where nothing is."""
    is_number = isinstance(value, int | float) and not isinstance(value, bool) and math.isfinite(value)
    if not isinstance(value, str):
        right = column == RL_COLUMNS[1] and is_number
        return "" if right else f"expected text, got {'none' if value is None else repr(value)[:80]}"
    if not value.strip():
        return "expected text, got an empty one"
    if column in SFT_COLUMNS[1:] and (THINKING in value or FINAL in value):
        return f"expected no heading {THINKING!r} or {FINAL!r}, got one"
    return ""


def _shown(problems: list[str], source: str) -> list[str]:
    more = [f"{source}: and {len(problems) - _SHOWN} more problems"] if len(problems) > _SHOWN else []
    return problems[:_SHOWN] + more


def _without(records: list[Record], evaluated: list[Record]) -> list[Record]:
    """Which records share neither page nor question text with an evaluated one?"""
    pages = {record.page for record in evaluated} - {""}
    questions = {_plain(record.question) for record in evaluated}
    return [r for r in records if r.page not in pages and _plain(r.question) not in questions]


def _plain(question: str) -> str:
    text = re.sub(r"\A\s*question:|answer:\s*\Z", "", question.lower())
    return " ".join(re.findall(r"\w+", text))


def _split(records: list[Record], eval_size: int, seed: int) -> tuple[list[Record], list[Record]]:
    """Hold out `eval_size` records, at most a tenth, chosen by `seed` alone: every rank and every attempt agrees."""
    held = min(eval_size, len(records) // 10)
    order = list(range(len(records)))
    random.Random(seed).shuffle(order)
    chosen = set(order[:held])
    return [r for i, r in enumerate(records) if i not in chosen], [records[i] for i in sorted(chosen)]
