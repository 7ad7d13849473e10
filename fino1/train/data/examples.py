"""How do records become token ids? (docs/design.md C7)

Rendered with the tokenizer's own chat template and, where they are too long, shortened in the document only.
"""

from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any

from transformers import PreTrainedTokenizerBase

from fino1.errors import SpecError
from fino1.tasks.record import Record, fit, solution
from fino1.train.data.columns import first_problems
from fino1.train.data.rows import Rows

Example = dict[str, list[int]]


def prompt_ids(tokenizer: PreTrainedTokenizerBase, text: str) -> list[int]:
    """Token ids of one user message in the chat template, up to where the answer starts."""
    return tokenizer.encode(_chat(tokenizer, text), add_special_tokens=False)


def completion_ids(
    tokenizer: PreTrainedTokenizerBase, text: str, completion: str, end_tokens: Sequence[int]
) -> list[int]:
    """Token ids of an answer to the user message `text`, as the chat template puts it, up to the token that ends its turn.

    That is the one of `end_tokens` that the template writes, or the tokenizer's end of sequence where it writes none. Raises
    SpecError where the template's conversation does not begin with its own prompt, or the answer itself spells an end.
    """
    prompt, whole = _chat(tokenizer, text), _chat(tokenizer, text, completion)
    if not whole.startswith(prompt):
        raise SpecError("expected a chat template whose conversation begins with its generation prompt, got another")
    ids = tokenizer.encode(whole[len(prompt) :], add_special_tokens=False)
    ends = [place for place, token in enumerate(ids) if token in end_tokens]
    if not ends:
        return [*ids, tokenizer.eos_token_id]
    after = [token for token in ids[ends[0] :] if token not in end_tokens]
    if tokenizer.decode(after).strip():
        spelt = tokenizer.decode([ids[ends[0]]])
        raise SpecError(f"expected an answer without the end-of-sequence token {spelt}, got one with it")
    return ids[: ends[0] + 1]


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


def make_ppo_prompts(
    rows: Rows, tokenizer: PreTrainedTokenizerBase, budget: int, workers: int
) -> tuple[list[list[int]], list[list[int]]]:
    """Token ids of the training and the held-out prompts, none longer than `budget` tokens, made by `workers` threads.

    Raises SpecError naming the rows that do not fit.
    """

    def make(record: Record) -> tuple[list[int], bool]:
        return fitted_prompt(rows, record, tokenizer, budget)

    train, rows.counts.cut = _each(rows.train, make, workers)
    return train, _each(rows.evaluation, make, workers)[0]


def make_sft_examples(
    rows: Rows, tokenizer: PreTrainedTokenizerBase, max_length: int, end_tokens: Sequence[int]
) -> tuple[list[Example], list[Example]]:
    """Training and held-out rows as `input_ids` (T) and `labels` (T), −100 on the prompt; none has over `max_length` tokens.

    Raises SpecError naming the rows whose question and answer do not fit, or whose answer spells an end-of-sequence token.
    """

    def make(record: Record) -> tuple[Example, bool]:
        try:
            completion = solution(record.cot, record.response)
            answer = completion_ids(tokenizer, rows.render(record), completion, end_tokens)
        except SpecError as error:
            raise SpecError(f"data: row {record.id}: {error}") from error
        prompt, was_cut = fitted_prompt(rows, record, tokenizer, max_length - len(answer))
        return {"input_ids": prompt + answer, "labels": [-100] * len(prompt) + answer}, was_cut

    train, rows.counts.cut = _each(rows.train, make)
    return train, _each([r for r in rows.evaluation if r.cot], make)[0]


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
    if problems:
        raise SpecError(first_problems(problems, "data"))
    return [made for made, _ in found], sum(was_cut for _, was_cut in found)
