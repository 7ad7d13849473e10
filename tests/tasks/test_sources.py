"""ConvFinQA, TAT-QA, DocFinQA and BizBench: made rows in their published formats (the real ones are not at hand)."""

import json

import pytest

from fino1.errors import SpecError
from fino1.spec.evaluation import EvalTask
from fino1.spec.inputs import DataBlock
from fino1.tasks import finqa, task
from fino1.tasks.fold import take
from fino1.tasks.overlap import leave_out
from fino1.tasks.record import judge, solution, well_formed
from fino1.train.data import rows

TABLE = [["", "2019", "2018"], ["net cash", "$ 206,588", "181,001"], ["shares", "40", "50"]]
TURNS = ["what is the net cash in 2019?", "what about in 2018?", "what percentage change does this represent?"]
PROGRAM = "subtract(206588, 181001), divide(#0, 181001)"
CONVERSATION = {
    "id": "Single_ABC/2019/page_28.pdf-3",
    "pre_text": ["Cash grew ."],
    "post_text": [],
    "table": TABLE,
    "annotation": {
        "dialogue_break": TURNS,
        "turn_program": ["206588", "181001", PROGRAM],
        "exe_ans_list": [206588.0, 181001.0, 0.14136],
    },
}
TURN = CONVERSATION | {
    "id": "Double_ABC/2019/page_28.pdf_1",
    "annotation": {"cur_dial": TURNS[:2], "cur_program": "181001", "exe_ans": 181001.0, "turn_ind": 1},
}
QUESTIONS = [
    ("arithmetic", -12.6, "million"),
    ("arithmetic", -22.22, "percent"),
    ("span", ["$1,496.5"], "thousand"),
    ("span", ["2.9%"], "percent"),
    ("span", ["(114)"], ""),
    ("count", "4", ""),
    ("span", ["a text span"], ""),
    ("multi-span", ["2019", "2018"], ""),
    ("span", ["No"], ""),
]
CONTEXT = {
    "table": {"uid": "t1", "table": TABLE},
    "paragraphs": [{"uid": "b", "order": 2, "text": "second"}, {"uid": "a", "order": 1, "text": "first"}],
    "questions": [
        {
            "uid": f"q{i}",
            "order": i,
            "question": f"question {i} ?",
            "answer": answer,
            "answer_type": kind,
            "scale": scale,
        }
        for i, (kind, answer, scale) in enumerate(QUESTIONS)
    ],
}
REPORT = {"Context": "line one\n\nline two", "Question": "what is the change ?", "Program": "94", "Answer": "94.0"}
BIZ = {"question": "what is the value ?", "answer": "1.2", "task": "FinCode", "context": None, "program": "x = 1.2"}
ALL = {"convfinqa": CONVERSATION, "tatqa": CONTEXT, "docfinqa": REPORT, "bizbench": BIZ}


def written(folder, *found, name="rows.json"):
    path = folder / name
    path.write_text(json.dumps(found))
    return path


def read(name, folder, *found):
    return task(name).read(written(folder, *found))


def test_the_last_turn_is_asked_after_those_before(tmp_path):
    whole, turn = read("convfinqa", tmp_path, CONVERSATION, TURN)
    assert (whole.question, whole.target, whole.page) == (TURNS[-1], 0.14136, "ABC/2019/page_28.pdf")
    assert (turn.question, turn.target, turn.page) == (TURNS[1], 181001.0, "ABC/2019/page_28.pdf")
    for preset in ("fino1", "paper"):
        prompt = task("convfinqa").prompt(whole, preset)
        assert f"\nAsked before:\n1. {TURNS[0]}\n" in prompt
        assert prompt.index("1. " + TURNS[0]) < prompt.index("2. " + TURNS[1]) < prompt.index(f"Question: {TURNS[2]}")
    first = TURN | {"annotation": TURN["annotation"] | {"cur_dial": TURNS[:1]}}
    assert "Asked before" not in task("convfinqa").prompt(*read("convfinqa", tmp_path, first))
    assert judge(task("convfinqa").score, "It rose by 14.14%.", whole).strict is True
    assert judge(task("convfinqa").score, "It fell by 14.14%.", whole).strict is False


