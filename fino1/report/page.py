"""How does the report look to a reader? One HTML file that needs nothing else.

Questions and completions are untrusted: jinja2 escapes every value, and should that ever fail, the page forbids itself
any script but its own, any request and any picture (Content-Security-Policy).
"""

import base64
import hashlib
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import jinja2

from fino1.report import curves
from fino1.report.cells import Cell, Sample
from fino1.report.leaderboard import LEGEND, PAIRS_LEGEND, Leaderboard, percent, probability

SHOWN = 50  # questions per task
PROMPT_CHARS = 6_000  # documents run to a hundred pages; samples.jsonl has them whole
COMPLETION_CHARS = 12_000

# Opens and closes the samples; the page says everything without it.
SCRIPT = (
    'document.querySelectorAll(".tools").forEach(function(t){t.hidden=false;t.addEventListener("click",function(e){'
    'var b=e.target.closest("button");if(!b)return;t.parentNode.querySelectorAll("details.sample").forEach(function(d)'
    '{d.open=b.dataset.open==="all"||(b.dataset.open==="differ"&&d.hasAttribute("data-differ"))})})})'
)

_VISIBLE = {code: 0x2400 + code for code in range(32) if chr(code) not in "\n\t"} | {0x7F: 0x2421}
_VISIBLE |= dict.fromkeys(range(0xD800, 0xE000), 0xFFFD)  # half of a surrogate pair, as json reads "\ud800"
_SIGNS = {"right": "✓", "wrong": "✗", "unparsed": "?", "truncated": "…"}
_WORDS = {True: "right", False: "wrong", None: "unparsed"}


@dataclass(frozen=True)
class Answer:
    """What one model said to one question, as shown."""

    model: str
    state: str
    strict: str
    docmath_compat: str
    extracted: str
    value: str
    facts: str
    prompt: str
    completion: str


@dataclass(frozen=True)
class Question:
    """One question of one task with every model's answer. `prompt` is shown once where all were asked the same."""

    id: str
    question: str
    target: str
    differ: bool
    prompt: str | None
    answers: list[Answer]


@dataclass(frozen=True)
class TaskSamples:
    """The questions of one task that are shown, of how many, and on how many of those the models differ."""

    task: str
    total: int
    differing: int
    questions: list[Question]


def render(
    board: Leaderboard,
    cells: Sequence[Cell],
    metrics: Mapping[str, Sequence[Mapping[str, Any]]],
    title: str,
    note: str,
    skipped: Sequence[str],
) -> str:
    """Which page shows all this?"""
    environment = jinja2.Environment(
        loader=jinja2.FileSystemLoader(Path(__file__).parent),
        autoescape=True,
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        keep_trailing_newline=True,
        finalize=lambda value: value.translate(_VISIBLE) if type(value) is str else value,
    )
    environment.filters |= {"percent": percent, "probability": probability}
    digest = hashlib.sha256(SCRIPT.encode()).digest()
    return environment.get_template("page.html.j2").render(
        title=title,
        paragraphs=[part.strip() for part in note.split("\n\n") if part.strip()],
        board=board,
        legend=LEGEND,
        pairs_legend=PAIRS_LEGEND,
        charts=curves.charts(metrics),
        runs=list(metrics),
        swatch=curves.swatch,
        tasks=[_task(task, cells) for task in dict.fromkeys(cell.task for cell in cells)],
        signs=_SIGNS,
        origins=[_origin(cell) for cell in cells],
        skipped=skipped,
        script=SCRIPT,
        script_hash=base64.b64encode(digest).decode(),
    )


def _task(task: str, cells: Sequence[Cell]) -> TaskSamples:
    """Those where the models differ come first, then those with an answer that has no verdict, then the rest."""
    asked: dict[tuple[str, str, str], list[tuple[str, Sample]]] = {}
    for cell in cells:
        for sample in cell.samples if cell.task == task else ():
            asked.setdefault(sample.asked, []).append((cell.model, sample))

    def rank(answers: list[tuple[str, Sample]]) -> int:
        if _differ(answers):
            return 0
        return 1 if any(sample.state in ("unparsed", "truncated") for _, sample in answers) else 2

    shown = sorted(asked.values(), key=rank)[:SHOWN]
    return TaskSamples(task, len(asked), sum(map(_differ, asked.values())), [_question(answers) for answers in shown])


def _differ(answers: Sequence[tuple[str, Sample]]) -> bool:
    return len({sample.right for _, sample in answers}) > 1


def _question(answers: Sequence[tuple[str, Sample]]) -> Question:
    sample = answers[0][1]
    prompts = {json.dumps(one.fields.get("prompt")) for _, one in answers}
    return Question(
        id=sample.id,
        question=sample.question,
        target=_text(sample.target),
        differ=_differ(answers),
        prompt=_excerpt(sample.fields.get("prompt"), PROMPT_CHARS) if len(prompts) == 1 else None,
        answers=[_answer(model, one) for model, one in answers],
    )


def _answer(model: str, sample: Sample) -> Answer:
    return Answer(
        model=model,
        state=sample.state,
        strict=_WORDS[sample.strict],
        docmath_compat=_WORDS[sample.docmath_compat],
        extracted=_text(sample.fields.get("extracted")),
        value=_text(sample.fields.get("value")),
        facts=" · ".join(_facts(sample)),
        prompt=_excerpt(sample.fields.get("prompt"), PROMPT_CHARS),
        completion=_excerpt(sample.fields.get("completion"), COMPLETION_CHARS),
    )


def _facts(sample: Sample) -> list[str]:
    units = {"prompt_tokens": "prompt tokens", "completion_tokens": "completion tokens", "seconds": "s"}
    numbers = [(sample.fields.get(name), unit) for name, unit in units.items()]
    facts = [f"{curves.figure(value)} {unit}" for value, unit in numbers if isinstance(value, int | float)]
    facts += [f"finish reason: {sample.finish_reason}"] if sample.finish_reason else []
    facts += ["document cut to fit"] if sample.cut else []
    if sample.fields.get("sign_from_question"):
        facts.append("accepted by magnitude: the question asks for a decrease")
    return facts


def _origin(cell: Cell) -> dict[str, str]:
    about = {name: cell.about.get(name) for name in ("settings", "provenance", "summary")}
    return {
        "model": cell.model,
        "task": cell.task,
        "key": cell.key,
        "text": json.dumps(about, indent=2, sort_keys=True, ensure_ascii=False),
    }


def _text(value: Any) -> str:
    """A target or a reading: text as it is, numbers in full with thousands apart, nothing as a dash."""
    if value is None or value == "":
        return "—"
    if isinstance(value, int | float) and not isinstance(value, bool):
        whole = isinstance(value, float) and value.is_integer() and abs(value) < 1e15
        return f"{int(value) if whole else value:,}".replace("-", "−")
    return value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)


def _excerpt(value: Any, limit: int) -> str:
    """The beginning and the end: a prompt's question and a completion's answer stand last."""
    if not isinstance(value, str) or not value:
        return "—"
    text = value.replace("\r\n", "\n")
    if len(text) <= limit:
        return text
    half = limit // 2
    gap = f"[… {len(text) - 2 * half:,} characters left out; samples.jsonl has them …]"
    return f"{text[:half]}\n\n{gap}\n\n{text[-half:]}"
