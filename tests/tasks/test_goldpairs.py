"""Pairs made from golds: what is wrong in each, that labels are the rule's wherever it reads them, and numbers in words."""

import random
from collections import Counter
from dataclasses import replace

import pytest

from fino1.tasks import finqa, goldpairs, task
from fino1.tasks.record import Record, judge
from tests.tasks.test_sources import written

TABLE = [
    ["in millions", "2019", "2018"],
    ["net cash", "$ 5,829", "4,100"],
    ["debt", "2,350", "3,000"],
    ["tax", "12%", "11%"],
]
SCORE = task("finqa").score


def rows(n=40):
    found = []
    for i in range(n):
        asked = {
            "question": f"what was the change in net cash of company {i} in 2019?",
            "program": "subtract(5829, 4100)",
        }
        gold = {"exe_ans": 1729.0, "answer": "1729"}
        if i % 2:
            asked = {"question": f"what percent of net cash was debt of company {i}?", "program": "divide(2350, 5829)"}
            gold = {"exe_ans": 0.40316, "answer": "40.3%"}
        page = {"pre_text": [], "post_text": [], "table": [*TABLE, ["company", str(i), "0"]]}
        found.append({"id": f"C{i}/2019/page_1.pdf-1", **page, "qa": asked | gold})
    return found


@pytest.fixture(scope="module")
def records(tmp_path_factory):
    return finqa.read(written(tmp_path_factory.mktemp("rows"), *rows()))


@pytest.fixture(scope="module")
def made(records):
    return [pair for record in records for pair in goldpairs.make_pairs(record, SCORE, 1)]


def test_half_are_right_and_every_error_and_form_is_there(made):
    assert [label for _, label in made] == [False, True] * (len(made) // 2)
    errors = Counter(record.fields["error"] for record, label in made if not label)
    assert set(errors) == set(goldpairs.ERRORS)
    assert min(errors.values()) >= 20
    assert {record.fields["form"] for record, _ in made} == set(goldpairs.FORMS)
    assert all((record.fields["error"] == "none") is label for record, label in made)


def test_labels_are_the_rule_s_where_digits_are_written(made):
    plain = [(record, label) for record, label in made if record.fields["form"] == "digits"]
    assert len(plain) > 150
    for record, label in plain:
        assert judge(SCORE, record.response, record).strict is label, record.response


def test_the_rule_cannot_read_words(made):
    words = [record for record, _ in made if record.fields["form"] == "words"]
    assert len(words) > 80
    assert all(judge(SCORE, record.response, record).strict is None for record in words)


def test_they_follow_from_the_seed_and_the_row_alone(records, made):
    again = [pair for record in records[::-1] for pair in goldpairs.make_pairs(record, SCORE, 1)]
    assert sorted(str(pair) for pair in again) == sorted(str(pair) for pair in made)
    assert goldpairs.make_pairs(records[0], SCORE, 2) != goldpairs.make_pairs(records[0], SCORE, 1)


def test_the_neighbours_of_the_table(records):
    """Another year's figure, or another row's, in the program's place."""
    found = {(error, value) for error, value in goldpairs._misread_table(records[0], random.Random(1))}
    assert found == {
        ("year", 4100.0 - 4100), ("year", 5829.0 - 5829),
        ("cell", 2019.0 - 4100), ("cell", 2350.0 - 4100), ("cell", 5829.0 - 2018), ("cell", 5829.0 - 3000),
    }  # fmt: skip


@pytest.mark.parametrize(
    ("question", "gold", "left_out"),
    [
        ("by how much did cash decline in 2019?", 1729.0, {"sign"}),  # the magnitude decides
        ("what was the change in cash?", 0.0, {"scale", "sign", "1 % off"}),
    ],
)
def test_what_the_rule_takes_for_right_is_no_error(records, question, gold, left_out):
    record = replace(records[0], question=question, target=gold, basis={})
    errors = {found.fields["error"] for found, label in goldpairs.make_pairs(record, SCORE, 1) if not label}
    assert not errors & left_out
    assert errors


@pytest.mark.parametrize("target", [True, "text"])
def test_golds_that_are_no_numbers_have_none(target):
    assert goldpairs.make_pairs(Record("a", "was it greater?", target), SCORE, 1) == []


@pytest.mark.parametrize(
    ("value", "digits", "words"),
    [
        (0.0, "0", "zero"),
        (-12.34, "-12.34", "minus twelve point three four"),
        (0.0045, "0.0045", "zero point zero zero four five"),
        (21.0, "21", "twenty-one"),
        (1_000_000.0, "1,000,000", "one million"),
        (1729.06, "1,729.06", "one thousand seven hundred twenty-nine point zero six"),
        (40_000_910_015.0, "40,000,910,015", "forty billion nine hundred ten thousand fifteen"),
        (1.23456e13, "12,345,600,000,000", "twelve trillion three hundred forty-five billion six hundred million"),
    ],
)
def test_numbers_as_they_are_written_and_spoken(value, digits, words):
    assert goldpairs._write_digits(value) == digits
    assert goldpairs._write_in_words(value) == words
