r"""Which number of a completion is its answer? (docs/scoring.md §3)

In the text after the last `## Final Response` it is the number after the last "the answer is", else the content of the last
\boxed{X}, else the last statement of a number. Where several numbers could be meant, none is taken: the answer is unparsed,
never guessed.
"""

import re
from dataclasses import dataclass

from fino1.tasks.record import FINAL
from fino1.tasks.scoring.choose import choose, drop_repeated
from fino1.tasks.scoring.context import find_candidates, is_decrease
from fino1.tasks.scoring.numbers import Number, clean
from fino1.tasks.scoring.question import QuestionFacts

_REACH = 6000
"""Characters read from the end: an answer stands near it, and the time per completion stays bounded."""
_ANSWER = re.compile(
    r"\banswer\b(?:\s(?:to|for)\s[^\n.:]{1,80}?)?(?:\s(?:therefore|thus|then|would|will|should))?[\s*_]{0,4}"
    r"(?:\b(?:is|was|be|equals)\b|:|=|≈)[\s*_:$]*"
    r"|^\#{1,6}[^\n]{0,20}\banswer\b[\s*_:]*\n\s*",
    re.IGNORECASE | re.MULTILINE,
)
_SENTENCE = re.compile(
    r"(?<=[^\s.][.!?])(?<!\bvs\.)(?<!approx\.)(?<!\bInc\.)(?<!\bNo\.)(?<!\.[eg]\.)(?<!\.S\.)\s+(?=[A-Z0-9(*\"'$])|\n+|\s[.;]\s+"
)
_JOIN = re.compile(
    r"^[\s)]*(?:or|and|to|through|-|/|&|~|,)[\s(]*(?:or|and|is|it|maybe|perhaps|possibly|about)?[\s(]*$", re.I
)
_LIST_MARK = re.compile(r"^\s*\(?[0-9]{1,2}[.):]\s+(?=[^\s0-9])", re.MULTILINE)
_FRACTION = re.compile(
    r"(?<![\w./%])\(?(-?[0-9]{1,9}(?:\.[0-9]{1,9})?)\)?\s?/\s?\(?([0-9]{1,9}(?:\.[0-9]{1,9})?)\)?(?![\w/%]|\.[0-9])"
)


@dataclass(frozen=True)
class Answer:
    """The number that answers, and whether the words around it make it a decrease (§7)."""

    number: Number
    is_decrease: bool = False


def take_final_part(completion: str) -> str:
    """Take the part of a completion that answers: all of it where the final heading is absent."""
    if "</think>" in completion:
        completion = completion.rpartition("</think>")[2] or completion
    lines = (re.sub(r" {2,}", " ", line.strip()) for line in completion.rpartition(FINAL)[2][-_REACH:].splitlines())
    return "\n".join(line for line in lines if line)  # runs of white space would make the patterns below quadratic


def find_answer(completion: str, facts: QuestionFacts) -> Answer | None:
    """Find the number that answers; None where there is none, or more than one could."""
    text = take_final_part(completion)
    for find in (_find_after_phrase, _find_in_box):
        done, found = find(text, facts)
        if done:
            return found
    return _find_last_statement(clean(text), facts)


def _find_after_phrase(text: str, facts: QuestionFacts) -> tuple[bool, Answer | None]:
    """Find the number after the last "the answer is". The flag says whether the phrase was there with a number after it."""
    phrases = [phrase.end() for phrase in _ANSWER.finditer(text)]
    if not phrases:
        return False, None
    sentence = _SENTENCE.split(clean(text[phrases[-1] : phrases[-1] + 600]).strip(), maxsplit=1)[0]
    numbers = find_candidates(sentence, facts)
    if not numbers:
        fraction = _find_fraction(sentence)
        return fraction is not None, fraction
    chosen = choose(numbers, sentence, facts)
    if chosen is None and not _JOIN.search(sentence[numbers[0].end : numbers[1].start]):
        chosen = numbers[0]  # "94, which is 1.6 % of revenue": the phrase points at the first
    return True, _make_answer(chosen, sentence)


