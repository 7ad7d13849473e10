"""Is what docs/scoring.md says of each answer what the scorer says?"""

import re
from pathlib import Path

import pytest

from fino1.tasks.scoring.answer import read_target, score

TEXT = (Path(__file__).parents[2] / "docs" / "scoring.md").read_text()
NAMED = dict(re.findall(r'\*\*(percent|change|decline|truth)\*\*\s"([^"]+)"', TEXT.replace("\n", " ")))
QUESTIONS = NAMED | {"millions": NAMED["change"].replace(" ?", ", in millions ?")}
ROWS = re.findall(r"^\| (\w+) \| `([^`]+)` \| (\S+) \| (\w+) \| (\w+) \|", TEXT, re.MULTILINE)
WORDS = {True: "right", False: "wrong", None: "unparsed"}


def test_all_rows_are_found():
    table = TEXT.partition("## 13. Examples")[2].partition("\n\n## 14.")[0]
    assert len(ROWS) == table.count("\n| ") - 2 == 30
    assert QUESTIONS.keys() == {"percent", "change", "decline", "truth", "millions"}


@pytest.mark.parametrize("row", ROWS, ids=lambda row: f"{row[0]}: {row[1]}")
def test_row(row):
    question, answer, gold, strict, compat = row
    verdict = score(answer, QUESTIONS[question], read_target(gold))
    assert (WORDS[verdict.strict], WORDS[verdict.docmath_compat]) == (strict, compat)
    assert verdict.sign_from_question == (question == "decline")
