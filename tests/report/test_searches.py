import json
from typing import get_args

import pytest

from fino1 import report
from fino1.errors import SpecError
from fino1.paths.records import Failure
from fino1.report.searches import CAUSES, SHOWN_FAILED, SHOWN_SOLVED, read_search
from tests.report.conftest import make_searched, make_turn
from tests.report.test_page import EVIL, Tree

WRONG, RIGHT = make_turn("Initial", 0, False, "a"), make_turn("Initial", 0, True, "a")


def counts(directory):
    return {table.title: [list(row) for row in table.rows] for table in read_search("paths", directory).tables}


def test_every_failure_of_a_search_has_a_row_in_the_table():
    assert set(CAUSES) == set(get_args(Failure))


def test_what_is_counted(search):
    second, third = make_turn("Correction", 1, False, "b"), make_turn("Backtracking", 1, True, "c")
    gold = make_turn("Gold shown", 0, True, "d")
    lines = [
        make_searched(1, RIGHT),
        make_searched(2, WRONG, second, third, reasoning="x" * 40),
        make_searched(3, WRONG, second, gold, shows_gold=True),
        make_searched(4, WRONG, second),
        make_searched(5, RIGHT, failure="response"),
        make_searched(6, failure="form", complaint="steps: expected it, got nothing", calls=2),
    ]
    found = counts(search("paths", lines, dollars=0.5, unheard=1))
    assert found["Chains by number of further steps"] == [
        ["none: the first chain", "5", "2", "40.0"],
        ["1", "3", "0", "0.0"],
        ["2", "1", "1", "100.0"],
        ["the gold shown", "1", "1", "100.0"],
    ]
    assert found["Chains by strategy"] == [["Backtracking", "1", "1", "100.0"], ["Correction", "3", "0", "0.0"]]
    assert [row[1:] for row in found["Questions by outcome"]] == [
        ["3", "50.0"], ["1", "16.7"], ["1", "16.7"], ["1", "16.7"], ["1", "16.7"],
    ]  # fmt: skip
    assert found["Lengths"][0] == ["reasoning of a row, characters", "11", "11", "40", "40"]
    assert found["Lengths"][-1] == ["question, calls", "2", "3", "5", "5"]


def test_attempts_begin_at_the_first_chain(search):
    further = [make_turn("Correction", attempt, False, "b") for attempt in (1, 1, 2, 2)]
    found = counts(search("paths", [make_searched(1, WRONG, *further)]))
    assert [row[:2] for row in found["Chains by number of further steps"]][1:] == [["1", "2"], ["2", "2"]]


def test_a_summary_and_what_is_estimated_in_it(search):
    assert read_search("paths", search("a", [make_searched(1, RIGHT)] * 4)).summary == (
        "4 rows of 4 questions (100.0 %), 12 calls, 1,200 tokens (300 a row)."
    )
    assert read_search("paths", search("b", [make_searched(1, WRONG)], dollars=0.25, unheard=2)).summary == (
        "0 rows of 1 questions (0.0 %), 1 calls, 1,200 tokens, 0.25 dollars. 2 requests had no reply: their tokens are estimated."
    )
    assert read_search("paths", search("c", [])).summary.startswith("0 rows of 0 questions")


def test_a_page_has_the_chains_as_text_and_always_the_same_bytes(search, tmp_path):
    last = make_turn("Correction", 1, True, EVIL)
    solved = [make_searched(i, WRONG, last, question=EVIL, complaint=EVIL) for i in range(SHOWN_SOLVED + 3)]
    failed = [make_searched(i, WRONG) for i in range(SHOWN_FAILED + 3)]
    directory = search("paths", [*failed, *solved, make_searched(99, RIGHT)])
    pages = []
    for _ in range(2):
        report.write([], {}, tmp_path / "out", "T", searches={"paths": directory})
        pages.append((tmp_path / "out" / "index.html").read_bytes())
    tree = Tree(pages[0].decode())
    assert pages[0] == pages[1]
    assert len(tree.named("details")) == SHOWN_SOLVED + SHOWN_FAILED
    assert "".join(tree.text).count(EVIL) == 2 * SHOWN_SOLVED
    assert "img" not in {tag for tag, _ in tree.tags} and tree.named("script") == []
    assert "- paths: 16 rows of 25 questions" in (tmp_path / "out" / "leaderboard.md").read_text()


@pytest.mark.parametrize(
    ("line", "message"),
    [
        ({"id": 1}, "paths.jsonl:1: id: expected text, got '1'"),
        (make_searched(1, {"strategy": "Initial"}, failure="wrong"), "paths.jsonl:1: turns: expected chains as"),
        (make_searched(1, failure="wrong") | {"turns": 3}, "paths.jsonl:1: turns: expected chains as"),
    ],
)
def test_broken_lines(search, tmp_path, line, message):
    directory = search("paths", [])
    (directory / "paths.jsonl").write_text(json.dumps(line) + "\n")
    with pytest.raises(SpecError) as caught:
        report.write([], {}, tmp_path / "out", "T", searches={"paths": directory})
    assert message in caught.value.problems[0]
    assert not (tmp_path / "out").exists()