def _find_in_box(text: str, facts: QuestionFacts) -> tuple[bool, Answer | None]:
    r"""Find the number in the last \boxed{X}, with a unit written just behind it ("% outside the box"). Flag as above."""
    start = text.rfind("\\boxed{")
    if start < 0:
        return False, None
    opening, depth, end = start + len("\\boxed{"), 1, start + len("\\boxed{")
    while end < len(text) and depth:
        depth += (text[end] == "{") - (text[end] == "}")
        end += 1
    content = text[opening : end - 1]
    left = re.split(r"\n|(?<=[.!?])\s", text[max(0, start - 200) : start])[-1]
    sentence = clean(left) + "\x02" + clean(content) + re.split(r"\n|[.,;(]\s?|[=≈]", clean(text[end : end + 40]))[0]
    box = sentence.index("\x02")
    limit = box + 1 + len(clean(content))
    numbers = [
        number for number in find_candidates(sentence.replace("\x02", " "), facts) if box <= number.digits_start < limit
    ]
    if not numbers:
        fraction = _find_fraction(clean(content))
        return fraction is not None, fraction
    return True, _make_answer(choose(numbers, sentence, facts), sentence)


def _find_last_statement(text: str, facts: QuestionFacts) -> Answer | None:
    """Find the last statement of a number with its unit; operands, years and list numbers are none."""
    sentences = [sentence for sentence in _SENTENCE.split(_LIST_MARK.sub("", text)) if sentence and sentence.strip()]
    stated = [(sentence, find_candidates(sentence, facts)) for sentence in sentences]
    stated = [(sentence, numbers) for sentence, numbers in stated if numbers]
    stated = [(sentence, numbers) for sentence, numbers in stated if not _is_other_kind(numbers, facts)] or stated
    if not stated:
        return _find_fraction(sentences[-1]) if sentences else None
    bare = [
        numbers[0] for sentence, numbers in stated if re.fullmatch(r"[\W_]*", sentence.replace(numbers[0].text, ""))
    ]
    if len(bare) > 1 and len(drop_repeated(bare)) > 1:
        return None  # a list of naked numbers asserts nothing
    sentence, numbers = stated[-1]
    chosen = choose(numbers, sentence, facts)
    if chosen is not None and (len(stated) == 1 or len(sentences) == 1 or _has_question_words(sentence, facts)):
        return _make_answer(chosen, sentence)
    # The last sentence is ambiguous or explains: does just one number answer in the question's own words?
    answers = [(choose(some, words, facts), words) for words, some in stated if _has_question_words(words, facts)]
    clear = [(number, words) for number, words in answers if number is not None]
    if chosen is None and len(drop_repeated([number for number, _ in clear])) != 1:
        return None
    if chosen is None:
        return _make_answer(*clear[-1])
    return _make_answer(chosen, sentence)


def _is_other_kind(numbers: list[Number], facts: QuestionFacts) -> bool:
    """True if all are percentages where none is asked, or amounts where one is."""
    if facts.percent:
        return all(number.money or number.scale != 1 for number in numbers)
    return not facts.ratio and not facts.basis_points and all(number.percent for number in numbers)


def _has_question_words(sentence: str, facts: QuestionFacts) -> bool:
    words = set(re.findall(r"[a-z]{4,}", sentence.lower()))
    return bool(words & facts.words)


def _find_fraction(text: str) -> Answer | None:
    r"""Find a bare fraction such as \frac{3}{4}, where it is the only one."""
    matches = _FRACTION.findall(text)
    if len(matches) != 1 or float(matches[0][1]) == 0:
        return None
    value = float(matches[0][0]) / float(matches[0][1])
    shown = f"{matches[0][0]}/{matches[0][1]}"
    return Answer(Number(shown, abs(value), value < 0, step=0.0, digits=1))


def _make_answer(number: Number | None, sentence: str) -> Answer | None:
    return None if number is None else Answer(number, is_decrease(sentence, number))
