"""Do the words around a number make it a decrease? "decreased by", "a decline of", "lower" (docs/scoring.md §7)"""

import re

from fino1.tasks.scoring.number import Number

_NEUTRAL = r"change|changed|difference|variation|return|growth rate|percentage|ratio|result"
_DOWN_VERB = (
    r"decreased|declined|fell|dropped|shrank|shrunk|reduced|lowered|contracted|slid|slipped|diminished|down|lower|decreasing"
    r"|declining"
)
_DOWN_NOUN = r"decrease|decline|drop|reduction|fall|loss|deficit|shortfall|contraction"
_UP = (
    r"increas(?:e|ed|es|ing)|grew|grown|growth|rose|rise|risen|gain(?:ed)?|higher|up|improve(?:d|ment)?|outperformed|surplus"
    r"|above"
)
_DIRECTION = re.compile(
    rf"\b(?:(?P<neutral>{_NEUTRAL})|(?P<verb>{_DOWN_VERB})|(?P<noun>{_DOWN_NOUN})|(?P<up>{_UP}))\b", re.IGNORECASE
)
_BEHIND = re.compile(
    rf"[\s)]*(?:(?:points?|dollars|per share|in total)\s)?[\s(,]*(?:which is\s)?(?:an?\s)?(?:[a-z-]+\s)?"
    rf"(?:(?P<down>{_DOWN_NOUN}|{_DOWN_VERB}|less)|(?P<up>{_UP}))\b",
    re.IGNORECASE,
)
_EXPLAINED = re.compile(
    rf"[\s)\]*\"'%$]*(?:[,;:-]\s*|\.\s+|\n\s*|\s)(?:and\s|so\s|thus\s|hence\s)?"
    rf"(?:(?:this|that|it|which|the (?:change|result|negative sign|figure|value|answer)|i\.e\.,?)\s)?"
    rf"(?:is|was|indicat\w+|represent\w*|reflect\w*|show\w*|mean\w*|signif\w+|impl\w+|denot\w+|mark\w*)\s"
    rf"(?:that\s)?(?:(?:[a-z0-9&'-]+\s){{0,6}}?)(?:(?P<down>{_DOWN_NOUN}|{_DOWN_VERB})|(?P<up>{_UP}))\b",
    re.IGNORECASE,
)
_HINTS = (
    "decreas", "declin", "fell", "drop", "shr", "reduc", "lower", "contract", "slid", "slip", "dimin", "down", "fall", "loss",
    "deficit", "less",
)  # fmt: skip
_LEVEL = re.compile(r"\bto\s+(?:about |approximately |only )?[$€£¥(]*\s*$", re.IGNORECASE)
_DENIED = re.compile(
    r"\b(?:not|no|never|n't|neither|nor)\s(?:\w+\s){0,3}$"
    r"|\b(?:despite|although|though|unlike)\b[^,]*$",
    re.IGNORECASE,
)


def is_decrease(text: str, number: Number, start: int = 0) -> bool:
    """True if the words around a number make it a decrease. `start` is where its own sentence begins in `text`.

    The word behind the number decides ("15 % lower", "15 %. This is a decrease."), else the nearest one before it; a neutral
    word ("a change of") passes on to the verb before it. "decreased to 94" states a level, no change.
    """
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
    before = text[max(start, number.digits_start - 300) : number.digits_start]
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
    return False
