"""A run that has begun meets other files than those it began with: in all three places that start or finish one."""

import json

import pytest

from fino1 import inputs, runs
from fino1.errors import SpecError
from fino1.evaluate import main as evaluation
from fino1.local.run import LocalRun
from fino1.spec import load
from fino1.train.launch.launch import start_ranks


def spec(place):
    rows = {"path": str(place / "rows.jsonl"), "exclude": [{"task": "finqa", "path": str(place / "test.json")}]}
    document = {"method": "ppo", "gpus_per_node": 0, "data": rows, "model": {"path": str(place / "model")}}
    value = {"path": str(place / "model")}
    reward = {"source": "model", "model": value}
    return load.build(load.merge(document, {"ppo": {"value_model": value, "reward": reward}}), "F", 1)


@pytest.fixture
def place(tmp_path):
    (tmp_path / "model").mkdir()
    (tmp_path / "rows.jsonl").write_text("{}")
    for name in ("config.json", "model.safetensors", "README.md"):
        (tmp_path / "model" / name).write_text("{}")
    return tmp_path


def begun(directory):
    (directory / "checkpoints" / "step-00000001").mkdir(parents=True, exist_ok=True)


def said(call, *arguments, **options):
    with pytest.raises(SpecError) as caught:
        call(*arguments, **options)
    return caught.value.problems


def test_what_a_run_reads_is_kept_under_its_keys(place):
    inputs.check(place / "run", spec(place))
    assert not (place / "run").exists()
    inputs.check(place / "run", spec(place), writes=True)
    kept = json.loads((place / "run" / "inputs.json").read_text())
    assert {key: each["path"] for key, each in kept.items()} == {
        "data.path": f"{place}/rows.jsonl",
        "model.path": f"{place}/model",
        "ppo.value_model.path": f"{place}/model",
        "ppo.reward.model.path": f"{place}/model",
    }
    begun(place / "run")
    (place / "test.json").write_text("[]")  # was not there, and so said by its reader
    inputs.check(place / "run", spec(place), writes=True)
    assert json.loads((place / "run" / "inputs.json").read_text()).keys() - kept.keys() == {"data.exclude.0.path"}


def test_other_content_is_refused_with_both_digests(place):
    old = inputs.digest(place / "rows.jsonl")
    inputs.check(place / "run", spec(place), writes=True)
    begun(place / "run")
    (place / "rows.jsonl").write_text("{ }")
    (place / "model" / "README.md").write_text("no part of the model")
    new = inputs.digest(place / "rows.jsonl")
    line = (
        f"data.path: {place}/rows.jsonl: expected what {place}/run began with, sha256 {old[:12]}, got other content, sha256 "
        f"{new[:12]}; put the former content back, or start a run under another --name"
    )
    assert said(inputs.check, place / "run", spec(place)) == [line]
    (place / "model" / "model.safetensors").write_text("[]")
    keys = {text.partition(":")[0] for text in said(inputs.check, place / "run", spec(place), writes=True)}
    assert keys == {"data.path", "model.path", "ppo.reward.model.path", "ppo.value_model.path"}
    (place / "rows.jsonl").unlink()  # a finished run needs it no more
    (place / "model" / "model.safetensors").write_text("{}")
    inputs.check(place / "run", spec(place))


def test_a_run_that_has_learnt_nothing_takes_a_mended_file(place):
    inputs.check(place / "run", spec(place), writes=True)
    (place / "rows.jsonl").write_text("{ }")
    inputs.check(place / "run", spec(place), writes=True)
    begun(place / "run")
    inputs.check(place / "run", spec(place))
    (place / "rows.jsonl").write_text("{}")
    assert len(said(inputs.check, place / "run", spec(place))) == 1


