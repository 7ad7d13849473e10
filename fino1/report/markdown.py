"""How is a table written in Markdown, of names that come from outside?"""

import html
import re
from collections.abc import Iterable, Sequence


def write_table(head: Sequence[str], rows: Iterable[Sequence[str]], text_columns: int) -> str:
    """Write a table; its first `text_columns` are set left, the others right."""
    rule = [":--"] * text_columns + ["--:"] * (len(head) - text_columns)
    return "\n".join("| " + " | ".join(line) + " |" for line in (head, rule, *rows))


def escape(text: str) -> str:
    """Make one line of a name or error message, which come from outside, so that nothing in it is markup."""
    plain = html.escape(" ".join(text.split()), quote=False)
    return re.sub(r"([\\`*_\[\]|])", r"\\\1", plain)
