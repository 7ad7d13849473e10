"""What was every question, and what did each model say? All samples, as data that the page's script shows on demand.

The data is JSON in a script element that never runs. Nothing in it can end the element (`embed`), and the script puts it on
the page as text only.
"""

import json
from collections.abc import Iterable, Sequence
from itertools import groupby
from typing import Any

from markupsafe import Markup

from fino1.report.cells import Cell, Sample
from fino1.report.curves import figure
from fino1.tasks.record import FINAL, THINKING

PROMPT_CHARS = 16_000  # the longest page of FinQA's test rows has 8,715; documents of DocMath run to a hundred pages
COMPLETION_CHARS = 12_000  # of each part of a completion
LABELS = ("Extracted", "Read as", "Strict verdict", "DocMath-compatible", "Prompt tokens", "Completion tokens")
LABELS += ("Seconds", "Finish reason", "Document", "Sign")

_VISIBLE = {code: 0x2400 + code for code in range(32) if chr(code) not in "\n\t"} | {0x7F: 0x2421}
_VISIBLE |= dict.fromkeys(range(0xD800, 0xE000), 0xFFFD)  # half of a surrogate pair, as json reads "\ud800"
_WORDS = {True: "right", False: "wrong", None: "unparsed"}

Piece = str | list[list[str]]


def tasks(cells: Sequence[Cell]) -> list[dict[str, Any]]:
    """What does the page's script get of each task?

    {task, models, prompts, questions}: `questions` in the order of the data, each {id, question, target, answers} with one
    answer a model, or null where that model was not asked. A prompt that several models got is there once; an answer
    holds its number.
    """
    return [
        _task(task, [cell for cell in cells if cell.task == task])
        for task in dict.fromkeys(cell.task for cell in cells)
    ]


def embed(value: Any) -> Markup:
    """How does data stand in a script element? As JSON without `<`: neither `</script>` nor `<!--` can be in it."""
    return Markup(json.dumps(value, ensure_ascii=False, separators=(",", ":")).replace("<", "\\u003c"))


def visible(text: str) -> str:
    """How is untrusted text shown? Control characters as their pictures, half a surrogate pair as the replacement sign."""
    return text.translate(_VISIBLE)


def pieces(prompt: str) -> list[Piece]:
    """Where are the tables of a prompt? Text and tables in turn; a table's cells joined by `|`, and all by lines, is the prompt.

    A table is two or more lines with the same number of `|`, as `Task.prompt` writes them.
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


def parts(completion: str) -> list[tuple[str, str]]:
    """Which headed parts has a completion? One without `## Thinking`, or with a heading twice, is shown as it is."""
    thinking, final = completion.count(THINKING), completion.count(FINAL)
    if thinking != 1 or final > 1 or (final and completion.index(FINAL) < completion.index(THINKING)):
        return [("Completion", completion)]
    before, _, rest = completion.partition(THINKING)
    reasoning, _, response = rest.partition(FINAL)
    found = [("Before the headings", before)] if before.strip() else []
    found.append(("Reasoning", reasoning.strip("\n")))
    return [*found, ("Final response", response.strip("\n") if final else "")]


def _task(task: str, cells: Sequence[Cell]) -> dict[str, Any]:
    asked: dict[tuple[str, str, str], dict[int, Sample]] = {}
    for model, cell in enumerate(cells):
        for sample in cell.samples:
            asked.setdefault(sample.asked, {})[model] = sample
    prompts: dict[str, int] = {}
    questions = [_question(answers, len(cells), prompts) for answers in asked.values()]
    return {
        "task": visible(task),
        "models": [visible(cell.model) for cell in cells],
        "prompts": [pieces(prompt) for prompt in prompts],
        "questions": questions,
    }


def _question(answers: dict[int, Sample], models: int, prompts: dict[str, int]) -> dict[str, Any]:
    sample = next(iter(answers.values()))
    return {
        "id": visible(sample.id),
        "question": visible(sample.question),
        "target": _text(sample.target),
        "answers": [_answer(answers[model], prompts) if model in answers else None for model in range(models)],
    }


def _answer(sample: Sample, prompts: dict[str, int]) -> dict[str, Any]:
    return {
        "state": sample.state,
        "facts": _facts(sample),
        "prompt": prompts.setdefault(_excerpt(sample.fields.get("prompt"), PROMPT_CHARS), len(prompts)),
        "parts": [[title, _excerpt(text, COMPLETION_CHARS)] for title, text in _said(sample)],
    }


def _said(sample: Sample) -> Iterable[tuple[str, str]]:
    """What came of the model: reasoning that its endpoint sent apart first."""
    apart = sample.fields.get("reasoning")
    if isinstance(apart, str) and apart:
        yield "Reasoning sent apart", apart
    completion = sample.fields.get("completion")
    yield from parts(completion if isinstance(completion, str) else "")


def _facts(sample: Sample) -> list[str | None]:
    """The values of LABELS; None leaves a line out."""
    strict = _WORDS[sample.strict]
    if sample.truncated and sample.strict is True:
        strict += ", but truncated, so not counted"
    numbers = [sample.fields.get(name) for name in ("prompt_tokens", "completion_tokens", "seconds")]
    return [
        _text(sample.fields.get("extracted")),
        _text(sample.fields.get("value")),
        strict,
        _WORDS[sample.docmath_compat],
        *(figure(n) if isinstance(n, int | float) else None for n in numbers),
        sample.finish_reason and visible(sample.finish_reason),
        "cut to fit the model" if sample.cut else None,
        "accepted by magnitude: the question asks for a decrease" if sample.fields.get("sign_from_question") else None,
    ]


def _text(value: Any) -> str:
    """A target or a reading: text as it is, numbers in full with thousands apart, nothing as a dash."""
    if value is None or value == "":
        return "—"
    if isinstance(value, int | float) and not isinstance(value, bool):
        whole = isinstance(value, float) and value.is_integer() and abs(value) < 1e15
        return f"{int(value) if whole else value:,}".replace("-", "−")
    return visible(value if isinstance(value, str) else json.dumps(value, ensure_ascii=False))


def _excerpt(value: Any, limit: int) -> str:
    """The beginning and the end: a prompt's question and a completion's answer stand last."""
    if not isinstance(value, str):
        return ""
    text = value.replace("\r\n", "\n")
    if len(text) > limit:
        half = limit // 2
        gap = f"[… {len(text) - 2 * half:,} characters left out; samples.jsonl has them …]"
        text = f"{text[:half]}\n\n{gap}\n\n{text[-half:]}"
    return visible(text)
