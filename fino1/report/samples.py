"""What did each model answer to each question? All samples, as data that the page's script shows on demand.

The data is JSON in a script element that never runs. Nothing in it can end the element (`embed`), and the script puts it on
the page as text only.
"""

import json
from collections.abc import Iterable, Sequence
from itertools import groupby
from typing import Any

from markupsafe import Markup

from fino1.cells import Cell, Sample
from fino1.report import comparable
from fino1.report.curves import format_number
from fino1.tasks.record import FINAL, THINKING

PROMPT_CHARS = 16_000  # the longest page of FinQA's test rows has 8,715; documents of DocMath run to a hundred pages
COMPLETION_CHARS = 12_000  # of each part of a completion
LABELS = ("Extracted", "Read as", "Strict verdict", "DocMath-compatible", "Prompt tokens", "Completion tokens")
LABELS += ("Seconds", "Finish reason", "Document", "Sign")

_VISIBLE = {code: 0x2400 + code for code in range(32) if chr(code) not in "\n\t"} | {0x7F: 0x2421}
_VISIBLE |= dict.fromkeys(range(0xD800, 0xE000), 0xFFFD)  # half of a surrogate pair, as json reads "\ud800"
_WORDS = {True: "right", False: "wrong", None: "unparsed"}

Piece = str | list[list[str]]


def list_tasks(cells: Sequence[Cell]) -> list[dict[str, Any]]:
    """List the tasks with their questions and answers, as the page's script reads them.

    {task, models, prompts, questions}: `questions` in the order of the data, each {id, question, target, answers} with one
    answer a model, or null where that model was not asked. A prompt that several models got is there once; an answer
    holds its number. A task whose cells differ in more than the model is there once for each of their settings.
    """
    return [_make_task(group.name, group.cells) for group in comparable.group(cells)]


def embed(value: Any) -> Markup:
    """Write data for a script element: JSON without `<`, so that neither `</script>` nor `<!--` can be in it."""
    return Markup(json.dumps(value, ensure_ascii=False, separators=(",", ":")).replace("<", "\\u003c"))


def show_controls(text: str) -> str:
    """Replace control characters by their pictures, and half a surrogate pair by the replacement sign."""
    return text.translate(_VISIBLE)


def split_tables(prompt: str) -> list[Piece]:
    """Split a prompt into text and tables (rows of cells) in turn.

    A table is two or more lines with the same number of `|`, as `Task.prompt` writes them. Cells joined by `|`, and all by
    lines, give the prompt again.
    """
    found: list[Piece] = []
    for bars, group in groupby(prompt.split("\n"), key=lambda line: line.count("|")):
        lines = list(group)
        if bars and len(lines) > 1:
            found.append([line.split("|") for line in lines])
        elif found and isinstance(found[-1], str):
            found[-1] += "\n" + "\n".join(lines)
        else:
            found.append("\n".join(lines))
    return found


def split_headings(completion: str) -> list[tuple[str, str]]:
    """Split a completion into titled parts. One without `## Thinking`, or with a heading twice, is one part."""
    thinking, final = completion.count(THINKING), completion.count(FINAL)
    if thinking != 1 or final > 1 or (final and completion.index(FINAL) < completion.index(THINKING)):
        return [("Completion", completion)]
    before, _, rest = completion.partition(THINKING)
    reasoning, _, response = rest.partition(FINAL)
    found = [("Before the headings", before)] if before.strip() else []
    found.append(("Reasoning", reasoning.strip("\n")))
    return [*found, ("Final response", response.strip("\n") if final else "")]


def _make_task(task: str, cells: Sequence[Cell]) -> dict[str, Any]:
    asked: dict[tuple[str, str, str], dict[int, Sample]] = {}
    for model, cell in enumerate(cells):
        for sample in cell.samples:
            asked.setdefault(sample.question_key, {})[model] = sample
    prompts: dict[str, int] = {}
    questions = [_make_question(answers, len(cells), prompts) for answers in asked.values()]
    return {
        "task": show_controls(task),
        "models": [show_controls(cell.model) for cell in cells],
        "prompts": [split_tables(prompt) for prompt in prompts],
        "questions": questions,
    }


def _make_question(answers: dict[int, Sample], models: int, prompts: dict[str, int]) -> dict[str, Any]:
    sample = next(iter(answers.values()))
    return {
        "id": show_controls(sample.id),
        "question": show_controls(sample.question),
        "target": _format(sample.target),
        "answers": [_make_answer(answers[model], prompts) if model in answers else None for model in range(models)],
    }


def _make_answer(sample: Sample, prompts: dict[str, int]) -> dict[str, Any]:
    return {
        "state": sample.state,
        "facts": _list_facts(sample),
        "prompt": prompts.setdefault(shorten(sample.prompt, PROMPT_CHARS), len(prompts)),
        "parts": [[title, shorten(text, COMPLETION_CHARS)] for title, text in _list_parts(sample)],
    }


def _list_parts(sample: Sample) -> Iterable[tuple[str, str]]:
    """Yield the parts of an answer with their titles, first the reasoning that its endpoint sent apart."""
    if sample.reasoning:
        yield "Reasoning sent apart", sample.reasoning
    yield from split_headings(sample.completion)


def _list_facts(sample: Sample) -> list[str | None]:
    """List the values of LABELS; None leaves a line out."""
    strict = _WORDS[sample.strict]
    if sample.truncated and sample.strict is True:
        strict += ", but truncated, so not counted"
    numbers = (sample.prompt_tokens, sample.completion_tokens, sample.seconds)
    return [
        _format(sample.extracted),
        _format(sample.value),
        strict,
        _WORDS[sample.docmath_compat],
        *(None if number is None else format_number(number) for number in numbers),
        sample.finish_reason and show_controls(sample.finish_reason),
        "cut to fit the model" if sample.cut else None,
        "accepted by magnitude: the question asks for a decrease" if sample.sign_from_question else None,
    ]


def _format(value: str | bool | float | None) -> str:
    """Write a target or a value: text as it is, numbers in full with commas, None or no text as a dash."""
    if value is None or value == "":
        return "—"
    if isinstance(value, int | float) and not isinstance(value, bool):
        whole = isinstance(value, float) and value.is_integer() and abs(value) < 1e15
        return f"{int(value) if whole else value:,}".replace("-", "−")
    return show_controls(value if isinstance(value, str) else json.dumps(value, ensure_ascii=False))


def shorten(text: str, limit: int) -> str:
    """Keep the beginning and the end of a long text: a prompt's question and a completion's answer stand last."""
    text = text.replace("\r\n", "\n")
    if len(text) > limit:
        half = limit // 2
        gap = f"[… {len(text) - 2 * half:,} characters left out; samples.jsonl has them …]"
        text = f"{text[:half]}\n\n{gap}\n\n{text[-half:]}"
    return show_controls(text)
