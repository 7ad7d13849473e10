r"""Which number of a completion is its answer? (docs/scoring.md §3)

In the part that answers (parts.py) it is what the last container says (containers.py: "the answer is", \boxed{X}, <answer>,
JSON), else the last statement of a number (statements.py). Where several numbers could be meant, none is taken: the answer
is unparsed, never guessed.
"""

import re
from typing import NamedTuple

from fino1.tasks.scoring.choose import choose
from fino1.tasks.scoring.containers import Container, list_containers
from fino1.tasks.scoring.context import find_candidates
from fino1.tasks.scoring.direction import is_decrease
from fino1.tasks.scoring.number import Number
from fino1.tasks.scoring.parts import take_final_part
from fino1.tasks.scoring.plain import clean
from fino1.tasks.scoring.question import QuestionFacts
from fino1.tasks.scoring.refusal import is_refusal
from fino1.tasks.scoring.statements import find_last_statement, take_first_sentence

_JOIN = re.compile(
    r"[\s(),]*(?:(?:or|and|to|through|-|/|&|~|,)[\s(),]*)+(?:(?:is|it|maybe|perhaps|possibly|even|about)[\s(),]*)*",
    re.IGNORECASE,
)
_DENIED = re.compile(r"\W{0,3}(?:not|cannot|can't|never|n't|unknown|unclear|impossible|un\w+able)\b", re.IGNORECASE)


class Answer(NamedTuple):
    """The number that answers, and whether the words around it make it a decrease (§7)."""

    number: Number
    is_decrease: bool = False
    same_percent: bool = False
    """True where the completion shows the same digits with a % sign elsewhere (§4)."""


def find_answer(completion: str, facts: QuestionFacts) -> Answer | None:
    """Find the number that answers; None where there is none, or more than one could."""
    text = take_final_part(completion)
    broken: Answer | None = None
    for container in list_containers(text):
        decided, answer = _read_container(container, facts)
        if decided and container.whole:
            return _mark_percent(answer, text)
        broken = broken or answer  # cut off: an answer that was stated before counts
    if broken is not None:
        return _mark_percent(broken, text)
    statement = find_last_statement(clean(text), facts)
    if statement is None:
        return None
    number, sentence, following = statement
    return _mark_percent(Answer(number, is_decrease(f"{sentence} {following}", number, facts)), text)


def _read_container(container: Container, facts: QuestionFacts) -> tuple[bool, Answer | None]:
    """Read a container. The flag says whether it holds an answer at all, though perhaps one that is not clear."""
    text = container.text
    if container.kind == "text":
        statement = find_last_statement(text, facts)
        if statement is None:
            return any(char.isdigit() for char in text), None
        return True, Answer(statement[0], is_decrease(f"{statement[1]} {statement[2]}", statement[0], facts))
    sentence = text if container.kind == "box" else take_first_sentence(text)
    if container.kind == "phrase" and "; " in sentence:
        sentence = sentence.partition("; ")[0]
    numbers = find_candidates(sentence, facts)
    if container.kind == "box":
        numbers = [number for number in numbers if container.start <= number.digits_start < container.end]
    if not numbers:
        return bool(_DENIED.match(text, container.start)), None
    chosen = choose(numbers, sentence, facts)
    if (
        chosen is None
        and container.kind == "phrase"
        and not _JOIN.fullmatch(sentence[numbers[0].end : numbers[1].start])
    ):
        chosen = numbers[0]  # "94, which is 1.6 % of revenue": the phrase points at the first
    if chosen is None or not chosen.parsed or (chosen.start and is_refusal(text[: chosen.start])):
        return True, None
    return True, Answer(chosen, is_decrease(text, chosen, facts))


def _mark_percent(answer: Answer | None, text: str) -> Answer | None:
    """Mark an answer whose digits stand with a % sign elsewhere in the text."""
    if answer is None or not answer.number.plain or "%" not in text:
        return answer
    digits = answer.number.text.strip("()-$ ")
    return answer._replace(same_percent=any(f" {digits}{gap}%" in f" {text}" for gap in ("", " ", "\\")))
