"""What did each model answer to each question? All samples, as data that the page's script shows on demand.

The data is in script elements that never run. One is JSON, which the script reads as the page opens: the questions and each
answer's outcome. The others are packed, one for the answers of a model and one for a task's prompts; the script unpacks one when
it is needed. Nothing in them can end an element (`embed`, `pack`), and the script puts it on the page as text only.
"""

import base64
import json
import zlib
from collections.abc import Iterable, Sequence
from itertools import groupby
from typing import Any

from markupsafe import Markup

from fino1.cells import Cell, Sample
from fino1.headings import FINAL, THINKING
from fino1.report import comparable
from fino1.report.curves import format_number

PROMPT_CHARS = 16_000  # the longest page of FinQA's test rows has 8,715; documents of DocMath run to a hundred pages
RESULT_CHARS = 400  # of what an extractor replied: a number, as a rule
COMPLETION_CHARS = (
    12_000,
    6_000,
    3_000,
    1_500,
    750,
)  # of each part of a completion: the most with which all fit the page
PAGE_CHARS = (
    60_000_000  # of all completions, about 25 MB as packed: a page opens in less than a second (benchmarks/page.py)
)
LABELS = ("Extracted", "Read as", "Strict verdict", "DocMath-compatible", "Prompt tokens", "Completion tokens")
LABELS += ("Seconds", "Finish reason", "Document", "Sign", "By extraction", "Program", "Vote")

_VISIBLE = {code: 0x2400 + code for code in range(32) if chr(code) not in "\n\t"} | {0x7F: 0x2421}
_VISIBLE |= dict.fromkeys(range(0xD800, 0xE000), 0xFFFD)  # half of a surrogate pair, as json reads "\ud800"
_WORDS = {True: "right", False: "wrong", None: "unparsed"}

Piece = str | list[list[str]]


def collect(cells: Sequence[Cell]) -> tuple[dict[str, Any], list[Markup]]:
    """Collect the samples as the page's script reads them: what it reads at once, and the packed parts.

    {chars, most, tasks}: `chars` is the most of a text that is shown, `most` the most answers to a question, 0 for all. A task
    is {task, k, models, questions, states, prompts, answers}: `k` the number of answers to each question, `questions` in the
    order of the data, each [id, question, target]; `states` a text a model, k letters for each question, `-` where that model
    was not asked; `prompts` the number of the part with the prompts, and `answers` those of the models' parts, lists in the
    order of the questions, of lists of answers. A prompt that several models got is there once; an answer holds its number. A
    task whose cells differ in more than the model is there once for each of their settings.
    """
    chars, most = _limit(cells)
    parts: list[Markup] = []
    tasks = [_make_task(group.name, group.cells, chars, most, parts) for group in comparable.group(cells)]
    return {"chars": chars, "most": most if any(most < task["k"] for task in tasks) else 0, "tasks": tasks}, parts


def pack(value: Any) -> Markup:
    """Pack data for a script element: JSON, deflated, in base64."""
    text = json.dumps(value, ensure_ascii=False, separators=(",", ":"))
    return Markup(base64.b64encode(zlib.compress(text.encode(), 6)).decode())


def embed(value: Any) -> Markup:
    """Write data for a script element: JSON without `<`, so that neither `</script>` nor `<!--` can be in it."""
    return Markup(json.dumps(value, ensure_ascii=False, separators=(",", ":")).replace("<", "\\u003c"))


def show_controls(text: str) -> str:
    """Replace control characters by their pictures, and half a surrogate pair by the replacement sign."""
    return text if text.isprintable() else text.translate(_VISIBLE)


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


def _limit(cells: Sequence[Cell]) -> tuple[int, int]:
    """Choose how much of each text is shown, and of how many answers to a question, so that all are not too much for a page."""
    sizes = [
        (sample.number, len(text))
        for cell in cells
        for sample in cell.samples
        for text in (sample.completion, sample.reasoning or "")
    ]
    k = max((cell.samples_per_question for cell in cells), default=1)
    choices = [(chars, k) for chars in COMPLETION_CHARS]
    choices += [(COMPLETION_CHARS[-1], k >> halved) for halved in range(1, k.bit_length())]
    for chars, most in choices:
        if sum(min(size, chars) for number, size in sizes if number < most) <= PAGE_CHARS:
            break
    return chars, most


def _make_task(name: str, cells: Sequence[Cell], chars: int, most: int, parts: list[Markup]) -> dict[str, Any]:
    asked: dict[tuple[str, str, str], dict[int, list[Sample]]] = {}
    for model, cell in enumerate(cells):
        for key, answers in cell.answers.items():
            asked.setdefault(key, {})[model] = answers
    k, prompts = cells[0].samples_per_question, dict[str, int]()
    made = {
        "task": show_controls(name),
        "k": k,
        "models": [show_controls(cell.model) for cell in cells],
        "questions": [_make_question(next(iter(answers.values()))[0]) for answers in asked.values()],
        "states": [
            "".join(_list_states(answers.get(model), k) for answers in asked.values()) for model in range(len(cells))
        ],
        "answers": [],
    }
    for model in range(len(cells)):
        found = [answers.get(model, [])[:most] for answers in asked.values()]
        packed = [[_make_answer(sample, prompts, chars) for sample in answers] for answers in found]
        made["answers"].append(_add(parts, packed))
    return made | {"prompts": _add(parts, [split_tables(prompt) for prompt in prompts])}


def _add(parts: list[Markup], value: Any) -> int:
    parts.append(pack(value))
    return len(parts) - 1


def _list_states(answers: Sequence[Sample] | None, k: int) -> str:
    return "".join(sample.state[0] for sample in answers) if answers else "-" * k


def _make_question(sample: Sample) -> list[str]:
    return [show_controls(sample.id), show_controls(sample.question), _format(sample.target)]


def _make_answer(sample: Sample, prompts: dict[str, int], chars: int) -> dict[str, Any]:
    return {
        "facts": _list_facts(sample),
        "prompt": prompts.setdefault(shorten(sample.prompt, PROMPT_CHARS), len(prompts)),
        "parts": [[title, shorten(text, chars)] for title, text in _list_parts(sample)],
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
        sample.extraction
        and f"{_WORDS[sample.extraction['strict']]}: {shorten(sample.extraction['text'], RESULT_CHARS)}",
        None if sample.same_program is None else "the gold one" if sample.same_program else "not the gold one",
        None if sample.same_as is None else f"for answer {sample.same_as + 1}",
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
