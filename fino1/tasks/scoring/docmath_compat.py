"""What does the public DocMath-Eval evaluator decide on this text? (docs/scoring.md §2)

Its decisions, odd ones included, with code of our own: what it gives to Python's eval() is read here by a small arithmetic
reader. There is one exception: text without a number is unparsed (None), where the public evaluator reads 0.
"""

import math
import re

_DROPPED = ("£", "€", "¥", "million", "billion", "thousand", "US", "USD", "RMB")
_VALUE = r"(?:[0-9,]*\.?[0-9]+)"
_UNITS = (
    re.compile(rf"([-+]?{_VALUE}) [^0-9 ]+"),
    re.compile(rf"[^0-9 ]+ ([-+]?{_VALUE})"),
    re.compile(rf"([-+]?{_VALUE})[^0-9]{{1,2}}"),
    re.compile(rf"[^-+0-9]{{1,2}}({_VALUE})"),
)
_CLEAN = re.compile(r"[-+]?(?:[0-9]{1,3}(?:,[0-9]{3})*|[0-9]+)(?:\.[0-9]+)?|[0-9]{1,3},[0-9]{2}")
"""A number whose commas are dropped. The last form, "12,34", is a difference: there it becomes a tuple, which is never equal."""
_TOKEN = re.compile(r"\s*(?:([0-9]+\.?[0-9]*(?:[eE][-+]?[0-9]+)?|\.[0-9]+(?:[eE][-+]?[0-9]+)?)|(\*\*|[-+*/(),^]))")
_SIMPLE = re.compile(
    r"(-?)\$?((?:[1-9][0-9]{0,2}(?:,[0-9]{3})+|0|[1-9][0-9]{0,14})(?:\.[0-9]{1,15})?)(?: ?%| million| billion| thousand)?"
)
"""The commonest texts, which need no normalising."""
_LIMIT = 200
"""Characters read: no number is longer, and nested brackets stay shallow."""


def accepts(text: str, gold: float) -> bool | None:
    """True if the public evaluator accepts this answer text for this gold; None where the text holds no number."""
    if simple := _SIMPLE.fullmatch(text):
        return accepts_number(float(simple[1] + simple[2].replace(",", "")), gold)
    prepared = _normalise(text[:_LIMIT])
    if prepared in {"True", "False"}:
        return accepts_number(float(prepared == "True"), gold)
    if not re.search(r"[0-9]", prepared):
        return None
    value = _calculate(prepared.strip())
    if value is None and _is_no_number(prepared.strip()):
        return False
    return accepts_number(0.0 if value is None else value, gold)  # what cannot be computed is 0 there


def accepts_number(prediction: float, gold: float) -> bool:
    """True if the public evaluator takes them for equal: any power of ten, ×100/1,000/100,000, three decimals up, 0.15 %."""
    if not (math.isfinite(prediction) and math.isfinite(gold)):
        return False
    if _is_near(prediction, gold):
        return True
    small, large = sorted((abs(prediction), abs(gold)))
    if small > 0:
        power = math.log10(large / small) if math.isfinite(large / small) else 0.5
        if power == int(power):
            return True
        for factor in (100, 1000, 100000):
            if large >= factor / 2 * small and _is_near(small * factor, large):
                return True
    return large < 1e300 and math.ceil(large * 1000) == math.ceil(small * 1000)


def _is_near(value: float, gold: float) -> bool:
    return abs(value - gold) <= 0.0015 * abs(gold) * (1 + 1e-12)


def _normalise(text: str) -> str:
    text = text.strip().rstrip(".")
    for word in _DROPPED:
        text = text.replace(word, "")
    text = re.split("[=≈]", text)[-1].strip() if re.search("[=≈]", text) else text
    text = re.sub("[`%$°]", "", text)
    if text.strip() in {"yes", "true"} or "True" in text:
        return "True"
    if text.strip() in {"no", "false"} or "False" in text:
        return "False"
    if "approximately" in text:
        text = text.replace("approximately", "").strip()
    text = text.split(" or ")[0]
    for pattern in _UNITS:
        if match := pattern.fullmatch(text):
            text = match[1]
    text = re.sub(r"10\^(-?[0-9]+)", r"10**\1", text).replace(" x ", "*").replace(" × ", "*")
    return text.replace(",", "") if _CLEAN.fullmatch(text) else text


def _is_no_number(text: str) -> bool:
    """True for what Python reads as a tuple, "(1,234)", or as a text, "'5'": neither equals any gold."""
    parts = text.removeprefix("(").removesuffix(")").split(",")
    if len(text) > 1 and text[0] == text[-1] and text[0] in {"'", '"'}:
        return True
    return len(parts) > 1 and all(_calculate(part.strip()) is not None for part in parts if part.strip())


def _calculate(text: str) -> float | None:
    """Compute a Python expression of + - * / ** and brackets; None for anything else (a tuple, an error)."""
    tokens, at = [], 0
    while at < len(text):
        match = _TOKEN.match(text, at)
        if match is None:
            return None
        tokens.append(match[1] or match[2])
        at = match.end()
    if max((len(token) for token in tokens), default=0) > 60 or tokens.count("(") > 20:
        return None
    try:
        value, rest = _read_sum(tokens)
    except (ValueError, ZeroDivisionError, OverflowError, IndexError):
        return None
    return value if not rest and isinstance(value, float) and math.isfinite(value) else None


def _read_sum(tokens: list[str]) -> tuple[float, list[str]]:
    value, tokens = _read_product(tokens)
    while tokens and tokens[0] in {"+", "-"}:
        sign = 1 if tokens[0] == "+" else -1
        term, tokens = _read_product(tokens[1:])
        value += sign * term
    return value, tokens


def _read_product(tokens: list[str]) -> tuple[float, list[str]]:
    value, tokens = _read_signed(tokens)
    while tokens and tokens[0] in {"*", "/"}:
        divides = tokens[0] == "/"
        factor, tokens = _read_signed(tokens[1:])
        value = value / factor if divides else value * factor
    return value, tokens


def _read_signed(tokens: list[str]) -> tuple[float, list[str]]:
    sign = 1
    while tokens[0] in {"+", "-"}:
        sign, tokens = (-sign if tokens[0] == "-" else sign), tokens[1:]
    base, tokens = _read_atom(tokens)
    if tokens and tokens[0] == "**":
        exponent, tokens = _read_signed(tokens[1:])
        base = math.pow(base, exponent)
    return sign * base, tokens


def _read_atom(tokens: list[str]) -> tuple[float, list[str]]:
    if tokens[0] == "(":
        value, tokens = _read_sum(tokens[1:])
        if tokens[0] != ")":
            raise ValueError(tokens[0])
        return value, tokens[1:]
    if re.fullmatch(r"0[0-9]+", tokens[0]) and set(tokens[0]) != {"0"}:
        raise ValueError(tokens[0])  # Python refuses 012
    return float(tokens[0]), tokens[1:]
