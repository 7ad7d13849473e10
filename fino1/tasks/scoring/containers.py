r"""Where does a completion say that this is its answer? (docs/scoring.md §3)

`<answer>X</answer>`, `[FINAL_ANSWER]X[/FINAL_ANSWER]`, `{"answer": X}`, `#### X`, `\boxed{X}` and "the answer is X" rank alike.
They are found from the end of the text backwards, each with a bounded part of the text, so that the time is linear.
"""

import json
import re
from collections.abc import Iterator
from typing import NamedTuple

from fino1.tasks.scoring.plain import clean

_OPENING = re.compile(r"""(?P<mark></|\[/|[<\["']|<\|(?P<side>begin|end)_of_)?(?:final[_ ]?)?(?:short )?$""")
_MARKS = frozenset("</[\"'_ l")  # the last character before a word in a tag or key: also of "final"
_KEY_END = re.compile(r"""(?:answer|result)["']\s{0,9}:\s{0,9}""")
_SIBLING = re.compile(r"""["'](?:unit|units|scale)["']\s{0,9}:\s{0,9}["']([^"'\n]{1,20})["']""", re.IGNORECASE)
_VALUE = re.compile(r"""["'](?:value|amount|number|answer)["']\s{0,9}:\s{0,9}""", re.IGNORECASE)
_STRING = re.compile(r'"((?:[^"\\\n]|\\.){0,400})"|\'([^\'\n]{0,400})\'')
_BARE = re.compile(r"[^,}\]\n]{1,80}")
_TAG_END = re.compile(r"(?:answer|result|solution)(?:\s[^<>\n]{0,60})?(?:\|>|[>\]])")
_CLOSING = re.compile(
    r"</(?:final_?)?(?:answer|result|solution)|\[/|<\|end_of_|<(?:final_?)?(?:answer|result|solution)|\n</?[a-z]",
    re.IGNORECASE,
)
_PHRASE = re.compile(
    r"answer\b(?:\s\([^()\n]{1,40}\))?(?:\s(?:to|for)\s[^\n.:]{1,80}?)?(?:\s(?:therefore|thus|then|would|will|should))?[\s*_]{0,4}"
    r"(?:\b(?:is|was|be|equals)\b|:|=|≈)[\s*_:]{0,20}"
)
_HEADING = re.compile(r"answers?\b[\s*_:]{0,9}\n\s*")
_HASHES = re.compile(r"####\s?([-+(]?\s?[$€£¥]?\s?[-(]?[0-9.][^\n]{0,200}|(?:yes|no|true|false)\b[^\n]{0,40})")
_BRACE = re.compile("[{}]")
_BOX_UNIT = re.compile(r"\s?(?:%|[A-Za-z]+)?")
_REACH = 600
"""Characters read of what a container holds."""


class Container(NamedTuple):
    """One statement of the answer: a cleaned text in which the answer stands between `start` and `end`."""

    text: str
    start: int
    end: int
    kind: str
    """box, value (of JSON, of a tag), phrase ("the answer is"), or text (a tag around sentences)."""
    whole: bool = True
    """False where the completion breaks off within it."""


def list_containers(text: str) -> Iterator[Container]:
    """Yield what is said to be the answer, the last one first. `text` is as the model wrote it."""
    lower = text.lower()
    if len(lower) != len(text):  # some capitals of Unicode become two characters
        lower = "".join(char.lower() if char.isascii() else char for char in text)
    words = ["answer"]
    if '"' in text or "<" in text or "[" in text or "'" in text:
        words += ["result", "solution"]
    if "{" in text:
        words += ["boxed{", "fbox{", "boxed {"]
    if "#" in text:
        words.append("####")
    places = {word: lower.rfind(word) for word in words if word in lower}
    while places:
        word = max(places, key=places.__getitem__) if len(places) > 1 else next(iter(places))
        start = places.pop(word)
        if (earlier := lower.rfind(word, 0, start)) >= 0:
            places[word] = earlier
        if (container := _read(text, lower, word, start)) is not None:
            yield container


