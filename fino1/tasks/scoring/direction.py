"""Do the words around a number make it a decrease? "decreased by", "a decline of", "lower" (docs/scoring.md §7)"""

import re

from fino1.tasks.scoring.number import Number
from fino1.tasks.scoring.question import QuestionFacts

_NEUTRAL = r"change|changed|difference|variation|return|growth rate|percentage|ratio|result"
_DOWN_VERB = (
    r"decreased|declined|fell|dropped|shrank|shrunk|reduced|lowered|contracted|slid|slipped|diminished|down|lower|decreasing"
    r"|declining|sank|plunged|plummeted|tumbled|slumped|dipped|weakened|receded"
    r"|(?:is|was) negative|negative (?:net |percentage |overall )?(?:change|growth|return|difference|variance|variation|movement)"
)
_DOWN_NOUN = r"decrease|decline|drop|reduction|fall|loss|deficit|shortfall|contraction|slump|dip|downturn"
_UP = (
    r"increas(?:e|ed|es|ing)|grew|grown|growth|rose|rise|risen|gain(?:ed)?|higher|up|improve(?:d|ment)?|outperformed|surplus"
    r"|above"
)
_DIRECTION = re.compile(
    rf"\b(?:(?P<neutral>{_NEUTRAL})|(?P<verb>{_DOWN_VERB})|(?P<noun>{_DOWN_NOUN})|(?P<up>{_UP}))\b", re.IGNORECASE
)
_BEHIND = re.compile(
    rf"[\s)]*(?:(?:points?|dollars|per share|in total)\s)?[\s(,-]*(?:which is\s|i\.e\.,?\s)?(?:an?\s)?"
    r"(?:(?!not?\s|negative\s)[a-z-]+\s)?"
    rf"(?:(?P<down>{_DOWN_NOUN}|{_DOWN_VERB}|less)|(?P<up>{_UP}))\b",
    re.IGNORECASE,
)
_EXPLAINED = re.compile(
    rf"[\s)\]*\"'%$]*(?:[,;:-]\s*|\.\s+|\n\s*|\s)(?:and\s|so\s|thus\s|hence\s)?"
    rf"(?:(?:this|that|it|which|there|the (?:change|result|negative sign|figure|value|answer)|i\.e\.,?)\s)?"
    rf"(?:is|was|indicat\w+|represent\w*|reflect\w*|show\w*|mean\w*|signif\w+|impl\w+|denot\w+|mark\w*|signal\w*"
    rf"|suggest\w*|constitut\w*|confirm\w*|(?:point|amount|correspond|equat)\w*\sto|i\.e\.,?|that is,?|namely,?)\s"
    rf"(?:that\s)?(?:(?:[a-z0-9&'-]+\s){{0,6}}?)(?:(?P<down>{_DOWN_NOUN}|{_DOWN_VERB})|(?P<up>{_UP}))\b",
    re.IGNORECASE,
)
_SAID_BEHIND = re.compile(
    rf"[\s)\]*\"'%$]*[.;,\n]\s*(?:(?:so|thus|hence|therefore|and|this means(?: that)?|meaning(?: that)?),?\s)?"
    rf"(?P<subject>(?:[a-z&'-]+\s){{1,6}}?)(?:(?:has|have|is|was|were|went|clearly|actually)\s){{0,2}}(?:{_DOWN_VERB})\b",
    re.IGNORECASE,
)
_GENERAL = frozenset(["company", "firm", "group", "this", "that", "amount", "value", "their", "total"])
_SUBJECT = re.compile(r"[a-z]{4,}")
_HINTS = (
    "decreas", "declin", "fell", "drop", "shr", "reduc", "lower", "contract", "slid", "slip", "dimin", "down", "fall", "loss",
    "deficit", "less", "sank", "plung", "plummet", "tumbl", "slump", "dip", "weaken", "reced", "negative",
)  # fmt: skip
_LEVEL = re.compile(r"\bto\s+(?:about |approximately |only )?[$€£¥(]*\s*$", re.IGNORECASE)
_DENIED = re.compile(
    r"\b(?:not|no|never|n't|neither|nor)\s(?:\w+\s){0,3}$"
    r"|\b(?:despite|although|though|unlike)\b[^,]*$",
    re.IGNORECASE,
)


def is_decrease(text: str, number: Number, facts: QuestionFacts) -> bool:
    """True if the words around a number make it a decrease.

    The word behind the number decides ("15 % lower", "15 %. This is a decrease."), else the nearest one before it; a neutral
    word ("a change of") passes on to the verb before it. "decreased to 94" states a level, no change. A sentence behind
    the number ("15 %. Revenue decreased.") counts where its subject is what the question asks about.
    """
    if len(text) - number.end + number.start < 4:
        return False
    lower = text.lower()
    for hint in _HINTS:
        if hint in lower:
            break
    else:
        return False
    behind = _BEHIND.match(text, number.end, number.end + 60)
    if behind:
        return bool(behind["down"])
    explained = _EXPLAINED.match(text, number.end, number.end + 160)
    if explained:
        return bool(explained["down"]) and not _DENIED.search(explained[0][: -len(explained["down"])])
    before = text[max(0, number.digits_start - 300) : number.digits_start]
    if _LEVEL.search(before[-24:]):
        return False
    passed_on = False
    for word in reversed(list(_DIRECTION.finditer(before))):
        if word["neutral"]:
            passed_on = True
        elif _DENIED.search(before[max(0, word.start() - 60) : word.start()]):
            continue
        elif word["verb"] or word["up"]:
            return bool(word["verb"])
        elif not passed_on:
            return True
    return _is_said_behind(text, number, facts)


def _is_said_behind(text: str, number: Number, facts: QuestionFacts) -> bool:
    """True if the next clause says that what is asked about decreased: all nouns of its subject are the question's."""
    said = _SAID_BEHIND.match(text, number.end, number.end + 160)
    if said is None or _DENIED.search(said[0][: said.end("subject") - said.start()]):
        return False
    nouns = set(_SUBJECT.findall(said["subject"].lower())) - _GENERAL
    return said["subject"].lower() == "it " or (bool(nouns) and nouns <= facts.nouns)