def test_a_large_file_by_its_size_and_blocks(tmp_path, monkeypatch):
    monkeypatch.setattr(inputs, "_WHOLE_BYTES", 640)
    monkeypatch.setattr(inputs, "_BLOCK_BYTES", 2)
    path = tmp_path / "model.safetensors"

    def digest(data):
        path.write_bytes(data)
        return inputs.digest(tmp_path)

    known = digest(b"0" * 641)
    assert digest(b"0" * 642) != known
    assert digest(b"1" + b"0" * 640) != known
    assert digest(b"0" * 640 + b"1") != known
    assert digest(b"00001" + b"0" * 636) == known, "between two blocks"
    assert digest(b"0" * 636 + b"1000") != digest(b"0" * 640), "a file of 640 is read whole"


def test_runs_that_began_before_there_was_a_record(place):
    (place / "run").mkdir()
    (place / "run" / "done.json").write_text("{}")
    inputs.check(place / "run", spec(place), writes=True)
    assert not (place / "run" / "inputs.json").exists()


def finished(work, run):
    """The directory of a run that has finished; its rows were replaced then."""
    directory = runs.directory(work, "x", run)
    runs.write_config(directory / "config.json", run)
    inputs.check(directory, run, writes=True)
    (directory / "done.json").write_text("{}")
    (work / "rows.jsonl").write_text("{ }")
    return directory


def test_a_finished_run_does_not_stand_for_other_rows(place):
    directory = finished(place, spec(place))
    begin = f"data.path: {place}/rows.jsonl: expected what {directory} began with"
    (line,) = said(start_ranks, directory / "config.json", "x", place)
    assert line.startswith(begin)
    (line,) = said(LocalRun, spec(place), "x", place, "F")
    assert line.startswith(f"F: {begin}")
    (place / "rows.jsonl").write_text("{}")
    assert start_ranks(directory / "config.json", "x", place) == 0
    assert LocalRun(spec(place), "x", place, "F").was_done


def test_nor_does_an_evaluation(place):
    block = {"models": [{"name": "a", "base_url": "http://127.0.0.1:9/v1"}], "tasks": [{"task": "finqa", "path": ""}]}
    block["tasks"][0]["path"] = str(place / "rows.jsonl")
    run = load.build({"method": "eval", "gpus_per_node": 0, "eval": block}, "F")
    directory = finished(place, run)
    (line,) = said(evaluation.main, run, "x", place)
    assert line.startswith(f"eval.tasks.0.path: {place}/rows.jsonl: expected what {directory} began with")


def test_nor_do_rows_of_a_run_that_was_made_again(place):
    rows = place / "runs" / "paths-0123456789"
    rows.mkdir(parents=True)
    run = load.build({"method": "sft", "gpus_per_node": 0, "data": {"run": "paths"}, "model": {"init": {}}}, "F")
    directory = runs.directory(place, "x", run)
    inputs.check(directory, run, writes=True)  # not finished yet: what trains says so
    assert not (directory / "inputs.json").exists()
    for name in ("done.json", "rows.jsonl"):
        (rows / name).write_text("{}")
    inputs.check(directory, run, writes=True)
    begun(directory)
    inputs.check(directory, run)
    (rows / "rows.jsonl").write_text("{ }")
    (line,) = said(inputs.check, directory, run)
    assert line.startswith(f"data.run: {rows}/rows.jsonl: expected what {directory} began with")


def test_a_run_of_another_name_is_gone_on_with_where_it_reads_the_same(place, capsys):
    folder = place / "runs"
    old, new = (runs.directory(place, name, spec(place)) for name in ("old", "new"))
    inputs.link_to_same(new, spec(place))
    assert not new.exists() and not folder.exists(), "there is no such run"
    begun(old)
    (old / "config.json").write_text("{}")
    inputs.check(old, spec(place), writes=True)
    inputs.link_to_same(old, spec(place))
    assert not old.is_symlink()
    (place / "rows.jsonl").write_text("{} {}")
    inputs.link_to_same(new, spec(place))
    assert not new.exists(), "other rows are another run"
    (place / "rows.jsonl").write_text("{}")
    inputs.link_to_same(new, spec(place))
    inputs.link_to_same(new, spec(place))
    assert new.is_symlink() and new.resolve() == old.resolve()
    assert capsys.readouterr().out == f"fino1: {new.name} is the same run as {old.name}, which is not begun anew\n"