def _read(text: str, lower: str, word: str, start: int) -> Container | None:
    if word[-1] == "{":
        return _read_box(text, start - 1, start + len(word)) if text[start - 1 : start] == "\\" else None
    if word == "####":
        return _read_hashes(text, lower, start)
    mark, side = None, None
    before = lower[start - 1 : start]
    if before == " " and lower[max(0, start - 6) : start - 1] not in {"final", "short"}:
        before = ""
    if before in _MARKS and (opening := _OPENING.search(lower, max(0, start - 12), start)):
        mark, side = opening["mark"], opening["side"]
    if mark in {'"', "'"} and (key := _KEY_END.match(lower, start)):
        return _read_value(text, start, key.end())
    if (mark in {"<", "["} or side == "begin") and (tag := _TAG_END.match(lower, start)):
        return _read_tag(text, tag.end())
    return _read_phrase(text, lower, start) if word == "answer" and mark not in {"</", "[/", "<"} else None


def _read_box(text: str, start: int, opening: int) -> Container | None:
    r"""Read \boxed{X}, whose X begins at `opening`, with a unit written just behind it ("% outside the box")."""
    depth, end = 1, min(len(text), opening + _REACH)
    for brace in _BRACE.finditer(text, opening, end):
        depth += 1 if brace[0] == "{" else -1
        if not 0 < depth < 20:
            end = brace.end()
            break
    reach = max(0, start - 200)
    begin = max(text.rfind(stop, reach, start) for stop in ("\n", ". ", "! ", "? ")) + 1
    left = clean(text[max(begin, reach) : start].strip().rstrip("$ ")) + " "
    content = clean(text[opening : end - (not depth)]).strip()
    right = "" if depth else clean(text[end : end + 160].lstrip("$"))
    if not left.strip() and right[:1] in {".", ")", ":"}:
        left = "[ "  # "94. The parts were …" is no list number
    unit = _BOX_UNIT.match(right)
    inner = len(content) + (unit.end() if unit else 0)
    return Container(left + content + right, len(left), len(left) + inner, "box", whole=not depth)


def _read_hashes(text: str, lower: str, start: int) -> Container | None:
    """Read "#### X" up to the end of its line."""
    line = _HASHES.match(lower, start)
    if line is None or lower[start - 1 : start] == "#":
        return None
    return _make(text[line.start(1) : line.end()], "value")


def _read_value(text: str, start: int, at: int) -> Container | None:
    """Read the value of JSON's "answer", "final_answer" or "result", with the unit that stands in a key beside it."""
    if text[at : at + 1] in {"{", "["} and (value := _VALUE.search(text, at, at + 200)):
        at = value.end()
    if string := _STRING.match(text, at):
        shown, end = string[1] if string[1] is not None else string[2], string.end()
        shown = _decode(shown) if "\\" in shown else shown
    elif bare := _BARE.match(text, at + (text[at : at + 1] in {"[", "{"})):
        shown, end = bare[0].strip("\"' "), bare.end()
    else:
        return None
    unit = _SIBLING.search(text, end, end + 200) or _SIBLING.search(text, max(0, start - 100), start)
    if unit and not re.search(r"[A-Za-z%]", shown):
        shown = f"{shown}%" if unit[1] == "%" else f"{shown} {unit[1]}"
    return _make(shown, "value", whole=end < len(text))


def _decode(text: str) -> str:
    try:
        return str(json.loads(f'"{text}"', strict=False))
    except ValueError:
        return text


def _read_tag(text: str, at: int) -> Container:
    """Read what a tag such as <answer> holds, up to the next closing tag."""
    closing = _CLOSING.search(text, at, at + 10 * _REACH)
    content = text[at : closing.start() if closing else at + 10 * _REACH].strip()
    kind = "text" if "\n" in content or len(content) > 60 else "value"
    return _make(content, kind, whole=closing is not None)


def _read_phrase(text: str, lower: str, start: int) -> Container | None:
    """Read what follows "the answer is", "Answer:" or the heading "## Answer"."""
    if lower[start - 1 : start].isalnum() or lower[start - 1 : start] == "_":
        return None
    found = _HEADING.match(lower, start)
    if found is None or not re.fullmatch("#{1,6}[^\n]{0,20}", lower[lower.rfind("\n", 0, start) + 1 : start]):
        found = _PHRASE.match(lower, start)
    return _make(text[found.end() : found.end() + _REACH], "phrase") if found else None


def _make(content: str, kind: str, *, whole: bool = True) -> Container:
    content = clean(content).strip()
    return Container(content, 0, len(content), kind, whole)
