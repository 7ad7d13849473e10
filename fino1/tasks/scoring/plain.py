r"""What does a text say without its markup? LaTeX, Markdown, HTML and Unicode's variants become plain text (docs/scoring.md §5).

Every pattern here has bounded or disjoint repeats: a completion is untrusted text and must be read in linear time.
"""

import html
import re

_MINUS = "\u2212\u2010\u2011\u2012\u2013\u2014\u2015\ufe63\uff0d"
_SPACE = "\u00a0\u2000\u2001\u2002\u2003\u2004\u2005\u2006\u2007\u2008\u2009\u200a\u202f\u205f\u3000\t"
_SUPERSCRIPT = str.maketrans("⁰¹²³⁴⁵⁶⁷⁸⁹⁻⁺", "0123456789-+")
_PARTS = {"¼": "1/4", "½": "1/2", "¾": "3/4", "⅐": "1/7", "⅑": "1/9", "⅒": "1/10", "⅓": "1/3", "⅔": "2/3", "⅕": "1/5", "⅖": "2/5",
          "⅗": "3/5", "⅘": "4/5", "⅙": "1/6", "⅚": "5/6", "⅛": "1/8", "⅜": "3/8", "⅝": "5/8", "⅞": "7/8"}  # fmt: skip
_CHARACTERS = {
    **{ord(char): "-" for char in _MINUS},
    **{ord(char): " " for char in _SPACE},
    **{ord(char): "'" for char in "\u2018\u2019\u2032"},
    **{ord(char): '"' for char in "\u201c\u201d"},
    **{ord(char): None for char in "\u200b\u200c\u200d\u2060\ufeff"},
    **{ord(char): "=" for char in "⇒≃≅"},
    **{ord(char): "/" for char in "\u2044\u2215"},
    **{code: chr(code - 0xFEE0) for code in range(0xFF01, 0xFF5F) if code != 0xFF0D},
    **{ord(char): "√" for char in "∛∜"},
    **dict.fromkeys(map(ord, "≧⩾"), "≥"),
    **dict.fromkeys(map(ord, "≦⩽"), "≤"),
    ord("。"): ". ",
}
_RAISED = re.compile("[⁰¹²³⁴⁵⁶⁷⁸⁹⁻⁺]{1,8}")
_PART = re.compile(rf"([0-9])? ?([{''.join(_PARTS)}])")
_ENTITY = re.compile(r"&(?:#[0-9]{1,6}|#x[0-9A-Fa-f]{1,5}|[A-Za-z]{2,8});")
_TAG = re.compile(r"</?[A-Za-z][^<>\n]{0,60}>")
_FISCAL = re.compile(r"\bFY ?'?([0-9]{2})(?![0-9%]|[.,][0-9])")
_BOLD = re.compile(r"\*\*(?:(?<![0-9]\*\*)|(?![0-9]))")

_MATHS = re.compile(r"\$(?=\S)([^$\n]{1,200}+)(?<=\S)\$(?!\s?[0-9(])")
_DOLLAR = "\x01"
"""Stands for an escaped dollar sign, which is money and no mark of a formula."""
_FRACTION = re.compile(r"\\[dtc]?frac\s?\{([^{}]{1,60})\}\s?\{([^{}]{1,60})\}|\\[dtc]?frac\s?([0-9])\s?([0-9])")
_ROOT = re.compile(r"\\sqrt\s?(?:\[[^\[\]]{0,9}\])?")
_POWER = re.compile(r"\^\{([-+]?[0-9]{1,4})\}")
_GROUP = re.compile(r"(?<=[0-9])(?:\\[,;: ]|\\thinspace ?|\{,\}|\\!)(?=[0-9])")
_COMMAND = re.compile(r"\\(?:([a-zA-Z]{1,20})|(.))|[{}]")
_SILENT = frozenset(
    [
        "text", "mathrm", "mathbf", "textbf", "textit", "mathit", "operatorname", "boxed", "fbox", "mbox", "underline",
        "left", "right", "big", "Big", "bigg", "Bigg", "bigl", "bigr", "Bigl", "Bigr",
    ]
)  # fmt: skip
_SPOKEN = {
    **dict.fromkeys(("times", "cdot"), "×"),
    **dict.fromkeys(("approx", "simeq", "sim", "cong"), "≈"),
    **dict.fromkeys(("geq", "ge", "geqslant"), "≥"),
    **dict.fromkeys(("leq", "le", "leqslant"), "≤"),
    **dict.fromkeys(("implies", "Rightarrow", "Longrightarrow"), "="),
    **dict.fromkeys(("to", "rightarrow"), "->"),
    "div": "÷", "neq": "≠", "ne": "≠", "pm": "±", "gt": " > ", "lt": " < ", "pounds": "£", "euro": "€", "textdollar": "$",
}  # fmt: skip


def clean(text: str) -> str:
    """Reduce LaTeX, Markdown and HTML to plain text. Unicode minus, dashes, spaces, powers and fractions become ASCII (§5)."""
    if "&" in text:
        text = _ENTITY.sub(lambda match: html.unescape(match[0]), text)
    if not text.isascii():
        text = _RAISED.sub(lambda match: "^" + match[0].translate(_SUPERSCRIPT), text)
        text = _PART.sub(lambda match: (f"{match[1]} " if match[1] else "") + _PARTS[match[2]], text)
        text = text.translate(_CHARACTERS)
    if "\\" in text or "{" in text:
        text = _clean_latex(text)
    elif text.count("$") > 1:
        text = _MATHS.sub(_drop_dollars, text)
    if "<" in text:
        text = _TAG.sub(" ", text)
    if "=>" in text or "<=" in text or ">=" in text:
        text = text.replace("=>", "=").replace("<=", "≤").replace(">=", "≥")
    if "FY" in text:
        text = _FISCAL.sub(lambda match: f"FY{'19' if match[1] >= '50' else '20'}{match[1]}", text)
    if "**" in text:
        text = _BOLD.sub("", text)
    if "_" in text or "`" in text:
        text = text.replace("__", "").replace("`", "")
    return text


def _clean_latex(text: str) -> str:
    text = text.replace("\\$", _DOLLAR).replace("$$", " ")
    if "$" in text:
        text = _MATHS.sub(_drop_dollars, text)
    text = text.replace(_DOLLAR, "$")
    text = _GROUP.sub(lambda match: "," if match[0] == "{,}" else "", text)
    text = _ROOT.sub("√", _FRACTION.sub(_write_fraction, text))
    text = _POWER.sub(r"^\1", text)
    return _COMMAND.sub(_write_command, text)


def _drop_dollars(match: re.Match[str]) -> str:
    return f" {match[1]} "


def _write_fraction(match: re.Match[str]) -> str:
    """Write a fraction on one line; a calculation in it keeps brackets, and a whole number before it a space."""
    space = " " if match.string[match.start() - 1 : match.start()].isdigit() else ""
    parts = (part.strip() for part in (match[1] or match[3], match[2] or match[4]))
    return space + "/".join(
        f"({part})" if re.search(r"[0-9)] ?[-+*×/] ?|[-+*×/] ?[0-9(]", part[1:]) else part for part in parts
    )


def _write_command(match: re.Match[str]) -> str:
    name, mark = match[1], match[2]
    if name:
        return "" if name in _SILENT else _SPOKEN.get(name, " ")
    if mark:
        return mark if mark in "%$&#_" else "" if mark == "!" else " "
    return ""
