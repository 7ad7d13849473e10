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
_BARE_PERCENT = re.compile(
    r"\b(?:growth rates?|rates? of (?:growth|return)|returns?|roi|margins?|yields?|proportion|portion|market share|share of"
    r"|(?:what|which) share)\b"
)
_AMOUNT = re.compile(r"\b(?:how (?:many|much)|prices?|number of|amount|dollars?|cents?|per share|eps)\b")
_BASIS_POINTS = re.compile(r"\b(?:in|many) (?:basis points|bps)\b")
_UNIT = re.compile(
    r"(?:\b(?:in|im)|\(|\bmany)\s*(?:us\s?|usd\s?|eur\s?|gbp\s?)?[$€£]?\s*(?:us )?(?:dollars? )?(?:amounts? )?(?:in )?"
    r"(thousand|million|billion|trillion|crore|lakh|mm\b|m\b|bn\b|000s?\b)"
)
_UNITS = {
    "thousand": 1e3,
    "000": 1e3,
    "000s": 1e3,
    "lakh": 1e5,
    "million": 1e6,
    "mm": 1e6,
    "m": 1e6,
    "crore": 1e7,
    "billion": 1e9,
    "bn": 1e9,
    "trillion": 1e12,
}
_DECREASE = re.compile(
    r"\b(?:decreas(?:e|es|ed)|declin(?:e|es|ed)|drop(?:s|ped)?|falls?|fell|reduced?)\b"
    r"|(?:^|\b(?:the|an?|percent|percentage|percentual|net|total|overall|what|average)\s|%\s)reductions?\b"
)
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
_MOVEMENT = re.compile(
    r"\b(?:chang\w*|growth|grow|grew|increas\w*|decreas\w*|declin\w*|rise|rose|fall|fell|drop\w*|reduction|reduced|differen\w*"
    r"|varia(?:tion|nce)\w*|fluctuat\w*)\b"
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
_GENERAL = frozenset(
    [
        "change", "changed", "percent", "percentage", "increase", "increased", "decrease", "decreased", "difference",
        "growth", "ratio", "average", "total", "rate", "year", "years", "between", "during",
    ]
)  # fmt: skip
_YEAR = re.compile(r"(?<![0-9$.,])((?:19|20)[0-9]{2})(?![0-9.,]*[0-9%])")


@dataclass(frozen=True)
class QuestionFacts:
    """What a question lets one assume about the number that answers it."""

    percent: bool
    """It asks for a percentage in so many words."""
    ratio: bool
    """It asks for a percentage or for a quantity usually given as one, so that the gold may be in percent."""
    amount: bool
    """It asks for money, a price or a count, so that nothing is read as a percentage by itself."""
    bare_percent: bool
    """It asks for a quantity that is given in percent without the sign too: a growth rate, return, margin, share."""
    cents: bool
    """It asks for an amount in cents."""
    basis_points: bool
    """It asks for basis points in so many words."""
    unit: float | None
    """The unit it states ("in millions" = 1e6); None where it states none."""
    decrease: bool
    """It asks for the size of a decrease: golds come in both signs."""
    change: bool
    """It asks for a signed change, so that "decreased by" in the answer is a minus."""
    movement: bool
    """It asks for a change in so many words, so that "unchanged" is 0."""
    duration: bool
    """It asks for years, months or days."""
    year: bool
    """It asks which year."""
    year_count: bool
    """It asks how many years."""
    years: frozenset[str]
    """The years it names."""
    words: frozenset[str]
    """Its words of four letters or more, without those that many questions have."""
    nouns: frozenset[str]
    """Those of its words that name what is asked about: no years, "change" or "percentage"."""


@lru_cache(maxsize=4096)
def read_facts(question: str, task_unit: float | None = None) -> QuestionFacts:
    """Read from its words what a question asks for. `task_unit` counts before the unit that it states."""
    text = question[:4000].lower()
    percent = bool(_PERCENT.search(text))
    unit = _UNIT.search(text)
    decrease = bool(_DECREASE.search(_NOT_ASKED.sub(" ", text))) and not _INCREASE.search(text)
    words = frozenset(word for word in re.findall(r"[a-z]{4,}", text) if word not in _STOP)
    amount = bool(unit) or _is_amount(text)
    return QuestionFacts(
        percent=percent,
        ratio=percent or bool(_RATIO.search(text)),
        amount=amount and not percent,
        bare_percent=percent
        or (not amount and bool(_BARE_PERCENT.search(text)) and not re.search(r"\bratios?\b", text)),
        cents=bool(re.search(r"\bcents\b", text)),
        basis_points=bool(_BASIS_POINTS.search(text)),
        unit=task_unit or (_UNITS[unit[1]] if unit else None),
        decrease=decrease,
        change=bool(_CHANGE.search(text)),
        movement=bool(_MOVEMENT.search(text)),
        duration=bool(_DURATION.search(text)),
        year=bool(re.search(r"\b(?:what|which) (?:fiscal |calendar )?year\b", text)),
        year_count=bool(re.search(r"\b(?:how many|number of) (?:\w+ )?years\b", text)),
        years=frozenset(_YEAR.findall(text)),
        words=words,
        nouns=words - _GENERAL,
    )


def _is_amount(text: str) -> bool:
    """True if the asking sentence names money, a price or a count before any quantity that is given in percent."""
    sentences = re.split(r"(?<=[.?!])\s", text.strip())
    asking = [sentence for sentence in sentences if sentence.endswith("?")] or sentences
    amount, ratio = _AMOUNT.search(asking[-1]), _RATIO.search(asking[-1])
    return amount is not None and (ratio is None or amount.start() < ratio.start())