def test_its_programs_give_worked_solutions(tmp_path):
    whole, turn = read("convfinqa", tmp_path, CONVERSATION, TURN)
    assert whole.cot == ("Take the difference: 206588 - 181001 = 25587. Divide: 25587 / 181001 = 0.14136.")
    assert turn.cot == "The report gives 181001 in the row net cash."
    for record in (whole, turn):
        text = solution(record.cot, record.response)
        assert well_formed(text) and judge(task("convfinqa").score, text, record).strict is True
    block = DataBlock(task="convfinqa", path=str(written(tmp_path, CONVERSATION, TURN)), eval_size=0)
    assert len(rows.read_rows(block, "sft", 1).train) == 2


def test_a_conversation_is_left_out_by_finqa_s_page_and_by_its_words(tmp_path):
    flat = {"id": "ABC/2019/page_28.pdf-1", "pre_text": [], "post_text": [], "table": [["a", "1"]]}
    flat["qa"] = {"question": "another ?", "exe_ans": 1.0, "program": "", "answer": ""}
    (evaluated,) = finqa.read(written(tmp_path, flat, name="finqa.json"))
    (ours,) = read("convfinqa", tmp_path, CONVERSATION)
    other = CONVERSATION | {"id": "Single_X/2000/page_1.pdf-1", "table": [["b", "2"]]}
    elsewhere, same_words = read(
        "convfinqa",
        tmp_path,
        other | {"annotation": CONVERSATION["annotation"] | {"dialogue_break": ["how about x ?", TURNS[-1]]}},
        other,
    )
    assert leave_out("convfinqa", [ours], [evaluated]) == []
    assert leave_out("convfinqa", [elsewhere, same_words], [ours]) == [elsewhere]  # its last turn alone is a common one


def test_tatqa_reads_what_has_a_number(tmp_path):
    found = read("tatqa", tmp_path, CONTEXT)
    assert [(record.id, round(record.target, 9), dict(record.basis)) for record in found] == [
        ("q0", -12.6, {"table_unit": 1e6}),
        ("q1", -22.22, {"in_percent": True}),
        ("q2", 1496.5, {"table_unit": 1e3}),
        ("q3", 0.029, {"in_percent": False, "step": 1e-4}),
        ("q4", -114.0, {}),
        ("q5", 4.0, {}),
        ("q8", False, {}),
    ]
    assert (found.left_out, found.remark) == (2, " (without 2 questions whose answer is no number)")
    assert found[0].before == ("first", "second") and found[0].table[1] == "net cash|$ 206,588|181,001"


@pytest.mark.parametrize(
    ("place", "answer", "strict"),
    [
        (0, "-12.6 million", True),
        (0, "-12.6 thousand", False),
        (0, "-12.6", True),
        (1, "-22.22%", True),
        (1, "-0.2222%", False),
        (1, "-22.4%", False),
        (2, "$1.4965 million", True),
        (3, "2.9%", True),
        (3, "3%", False),
    ],
)
def test_tatqa_s_scale_judges(tmp_path, place, answer, strict):
    record = read("tatqa", tmp_path, CONTEXT)[place]
    assert judge(task("tatqa").score, f"The answer is {answer}.", record).strict is strict


def test_docfinqa(tmp_path):
    found = read("docfinqa", tmp_path, REPORT, REPORT | {"Answer": "yes"}, REPORT | {"Answer": "the first of both"})
    assert [record.target for record in found] == [94.0, True] and found.left_out == 1
    assert found[0].before == ("line one", "line two")
    assert found[0].page == found[1].page != ""


def test_bizbench_s_numeric_tasks(tmp_path):
    given = [
        BIZ,
        BIZ | {"task": "CodeTAT-QA", "context": '{"Revenue": {"2017": 55}}', "context_type": "json"},
        BIZ | {"task": "FinKnow", "answer": "1", "options": ["a", "b"]},
        BIZ | {"task": "FormulaEval", "answer": None},
        BIZ | {"task": "SEC-NUM", "context": "text", "answer": "Common Stock"},
        BIZ | {"task": "SEC-NUM", "context": "text", "answer": "1,234"},
    ]
    found = read("bizbench", tmp_path, *given)
    assert [(r.id, r.target) for r in found] == [("FinCode-0", 1.2), ("CodeTAT-QA-1", 1.2), ("SEC-NUM-5", 1234.0)]
    assert found.left_out == 3
    assert task("bizbench").prompt(found[0]).startswith("Question: what is the value ?")
    assert task("bizbench").prompt(found[2]).startswith("text\n\nQuestion: ")


