"""FinQA's reader, prompts and gold programs."""

import json

import pytest

from fino1.errors import SpecError
from fino1.tasks import TASK_IDS, finqa, task
from fino1.tasks.programs.explain import solve

TABLE = [
    ["", "2015", "2014"],
    ["net revenue", "$ 5829", "$ 5735"],
    ["margin ( % )", "12.0%", "10.0% ( 10.0 % )"],
    ["none", "", "-"],
]
ROW = {
    "id": "ETR/2016/page_23.pdf-2",
    "question": "what is the net change in net revenue during 2015?",
    "pre_text": ["first .", ".", "second ."],
    "post_text": ["third ."],
    "table": TABLE,
    "answer": "94.0",
    "program": "subtract(5829, 5735)",
}
RAW = {key: ROW[key] for key in ("id", "pre_text", "post_text", "table")} | {
    "qa": {"question": ROW["question"], "answer": "\n", "exe_ans": 94.0, "program": ROW["program"]}
}
FACTS = {
    "row": 7,
    "id": None,
    "question": "did it grow?",
    "facts": ["a fact .", "the x of y is 5 ;"],
    "table": TABLE,
} | {
    "program": "greater(5829, 5735)",
    "exe_ans": "yes",
}


def write(path, content):
    path.write_text(content if isinstance(content, str) else json.dumps(content))
    return path


@pytest.mark.parametrize("row", [ROW, RAW])
def test_whole_pages(tmp_path, row):
    (record,) = finqa.read(write(tmp_path / "test.json", [row]))
    assert (record.id, record.page, record.target) == (ROW["id"], "ETR/2016/page_23.pdf", 94.0)
    assert (record.before, record.after) == (("first .", "second ."), ("third .",))
    assert record.table[1] == "net revenue|$ 5829|$ 5735"
    assert record.cot == "Take the difference: 5829 - 5735 = 94."
    assert record.response == "The answer is 94."


def test_an_empty_cell_is_no_word(tmp_path):
    (record,) = finqa.read(write(tmp_path / "test.json", [ROW | {"table": [[float("nan"), "2015"], ["sales", None]]}]))
    assert record.table == ("|2015", "sales|")


@pytest.mark.parametrize(
    ("table", "got"), [([["a"], "b"], '"b"'), ([["a", ["b"]]], '["a", ["b"]]'), ([[{"a": 1}]], '[{"a": 1}]')]
)
def test_tables_of_another_shape(tmp_path, table, got):
    with pytest.raises(SpecError) as caught:
        finqa.read(write(tmp_path / "rows.json", [ROW | {"table": table}]))
    assert caught.value.problems == [f"{tmp_path}/rows.json:0: table: expected rows of texts and numbers, got {got}"]


def test_one_document_over_several_lines_is_said_once(tmp_path):
    with pytest.raises(SpecError) as caught:
        finqa.read(write(tmp_path / "rows.json", json.dumps({"data": [ROW]}, indent=1)))
    (problem,) = caught.value.problems
    assert problem.endswith("expected a JSON array of rows, or one object a line, got one document over several lines")


@pytest.mark.parametrize("gold", [10**399, "about five"])
def test_a_gold_that_is_no_number_is_shown(tmp_path, gold):
    path = write(tmp_path / "test.json", [RAW | {"qa": RAW["qa"] | {"exe_ans": gold}}])
    with pytest.raises(SpecError) as error:
        finqa.read(path)
    (problem,) = error.value.problems
    assert problem == f"{path}:0: qa.exe_ans: expected a number or yes/no, got {json.dumps(gold)[:80]}"


def test_retrieved_facts(tmp_path):
    (record,) = finqa.read(write(tmp_path / "facts.jsonl", json.dumps(FACTS) + "\n\n"))
    assert (record.id, record.target, record.before) == ("row-7", True, ("a fact .",))
    assert record.page == f"table:{record.fields['table_hash']}"
    assert record.response == "The answer is yes."


