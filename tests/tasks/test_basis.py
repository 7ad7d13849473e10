"""What a FinQA row says of its gold, and the verdicts that follow from it (docs/scoring.md §4, §6, §10)."""

import json
from dataclasses import replace

import pytest

from fino1.tasks import finqa, task
from fino1.tasks.basis import read_basis
from fino1.tasks.corrections import CORRECTED, find_correction
from fino1.tasks.record import judge

MILLIONS = [["( in millions )", "2012", "2011"], ["rent", "$ 30.8", "$ 28.1"], ["plants", "12.5", "11.9"]]
PLAIN = [["", "2012", "2011"], ["rent", "30.8", "28.1"]]
MIXED = [["", "sales ( in millions )", "sales ( in thousands )"], ["rent", "30.8", "28100"]]
QUESTION = "what was the change in rent in 2012 ?"


@pytest.mark.parametrize(
    ("program", "answer", "gold", "in_percent"),
    [
        ("divide(4, 17)", "", 0.23529, False),
        ("subtract(21, 17), divide(#0, 17)", "23.53%", 0.23529, False),
        ("divide(4, 17), multiply(#0, const_100)", "", 23.52941, True),
        ("divide(4, 17), multiply(#0, const_100), subtract(#1, 3)", "", 20.52941, True),
        ("subtract(28%, 8%)", "", 0.2, False),
        ("subtract(35.2, 33.1)", "2.1%", 2.1, True),
        ("add(12.3, 14.1), divide(#0, const_2)", "13.2%", 13.2, True),
        ("add(12.3, 14.1), divide(#0, const_2)", "13.2", 13.2, None),
        ("subtract(30.8, 28.1)", "2.7", 2.7, None),
        ("", "", 2.7, None),
    ],
)
def test_fraction_or_percentage(program, answer, gold, in_percent):
    assert read_basis(QUESTION, program, answer, gold, PLAIN, ()).get("in_percent") is in_percent


@pytest.mark.parametrize(
    ("question", "program", "table", "page", "unit"),
    [
        (QUESTION, "subtract(30.8, 28.1)", MILLIONS, ("costs in thousands",), 1e6),
        (QUESTION, "subtract(30.8, 28.1)", PLAIN, ("all amounts are in thousands .",), 1e3),
        (QUESTION, "subtract(30.8, 28.1)", PLAIN, ("in thousands , but some ( in millions )",), None),
        (QUESTION, "subtract(30.8, 28.1)", PLAIN, ("no word .",), None),
        (QUESTION, "subtract(30.8, 28100)", MIXED, (), None),
        (QUESTION, "add(5.5, 6.5)", PLAIN, ("it paid $ 5.5 billion and $ 6.5 billion .",), 1e9),
        (QUESTION, "add(5.5, 6.5)", MILLIONS, ("it paid $ 5.5 billion and $ 6.5 billion .",), None),
        (QUESTION, "multiply(30.8, const_1000)", MILLIONS, (), None),
        ("what was the change, in billions ?", "subtract(30.8, 28.1)", MILLIONS, (), None),
        (QUESTION, "divide(30.8, 28.1)", MILLIONS, (), None),
    ],
)
def test_unit_where_it_is_unique(question, program, table, page, unit):
    assert read_basis(question, program, "", 2.7, table, page).get("table_unit") == unit


def read(tmp_path, **fields):
    row = {"id": "A/2012/page_1.pdf-1", "pre_text": ["costs ."], "post_text": ["."], "table": MILLIONS}
    question = {"question": QUESTION, "answer": "", "program": "add(30.8, 28.1), subtract(#0, 28.1)", "exe_ans": 30.8}
    (tmp_path / "rows.json").write_text(json.dumps([row | fields.pop("row", {}) | {"qa": question | fields}]))
    (record,) = finqa.read(tmp_path / "rows.json")
    return record


@pytest.mark.parametrize(
    ("completion", "strict"),
    [
        ("$30.8 million", True),
        ("$0.0308 billion", True),
        ("$30,800 thousand", True),
        ("$30.8 billion", False),
        ("$30.8 thousand", False),
        ("30.8", True),
    ],
)
def test_a_scale_word_is_judged_by_the_tables_unit(tmp_path, completion, strict):
    assert judge(task("finqa").score, completion, read(tmp_path)).strict is strict


@pytest.mark.parametrize(
    ("program", "gold", "completion", "strict"),
    [
        ("divide(1.5597, 1)", 1.5597, "1.56%", False),
        ("divide(1.5597, 1)", 1.5597, "156%", True),
        ("divide(1.5597, 100), multiply(#0, const_100)", 1.5597, "1.56%", True),
        ("divide(1.5597, 100), multiply(#0, const_100)", 1.5597, "156%", False),
    ],
)
def test_the_program_says_whether_the_gold_is_in_percent(tmp_path, program, gold, completion, strict):
    record = read(tmp_path, question="what was the percentage change in rent ?", program=program, exe_ans=gold)
    assert judge(task("finqa").score, completion, record).strict is strict


def test_corrected_golds(tmp_path):
    row = {"id": "DG/2005/page_44.pdf-2"}
    record = read(tmp_path, row=row, program="add(0.6, 0.5), add(#0, 4.7)", exe_ans=5.8)
    assert (record.target, record.other_gold) == (5.8, 2.1)
    assert judge(task("finqa").score, "2.1", record).strict is False
    assert judge(task("finqa").score, "2.1", replace(record, target=record.other_gold)).strict is True
    assert read(tmp_path, row=row, exe_ans=2.1).other_gold is None
    assert [find_correction(identity, gold) for identity, (gold, _) in CORRECTED.items()] == [
        99.86,
        38.6,
        50685.0,
        5547.0,
        2.1,
    ]
    assert find_correction(None, 1.0) is None
