"""XBRL-Math's reader for both real layouts, and its prompts."""

import pytest

from fino1.errors import SpecError
from fino1.tasks import task, xbrl_math

HEADER = "Formula Name\tFormula\tExplanation\tQuestion\tAnswer\n"
LINE = 'Return on Investment (ROI)\tROI = gain / cost\tgain: profit\t"1. ""What is the ROI of $10,000?"""\t0.5\n'
WIDE = 'Formula Name,Formula,Explanation,Question 1,Question 2,Answer 1,Answer 2\nNPV,f,e,"1. ""a\nb?""",2. c?,1.5,-2\n'


def write(path, content):
    path.write_text(content)
    return path


def test_test_file(tmp_path):
    (record,) = xbrl_math.read(write(tmp_path / "test.tsv", HEADER + LINE))
    assert (record.question, record.target) == ("What is the ROI of $10,000?", 0.5)
    assert record.fields["formula"] == "ROI = gain / cost"
    for preset in ("fino1", "paper"):
        prompt = task("xbrl_math").prompt(record, preset)
        assert record.question in prompt and "ROI = gain / cost" in prompt and "gain: profit" in prompt
    assert task("xbrl_math").prompt(record, "paper").endswith("OUTPUT:")


def test_validation_file(tmp_path):
    records = xbrl_math.read(write(tmp_path / "validation.csv", WIDE))
    assert [(record.question, record.target) for record in records] == [("a\nb?", 1.5), ("c?", -2.0)]
    assert len({record.id for record in records}) == 2


def test_a_cell_of_any_length(tmp_path):
    (record,) = xbrl_math.read(write(tmp_path / "test.tsv", f"{HEADER}a\tb\tc\t{'word ' * 40_000}?\t1\n"))
    assert len(record.question) > 131_072  # where Python's csv stops by itself


def test_problems(tmp_path):
    path = write(tmp_path / "test.tsv", HEADER + LINE + "a\tb\tc\t\tx\n" + "a\tb\n")
    with pytest.raises(SpecError) as error:
        xbrl_math.read(path)
    assert f'{path}:3: Question: expected text, got ""' in error.value.problems
    assert f'{path}:3: Answer: expected a number or yes/no, got "x"' in error.value.problems
    assert f'{path}:4: Explanation: expected text, got ""' in error.value.problems


def test_missing_column_and_file(tmp_path):
    with pytest.raises(SpecError, match=r"test\.tsv:1: Answer: expected a column"):
        xbrl_math.read(write(tmp_path / "test.tsv", HEADER.replace("\tAnswer", "") + "a\tb\tc\td\n"))
    with pytest.raises(SpecError, match="Regulations_Challenge_COLING_2025"):
        xbrl_math.read(tmp_path / "none.tsv")
    with pytest.raises(SpecError, match="expected rows, got an empty file"):
        xbrl_math.read(write(tmp_path / "empty.tsv", HEADER))


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        (
            HEADER.replace("\n", "\tAnswer\n") + "a\tb\tc\td\t1\t2\n",
            "1: Answer: expected one column of this name, got 2",
        ),
        (HEADER + "a\tb\tc\td\t1\t2\n", "2: row: expected 5 cells, got 6"),  # a separator in a cell shifts the others
    ],
)
def test_columns_that_are_shifted_or_there_twice(tmp_path, text, problem):
    with pytest.raises(SpecError) as error:
        xbrl_math.read(write(tmp_path / "test.tsv", text))
    assert error.value.problems == [f"{tmp_path}/test.tsv:{problem}"]


def test_spaces_in_the_header_empty_cells_at_the_end_and_empty_rows(tmp_path):
    text = HEADER.replace("\t", " \t ") + "\t\t\t\t\n" + "a\tb\tc\td\t1\t\t\n"
    (record,) = xbrl_math.read(write(tmp_path / "test.tsv", text))
    assert (record.id, record.question, record.target) == ("xbrl-3", "d", 1.0)


def test_amounts_are_written_out():
    score = task("xbrl_math").score
    assert score("The enterprise value is $12 billion.", "Calculate the Enterprise Value.", 1.2e10).strict is True
    assert score("The enterprise value is $12 million.", "Calculate the Enterprise Value.", 1.2e10).strict is False
    assert score("$12", "Calculate the Enterprise Value.", 1.2e10).strict is False
