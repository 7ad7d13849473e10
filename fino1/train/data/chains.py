"""What does a verifier learn from a search for reasoning paths? Its conclusions, with their verdicts (docs/paths.md)."""

from collections.abc import Iterator
from typing import Any

from fino1.errors import SpecError
from fino1.train.data.formats import Numbered


def expand(source: str, rows: Numbered, names: dict[str, str]) -> Numbered:
    """Make lines of `paths.jsonl` a verifier's pairs, in columns of these names; other rows stay as they are.

    What nobody could judge has no label. Raises SpecError naming a line whose turns are not a search's.
    """
    found: Numbered = []
    has_judge = any(_names_judge(row) for _, row in rows)
    for number, row in rows:
        try:
            found += [(number, pair) for pair in (_list_pairs(row, names, has_judge) if "turns" in row else [row])]
        except (KeyError, IndexError, TypeError, AttributeError) as error:
            got = repr(row["turns"])[:80]
            raise SpecError(f"{source}:{number}: turns: expected those of a search, got {got}") from error
    return found


def _names_judge(row: dict[str, Any]) -> bool:
    turns = row.get("turns")
    return isinstance(turns, list) and any(isinstance(t, dict) and t.get("judged_by") == "judge" for t in turns)


def _list_pairs(row: dict[str, Any], names: dict[str, str], has_judge: bool) -> Iterator[dict[str, Any]]:
    question, target, response, label = names.values()
    known = {question: row.get("question"), target: row.get("target")}
    for turn in row["turns"]:
        verdict = None if turn["judged_by"] == "nobody" else turn["right"]
        yield {**known, response: turn["steps"][-2]["content"], label: verdict}
    if row.get("response"):
        wrong = False if has_judge else None  # without a judge it may be one that the rule could not read
        yield {**known, response: row["response"], label: True if row.get("failure") is None else wrong}
