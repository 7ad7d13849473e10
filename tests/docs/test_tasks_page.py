"""The example of docs/tasks.md as it stands there: its rows are read, asked and judged, its file is listed."""

import json
import threading

from fino1 import __main__ as entry
from fino1.evaluate.plan import plan
from fino1.spec import load
from fino1.spec.yamlfile import read_yaml
from fino1.tasks.record import judge
from tests.docs.shown import ROOT, blocks


def test_the_example(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    page = [block for block in blocks() if block.page == ROOT / "docs" / "tasks.md"]
    rows, answers = (block.text for block in page if block.language == "text")
    (tmp_path / "fees.csv").write_text(rows)
    (tmp_path / "answers.jsonl").write_text(answers)
    for block in page:
        if block.name:
            (tmp_path / block.name).write_text(block.text.replace("/work/tasks/", "./").replace("/work/data/", "./"))
    assert entry.main(["tasks", "./fees.yaml"]) == 0
    assert "fees  number, yes/no, choice  CC0-1.0  made for this page  3\n" in capsys.readouterr().out
    assert entry.main(["score", "--task", "./fees.yaml", "answers.jsonl"]) == 0
    assert json.loads(capsys.readouterr().out)["strict"] is True
    for name, wanted in (("fees-eval.yaml", [12.5, "B", True]), ("fees-inline.yaml", None)):
        spec = load.build(read_yaml(tmp_path / name), name)
        if wanted is None:
            (tmp_path / "fees.csv").write_text(rows.splitlines()[0] + "\n" + rows.splitlines()[1] + "\n")
        (cell,) = plan(spec, tmp_path, threading.Event())
        assert cell.task.name == "fees"
        assert [question.record.target for question in cell.questions] == (wanted or [12.5])
        verdict = judge(cell.task.score, "12.5 million", cell.questions[0].record)
        assert (verdict.strict, verdict.docmath_compat) == (True, True)
        if wanted:
            assert (
                "A question about 2020: " in cell.questions[1].prompt and "\nC. Neither\n" in cell.questions[1].prompt
            )
            assert judge(cell.task.score, "12.57 billion", cell.questions[0].record).strict is False
            assert judge(cell.task.score, "12.56", cell.questions[0].record).strict is True
