"""Which rows of other formats can SFT read, and as what? (docs/design.md C7)

Alpaca's `instruction`, `input` and `output`, ShareGPT's `conversations` and OpenAI's `messages` of one question and one answer,
perhaps with a system message, which goes before the question. Reasoning stands in tags before the answer, in our headings, or
nowhere.
"""

import re
from collections.abc import Callable, Mapping
from typing import Any

from fino1.tasks.record import FINAL, THINKING, well_formed

Numbered = list[tuple[int, dict[str, Any]]]
"""Rows of a file, each with its line (JSONL) or index (JSON arrays, Parquet, the hub)."""
QUESTION, REASONING, ANSWER = "Question", "Complex_CoT", "Response"
_ASKS, _ANSWERS = ("user", "human"), ("assistant", "gpt", "model")
_TAG = re.compile(r"</?(?:think|thinking|reasoning)>")
_THOUGHT = re.compile(
    r"\s*(?:<(?P<tag>think|thinking|reasoning)>)?(.*?)</(?(tag)(?P=tag)|(?:think|thinking|reasoning))>(.*)", re.DOTALL
)


class _Unread(ValueError):
    """A row that is not of its file's format; says the field, and what it was expected to have."""


def find_reader(there: set[str]) -> Callable[[Mapping[str, Any]], dict[str, str]] | None:
    """The reader of the format that these columns show: a row in Fino1's columns, perhaps without reasoning; None for others."""
    if there >= {"instruction", "output"}:
        return _read_alpaca
    name = next((name for name in ("messages", "conversations") if name in there), None)
    return (lambda row: _read_turns(name, row)) if name else None


def translate(
    source: str, rows: Numbered, read: Callable[[Mapping[str, Any]], dict[str, str]]
) -> tuple[Numbered, list[str]]:
    """The rows in Fino1's columns, and the problems of those that have no question and answer to read."""
    found, problems = [], []
    for number, row in rows:
        try:
            found.append((number, read(row)))
        except _Unread as error:
            problems.append(f"{source}:{number}: {error}")
    return found, problems


def match_spelling(names: Mapping[str, str], there: set[str]) -> dict[str, str]:
    """The columns' names as the file has them, which may differ in case, spaces and signs (`question`, `complex_cot`)."""
    alike: dict[str, list[str]] = {}
    for name in there:
        alike.setdefault(_letters(name), []).append(name)
    found = {}
    for column, name in names.items():
        own = alike.get(_letters(name), [])
        found[column] = own[0] if name not in there and len(own) == 1 else name
    return found


def _letters(name: str) -> str:
    return re.sub(r"[\W_]", "", name).lower()


def _read_alpaca(row: Mapping[str, Any]) -> dict[str, str]:
    for name in ("history", "tools"):
        if row.get(name):
            raise _Unread(f"{name}: expected none, got some: SFT reads one question and one answer")
    question = [_read_text(row, name) for name in ("system", "instruction", "input")]
    return _make_row(question, _read_text(row, "output"), "output")


def _read_turns(name: str, row: Mapping[str, Any]) -> dict[str, str]:
    """A conversation: turns of `from` and `value`, or of `role` and `content`."""
    turns = row.get(name)
    if not isinstance(turns, list) or not all(isinstance(turn, dict) for turn in turns):
        raise _Unread(f"{name}: expected a list of turns, got {_show(turns)}")
    roles = [turn.get("role", turn.get("from")) for turn in turns]
    start = roles[:1] == ["system"]
    is_read = len(roles) == 2 + start and roles[start] in _ASKS and roles[start + 1] in _ANSWERS
    if not is_read:
        raise _Unread(
            f"{name}: expected a user's and an assistant's turn, got {', '.join(map(str, roles[:6])) or 'none'}"
        )
    *question, answer = (_read_text(turn, "content" if "content" in turn else "value", name) for turn in turns)
    thought = _read_text(turns[-1], "reasoning_content", name)
    found = _make_row([_read_text(row, "system"), *question], answer, name)
    return found | ({REASONING: thought} if thought else {})


def _read_text(row: Mapping[str, Any], name: str, column: str = "") -> str:
    """A text without blanks around it, empty where there is none."""
    value = row.get(name)
    if not isinstance(value, str | None):
        raise _Unread(f"{f'{column}.' if column else ''}{name}: expected text, got {_show(value)}")
    return (value or "").strip()


def _make_row(question: list[str], answer: str, name: str) -> dict[str, str]:
    """A row of Fino1's columns; the answer without its reasoning, which is a column of its own."""
    row = {QUESTION: "\n\n".join(filter(None, question)), ANSWER: answer}
    if answer.startswith(THINKING) and well_formed(answer):
        thought, _, row[ANSWER] = answer.partition(THINKING)[2].partition(FINAL)
    elif parts := _THOUGHT.fullmatch(answer):
        thought, row[ANSWER] = parts[2], parts[3]
    else:
        thought = ""
    row[ANSWER] = row[ANSWER].strip()
    if _TAG.search(thought + row[ANSWER]):
        raise _Unread(f"{name}: expected reasoning in one pair of tags, got {_show(answer)}")
    return row | ({REASONING: thought.strip()} if thought.strip() else {})


def _show(value: Any) -> str:
    return "none" if value is None else repr(value)[:80]
