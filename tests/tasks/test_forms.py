"""Tasks that are answered by a program, and by the page or the facts: rows, prompts, SFT rows and rewards."""

import json

import pytest

from fino1.errors import SpecError
from fino1.spec import load
from fino1.tasks import finqa
from fino1.train.data.rows import read_rows
from fino1.train.ppo import reward
from tests.tasks.test_finqa import FACTS, RAW, TABLE

PROGRAM = "subtract(5829, 5735), divide(#0, 5735)"
GOLD_INDS = {"table_1": "net revenue of 2015 is $ 5829 ;", "text_2": "third ."}
WITH_EVIDENCE = {**RAW, "qa": {**RAW["qa"], "gold_inds": GOLD_INDS}}


def rows_of(method, path, **data):
    spec = load.build({"method": method, "data": {"task": "finqa", "path": str(path), "eval_size": 0} | data}, "test")
    return spec, read_rows(spec.data, method, spec.seed)


def write(path, *rows):
    path.write_text("\n".join(json.dumps(row) for row in rows))
    return path


def test_sft_learns_the_gold_program_alone(tmp_path):
    wrong = {**RAW, "id": "A/2016/page_1.pdf-1", "qa": {**RAW["qa"], "exe_ans": 95.0}}
    _, rows = rows_of("sft", write(tmp_path / "rows.jsonl", RAW, wrong, FACTS), answer="program")
    assert [(record.cot, record.response) for record in rows.train] == [
        ("", "## Final Response\n\nsubtract(5829, 5735)"),
        ("", "## Final Response\n\ngreater(5829, 5735)"),
    ]
    assert rows.counts.without_solution == 1
    prompt = rows.render(rows.train[0])
    assert prompt.startswith("first .\nsecond .\n|2015|2014\n")
    assert "Question: what is the net change in net revenue during 2015?\n\nAnswer under the heading" in prompt


def test_a_programs_reward(tmp_path):
    spec, rows = rows_of("ppo", write(tmp_path / "rows.jsonl", RAW), answer="program")
    rewarded = reward.make(spec, None, device=None, batch_size=1)
    texts = {
        "## Final Response\n\nsubtract(5829, 5735)": 1.0,
        "## Final Response\n\n5829 - 5735": 1.0,
        "## Final Response\n\ntable_max(net revenue, none), subtract(#0, 5735)": 1.0,
        "## Final Response\n\nsubtract(5735, 5829)": 0.1,
        "## Final Response\n\nsubtract(5829)": 0.0,
        "## Final Response\n\nThe answer is 94.": 0.0,
        "subtract(5829, 5735)": 0.0,
    }
    assert rewarded(list(texts), rows.train * len(texts)) == list(texts.values())


def test_rows_in_columns_are_rewarded_by_their_programs(tmp_path):
    row = {"Open-ended Verifiable Question": "What is 2 + 3?", "Ground-True Answer": "5"}
    path = write(tmp_path / "rows.jsonl", row)
    spec, rows = rows_of("ppo", path, task=None, answer="program")
    assert reward.make(spec, None, device=None, batch_size=1)(["## Final Response\n\n2 + 3"], rows.train) == [1.0]


@pytest.mark.parametrize(
    ("row", "evidence", "document"),
    [
        (WITH_EVIDENCE, None, (("first .", "second ."), ("third .",))),
        (WITH_EVIDENCE, "page", (("first .", "second ."), ("third .",))),
        (WITH_EVIDENCE, "facts", (("third .",), ())),
        (FACTS, None, (("a fact .",), ())),
        (FACTS, "facts", (("a fact .",), ())),
    ],
)
def test_evidence(tmp_path, row, evidence, document):
    (record,) = finqa.read(write(tmp_path / "rows.jsonl", row), evidence)
    assert (record.before, record.after) == document
    assert len(record.table) == len(TABLE)


@pytest.mark.parametrize(
    ("row", "evidence", "problem"),
    [
        (FACTS, "page", "pre_text: expected a list, got nothing"),
        (RAW, "facts", "qa.gold_inds: expected an object, got nothing"),
        (
            {**RAW, "qa": {**RAW["qa"], "gold_inds": {"text_1": 5}}},
            "facts",
            "qa.gold_inds: expected texts by their places",
        ),
    ],
)
def test_evidence_that_the_rows_have_not(tmp_path, row, evidence, problem):
    with pytest.raises(SpecError, match=problem):
        finqa.read(write(tmp_path / "rows.jsonl", row), evidence)
