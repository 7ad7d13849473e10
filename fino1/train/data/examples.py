"""How do records become token ids? (docs/design.md C7)

Rendered with the tokenizer's own chat template and, where they are too long, shortened in the document only.
"""

from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any

from fino1.errors import SpecError
from fino1.spec.ppo import PpoBlock
from fino1.tasks.record import Record, fit, solution
from fino1.tasks.rows import SHOWN, first_problems
from fino1.train.data.chat import Chat
from fino1.train.data.rows import Rows

Example = dict[str, list[int]]


def fitted_prompt(rows: Rows, record: Record, chat: Chat, budget: int) -> tuple[list[int], bool]:
    """Token ids of the record's prompt, its document shortened to fit `budget` tokens, and whether it was.

    Raises SpecError where question and answer do not fit even without the document.
    """
    try:
        shorter, was_cut = fit(record, budget, lambda r: len(chat.prompt_ids(rows.render(r))))
    except ValueError as error:
        raise SpecError(f"data: row {record.id}: expected a question and answer that fit, got {error}") from error
    return chat.prompt_ids(rows.render(shorter)), was_cut


def prompt_budget(block: PpoBlock, context: int) -> int:
    """Most tokens of a prompt beside a response. Raises SpecError where a response alone fills the model's context."""
    if block.response_length >= context:
        raise SpecError(
            f"ppo.response_length: expected fewer than the {context} tokens of the model's context, got "
            f"{block.response_length}"
        )
    return min(block.max_prompt_length, context - block.response_length)


def make_ppo_prompts(rows: Rows, chat: Chat, budget: int, workers: int) -> tuple[list[list[int]], list[list[int]]]:
    """Token ids of the training and the held-out prompts, none longer than `budget` tokens, made by `workers` threads.

    Raises SpecError naming the rows that do not fit; for a chat template that cannot be used, once.
    """
    chat.check()

    def make(record: Record) -> tuple[list[int], bool]:
        return fitted_prompt(rows, record, chat, budget)

    train, rows.counts.cut = _each(rows.train, make, workers)
    return train, _each(rows.evaluation, make, workers)[0]


def make_sft_examples(
    rows: Rows, chat: Chat, max_length: int, end_tokens: Sequence[int]
) -> tuple[list[Example], list[Example]]:
    """Training and held-out rows as `input_ids` (T) and `labels` (T), −100 on the prompt; none has over `max_length` tokens.

    Raises SpecError naming the rows whose question and answer do not fit, or whose answer spells an end-of-sequence token; for a
    chat template that cannot be used, once.
    """
    chat.check()
    chat.answer("How much?", solution("As much as that.", "1"))

    def make(record: Record) -> tuple[Example, bool]:
        try:
            answer = chat.completion_ids(rows.render(record), solution(record.cot, record.response), end_tokens)
        except SpecError as error:
            raise SpecError(f"data: row {record.id}: {error}") from error
        prompt, was_cut = fitted_prompt(rows, record, chat, max_length - len(answer))
        return {"input_ids": prompt + answer, "labels": [-100] * len(prompt) + answer}, was_cut

    train, rows.counts.cut = _each(rows.train, make)
    return train, _each([r for r in rows.evaluation if r.response], make)[0]


def _each(
    records: Sequence[Record], make: Callable[[Record], tuple[Any, bool]], workers: int = 0
) -> tuple[list[Any], int]:
    """Make each record, on `workers` threads; return what was made and how many were cut. Raises SpecError with all problems."""

    def attempt(record: Record) -> tuple[Any, bool] | SpecError:
        try:
            return make(record)
        except SpecError as error:
            return error

    with ThreadPoolExecutor(max(workers, 1)) as pool:
        found = list(pool.map(attempt, records))
    problems = [problem for each in found if isinstance(each, SpecError) for problem in each.problems]
    if len(problems) == len(records) > SHOWN:
        raise SpecError(f"data: expected rows to train on, got none of {len(records)}; the first: {problems[0]}")
    if problems:
        raise SpecError(first_problems(problems, "data"))
    return [made for made, _ in found], sum(was_cut for _, was_cut in found)
