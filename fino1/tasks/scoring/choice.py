"""Which of the offered options does a completion choose? (docs/scoring.md §16)

The places of §3 hold: the final part, in it the containers from the last one on, else what is said of a letter, the last
such statement first; else the one option whose text is repeated. Two letters that are left open are no choice.
"""

import re
from collections.abc import Sequence

from fino1.tasks.record import LETTERS
from fino1.tasks.scoring.containers import list_containers
from fino1.tasks.scoring.parts import take_final_part
from fino1.tasks.scoring.plain import clean

_BESIDE = r"\s{0,2}(?:,|/|\bor\b|\band\b|&)\s{0,2}(?:option |choice )?\(?[A-J]\b(?!['’.]?[a-z])"
_END = r"(?=\s*$|\s*[]).:,;}*_\"'\n–—-]|\s+(?:because|since|as|is|for|given|which|so|due|with|and|or)\b|\s*/)"
_BEGINS = re.compile(
    rf"[\W_]*(?:(?i:the |correct |right |best |option|choice|letter|answer|is)\b[\W_]*){{0,4}}([A-J]){_END}"
)
_ALONE = re.compile(r"[\W_]*([A-Ja-j])[\W_]*")
_STATED = re.compile(
    r"\b(?i:option|choice|answer|letter|select|choose|pick)\b(?i:\s+(?:is|would be|should be|must be))?"
    rf"[\s:*_(\[\"']{{0,4}}([A-J]){_END}"
    rf"|\b(?i:it|that|this|so|therefore|thus|hence)(?i:'s|\s+is|\s+must be)?[\s:,*_]{{0,4}}([A-HJ]){_END}"
    r"|\(([A-J])\)"
    r"|(?:^|(?<=[\s*_\"'(]))([A-J])[)*_\"']{0,3}\s+(?i:is|would be|must be)\s+(?i:therefore |thus |clearly )?"
    r"(?i:the )?(?i:correct|right|best|true|answer)",
    re.MULTILINE,
)
_LISTED = re.compile(r"^\W{0,4}\(?([A-J])[).:]\s", re.MULTILINE)
_DENIED_BEFORE = re.compile(
    r"\b(?:not|n't|isn't|never|nor|neither|without|eliminate[sd]?|exclude[sd]?|rules? out|ruled out|reject(?:s|ed)?)"
    r"(?: (?:is|be|the|a|answer|option|choice|letter)){0,3}[ *_(\"']{0,4}\Z",
    re.IGNORECASE,
)
_DENIED_BEHIND = re.compile(
    r"[)*_\"'\s]{0,4}(?:is|are|was|would be|must be|can be|seems)\s+(?:also |clearly |therefore )?"
    r"(?:not|n't|incorrect|wrong|false|eliminated|excluded|ruled out|out\b|unlikely)|[)*_\"'\s]{0,4}(?:isn't|cannot be|can't be)",
    re.IGNORECASE,
)
_TOKEN = re.compile(r"[a-z]+(?:'[a-z]+)?|[-+]?[0-9][0-9,]*(?:\.[0-9]+)?%?|\.[0-9]+%?")


def find_choice(completion: str, options: Sequence[str]) -> str | None:
    """Find the letter of the option that is chosen; None where none or several are. `options` may be empty: not known."""
    text = take_final_part(completion)
    if alone := _ALONE.fullmatch(text):
        return alone[1].upper()
    for container in list_containers(text):
        content = container.text[container.start : container.end]
        if _is_open(content):
            return None
        if letter := _read_content(content, options):
            return letter
    plain = clean(text)
    return _find_stated(plain) or _find_text(plain, options)


def read_choice(gold: str, options: Sequence[str]) -> str | None:
    """Read a gold as the letter of one of these options, by its letter or its text; None where it is neither."""
    stripped = gold.strip()
    letter = stripped.strip("().").upper()
    if len(letter) == 1 and letter in LETTERS[: len(options) or len(LETTERS)]:
        return letter
    same = [place for place, option in enumerate(options) if option.strip() == stripped]
    return LETTERS[same[0]] if len(same) == 1 else None


def _is_open(content: str) -> bool:
    """True if a content leaves two letters open ("B or C")."""
    begins = _BEGINS.match(content)
    return begins is not None and re.match(r"[)\]*_\"']{0,3}" + _BESIDE, content[begins.end(1) :]) is not None


def _read_content(content: str, options: Sequence[str]) -> str | None:
    if alone := _ALONE.fullmatch(content):
        return alone[1].upper()
    if begins := _BEGINS.match(content):
        return begins[1]
    return _find_text(content, options)


def _find_stated(text: str) -> str | None:
    """Find the letter that the last statement names, those that turn a letter down left out; None if it names two."""
    said: list[str] = []
    for match in _STATED.finditer(text):
        place = next(group for group in (1, 2, 3, 4) if match[group])
        behind = text[match.end(place) :]
        if _DENIED_BEFORE.search(text[max(0, match.start() - 60) : match.start(place)]) or _DENIED_BEHIND.match(behind):
            continue
        said.append("" if re.match(r"[)\]*_\"']{0,3}" + _BESIDE, behind) else match[place])
    if said:
        return said[-1] or None
    listed = set(_LISTED.findall(text))
    begins = _BEGINS.match(text)
    if begins and not _is_open(text) and not _DENIED_BEHIND.match(text[begins.end(1) :]):
        listed.add(begins[1])
    return listed.pop() if len(listed) == 1 else None


def _find_text(text: str, options: Sequence[str]) -> str | None:
    """Find the one option whose words are repeated, in the last line that repeats one; an option within another counts less."""
    worded = {LETTERS[place]: _spell(option) for place, option in enumerate(options)}
    is_list = len(set(_LISTED.findall(text))) > 1
    for line in reversed([line for line in text.split("\n") if not (is_list and _LISTED.match(line))]):
        spelt = _spell(line)
        found = {letter: words for letter, words in worded.items() if words.strip() and words in spelt}
        whole = [
            letter
            for letter, words in found.items()
            if not any(words != other and words in other for other in found.values())
        ]
        if whole:
            return whole[0] if len(whole) == 1 else None
    return None


def _spell(text: str) -> str:
    """Return the words and numbers of a text, each between spaces."""
    return " " + " ".join(token.replace(",", "") for token in _TOKEN.findall(text.lower())) + " "
