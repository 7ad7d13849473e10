"""Has the scorer changed, and its version not? A finished cell keeps its verdicts as long as the version stays.

decisions.jsonl is a table of answers and of what the scorer decides on each of them. Where a decision is to change: raise
SCORER_VERSION, run `python tests/tasks/test_decisions.py`, which writes the table anew and prints its digest, read what it
changed (`git diff`), and add the new version below. Answers may be added to the table at any time: then the digest of the
present version is replaced, and the diff of the table shows added lines only.
"""

import hashlib
import json
from pathlib import Path

from fino1 import tasks
from fino1.tasks.scoring import SCORER_VERSION

TABLE = Path(__file__).with_name("decisions.jsonl")
DIGESTS = {
    "1": "37794f5b799e35ee59a5fdafdbb1b89c52d8f1818f8a1019bdb79b2ba9df8794",
    "2": "baa9b4646328180ab91ee5cb1a7783c5a52bd2413d657227e05b17f9b7d5da81",
    "3": "a3f346efe2bb04afd0606048101b6ac4d29c689b18f236ead28b1527916b2d95",
}


def decide(line):
    verdict = tasks.task(line["task"]).score(line["completion"], line["question"], line["target"])
    decided = {
        name: value for name, value in vars(verdict).items() if name != "same_program"
    }  # of tests/tasks/test_forms.py
    return {name: line[name] for name in ("task", "question", "target", "completion")} | decided


def read():
    return [json.loads(line) for line in TABLE.read_text(encoding="utf-8").split("\n") if line]


def digest():
    return hashlib.sha256(TABLE.read_bytes()).hexdigest()


def test_the_scorer_decides_as_the_table_says():
    wrong = [(line, decided) for line in read() if (decided := decide(line)) != line]
    assert wrong == [], "the scorer has changed: see the docstring of this file"


def test_the_version_is_that_of_the_table():
    assert DIGESTS[SCORER_VERSION] == digest(), "the table has changed: see the docstring of this file"
    assert len(set(DIGESTS.values())) == len(DIGESTS)


def test_the_table_has_every_kind_of_decision():
    lines = read()
    assert len(lines) > 300
    assert len({line["completion"] + line["question"] for line in lines}) > 300
    assert {line["task"] for line in lines} >= {"finqa", "xbrl_math"}
    assert {line["strict"] for line in lines} == {line["docmath_compat"] for line in lines} == {True, False, None}
    assert {type(line["target"]) for line in lines} >= {float, bool, str}
    assert {line["sign_from_question"] for line in lines} == {True, False}


if __name__ == "__main__":
    decided = [json.dumps(decide(line), ensure_ascii=False) + "\n" for line in read()]
    TABLE.write_text("".join(decided), encoding="utf-8")
    print(f'"{SCORER_VERSION}": "{digest()}",')
