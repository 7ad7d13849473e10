"""A benchmark that is a file: what it reads, asks and judges, in every place that names a task, and what is wrong with one."""

import io
import json
import threading
from pathlib import Path

import pytest
import yaml

from fino1 import inputs, tasks
from fino1.cells import read_cell
from fino1.errors import SpecError
from fino1.evaluate import questions
from fino1.evaluate.cell import run_cell
from fino1.evaluate.endpoint import Answer
from fino1.evaluate.plan import plan
from fino1.rows import contamination
from fino1.spec import load
from fino1.spec.evaluation import EvalTask
from fino1.spec.inputs import TASK_IDS, DataBlock
from fino1.tasks import listing, scorefile
from fino1.tasks.record import judge
from fino1.train.data import rows
from fino1.train.ppo import reward

FILE = {
    "license": "CC0-1.0",
    "source": "made for this test",
    "rows": {"path": "fees.jsonl"},
    "columns": {"question": "q", "answer": "qa.gold", "document": ["note", "table"], "options": "choices",
                "others": {"year": "year"}},
    "prompts": {"fino1": "{{ document }}\nIn {{ year }}: {{ question }}\n{{ options }}\n", "paper": "{{ question }}"},
    "answer": {"kind": ["number", "yes/no", "choice"], "unit": "million", "tolerance": {"relative": 0.01}},
}  # fmt: skip
NUMBER = {
    "q": "What were the fees?",
    "qa": {"gold": 12.5},
    "note": "Fees rose.\nA lot.",
    "table": [["fees", 12.5]],
    "year": 2019,
}
CHOICE = NUMBER | {"q": "Which is higher?", "qa": {"gold": "Exit fees"}, "choices": ["Entry fees", "Exit fees"]}
TRUTH = NUMBER | {"q": "Did fees rise?", "qa": {"gold": "Yes"}, "note": None, "table": None}


def write(folder, lines=(NUMBER, CHOICE, TRUTH), stem="fees", **changes):
    (folder / "fees.jsonl").write_text("".join(json.dumps(row) + "\n" for row in lines))
    path = folder / f"{stem}.yaml"
    path.write_text(yaml.safe_dump(load.merge(FILE, changes)))
    return path


def read(path):
    return tasks.task(str(path)).read(path.with_name("fees.jsonl"))


def problems_of(call, *arguments):
    with pytest.raises(SpecError) as caught:
        call(*arguments)
    return caught.value.problems


def test_rows_become_records_and_prompts(tmp_path):
    path = write(tmp_path)
    task = tasks.task(str(path))
    number, choice, truth = read(path)
    assert (task.name, task.license, number.id, number.target) == ("fees", "CC0-1.0", "fees-1", 12.5)
    assert (number.before, number.table, number.fields) == (("Fees rose.", "A lot."), ("fees|12.5",), {"year": "2019"})
    assert task.prompt(number) == "Fees rose.\nA lot.\nfees|12.5\nIn 2019: What were the fees?\n"
    assert task.prompt(choice).endswith("In 2019: Which is higher?\nA. Entry fees\nB. Exit fees")
    assert (choice.target, truth.target, truth.page) == ("B", True, "")
    assert number.page == choice.page != ""


@pytest.mark.parametrize(
    ("place", "completion", "strict"),
    [
        (0, "The answer is 12.6 million.", True),
        (0, "The answer is 12.6 billion.", False),
        (0, "The answer is 12.7.", False),
        (1, "The answer is B.", True),
        (1, "It is the entry fees.", False),
        (1, "Perhaps.", None),
        (2, "Yes.", True),
    ],
)
def test_its_unit_tolerance_and_kind_judge(tmp_path, place, completion, strict):
    path = write(tmp_path)
    assert judge(tasks.task(str(path)).score, completion, read(path)[place]).strict is strict


def test_the_default_tolerance_is_that_of_the_scorer(tmp_path):
    path = write(tmp_path, answer={"tolerance": None, "unit": None})
    assert judge(tasks.task(str(path)).score, "12.6", read(path)[0]).strict is False
    assert judge(tasks.task(str(path)).score, "12.51", read(path)[0]).strict is True


@pytest.mark.parametrize(("unit", "answer", "strict"), [("percent", "12.5%", True), ("fraction", "12.5%", False)])
def test_a_column_says_the_unit(tmp_path, unit, answer, strict):
    path = write(tmp_path, [NUMBER | {"scale": unit}], columns={"unit": "scale"})
    assert judge(tasks.task(str(path)).score, answer, read(path)[0]).strict is strict


