"""Which yes or no does a completion answer? (docs/scoring.md §9)

Yes, no, true, false, y and n, in the order of places of §3. "Greater" and "higher" repeat the question and say neither.
"""

import re

from fino1.tasks.scoring.extract import take_final_part
from fino1.tasks.scoring.numbers import clean

_TRUE, _FALSE = {"yes", "true", "y"}, {"no", "false", "n"}
_DENIED = re.compile(r"\b(?:not|isn't|n't|never)\s+(?:a\s)?(true|false)\b", re.IGNORECASE)
_ASSERTED = re.compile(
    r"\banswer\b[^\n.]{0,60}?(?:\bis\b|:)[\s*_:\"'$(]*(?:\\\w{1,10}\{){0,3}\s*(yes|no|true|false)\b", re.IGNORECASE
)
_BOXED = re.compile(r"\\boxed\{\s*(?:\\\w{1,10}\{\s*)?(yes|no|true|false|y|n)\b", re.IGNORECASE)
_LEADING = re.compile(
    r"(?:^|[\n.!?:]\s*)[\s*_>#\"'(-]*(yes|no|true|false)(?=[\s,.;:!)*_\"'-]*(?:$|\n)|\s*[,.;:!*\"')-])", re.IGNORECASE
)
_OPENING = re.compile(
    r"\W*(yes|no)\s+(?:it|its|they|he|she|the|this|that|because|since|as|did|does|do|not|was|were)\b", re.IGNORECASE
)
_ANYWHERE = re.compile(r"\b(yes|true|false)\b", re.IGNORECASE)


def read_truth(word: str) -> bool | None:
    """Read one word as a truth value; None where it is none."""
    word = word.lower()
    return word in _TRUE if word in _TRUE | _FALSE else None


def find_truth(completion: str) -> str | None:
    """Find the word that answers, in lower case; None where both or neither are said."""
    text = take_final_part(completion)
    whole = clean(text).strip(" \n.!*_\"'()#:$").lower()
    if whole in _TRUE | _FALSE:
        return whole
    for pattern in (_ASSERTED, _BOXED):
        if words := pattern.findall(text):
            return words[-1].lower()
    if opening := _OPENING.match(text):
        return opening[1].lower()
    text = _DENIED.sub(lambda match: "false" if match[1].lower() == "true" else "true", clean(text))
    leading = [word.lower() for word in _LEADING.findall(text)]
    words = leading or [word.lower() for word in _ANYWHERE.findall(text)]
    return words[-1] if len({word in _TRUE for word in words}) == 1 else None
