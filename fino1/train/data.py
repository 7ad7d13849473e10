"""How do records become token ids? (DESIGN C7)

Rows are read, de-duplicated against the evaluation sets, split with the run's seed, rendered with the tokenizer's own chat
template and, where they are too long, shortened in the document only. Nothing is dropped silently: `Counts` goes to data.json.
"""

import random
import re
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from transformers import PreTrainedTokenizerBase

from fino1.errors import SpecError
from fino1.spec import DataBlock, RowsBlock
from fino1.tasks import ledger, task
from fino1.tasks.record import FINAL, THINKING, Record, fit, solution

SFT_COLUMNS = ("Question", "Complex_CoT", "Response")
RL_COLUMNS = ("Open-ended Verifiable Question", "Ground-True Answer")
_CONTEXT = re.compile(r"\A(.*?context:)(.*?)(\bquestion:.*)\Z", re.DOTALL | re.IGNORECASE)
_SHOWN = 20  # problems listed of one file


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
        train = ledger.generate(split, n=block.size, seed=seed, slip_rate=block.slip_rate if method == "sft" else 0.0)
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

    Raises SpecError where the template's conversation does not begin with its own prompt.
    """
    prompt, whole = _chat(tokenizer, text), _chat(tokenizer, text, completion)
    if not whole.startswith(prompt):
        raise SpecError("model: expected a chat template whose conversation begins with its generation prompt")
    answer = whole[len(prompt) :].rpartition(tokenizer.eos_token)[0] or whole[len(prompt) :]
    return [*tokenizer.encode(answer, add_special_tokens=False), tokenizer.eos_token_id]


def _chat(tokenizer: PreTrainedTokenizerBase, text: str, completion: str | None = None) -> str:
    messages = [{"role": "user", "content": text}]
    if completion is None:
        return tokenizer.apply_chat_template(messages, tokenize=False, add_generation_prompt=True)
    return tokenizer.apply_chat_template([*messages, {"role": "assistant", "content": completion}], tokenize=False)


def fitted_prompt(
    rows: Rows, record: Record, tokenizer: PreTrainedTokenizerBase, budget: int, cut: Counts | None = None
) -> list[int]:
    """Token ids of the record's prompt, its document shortened to fit `budget` tokens and counted in `cut`.

    Raises SpecError where question and answer do not fit even without the document.
    """
    try:
        shorter, was_cut = fit(record, budget, lambda r: len(prompt_ids(tokenizer, rows.render(r))))
    except ValueError as error:
        raise SpecError(f"data: row {record.id}: expected a question and answer that fit, got {error}") from error
    if cut is not None:
        cut.cut += was_cut
    return prompt_ids(tokenizer, rows.render(shorter))


def sft_examples(rows: Rows, tokenizer: PreTrainedTokenizerBase, max_length: int) -> list[dict[str, list[int]]]:
    """Training rows as `input_ids` (T) and `labels` (T), −100 on the prompt; no row is longer than `max_length` tokens."""
    return [_example(rows, record, tokenizer, max_length, rows.counts) for record in rows.train]


def sft_evaluation(rows: Rows, tokenizer: PreTrainedTokenizerBase, max_length: int) -> list[dict[str, list[int]]]:
    """Held-out rows that have a solution, as `sft_examples` gives them."""
    return [_example(rows, r, tokenizer, max_length, None) for r in rows.evaluation if r.cot]


def _example(
    rows: Rows, record: Record, tokenizer: PreTrainedTokenizerBase, max_length: int, cut: Counts | None
) -> dict[str, list[int]]:
    answer = completion_ids(tokenizer, rows.render(record), solution(record.cot, record.response))
    prompt = fitted_prompt(rows, record, tokenizer, max_length - len(answer), cut)
    return {"input_ids": prompt + answer, "labels": [-100] * len(prompt) + answer}


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
        return ledger.generate("test", n=block.size, seed=seed)
    return _read_file(block, "ppo")[: block.limit]


def _read_file(block: RowsBlock, method: str) -> list[Record]:
    if block.task is not None and block.path is not None:
        return task(block.task).read(Path(block.path))
    columns = SFT_COLUMNS if method == "sft" else RL_COLUMNS
    names = {column: getattr(block, "columns", {}).get(column, column) for column in columns}
    if block.path is not None:
        source, raw = block.path, _load_local(Path(block.path))
    else:
        source, raw = str(block.hub), _load_hub(block)
    return _c7_records(source, raw, names)


def _load_local(path: Path) -> list[dict[str, Any]]:
    import datasets

    kinds = {".json": "json", ".jsonl": "json", ".parquet": "parquet"}
    if not path.is_file():
        raise SpecError(f"{path}: expected a JSON, JSONL or Parquet file, got none")
    if path.suffix not in kinds:
        raise SpecError(f"{path}: expected a name that ends in {', '.join(kinds)}, got {path.suffix or 'none'}")
    try:
        return list(datasets.load_dataset(kinds[path.suffix], data_files=str(path), split="train"))
    except (datasets.exceptions.DatasetGenerationError, ValueError) as error:
        raise SpecError(f"{path}: expected rows of {path.suffix}, got {error.__cause__ or error}") from error


def _load_hub(block: RowsBlock) -> list[dict[str, Any]]:
    import datasets

    try:
        return list(datasets.load_dataset(block.hub, revision=block.revision, split=block.split))
    except (datasets.exceptions.DatasetNotFoundError, ConnectionError, OSError, ValueError) as error:
        raise SpecError(f"data.hub: {block.hub}: expected a dataset that can be read, got {error}") from error


def _c7_records(source: str, raw: Sequence[dict[str, Any]], names: dict[str, str]) -> list[Record]:
    """C7 rows as records: the text between `Context:` and `Question:` is the document, the rest is never cut."""
    problems, records = [], []
    for number, row in enumerate(raw, start=1):
        for name in names.values():
            value = row.get(name)
            if not isinstance(value, str) and not (name == names.get(RL_COLUMNS[1]) and isinstance(value, int | float)):
                problems.append(f"{source}:{number}: {name}: expected text, got {value!r}")
            elif isinstance(value, str) and not value.strip():
                problems.append(f"{source}:{number}: {name}: expected text, got an empty one")
            elif names.get("Complex_CoT") == name and (THINKING in value or FINAL in value):
                problems.append(f"{source}:{number}: {name}: expected no heading {THINKING!r} or {FINAL!r}, got one")
        values = [str(row.get(name)) for name in names.values()]
        parts = _CONTEXT.match(values[0])
        head, document, tail = parts.groups() if parts else ("", "", values[0])
        records.append(
            Record(
                id=f"{number}",
                question=tail,
                target=values[1] if len(values) == 2 else "",
                before=tuple(document.splitlines(keepends=True)),
                fields={"head": head},
                cot=values[1] if len(values) == 3 else "",
                response=values[2] if len(values) == 3 else "",
            )
        )
    if problems:
        more = [f"{source}: and {len(problems) - _SHOWN} more problems"] if len(problems) > _SHOWN else []
        raise SpecError(problems[:_SHOWN] + more)
    return records


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
