"""Does a text say that it cannot answer? (docs/scoring.md §3)"""

import re
from collections.abc import Sequence

from fino1.tasks.scoring.question import QuestionFacts

_GIVEN = "(?:provided|disclosed|available|given|stated|reported|specified|mentioned|shown|listed)"
_GIVES = "(?:provide|disclose|give|contain|include|specify|allow|permit)"
_REFUSAL = re.compile(
    r"\b(?:unable to|not able to|(?:can ?not|can't|could not|couldn't|impossible to|not possible to|no way to|difficult to)"
    r"(?: be)?(?: accurately| reliably| directly)? ?(?:comput|calculat|determin|answer|say|provide|give|find|tell|know|deriv"
    r"|access|establish|be (?:comput|calculat|determin|answer|found|deriv|establish|known))|insufficient"
    r"|no answer (?:can|could)|(?:not|\w+n't) enough (?:information|data|detail)"
    rf"|(?:is|are|was|were)(?: not|n't) {_GIVEN}"
    rf"|no (?:figures?|data|information|values?|amounts?)\b[^.;\n]{{0,40}}?\b(?:is|are|was|were) {_GIVEN}"
    r"|(?:there (?:is|are)|has|have|contains?|gives?) no (?:data|information|figures?)"
    r"|lacks? (?:the |any )?(?:data|information|figures?)"
    rf"|(?:do|does) not (?:{_GIVES}|know|report|have (?:enough|the|sufficient))"
    rf"|don't (?:know|have)|doesn't {_GIVES}|n/a\b|not determinable|undeterminable"
    r"|unanswerable|unknown|unavailable)",
    re.IGNORECASE,
)
_HINTS = (
    "unable", "possible to", "difficult to", "insufficient", "n/a", "determinable", "unanswerable", "unknown", "lack",
    "unavailable",
)  # fmt: skip
_NOT = re.compile(
    "not(?:(?<=cannot)|(?<=can not)|(?<=could not)"
    "| (?:able|enough|provide|disclose|available|give|stated|report|specif|mention|shown|listed|know|contain|include|have "
    "|allow|permit|enable))"
)
_NO = re.compile("no (?:answer|way to|figure|data|information|value|amount)")
"""Each refusal has one of these: they are sought first, since that takes a hundredth of the time."""
_CONCLUDES = re.compile(r"\b(?:so|thus|therefore|hence|assuming|estimated?)\b|[=≈]", re.IGNORECASE)
_TURNS = re.compile(r"\b(?:but|however|nevertheless|instead|though)\b", re.IGNORECASE)
_WORDS = re.compile(r"[a-z]{4,}")


def is_refusal(text: str) -> bool:
    """True if a text says somewhere that it cannot answer."""
    lower = text.lower()
    for hint in _HINTS:
        if hint in lower:
            return bool(_REFUSAL.search(text))
    hinted = "n't" in lower or ("not" in lower and _NOT.search(lower)) or ("no " in lower and _NO.search(lower))
    return bool(hinted) and bool(_REFUSAL.search(text))


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