@pytest.mark.parametrize(
    ("name", "row", "problems"),
    [
        ("convfinqa", {"id": "a", "table": [], "pre_text": [], "post_text": [], "annotation": {"dialogue_break": ["q"]}}, [
            "annotation.exe_ans_list: expected answers (the test files hide them: take train or dev), got nothing"]),
        ("convfinqa", {}, ["annotation.dialogue_break: expected a list, got nothing", "annotation.exe_ans_list: expected",
                           "id: expected text, got nothing", "table: expected a list, got nothing", "pre_text: expected a",
                           "post_text: expected a list"]),
        ("tatqa", CONTEXT | {"questions": [{"uid": "u", "question": "q"}, 5]}, [
            "questions.0.answer: expected an answer (the test file hides them: take tatqa_dataset_test_gold.json), got nothing",
            "questions.1.uid: expected text, got nothing", "questions.1.question: expected text, got nothing",
            "questions.1.answer: expected an answer"]),
        ("tatqa", CONTEXT | {"table": {"table": TABLE}, "questions": [CONTEXT["questions"][0] | {"scale": "dozen"}]}, [
            "table.uid: expected text, got nothing",
            'questions.0.scale: expected thousand, million, billion, percent or none, got "dozen"']),
        ("docfinqa", {"Context": "a", "Question": "b"}, ["Answer: expected a number or yes/no, got nothing"]),
        ("docfinqa", {"Answer": 1}, ["Context: expected text, got nothing", "Question: expected text, got nothing"]),
        ("bizbench", {"answer": ""}, ["task: expected text, got nothing", "question: expected text, got nothing",
                                      'answer: expected a number or yes/no, got ""']),
    ],
)  # fmt: skip
def test_bad_rows_are_named(tmp_path, name, row, problems):
    path = written(tmp_path, ALL[name], row)
    with pytest.raises(SpecError) as caught:
        task(name).read(path)
    assert len(caught.value.problems) == len(problems)
    for got, wanted in zip(caught.value.problems, problems, strict=True):
        assert got.startswith(f"{path}:1: {wanted}")


@pytest.mark.parametrize("name", ALL)
def test_rows_of_one_table_or_text_are_in_one_part(tmp_path, name):
    row = ALL[name] | ({"context": "a page"} if name == "bizbench" else {})
    records = read(name, tmp_path, row, row, row)
    parts = [take(records, f"{part}/7", None) for part in range(1, 8)]
    assert [len(part) for part in parts if part] == [len(records)]


def test_a_file_of_a_hub_dataset_is_read_as_it_is(tmp_path, monkeypatch):
    """Offline, out of the hub's cache: TAT-QA's answers are of several types, which `datasets` refuses."""
    from huggingface_hub import constants

    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", True)
    monkeypatch.setattr(constants, "HF_HUB_CACHE", str(tmp_path))
    commit = "0" * 40
    snapshot = tmp_path / "datasets--some--rows" / "snapshots" / commit
    snapshot.mkdir(parents=True)
    (tmp_path / "datasets--some--rows" / "refs").mkdir()
    (tmp_path / "datasets--some--rows" / "refs" / "main").write_text(commit)
    written(snapshot, CONTEXT, name="dev.json")
    for kind in (DataBlock, EvalTask):
        block = kind(task="tatqa", hub="some/rows", split="dev.json")
        found = rows.read_file(block, "ppo")
        assert (len(found), found.left_out) == (7, 2)
    with pytest.raises(SpecError, match="tatqa: some/rows: expected a hub dataset, got "):
        rows.read_file(DataBlock(task="tatqa", hub="some/rows", split="test.json"), "ppo")


QUESTION = "What is the yield? (Unit: percent)"
XFIN = {"id": "v0", "task": "calcu", "question": QUESTION, "choice": "", "ground_truth": "7.26", "figure": None}
MCQ = XFIN | {"task": "mcq", "choice": "A. It falls\nB. It rises\nfast\nC. Nothing", "ground_truth": "B"}