def test_a_column_says_the_kind_and_others_are_left_out(tmp_path):
    rows = [NUMBER | {"type": "calc"}, CHOICE | {"type": "essay"}, NUMBER | {"type": "calc", "figure": "a.png"}]
    columns = {"kind": "type"}
    answer = {"kinds": {"calc": "number"}}
    path = write(tmp_path, rows, columns=columns, answer=answer, leave_out={"figure": []}, skip_other_answers=True)
    found = read(path)
    assert ([record.target for record in found], found.left_out) == ([12.5], 2)
    path = write(tmp_path, rows, columns=columns, answer=answer)
    assert problems_of(read, path) == [f'{tmp_path}/fees.jsonl:2: type: expected one of calc, got "essay"']


def test_csv_with_a_column_for_each_option(tmp_path):
    (tmp_path / "rows.csv").write_text("q,gold,a,b,why\nWhich?,B,Red,Blue,It is the sky.\n")
    columns = {"answer": "gold", "document": None, "options": ["a", "b"], "others": None, "cot": "why"}
    path = write(tmp_path, columns=columns, prompts={"fino1": "{{ question }}"})
    (record,) = tasks.task(str(path)).read(tmp_path / "rows.csv")
    assert (record.basis["options"], record.target, record.cot) == (("Red", "Blue"), "B", "It is the sky.")
    assert record.response == "The answer is B. Blue"


def test_every_place_takes_it(tmp_path):
    """Rows of an evaluation, of SFT and PPO, of an exclude list and of `fino1 rows --exclude`, and answers from elsewhere."""
    path = write(tmp_path, [NUMBER | {"cot": "12.5 it is."}, CHOICE | {"cot": "Look."}, TRUTH | {"cot": "They rose."}])
    path = write(tmp_path, [json.loads(line) for line in (tmp_path / "fees.jsonl").open()], columns={"cot": "cot"})
    asked = questions.read(EvalTask(task=str(path)), 1)
    assert (asked.task.name, len(asked.records), asked.where) == ("fees", 3, f"{tmp_path}/fees.jsonl")
    block = DataBlock(task=str(path), eval_size=0)
    assert [record.response for record in rows.read_rows(block, "sft", 1).train][0] == "The answer is 12.5."
    found = rows.read_rows(DataBlock(task=str(path), eval_size=0, exclude=[{"task": str(path), "limit": 2}]), "ppo", 1)
    assert ([record.question for record in found.train], found.counts.excluded) == (["Did fees rise?"], 2)
    spec = load.build({"method": "ppo", "model": {"run": "a"}, "data": {"task": str(path)}}, "F", 8)
    reward.check_targets(spec, found)
    score = reward.make(spec, None, "cpu", 1)
    assert score(["## Thinking\n\nx\n\n## Final Response\n\nYes."], found.train) == [1.0]
    (excluded,) = contamination.read_sets([str(path)])
    assert (excluded.name, len(excluded.records)) == ("fees fees.jsonl", 3)
    other = contamination.read_sets([f"{path}={tmp_path}/fees.jsonl"])
    assert other == [excluded]
    answers = tmp_path / "answers.jsonl"
    line = {"id": 1, "question": "Which?", "target": "Blue", "options": ["Red", "Blue"], "completion": "(B)"}
    answers.write_text(
        "\n".join(json.dumps(each) for each in (line, line | {"target": 12.5, "completion": "12.6"} | {"options": []}))
    )
    out = io.StringIO()
    scorefile.main(str(path), answers, out)
    assert [json.loads(row)["strict"] for row in out.getvalue().splitlines()] == [True, True]


def cells_of(folder, task):
    models = [{"name": "m", "base_url": "http://127.0.0.1:9/v1", "context_length": None}]
    spec = load.build({"method": "eval", "eval": {"models": models, "tasks": [task]}}, "F")
    return plan(spec, folder, threading.Event())


