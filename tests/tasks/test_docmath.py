"""DocMath-Eval's reader on made rows in its schema (the real ones are on the hub only)."""

import json

import pytest

from fino1.errors import SpecError
from fino1.tasks import TASK_IDS, docmath, task

ROW = {
    "question_id": "simplong-testmini-0",
    "source": "finqa",
    "original_question_id": "ETR/2016/page_23.pdf-2",
    "question": "What is the change in revenue?",
    "paragraphs": ["Revenue grew.", "| year | revenue |\n| 2015 | 5829 |"],
    "table_evidence": [1],
    "paragraph_evidence": [],
    "python_solution": "def solution():\n    return 94",
    "ground_truth": 94.0,
}


@pytest.mark.parametrize("lines", [False, True])
def test_read(tmp_path, lines):
    path = tmp_path / "rows"
    path.write_text("\n".join(json.dumps(row) for row in [ROW, ROW]) if lines else json.dumps([ROW, ROW]))
    record, _ = docmath.read(path)
    assert (record.id, record.target, record.page) == (ROW["question_id"], 94.0, "ETR/2016/page_23.pdf")
    assert record.before == tuple(ROW["paragraphs"])


@pytest.mark.parametrize("name", [name for name in TASK_IDS if name.startswith("docmath_")])
def test_prompts_and_score(tmp_path, name):
    path = tmp_path / "rows.json"
    path.write_text(json.dumps([ROW]))
    (record,) = task(name).read(path)
    ours, paper = task(name).prompt(record), task(name).prompt(record, "paper")
    assert ours.index("5829") < ours.index(record.question) < ours.index("## Final Response")
    assert (
        paper.index("Therefore, the answer is")
        < paper.index("### Context")
        < paper.index("5829")
        < paper.index("### Input")
    )
    verdict = task(name).score("Therefore, the answer is 94 million.", record.question, record.target)
    assert (verdict.strict, verdict.docmath_compat) == (True, True)


def test_problems(tmp_path):
    path = tmp_path / "rows.jsonl"
    rows = [
        {key: ROW[key] for key in ROW if key != "paragraphs"},
        ROW | {"ground_truth": None},
        ROW | {"paragraphs": [1], "question": 5},
    ]
    path.write_text("\n".join(map(json.dumps, rows)))
    with pytest.raises(SpecError) as error:
        docmath.read(path)
    assert [problem.removeprefix(f"{path}:") for problem in error.value.problems] == [
        "1: paragraphs: expected a list, got nothing",
        "2: ground_truth: expected a number (the _test splits hide it: take _testmini), got null",
        "3: question: expected text, got 5",
        "3: paragraphs: expected a list of texts, got [1]",
    ]


def test_missing_file(tmp_path):
    with pytest.raises(SpecError, match="yale-nlp/DocMath-Eval"):
        docmath.read(tmp_path / "none.json")