@pytest.mark.parametrize(
    ("row", "answer", "strict"),
    [
        (XFIN, "7.26%", True),
        (XFIN, "7.29%", True),  # 0.4 % off: XFinBench allows 0.5
        (XFIN, "0.0726", True),  # docs/scoring.md §4: a percentage is asked for
        (XFIN, "0.00726", False),
        (XFIN, "7.3%", False),
        (XFIN | {"question": "What is it? (Unit: million dollars)"}, "$7.26 million", True),
        (XFIN | {"question": "What is it? (Unit: million dollars)"}, "$7.26 billion", False),
        (XFIN | {"question": "What is it? (Unit: dollar)", "ground_truth": "4310000.0"}, "$4.31 million", True),
        (XFIN | {"task": "bool", "ground_truth": "0.0"}, "Therefore, my answer is FALSE.", True),
        (XFIN | {"task": "bool", "ground_truth": "1.0"}, "The statement is false.", False),
        (MCQ, "Therefore, my answer is B.", True),
        (MCQ, "It falls.", False),
        (MCQ, "Who knows.", None),
    ],
)
def test_xfinbench(tmp_path, row, answer, strict):
    (record,) = found = read("xfinbench", tmp_path, row, XFIN | {"figure": "figure_1"})
    assert found.left_out == 1
    assert judge(task("xfinbench").score, answer, record).strict is strict


def test_xfinbench_s_csv_and_prompts(tmp_path):
    path = tmp_path / "validation_set.csv"
    header = "id,task,question,choice,ground_truth,figure,fin_capability,gold_fin_term_id\n"
    path.write_text(f'{header}v0,mcq,"What, now?","A. Up\nB. Down",A,,TU,t\nv1,bool,Money is old.,,1.0,,TU,t\n')
    choice, statement = task("xfinbench").read(path)
    assert (choice.target, choice.basis["options"], statement.target) == ("A", ("Up", "Down"), True)
    for preset in ("fino1", "paper"):
        prompt = task("xfinbench").prompt(choice, preset)
        assert "What, now?\nA. Up\nB. Down\n" in prompt and "letter" in prompt
        assert "true or false" in task("xfinbench").prompt(statement, preset).lower()


FINANCE = {
    "question_id": "test-0",
    "question": "What is the ratio?",
    "context": "| a | b |\n| 1 | 2 |",
    "python_solution": "def solution():\n    return 0.5",
    "ground_truth": 0.5,
    "level": "hard",
    "source": "made",
}


def test_financereasoning(tmp_path):
    found = read("financereasoning", tmp_path, FINANCE, FINANCE | {"ground_truth": True, "context": ""})
    assert [(record.id, record.target, record.before) for record in found] == [
        ("test-0", 0.5, ("| a | b |", "| 1 | 2 |")),
        ("test-0", True, ()),
    ]
    assert task("financereasoning").prompt(found[0], "paper").count("\nContext: | a | b |\n| 1 | 2 |\nQuestion: ") == 1
    assert "Context" not in task("financereasoning").prompt(found[1], "paper")
    assert judge(task("financereasoning").score, "The answer is 0.5.", found[0]).strict is True


@pytest.mark.parametrize(
    ("name", "row", "problem"),
    [
        (
            "xfinbench",
            XFIN | {"ground_truth": ""},
            "ground_truth: expected a number (older test sets hide it), got nothing",
        ),
        ("xfinbench", XFIN | {"task": "essay"}, 'task: expected one of bool, mcq, calcu, got "essay"'),
        ("xfinbench", MCQ | {"choice": "red or blue"}, 'choice: expected lines such as "A. text", got "red or blue"'),
        ("xfinbench", MCQ | {"ground_truth": "D"}, "ground_truth: expected the letter or the text of an option "),
        (
            "financereasoning",
            FINANCE | {"ground_truth": None},
            "ground_truth: expected a number or yes/no, got nothing",
        ),
    ],
)
def test_bad_rows_of_these_are_named(tmp_path, name, row, problem):
    path = written(tmp_path, row)
    with pytest.raises(SpecError) as caught:
        task(name).read(path)
    assert caught.value.problems[0].startswith(f"{path}:0: {problem}")


def test_of_many_bad_rows_the_first_are_named(tmp_path):
    """A file of another format would otherwise fill the screen."""
    path = tmp_path / "rows.json"
    path.write_text(json.dumps([{}] * 50))
    with pytest.raises(SpecError) as caught:
        task("finqa").read(path)
    assert len(caught.value.problems) == 21
    assert caught.value.problems[-1] == f"{path}: and 230 more problems"