def test_what_decides_is_in_the_cells_key(tmp_path):
    (before,) = cells_of(tmp_path, {"task": str(write(tmp_path))})
    assert [question.record.target for question in before.questions] == [12.5, "B", True]
    for changes, is_same in [
        ({"license": "MIT", "source": "elsewhere"}, True),
        ({"prompts": {"paper": "Say: {{ question }}"}}, True),  # which is not asked
        ({"prompts": {"fino1": "Say: {{ question }}"}}, False),
        ({"answer": {"tolerance": {"relative": 0.02}}}, False),
        ({"answer": {"unit": "thousand"}}, False),
        ({"columns": {"options": "others"}}, False),
        ({"name": "charges"}, False),
    ]:
        rows = [TRUTH] if "columns" in changes else (NUMBER, CHOICE, TRUTH)
        (after,) = cells_of(tmp_path, {"task": str(write(tmp_path, rows, **changes))})
        assert (after.key == before.key) is is_same, changes
    (built_in,) = cells_of(tmp_path, {"task": "ledger", "size": 2})
    assert "task_file" not in built_in.settings


def test_its_text_may_stand_in_the_run_file(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    text = write(tmp_path, stem="own").read_text() + "name: own\n"
    (cell,) = cells_of(tmp_path, {"task": text})
    (same,) = cells_of(tmp_path, {"task": str(tmp_path / "own.yaml")})
    assert cell.key == same.key and cell.task.name == "own"


def test_a_run_knows_the_file_and_its_rows(tmp_path):
    path = write(tmp_path)
    spec = load.build({"method": "sft", "data": {"task": str(path)}}, "F", 8)
    directory = tmp_path / "runs" / "a-1"
    (directory / "checkpoints" / "step-1").mkdir(parents=True)
    inputs.check(directory, spec, writes=True)
    assert json.loads((directory / inputs.FILE).read_text()).keys() == {"data.task", "data.task.rows.path"}
    inputs.check(directory, spec)
    write(tmp_path, license="MIT")
    assert problems_of(inputs.check, directory, spec)[0].startswith(
        f"data.task: {path}: expected what {directory} began with"
    )


@pytest.mark.parametrize(
    ("changes", "problem"),
    [
        ({"license": None}, "license: expected a value, got none"),
        ({"promt": {}}, "promt: unknown key; the nearest known one is prompts"),
        ({"name": "finqa"}, "name: expected one that no built-in task has, got finqa"),
        ({"name": "My Task"}, "name: expected a name of lower-case letters, digits, -, _ and ., got My Task"),
        ({"rows": {"hub": "a/b"}}, "rows: expected one of path, hub, got both"),
        ({"answer": {"kind": "letter"}}, "answer.kind.0: expected 'number', 'yes/no' or 'choice', got the text letter"),
        ({"answer": {"kind": ["number", "number"]}}, "answer.kind: expected each kind once, got number, number"),
        ({"answer": {"unit": "dozen"}}, "answer.unit: expected 'one', "),
        ({"answer": {"tolerance": {"relative": -1}}}, "answer.tolerance.relative: expected at least 0, got -1"),
        ({"answer": {"kinds": {"a": "number"}}}, "answer.kinds: expected it with columns.kind, and that with it, got one of"),
        ({"columns": {"options": None}}, "columns.options: expected a column with answer.kind: choice, got none"),
        ({"reader": "finqa"}, "columns: expected none with reader: finqa, got some"),
        ({"prompts": {"fino1": "{{ questoin }}"}}, "prompts.fino1: expected document, options, question, year (columns.others "
                                                   "adds some), got questoin"),
        ({"prompts": {"fino1": "{{ question"}}, "prompts.fino1: expected a jinja2 template, got "),
        ({"prompts": {"fino1": "How much?"}}, "prompts.fino1: expected a template with {{ question }}, got one without"),
        ({"prompts": {"ours": "{{ question }}"}}, "prompts.ours: expected 'fino1' or 'paper', got the text ours"),
        ({"columns": {"others": {"question": "q"}}}, "columns.others.question: expected a name that prompts do not have, got "),
    ],
)  # fmt: skip
def test_what_is_wrong_with_a_file_is_said(tmp_path, changes, problem):
    path = write(tmp_path, **changes)
    found = problems_of(tasks.task, str(path))
    assert any(each.startswith(f"{path}: {problem}") for each in found), found


@pytest.mark.parametrize(
    ("row", "problem"),
    [
        (NUMBER | {"qa": {}}, "qa.gold: expected a number or yes/no, got nothing"),
        (NUMBER | {"qa": {"gold": "much"}}, 'qa.gold: expected a number or yes/no, got "much"'),
        (CHOICE | {"qa": {"gold": "C"}}, 'qa.gold: expected the letter or the text of an option, got "C"'),
        (CHOICE | {"choices": ["x"] * 11}, "choices: expected at most 10 options, got "),
        ({key: NUMBER[key] for key in NUMBER if key != "year"}, "year: expected text, got nothing"),
        (NUMBER | {"note": 5}, "note: expected a text, a list of texts or a table, got 5"),
    ],
)
def test_what_is_wrong_with_a_row_is_said(tmp_path, row, problem):
    path = write(tmp_path, [NUMBER, row])
    assert problems_of(read, path)[0].startswith(f"{tmp_path}/fees.jsonl:2: {problem}")


@pytest.mark.parametrize(
    ("rows", "said"),
    [
        ({"path": "fees.jsonl"}, "1 (without 1 questions that the task leaves out)"),
        ({"path": "none.jsonl"}, "{}/none.jsonl, not read: not here"),
        ({"path": None, "hub": "a/b"}, "a/b, not read: on the hub"),
        (None, "none named"),
    ],
)
def test_listing_it_reads_its_rows(tmp_path, rows, said):
    path = write(tmp_path, [NUMBER, NUMBER | {"figure": "a.png"}], rows=rows, leave_out={"figure": []})
    out = io.StringIO()
    listing.main([str(path)], out)
    assert out.getvalue().splitlines()[1].endswith(f"made for this test  {said.format(tmp_path)}")
    path = write(tmp_path, [{**NUMBER, "year": 1}, {"q": "?", "qa": {"gold": 1}}])
    assert (
        problems_of(listing.main, [str(path)], out)[0] == f"{tmp_path}/fees.jsonl:2: note: expected text, got nothing"
    )


def test_rows_that_nobody_names(tmp_path):
    path = write(tmp_path, rows=None)
    assert problems_of(tasks.locate, EvalTask(task=str(path))) == [
        "fees: rows: expected path or hub, in the task file or beside `task`, got none"
    ]
    assert tasks.locate(EvalTask(task=str(path), path="x")).path == "x"
    missing = tmp_path / "none.yaml"
    assert problems_of(tasks.task, str(missing)) == [f"{missing}: expected a file, got none"]
    assert problems_of(contamination.read_sets, ["squad=x"])[0].startswith(
        "--exclude: expected TASK=FILE with one of finqa"
    )


def test_a_prompt_that_the_file_lacks(tmp_path):
    path = write(tmp_path, prompts={"paper": None})
    block = DataBlock(task=str(path), prompt="paper", eval_size=0)
    assert problems_of(rows.read_rows, block, "ppo", 1) == [
        "data.prompt: expected one of fino1 of task fees, got paper"
    ]
    task = tasks.task(str(path))
    assert problems_of(task.prompt, read(path)[0], "paper") == ["fees: prompt: expected one of fino1, got paper"]


def test_a_template_runs_no_code(tmp_path):
    path = write(tmp_path, prompts={"fino1": "{{ question.__class__.__mro__ }}{{ question }}"})
    (problem,) = problems_of(tasks.task(str(path)).prompt, read(path)[0])
    assert problem.startswith(
        "fees: prompts.fino1: expected a template of its rows, got access to attribute '__class__'"
    )


def test_the_built_in_tasks_say_whose_they_are():
    assert {path.stem for path in (Path(tasks.__file__).parent / "files").glob("*.yaml")} | {"ledger"} == {
        "docmath" if name.startswith("docmath_") else name for name in TASK_IDS
    }
    for name in TASK_IDS:
        task = tasks.task(name)
        assert task.name == name and task.license and task.source and task.prompts.keys() == {"fino1", "paper"}
        assert not task.rows and not task.decides


def test_its_cell_is_written_and_read(tmp_path):
    (planned,) = cells_of(tmp_path, {"task": str(write(tmp_path))})
    said = {"fees-1": "The answer is 12.5 million.", "fees-2": "I choose A.", "fees-3": "Who knows?"}

    async def ask(question, halt):
        return Answer(said[question.id], "stop", 9, 9, 0.1)

    found = read_cell(run_cell(planned, ask, 1, threading.Event()) and planned.directory)
    assert [(each.extracted, each.value, each.target, each.state) for each in found.samples] == [
        ("12.5 million", 12.5, 12.5, "right"),
        ("A", None, "B", "wrong"),
        (None, None, True, "unparsed"),
    ]
    assert (found.task, found.summary.k, found.summary.docmath_compat) == ("fees", 1, 1)
    assert found.settings["task_file"] == planned.task.decides
