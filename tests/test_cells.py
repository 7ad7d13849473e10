import json

import pytest

from fino1 import cells
from fino1.cells import Cell, Sample, Summary
from fino1.errors import SpecError

KEY = "ab" * 32
LINE = {
    "id": "row-1",
    "prompt_sha256": "0" * 64,
    "question": "How much?",
    "prompt": "Table\n\nHow much?",
    "completion": "The answer is 94 \ud83d.",
    "extracted": "94",
    "value": 94.0,
    "target": 94,
    "strict": True,
    "docmath_compat": True,
    "sign_from_question": False,
    "prompt_tokens": None,
    "completion_tokens": 20,
    "seconds": 0.25,
    "finish_reason": "stop",
    "cut": False,
    "answered_by": None,
}


def line(**more):
    return json.dumps(LINE | more).encode() + b"\n"


def sample(**more):
    return Sample(**LINE | more)


@pytest.mark.parametrize("more", [{}, {"reasoning": "so"}, {"reasoning": "", "unheard": 2}, {"value": True}])
def test_a_line_stays_as_it_was_written(more):
    assert Sample.parse(line(**more)).to_line() == line(**more)


def test_keys_of_a_later_version_are_read_over():
    assert Sample.parse(line(later=1)) == sample()


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        (line()[:-9], "expected a JSON object"),
        (b"null", "expected a JSON object"),
        (line(strict=1), "strict: expected true or false or null, got '1'"),
        (line(seconds=True), "seconds: expected a number, got 'true'"),
        (line(unheard=None), "unheard: expected a number, got 'null'"),
        (b'{"id": "row-1"}', "prompt: expected text, got nothing"),
    ],
)
def test_what_is_no_sample(text, problem):
    with pytest.raises(SpecError, match=problem):
        Sample.parse(text)


@pytest.mark.parametrize(
    ("fields", "state"),
    [
        ({}, "right"),
        ({"strict": False}, "wrong"),
        ({"strict": None}, "unparsed"),
        ({"finish_reason": "length"}, "truncated"),
        ({"strict": None, "finish_reason": "length"}, "truncated"),
    ],
)
def test_right_is_strictly_right_and_complete(fields, state):
    assert sample(**fields).state == state
    assert sample(**fields).right is (state == "right")


def test_the_summary():
    samples = [
        sample(),
        sample(strict=False, cut=True),
        sample(strict=None, docmath_compat=None, prompt_tokens=5),
        sample(finish_reason="length"),
        sample(strict=None, docmath_compat=None, finish_reason="length", seconds=0.1),
    ]
    assert Summary.count(samples) == Summary(
        n=5,
        k=1,
        unparsed=2,
        truncated=2,
        cut=1,
        docmath_compat=3,
        prompt_tokens=5,
        completion_tokens=100,
        seconds=1.1,
    )


@pytest.fixture
def written(tmp_path):
    directory = tmp_path / KEY
    cell = Cell(KEY, "a", "finqa", {"limit": None}, {"server": "endpoint"}, Summary.count([sample()]), {"tokens": 20})
    cells.write_cell(directory, cell)
    (directory / "samples.jsonl").write_bytes(line())
    return directory


def test_a_cell_is_read_as_it_was_written(written):
    assert list(json.loads((written / "cell.json").read_text())) == [
        *("key", "model", "task", "settings", "provenance", "summary", "cost", "finished")
    ]
    cell = cells.read_cell(written)
    assert cell.samples == (sample(),)
    assert (cell.summary.k, cell.cost) == (1, {"tokens": 20})
    assert cells.find_finished(written).summary == cell.summary


def test_a_cell_from_before_there_were_costs(written):
    about = json.loads((written / "cell.json").read_text())
    del about["cost"]
    (written / "cell.json").write_text(json.dumps(about))
    assert cells.read_cell(written).cost == {}


@pytest.mark.parametrize("broken", ["no cell.json", "no samples", "torn", "of another key", "not finished"])
def test_what_is_not_finished(written, broken):
    about = json.loads((written / "cell.json").read_text())
    match broken:
        case "no cell.json":
            (written / "cell.json").unlink()
        case "no samples":
            (written / "samples.jsonl").unlink()
        case "torn":
            (written / "cell.json").write_text(json.dumps(about)[:-9])
        case "of another key":
            (written / "cell.json").write_text(json.dumps(about | {"key": "cd" * 32}))
        case "not finished":
            (written / "cell.json").write_text(json.dumps(about | {"finished": False}))
    assert cells.find_finished(written) is None
