"""Other questions of FinQA's tables, with their programs, as the recipe finqa-programs reinforces on (ci/finqa_questions.py)."""

import json
import random

import pytest

from ci.finqa_questions import make, read_grid, reword
from ci.finqa_rows import ask_anew
from fino1.tasks import finqa
from fino1.tasks.programs.explain import solve

TABLE = [
    ["( in millions )", "2010", "2009", "2008"],
    ["net sales ( a )", "$ 5829.5", "$ 5735.0", "$ 5100.0"],
    ["cost of sales", "1,200", "1,100", "2014"],
    ["total assets", "9000", "-8000 ( 8000 )", "7000"],
]
ROW = {
    "row": 7,
    "id": "A/2010/page_3.pdf-1",
    "question": "what was the percent change in net sales from 2009 to 2010?",
    "facts": [],
    "table": TABLE,
    "program": "subtract(5829.5, 5735.0), divide(#0, 5735.0)",
    "exe_ans": 0.01648,
}


def test_a_grid_has_the_plain_numbers_by_line_and_year():
    grid = read_grid(TABLE)
    assert (grid.lines, grid.years) == (("net sales", "cost of sales", "total assets"), ("2008", "2009", "2010"))
    assert grid.cells["cost of sales", "2010"] == "1200"
    assert ("cost of sales", "2008") not in grid.cells  # a dash, which FinQA has as 2014
    assert ("total assets", "2009") not in grid.cells  # whose sign its programs drop or keep
    assert grid.find("5735.0") == ("net sales", "2009") and grid.find("1") is None
    assert read_grid([list(line) for line in zip(*TABLE, strict=True)]) == grid
    assert read_grid([["", "shares"], ["2010", "5"]]) is None
    assert read_grid([["", "shares"], ["granted in 2009", "5"], ["vested in 2010", "6"]]) is None  # no axis of years
    assert read_grid([["", "2010", "2009"], ["balance at december 31 , 2008", "5", "6"], ["total", "7", "8"]]) is None


def test_a_question_moves_to_other_years_and_lines():
    found = {each["question"]: each["program"] for each in reword(ROW, read_grid(TABLE))}
    assert found == {
        "what was the percent change in net sales from 2008 to 2009?": "subtract(5735.0, 5100.0), divide(#0, 5100.0)",
        "what was the percent change in cost of sales from 2009 to 2010?": "subtract(1200, 1100), divide(#0, 1100)",
    }


@pytest.mark.parametrize(
    "changed",
    [
        {"question": "what was the growth of revenue?"},
        {"question": "what was the largest percent change in net sales from 2009 to 2010?"},
        {"question": "how much more than 7000 were net sales from 2009 to 2010?"},
        {"question": "what was the percent change in other net salesmen from 2009 to 2011?"},
        {"program": "subtract(5829.5, 77)"},  # of which the table does not tell
        {"program": "subtract(5829.5, -5735.0), divide(#0, 5735.0)"},
        {"program": "multiply(5829.5, 2.4%)"},
        {"program": "table_max(net sales, none)"},
    ],
)
def test_a_question_stays_where_its_words_do_not_say_which_cells_it_means(changed):
    assert reword(ROW | changed, read_grid(TABLE)) == []


def test_years_move_as_far_apart_as_they_are():
    table = [["", "2012", "2011", "2010", "2008"], ["sales", "5", "7", "9", "3"]]
    row = {"question": "by how much did sales fall from 2010 to 2012?", "program": "subtract(9, 5)", "table": table}
    (found,) = reword(row, read_grid(table))
    assert found == {"question": "by how much did sales fall from 2008 to 2010?", "program": "subtract(3, 9)"}


def test_made_questions_have_programs_that_run():
    grid, rng = read_grid(TABLE), random.Random(1)
    made = [each for _ in range(200) if (each := make(grid, rng))]
    assert len({each["question"] for each in made}) > 40
    for each in made:
        solve(each["program"], TABLE)
    share = next(each for each in made if each["question"].startswith("what portion"))
    assert share["question"].startswith("what portion of the total assets is related to")


def test_rows_are_asked_anew_alike_each_time_with_the_gold_of_their_program(tmp_path):
    rows = ask_anew(ROW)
    assert rows and rows == ask_anew(ROW) and ROW["question"] not in {row["question"] for row in rows}
    path = tmp_path / "rows.jsonl"
    path.write_text("".join(f"{json.dumps(row)}\n" for row in rows))
    assert all(record.response for record in finqa.read(path))
