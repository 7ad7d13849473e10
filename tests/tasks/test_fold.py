"""Do the parts of a file divide its rows, and never a table or a page?"""

import json

import pytest

from fino1.errors import SpecError
from fino1.spec.load import build
from fino1.tasks import finqa
from fino1.tasks.fold import take
from fino1.tasks.overlap import leave_out
from fino1.tasks.record import Record
from fino1.train.data.rows import hold_out

PARTS = 5
ROWS = [
    Record(id=f"r{i}", question=f"q{i}", target=1.0, page=f"p{i // 3}" if i < 60 else "", fields={}) for i in range(90)
]


def test_parts_divide_the_rows_and_no_page():
    parts = [take(ROWS, f"{k}/{PARTS}", None) for k in range(1, PARTS + 1)]
    assert sorted(r.id for part in parts for r in part) == sorted(r.id for r in ROWS)
    assert all(len(part) > 5 for part in parts)
    pages = [{r.page for r in part} - {""} for part in parts]
    assert sum(map(len, pages)) == len(set.union(*pages)) == 20
    assert take(ROWS, "2/5", 3) == parts[1][:3] and take(ROWS, None, 3) == ROWS[:3] and take(ROWS, None, None) == ROWS


def test_a_row_elsewhere_does_not_move_the_others():
    assert take(ROWS[::-1], "1/5", None) == take(ROWS, "1/5", None)[::-1]
    assert take(ROWS[:40], "1/5", None) == [r for r in take(ROWS, "1/5", None) if int(r.id[1:]) < 40]


def test_rows_of_one_table_are_told_with_and_without_their_page(tmp_path):
    """Of the dev rows with facts 681 have no id: their table says which page they are of."""

    def row(identity, question, table):
        row = {"id": identity, "question": question, "facts": ["a fact ."], "table": table}
        return row | {"program": "add(1, 2)", "exe_ans": 3.0}

    first, second = [["a", "1"], ["b", "2"]], [["a", "1"], ["b", "3"]]
    rows = [row("V/2008/page_17.pdf-1", "q1", first), row(None, "q2", first), row(None, "q3", second)]
    path = tmp_path / "facts.jsonl"
    path.write_text("".join(json.dumps(each) + "\n" for each in rows))
    records = finqa.read(path)
    assert [r.question for r in leave_out("finqa", records, records[:1])] == ["q3"]
    assert [r.question for r in leave_out("finqa", records, records[1:2])] == ["q3"]
    for part in ("1/2", "2/2"):
        assert len({"q1", "q2"} & {r.question for r in take(records, part, None)}) in (0, 2)


def test_rows_held_out_while_training_share_no_page_with_the_others():
    found = hold_out(ROWS, 9, seed=1)
    assert len(found[1]) <= 9 and len(found[0]) + len(found[1]) == len(ROWS)
    assert not {r.page for r in found[0]} & ({r.page for r in found[1]} - {""})


@pytest.mark.parametrize(
    ("block", "problem"),
    [
        ({"task": "finqa", "path": "x.json", "fold": "9/8"}, "data.fold: expected a part from 1/8 to 8/8, got 9/8"),
        ({"task": "ledger", "fold": "1/8"}, "data.fold: expected none for rows that are generated, got 1/8"),
        ({"task": "finqa", "path": "x.json", "fold": "0/8"}, "data.fold"),
        ({"task": "finqa", "path": "x.json", "fold": "1-8"}, "data.fold"),
    ],
)
def test_parts_that_are_none(block, problem):
    with pytest.raises(SpecError) as error:
        build({"method": "sft", "gpus_per_node": 0, "sft": {"global_batch_size": 2}, "data": block}, "run.yaml")
    assert any(problem in each for each in error.value.problems)
