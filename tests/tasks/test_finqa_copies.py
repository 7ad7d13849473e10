"""Copies of FinQA's rows with other numbers, as the recipe finqa-programs trains on (ci/finqa_rows.py)."""

import json

import pytest

from ci.finqa_rows import make_copy
from fino1.tasks import finqa

ROW = {
    "row": 7,
    "id": "A/2010/page_3.pdf-1",
    "question": "what was the change in sales from 2009 to 2010?",
    "facts": ["sales were $ 5,829.5 million in 2010 , and 12 stores closed ."],
    "table": [["", "2010", "2009"], ["sales", "$ 5829.5", "$ 5735.0"]],
    "program": "subtract(5829.5, 5735.0), divide(#0, 5735.0)",
    "exe_ans": 0.01648,
}


def test_a_number_changes_alike_wherever_it_stands():
    copy = make_copy(ROW, 1)
    assert copy["question"] == ROW["question"] and copy["table"][0] == ROW["table"][0]
    new, old = (copy["table"][1][i].removeprefix("$ ") for i in (1, 2))
    assert (new, old) != ("5829.5", "5735.0")
    assert copy["program"] == f"subtract({new}, {old}), divide(#0, {old})"
    assert copy["facts"] == [f"sales were $ {float(new):,.1f} million in 2010 , and 12 stores closed ."]
    assert copy["exe_ans"] == pytest.approx((float(new) - float(old)) / float(old), abs=1e-5)
    assert (copy["id"], copy["row"]) == ("A/2010/page_3.pdf-1.1", "7.1")


def test_copies_differ_and_are_made_alike_each_time():
    first, second = (make_copy(ROW, k) for k in (1, 2))
    assert first["program"] != second["program"]
    assert make_copy(ROW, 1) == first


def test_a_copys_gold_is_what_its_program_gives(tmp_path):
    rows = [make_copy(ROW, 1), make_copy(ROW | {"program": "greater(5829.5, 5735.0)", "exe_ans": "yes"}, 1)]
    path = tmp_path / "rows.jsonl"
    path.write_text("".join(f"{json.dumps(row)}\n" for row in rows))
    records = finqa.read(path)
    assert all(record.response for record in records)  # a row whose program does not give its gold has none


@pytest.mark.parametrize(
    "changed",
    [
        {
            "question": "what share of 5829.5 is 5735.0?"
        },  # copies keep the words of the question, by which rows are held out
        {"program": "subtract(5829.5, 4100)"},  # of which neither table nor facts tell
        {"program": "subtract(2010, 2009)"},  # nothing would change
        {"program": "divide(5829.5, const_0)"},
    ],
)
def test_no_copy(changed):
    assert make_copy(ROW | changed, 1) is None