def test_all_problems_are_named_with_row_and_field(tmp_path):
    lines = [
        json.dumps(FACTS),
        "{nonsense",
        "[]",
        json.dumps(FACTS | {"question": " ", "exe_ans": "", "table": 5}),
        '{"id": null}',
    ]
    path = write(tmp_path / "bad.jsonl", "\n".join(lines))
    with pytest.raises(SpecError) as error:
        finqa.read(path)
    found = error.value.problems
    for start in ("2: line: expected a JSON object", "3: row: expected an object, got []", '4: question: expected text, got " "',
                  '4: exe_ans: expected a number or yes/no, got ""', "4: table: expected a list, got 5",
                  "5: question: expected text, got nothing", "5: answer: expected a number or yes/no, got nothing"):  # fmt: skip
        assert any(problem.startswith(f"{path}:{start}") for problem in found), (start, found)


def test_array_rows_are_named_by_index(tmp_path):
    path = write(tmp_path / "bad.json", [RAW, RAW | {"qa": {"question": "x", "exe_ans": None}}])
    with pytest.raises(SpecError, match=r"bad\.json:1: qa\.exe_ans: expected a number or yes/no, got null"):
        finqa.read(path)


@pytest.mark.parametrize("content", ["", "[]", "[{", "\n"])
def test_a_file_without_rows(tmp_path, content):
    with pytest.raises(SpecError, match="expected"):
        finqa.read(write(tmp_path / "empty.json", content))


def test_a_missing_file_says_where_to_get_it(tmp_path):
    with pytest.raises(SpecError, match="czyssrs/FinQA"):
        finqa.read(tmp_path / "none.json")


def test_prompts_put_the_document_first_and_name_both_headings(tmp_path):
    (record,) = finqa.read(write(tmp_path / "test.json", [ROW]))
    ours = task("finqa").prompt(record)
    assert (
        ours.index("first .") < ours.index("net revenue|$ 5829") < ours.index("third .") < ours.index(record.question)
    )
    assert ours.count("## Thinking") == ours.count("## Final Response") == 1
    paper = task("finqa").prompt(record, "paper")
    assert paper.index("Context: first .") < paper.index(f"Question: {record.question}\nAnswer:")


@pytest.mark.parametrize(
    ("program", "result"),
    [
        ("add(1, const_m1)", 0.0),
        ("subtract(28%, 0.08), multiply(#0, const_100)", 20.0),
        ("divide(1, const_3)", 0.33333),
        ("exp(1.05, 2)", 1.1025),
        ("greater(1, 2)", False),
        ("table_max(net revenue, none)", 5829.0),
        ("table_min(net revenue, none)", 5735.0),
        ("table_sum(net revenue, none)", 11564.0),
        ("table_average(net revenue, none), subtract(#0, 82)", 5700.0),
        ("table_average(margin ( % ), none)", 0.11),
    ],
)
def test_programs(program, result):
    assert solve(program, TABLE).result == result


@pytest.mark.parametrize(
    "program",
    ["", "divide(1, 0)", "add(1, #0)", "add(1)", "sqrt(2, 2)", "add(a, 1)", "table_max(none such, none)", "table_max(none, none)",
     "add(1, 2) import os", "exp(10, 1000)", "exp(-8, 0.5)"],
)  # fmt: skip
def test_programs_that_cannot_run(program):
    with pytest.raises(ValueError):
        solve(program, TABLE)


def test_a_program_that_misses_its_gold_gives_no_worked_solution(tmp_path):
    records = finqa.read(write(tmp_path / "test.json", [ROW | {"answer": "95.0"}, ROW]))
    assert [record.cot == "" for record in records] == [True, False]
    assert all(record.fields["program"] for record in records)


def test_task_ids():
    assert task("finqa") is task("finqa")
    assert [task(name).name for name in TASK_IDS if name != "ledger"] == [name for name in TASK_IDS if name != "ledger"]
    with pytest.raises(SpecError, match="expected one of finqa, xbrl_math, docmath_simplong"):
        task("finQA")


def test_tasks_need_no_torch():
    import subprocess
    import sys

    code = (
        "import sys; from fino1.tasks import task, scorefile; from fino1.tasks.scoring import answer; "
        "[task(t) for t in ('finqa', 'xbrl_math', 'docmath_simplong')]; "
        "sys.exit(bool({'torch', 'transformers', 'datasets'} & set(sys.modules)))"
    )
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
