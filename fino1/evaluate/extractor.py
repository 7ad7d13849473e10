"""Which final result does another model read in a completion, and what is that worth? `eval.extraction`, as DocMath-Eval does.

The reply is judged by the scorer that judges completions, in place of the rules that find an answer in a text
(docs/endpoints.md#extraction-by-a-model).
"""

import functools
from collections.abc import Iterable
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import jinja2

from fino1.cells import Sample
from fino1.evaluate.budget import TEMPLATE_TOKENS, Cost, Tariff
from fino1.evaluate.counter import CHARACTERS_PER_TOKEN, make_counter
from fino1.evaluate.endpoint import Answer
from fino1.evaluate.models import Source
from fino1.evaluate.verdicts import judge_extraction
from fino1.spec.evaluation import ExtractionBlock
from fino1.tasks.record import Record, Task

_TEMPLATE = Path(__file__).with_name("extract.jinja").read_text(encoding="utf-8")
_estimate = make_counter(None)


@dataclass(frozen=True)
class Extraction:
    """The reply to one completion, and the verdicts on it: `extraction` of a Sample.

    Token counts are None where the endpoint gave none; `unheard` counts the attempts that were sent and not answered.
    """

    text: str
    strict: bool | None
    docmath_compat: bool | None
    finish_reason: str | None
    prompt_tokens: int | None
    completion_tokens: int | None
    answered_by: str | None
    reasoning: str | None = None
    unheard: int = 0


@dataclass(frozen=True)
class Extractor:
    """The model that is asked, and how."""

    source: Source
    block: ExtractionBlock

    @property
    def tariff(self) -> Tariff:
        """The price of a reply, and its most tokens."""
        return Tariff(self.source.price, self.block.max_tokens)

    @property
    def settings(self) -> dict[str, Any]:
        """What its replies depend on, as a cell's key has it."""
        variables, length = self.source.chat_template_kwargs, self.source.context_length
        found = {
            "model": self.source.identity,
            "max_tokens": self.block.max_tokens,
            "temperature": self.block.temperature,
            "prompt": _TEMPLATE,
        }
        found |= {"chat_template_kwargs": variables} if variables else {}
        return found | ({"context_length": length} if length else {})

    def write_prompt(self, sample: Sample) -> str:
        """Write what is asked of a sample. Of an answer too long for `context_length`, by an estimate, the end is kept."""
        completion, length = sample.completion, self.source.context_length
        if length is not None:
            room = length - self.block.max_tokens - TEMPLATE_TOKENS - _estimate(_render(sample.question, ""))
            completion = completion[-max(int(room * CHARACTERS_PER_TOKEN), 1) :]
        return _render(sample.question, completion)

    def sum_samples(self, samples: Iterable[Sample]) -> Cost:
        """Add up what the extractions of these samples cost, with the attempts before them that were not answered."""
        total = Cost()
        for sample in samples:
            if sample.extraction is not None:
                found, prompt = Extraction(**sample.extraction), self.write_prompt(sample)
                usage = found.prompt_tokens, found.completion_tokens
                total += self.tariff.count_answer(prompt, found.text + (found.reasoning or ""), usage)
                total += self.tariff.count_unanswered(prompt, found.unheard)
        return total

    def estimate(self, question: str, answer_tokens: int) -> Cost:
        """Estimate the cost of a full-length reply to an answer of so many tokens."""
        asked = _estimate(_render(question, "")) + answer_tokens
        return self.tariff.count_answer("", "", (asked, self.block.max_tokens))


def add_extraction(task: Task, record: Record, sample: Sample, answer: Answer) -> Sample:
    """Return the sample with the extractor's reply and the verdicts on it."""
    found = Extraction(
        text=answer.text,
        finish_reason=answer.finish_reason,
        prompt_tokens=answer.prompt_tokens,
        completion_tokens=answer.completion_tokens,
        answered_by=answer.model,
        reasoning=answer.reasoning,
        unheard=answer.unanswered,
        **judge_extraction(task, record, answer.text, answer.finish_reason),
    )
    return replace(sample, extraction=asdict(found))


def _render(question: str, completion: str) -> str:
    return _compile().render(question=question, completion=completion)


@functools.cache
def _compile() -> jinja2.Template:
    return jinja2.Environment(undefined=jinja2.StrictUndefined, trim_blocks=True).from_string(_TEMPLATE)
