"""What kind of number does a question ask for? (docs/scoring.md §4 percentages, §6 its unit, §7 a change or a decrease)"""

import re
from dataclasses import dataclass
from functools import lru_cache

_PERCENT = re.compile(
    r"(?<![0-9] )(?<![0-9])(?<!one)(?<!one[- ])(?:\bpercent|\bper cent|\bpct\b)|(?<![0-9] )(?<![0-9])%"
)
_RATIO = re.compile(
    r"\b(?:margins?|rates?|returns?|ro[aei]|yields?|growth|ratios?|proportion|portion|share of|shares? represent|inflation"
    r"|unemployment|(?:out|under)?perform\w*|apr|ear|apy|wacc|capm|alpha|cost of (?:equity|debt|capital)|index|penetration)\b"
)
_BASIS_POINTS = re.compile(r"\b(?:in|many) (?:basis points|bps)\b")
_UNIT = re.compile(
    r"(?:\b(?:in|im)|\(|\bmany)\s*(?:us\s?)?\$?\s*(?:us )?(?:dollars? )?(?:amounts? )?(?:in )?"
    r"(thousand|million|billion|trillion|mm\b|m\b|bn\b)"
)
_UNITS = {"thousand": 1e3, "million": 1e6, "mm": 1e6, "m": 1e6, "billion": 1e9, "bn": 1e9, "trillion": 1e12}
_DECREASE = re.compile(r"\b(?:decreas(?:e|es|ed)|declin(?:e|es|ed)|drop(?:s|ped)?|falls?|fell|reduction|reduced?)\b")
_INCREASE = re.compile(r"\b(?:increas\w*|ris(?:e|es|ing)|rose|grow\w*|grew|gain\w*)\b")
_NOT_ASKED = re.compile(
    r"\b(?:ratio of|as a percent(?:age)? of|due to|from) (?:the )?(?:\w+ )?(?:decreases?|declines?|drops?|"
    r"reductions?)\b|\breductions? (?:initiatives?|programs?|plans?|costs?)|\bfall (?:of )?[0-9]{4}"
)
_CHANGE = re.compile(
    r"\b(?:chang\w*|growth|grow|grew|increas\w*|ris(?:e|es|ing)|rose|differen\w*|varia(?:tion|nce)\w*|fluctuat\w*|returns?|roi"
    r"|(?:out|under)?perform\w*|effect|impact|gains?|improve\w*|higher|greater|lower|more|less|movement|swing|shift|balance"
    r"|profit\w*|income|loss|earnings|cash flows?|alpha|compar\w*|inflation|margins?)\b"
)
_DURATION = re.compile(
    r"\b(?:years|months|days|quarters|weeks|how long|life|term|duration|period in|dso|dpo|maturity)\b"
)
_STOP = frozenset(  # words that many questions have: they do not show which number is asked for
    [
        "what",
        "were",
        "from",
        "that",
        "this",
        "with",
        "have",
        "which",
        "when",
        "does",
        "many",
        "much",
        "million",
        "billion",
    ]
)
_YEAR = re.compile(r"(?<![0-9$.,])((?:19|20)[0-9]{2})(?![0-9.,]*[0-9%])")


@dataclass(frozen=True)
class QuestionFacts:
    """What a question lets one assume about the number that answers it."""

    percent: bool
    """It asks for a percentage in so many words."""
    ratio: bool
    """It asks for a percentage or for a quantity usually given as one, so that the gold may be in percent."""
    basis_points: bool
    """It asks for basis points in so many words."""
    unit: float | None
    """The unit it states ("in millions" = 1e6); None where it states none."""
    decrease: bool
    """It asks for the size of a decrease: golds come in both signs."""
    change: bool
    """It asks for a signed change, so that "decreased by" in the answer is a minus."""
    duration: bool
    """It asks for years, months or days."""
    year: bool
    """It asks which year."""
    years: frozenset[str]
    """The years it names."""
    words: frozenset[str]
    """Its words of four letters or more, without those that many questions have."""


@lru_cache(maxsize=4096)
def read_facts(question: str) -> QuestionFacts:
    """Read from its words what a question asks for."""
    text = question[:4000].lower()
    percent = bool(_PERCENT.search(text))
    unit = _UNIT.search(text)
    decrease = bool(_DECREASE.search(_NOT_ASKED.sub(" ", text))) and not _INCREASE.search(text)
    return QuestionFacts(
        percent=percent,
        ratio=percent or bool(_RATIO.search(text)),
        basis_points=bool(_BASIS_POINTS.search(text)),
        unit=_UNITS[unit[1]] if unit else None,
        decrease=decrease,
        change=bool(_CHANGE.search(text)),
        duration=bool(_DURATION.search(text)),
        year=bool(re.search(r"\b(?:what|which) (?:fiscal |calendar )?year\b", text)),
        years=frozenset(_YEAR.findall(text)),
        words=frozenset(word for word in re.findall(r"[a-z]{4,}", text) if word not in _STOP),
    )
