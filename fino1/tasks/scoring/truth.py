"""Which yes or no does a completion answer? (docs/scoring.md §9)

Yes, no, true, false, y and n, in the order of places of §3. "Greater" and "higher" repeat the question and say neither.
"""

import re

from fino1.tasks.scoring.containers import list_containers
from fino1.tasks.scoring.parts import take_final_part
from fino1.tasks.scoring.plain import clean
from fino1.tasks.scoring.refusal import is_refusal

_TRUE, _FALSE = {"yes", "true", "y"}, {"no", "false", "n"}
_SPOKEN = re.compile(r"\b(?:(yep|yeah|yup)|nope|nah)\b", re.IGNORECASE)
_SAID_ALONE = {
    "correct": "yes",
    "affirmative": "yes",
    "right": "yes",
    "incorrect": "no",
    "negative": "no",
    "wrong": "no",
}
_DENIED = re.compile(r"\b(?:not|isn't|n't|never)\s+(?:a\s)?(true|false)\b", re.IGNORECASE)
_FIRST = re.compile(
    r"[\W_]*(?:that |simply |clearly |therefore |a )?[\W_]*(yes|no|true|false|y|n)\b(?!\s?/)", re.IGNORECASE
)
_LEADING = re.compile(
    r"(?:^|[\n.!?:]\s*|[,;]\s|\s-\s)(?:(?:and |but )?(?:so|thus|therefore|hence|then),? )?[\s*_>#\"'(-]*(yes|no|true|false)"
    r"(?=[\s,.;:!)*_\"'-]*(?:$|\n)|\s*[,.;:!*\"')-])",
    re.IGNORECASE,
)
_OPENING = re.compile(
    r"\W*(yes|no)\s+(?:it|its|they|he|she|the|this|that|because|since|as|did|does|do|not|was|were)\b", re.IGNORECASE
)
_BOTH = re.compile(
    r"\b(?:yes|true)\s?(?:or|/|and|nor)\s?(?:no|false)\b|\b(?:no|false)\s?(?:or|/|nor)\s?(?:yes|true)\b", re.IGNORECASE
)
_UNSURE = re.compile(
    r"\b(?:whether|if) (?:the answer|it) (?:is|was|would be) (?:yes|no|true|false)\b|\b(?:maybe|perhaps|possibly) (?:yes|no)\b",
    re.IGNORECASE,
)
_EXCLUDED = re.compile(
    r"\b(?:cannot|can't|could not|couldn't|can not|not|never) be (?:a )?(?:yes|no|true|false)\b", re.IGNORECASE
)
_ANYWHERE = re.compile(r"\b(yes|true|false)\b", re.IGNORECASE)


def read_truth(word: str) -> bool | None:
    """Read one word as a truth value; None where it is none."""
    word = word.lower()
    return word in _TRUE if word in _TRUE | _FALSE else None


def find_truth(completion: str) -> str | None:
    """Find the word that answers, in lower case; None where both or neither are said."""
    text = take_final_part(completion)
    lower = text.lower()
    if any([word in lower for word in ("yep", "yeah", "yup", "nope", "nah")]):
        text = _SPOKEN.sub(lambda match: "yes" if match[1] else "no", text)
    if any([word in lower for word in ("whether", "if ", "maybe", "perhaps", "possibly")]):
        text = _UNSURE.sub(" ", text)
    for container in list_containers(text):
        content = container.text[container.start : container.end]
        if container.kind == "text":
            if word := _find_in_text(content):
                return word
        elif _BOTH.match(content.strip(" \"'*(")):
            return None
        elif first := _FIRST.match(content):
            return first[1].lower()
    return _find_in_text(clean(text))


def _find_in_text(text: str) -> str | None:
    """Find the yes or no of sentences: at their beginning, else anywhere. A refusal is none."""
    whole = text.strip(" \n.!*_\"'()#:$").lower()
    if whole in _TRUE | _FALSE:
        return whole
    if whole in _SAID_ALONE:
        return _SAID_ALONE[whole]
    if opening := _OPENING.match(text):
        return opening[1].lower()
    lower = text.lower()
    if "be " in lower:
        text = _EXCLUDED.sub(" ", text)
    if "yes" in lower or "true" in lower or "false" in lower:
        text = _BOTH.sub(" ", text)
    if "true" in lower or "false" in lower:
        text = _DENIED.sub(lambda match: "false" if match[1].lower() == "true" else "true", text)
    leading = [word.lower() for word in _LEADING.findall(text)]
    if not leading and is_refusal(text):
        return None
    words = leading or [word.lower() for word in _ANYWHERE.findall(text)]
    return words[-1] if len({word in _TRUE for word in words}) == 1 else None
