"""Completions that are on disk are judged again, and nobody is asked."""

import json

import pytest

from fino1 import cells, report, runs
from fino1.__main__ import main as fino1
from fino1.errors import SpecError
from fino1.evaluate import verdicts
from fino1.evaluate.endpoint import EndpointLost
from fino1.evaluate.main import main
from fino1.tasks import ledger, scoring
from fino1.tasks.record import Verdict
from tests.evaluate.test_main import N, only_cell, records, samples_of, spec_of


def raise_version(monkeypatch, strict=False):
    """A scorer of the next version, which finds every answer wrong."""
    monkeypatch.setattr(scoring, "SCORER_VERSION", str(int(scoring.SCORER_VERSION) + 1))
    monkeypatch.setattr(verdicts, "judge", lambda score, text, record: Verdict("7", 7.0, strict, strict))


def found(work):
    """The finished cells by their scorer's version."""
    return {(cell := cells.read_cell(p.parent)).settings["scorer"]: cell for p in work.glob("cells/*/cell.json")}


def rescore(work, spec, name="eval"):
    config = runs.directory(work, name, spec) / "config.json"
    return fino1(["evaluate", "--config", str(config), "--name", name, "--work", str(work), "--rescore"])


def test_a_raised_version_asks_for_new_verdicts_only(right, tmp_path, monkeypatch):
    assert main(spec_of(right), "eval", tmp_path) == 0
    (former,) = found(tmp_path).values()
    raise_version(monkeypatch)
    assert main(spec_of(right), "eval", tmp_path) == 0
    assert right.asked.total() == N
    cell = found(tmp_path)[scoring.SCORER_VERSION]
    assert (former.summary.k, cell.summary.k, cell.summary.n) == (N, 0, N)
    assert [s.completion for s in cell.samples] == [s.completion for s in former.samples]
    assert (cell.cost, cell.summary.seconds) == (former.cost, former.summary.seconds)
    assert cell.provenance == former.provenance | {"rescored": former.key}
    assert json.loads((runs.directory(tmp_path, "eval", spec_of(right)) / "done.json").read_text())["cells"] == [
        cell.key
    ]


def test_of_an_unfinished_cell_what_is_left_is_asked(right, tmp_path, monkeypatch):
    bad = ledger.TASK.prompt(records()[7])
    right.fault = lambda prompt, number: (503, {}, {"message": "down"}) if prompt == bad else None
    with pytest.raises(EndpointLost):
        main(spec_of(right), "eval", tmp_path)
    right.fault = lambda prompt, number: None
    raise_version(monkeypatch)
    assert main(spec_of(right), "eval", tmp_path) == 0
    assert set(right.answered.values()) == {1}
    assert found(tmp_path)[scoring.SCORER_VERSION].summary.n == N


def test_a_shard_takes_over_its_own_answers(right, tmp_path, monkeypatch):
    assert main(spec_of(right), "eval", tmp_path) == 0
    raise_version(monkeypatch)
    for index in range(2):
        monkeypatch.setenv("JOB_COMPLETION_INDEX", str(index))
        assert main(spec_of(right, shards=2), "eval", tmp_path) == 0
    assert right.asked.total() == N
    assert found(tmp_path)[scoring.SCORER_VERSION].summary.n == N


def test_rescore_judges_a_finished_run_again_without_its_key_and_endpoint(right, tmp_path, monkeypatch, capsys):
    monkeypatch.setenv("KEY_OF_A", "sk-0123456789")
    spec = spec_of(right, [{"name": "a", "base_url": right.base_url, "api_key_env": "KEY_OF_A"}])
    assert main(spec, "eval", tmp_path) == 0
    monkeypatch.delenv("KEY_OF_A")
    raise_version(monkeypatch)
    assert rescore(tmp_path, spec) == 0
    assert f"a on ledger: 0/{N} right, before {N}/{N}" in capsys.readouterr().out
    assert right.asked.total() == N
    cell = found(tmp_path)[scoring.SCORER_VERSION]
    done = json.loads((runs.directory(tmp_path, "eval", spec) / "done.json").read_text())
    assert done["cells"] == [cell.key]
    board = report.write_runs(tmp_path, ["eval"], tmp_path / "out", "x")
    assert [row["k"] for row in board["rows"]] == [0]
    assert rescore(tmp_path, spec) == 0  # once more changes nothing
    assert found(tmp_path)[scoring.SCORER_VERSION] == cell


def test_rescore_under_the_same_version_rewrites_the_cell(right, tmp_path, monkeypatch):
    spec = spec_of(right)
    assert main(spec, "eval", tmp_path) == 0
    monkeypatch.setattr(verdicts, "judge", lambda score, text, record: Verdict("7", 7.0, False, False))
    assert rescore(tmp_path, spec) == 0
    assert cells.read_cell(only_cell(tmp_path)).summary.k == 0
    assert {sample["value"] for sample in samples_of(only_cell(tmp_path))} == {7.0}


def test_rescore_refuses_rows_that_were_not_asked_and_runs_without_cells(right, tmp_path, capsys):
    path = tmp_path / "rows.jsonl"
    ledger.write(records(3), path)
    spec = spec_of(right, tasks=[{"task": "ledger", "path": str(path)}])
    assert main(spec, "eval", tmp_path) == 0
    ledger.write(records(4), path)
    assert rescore(tmp_path, spec) == 2
    assert "--rescore: eval.tasks: expected rows of ledger with the content that was asked" in capsys.readouterr().err
    with pytest.raises(SpecError, match="expected a file"):
        runs.read_cells(tmp_path)


def test_a_model_that_is_down_fails_its_own_cells_and_the_report_shows_them_as_missing(right, faulty, tmp_path):
    down = faulty()
    down.fault = lambda prompt, number: (503, {}, {"message": "down"})
    models = [{"name": "down", "base_url": down.base_url}, {"name": "up", "base_url": right.base_url}]
    with pytest.raises(EndpointLost):
        main(spec_of(right, models), "eval", tmp_path)
    board = report.write_runs(tmp_path, ["eval"], tmp_path / "out", "x")
    assert [(row["model"], row["k"], row["n"]) for row in board["rows"]] == [("up", N, N)]
    line = "down on ledger: missing, not all of its questions are answered"
    assert f"## Not run\n\n- {line}" in (tmp_path / "out/leaderboard.md").read_text()
    assert line in (tmp_path / "out/index.html").read_text()
    down.fault, down.reply = (lambda prompt, number: None), right.reply
    assert main(spec_of(right, models), "eval", tmp_path) == 0
    board = report.write_runs(tmp_path, ["eval"], tmp_path / "out", "x")
    assert [(row["model"], row["k"]) for row in board["rows"]] == [("down", N), ("up", N)]
    assert "Not run" not in (tmp_path / "out/leaderboard.md").read_text()
