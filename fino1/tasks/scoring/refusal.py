"""Does a text say that it cannot answer? (docs/scoring.md §3)"""

import re
from collections.abc import Sequence

from fino1.tasks.scoring.question import QuestionFacts

_REFUSAL = re.compile(
    r"\b(?:unable to|not able to|(?:can ?not|can't|could not|couldn't|impossible to|not possible to|no way to|difficult to)"
    r"(?: be)?(?: accurately| reliably| directly)? ?(?:comput|calculat|determin|answer|say|provide|give|find|tell|know|deriv"
    r"|establish|be (?:comput|calculat|determin|answer|found|deriv|establish|known))|insufficient"
    r"|no answer (?:can|could)"
    r"|not enough (?:information|data|detail)|(?:is|are|was|were) not (?:provided|disclosed|available|given|stated|reported"
    r"|specified)|(?:do|does) not (?:know|provide|disclose|give|contain|include|specify|report|have (?:enough|the|sufficient))"
    r"|don't (?:know|have)|doesn't (?:provide|disclose|give|contain|include|specify)|n/a\b|not determinable|undeterminable"
    r"|unanswerable|unknown)",
    re.IGNORECASE,
)
_STEMS = (
    "not", "n't", "unable", "possible to", "no way", "no answer", "difficult to", "insufficient", "n/a", "determinable",
    "unanswer", "unknown",
)  # fmt: skip
_HINTS = (
    "unable", "no answer", "not able", "cannot", "can not", "can't", "could not", "couldn't", "possible to",
    "no way to", "difficult to", "insufficient", "not enough", "not provide", "not disclose", "not available",
    "not give", "not stated", "not report", "not specif", "not know", "not contain", "not include", "not have ",
    "n't know", "n't have", "n't provide", "n't disclose", "n't give", "n't contain", "n't include", "n't specify",
    "n/a", "determinable", "unanswerable", "unknown",
)  # fmt: skip
"""Each refusal has a stem and a hint: they are sought first, since that takes a hundredth of the time."""
_CONCLUDES = re.compile(r"\b(?:so|thus|therefore|hence|assuming|estimated?)\b|[=≈]", re.IGNORECASE)
_TURNS = re.compile(r"\b(?:but|however|nevertheless|instead|though)\b", re.IGNORECASE)
_WORDS = re.compile(r"[a-z]{4,}")


def is_refusal(text: str) -> bool:
    """True if a text says somewhere that it cannot answer."""
    lower = text.lower()
    for stem in _STEMS:
        if stem in lower:
            break
    else:
        return False
    return any([hint in lower for hint in _HINTS]) and bool(_REFUSAL.search(text))


def is_refused(sentences: Sequence[str], place: int, statement: str, facts: QuestionFacts) -> bool:
    """True if the sentences refuse to answer, and do not go on to answer after all in the statement at `place`."""
    for other, sentence in enumerate(sentences):
        refusal = _REFUSAL.search(sentence)
        if refusal and (
            other > place or not _concludes(sentence[refusal.end() :] if other == place else statement, facts)
        ):
            return True
    return False


def _concludes(text: str, facts: QuestionFacts) -> bool:
    """True if a text draws a conclusion: "so …", "= …", or "but the change is …" in the question's own words."""
    in_question = not facts.nouns.isdisjoint(_WORDS.findall(text.lower()))
    return bool(_CONCLUDES.search(text)) or (in_question and bool(_TURNS.search(text)))
