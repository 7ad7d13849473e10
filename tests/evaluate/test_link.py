import json
import os

import pytest

from fino1 import runs
from fino1.__main__ import main
from fino1.errors import SpecError
from fino1.evaluate import models
from fino1.spec import load
from fino1.spec.evaluation import EvalModel


@pytest.fixture
def config(tmp_path):
    def write(*models, **block):
        settings = {"models": list(models), "tasks": [{"task": "ledger", "size": 2}]} | block
        runs.write_config(tmp_path / "config.json", load.build({"method": "eval", "eval": settings}, "test"))
        return ["--config", str(tmp_path / "config.json"), "--work", str(tmp_path / "work")]

    return write


def finished(work, name):
    model = work / "runs" / name / "model"
    model.mkdir(parents=True)
    (model / "config.json").write_text("{}")
    (model.parent / "done.json").write_text("{}")
    return model


def test_a_run_is_linked_again_and_an_older_link_replaced(tmp_path, config, capsys):
    to = tmp_path / "served" / "model"
    first = finished(tmp_path / "work", "sft-0123456789")
    second = finished(tmp_path / "work", "ppo-0123456789")
    for model in (first, first, second):
        name = model.parent.name.partition("-")[0]
        assert main(["link", *config({"name": "a", "run": name}), "--to", str(to)]) == 0
        assert os.readlink(to) == str(model)
        assert capsys.readouterr().out == f"a: {to} -> {model}\n"
    assert list(to.parent.iterdir()) == [to]


def test_a_link_to_what_is_gone_is_replaced(tmp_path, config, folder):
    to = tmp_path / "model"
    to.symlink_to(tmp_path / "gone")
    assert main(["link", *config({"name": "a", "path": str(folder)}), "--to", str(to)]) == 0
    assert (to / "config.json").is_file()


def test_a_model_of_the_hub_needs_no_link(tmp_path, config, capsys):
    to = tmp_path / "model"
    assert main(["link", *config({"name": "a", "hub": "x/y"}), "--to", str(to)]) == 0
    assert "a: x/y is taken from the hub by its name, no link is needed" in capsys.readouterr().out
    assert not to.is_symlink()


def test_mistakes(tmp_path, config, folder, capsys):
    to = tmp_path / "model"
    a, b = ({"name": name, "path": str(folder)} for name in "ab")
    elsewhere = {"name": "c", "base_url": "http://x/v1"}

    def said(*arguments):
        assert main([*map(str, arguments)]) == 2
        return capsys.readouterr().err

    assert "expected one model without base_url, got a, b" in said("link", *config(a, b, elsewhere), "--to", to)
    assert "expected one model without base_url, got none" in said("link", *config(elsewhere), "--to", to)
    assert "eval.models.0.run: sft: expected a finished" in said(
        "link", *config({"name": "a", "run": "sft"}), "--to", to
    )
    assert not to.is_symlink()
    assert "expected a link or nothing there, got a directory" in said("link", *config(a, elsewhere), "--to", folder)
    assert "expected a place that can be written" in said("link", *config(a), "--to", folder / "config.json" / "x")
    assert "expected transformers for `fino1 serve`, got vllm" in said("serve", *config(a, server={"engine": "vllm"}))


def test_the_name_beside_the_config(tmp_path, config, server):
    arguments = ["evaluate", *config({"name": "a", "base_url": server.base_url})]
    names = []
    for options in ([], None, ["--name", "given"]):
        if options is None:
            (tmp_path / "name").write_text("weekly\n")
        assert main([*arguments, *(options or [])]) == 0
        names = sorted(json.loads(path.read_text())["name"] for path in tmp_path.glob("work/runs/*/done.json"))
    assert names == ["eval", "given", "weekly"]


def test_a_name_that_is_none(tmp_path, config, server, capsys):
    (tmp_path / "name").write_text("No name\n")
    assert main(["evaluate", *config({"name": "a", "base_url": server.base_url})]) == 2
    assert "got 'No name'" in capsys.readouterr().err


def test_a_folder_whose_weights_are_not_whole(folder, tmp_path):
    (folder / "model.safetensors").write_bytes(b"")
    with pytest.raises(SpecError, match="a: .*model.safetensors: expected weights, got an empty file"):
        models.find(EvalModel(name="a", path=str(folder)), tmp_path)
