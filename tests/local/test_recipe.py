import json
import os
import sys
from pathlib import Path

import pytest
import yaml

from fino1 import __main__ as entry
from fino1 import doctor
from fino1.errors import SpecError
from fino1.local import recipe as local_recipe
from fino1.spec import recipe, yamlfile

PYTHON = sys.executable  # before a test changes it
SFT = {"method": "sft", "gpus_per_node": 0, "data": {"task": "ledger", "size": 10}}
PPO = {"method": "ppo", "gpus_per_node": 0, "data": {"task": "ledger", "size": 10}, "model": {"run": "first"}}

# Stands for the interpreter: does what `fino1 train` and `fino1 report` leave behind, and notes how it was called.
CHILD = """#!{python}
import json, os, sys
from pathlib import Path
options = dict(zip(sys.argv[4::2], sys.argv[5::2]))
with open({log!r}, "a") as log:
    log.write(json.dumps([sys.argv[3], sys.argv[4:]]) + "\\n")
if sys.argv[3] == "report":
    out = Path(options["--out"])
    out.mkdir(parents=True)
    (out / "leaderboard.md").write_text("the board")
    sys.exit(0)
config = Path(options["--config"])
if options["--name"] in os.environ.get("FAIL", "").split():
    sys.exit(2)
(config.parent / "model").mkdir()
(config.parent / "model" / "config.json").write_text("{{}}")
(config.parent / "done.json").write_text(json.dumps({{"method": "sft", "steps": 3}}))
"""


@pytest.fixture
def place(tmp_path, monkeypatch):
    """A directory to run in, whose children only pretend to train."""
    child = tmp_path / "child"
    child.write_text(CHILD.format(python=sys.executable, log=str(tmp_path / "calls")))
    child.chmod(0o755)
    monkeypatch.setattr(sys, "executable", str(child))
    monkeypatch.chdir(tmp_path)
    return tmp_path


def write(place: Path, stages: list[dict], **files: dict) -> str:
    for name, document in {"sft": SFT, "ppo": PPO, **files}.items():
        (place / f"{name}.yaml").write_text(yaml.safe_dump(document))
    (place / "chain.yaml").write_text(yaml.safe_dump({"title": "T", "note": "Note", "stages": stages}))
    return "chain.yaml"


def calls(place: Path) -> list[tuple[str, dict[str, list[str]]]]:
    found = []
    for line in (place / "calls").read_text().splitlines():
        verb, arguments = json.loads(line)
        options: dict[str, list[str]] = {}
        for key, value in zip(arguments[::2], arguments[1::2], strict=True):
            options.setdefault(key, []).append(value)
        found.append((verb, options))
    return found


def config(place: Path, name: str) -> dict:
    (path,) = (place / "out" / "runs").glob(f"{name}-*/config.json")
    return json.loads(path.read_text())


def said(capsys, *arguments: str) -> list[str]:
    assert entry.main(["run", *arguments]) == 2
    return capsys.readouterr().err.strip().splitlines()


TWO = [{"name": "first", "run": "sft.yaml"}, {"name": "second", "run": "ppo.yaml"}]


def test_stages_run_in_order_and_the_report_has_them_all(place, capsys):
    assert entry.main(["run", write(place, TWO)]) == 0
    (_, first), (_, second), (verb, report) = calls(place)
    assert (first["--name"], second["--name"], verb) == (["first"], ["second"], "report")
    runs = [path.name for path in sorted((place / "out" / "runs").iterdir())]
    assert report["--run"] == runs
    assert (report["--title"], report["--note"]) == (["T"], ["Note"])
    assert config(place, "second")["model"] == {"run": runs[0]}
    out = capsys.readouterr().out
    assert "✓ first: 0 min" in out
    assert "the board" in out


def test_a_finished_chain_runs_nothing_again(place):
    for _ in range(2):
        assert entry.main(["run", write(place, TWO)]) == 0
        (place / "out" / "report" / "leaderboard.md").unlink()
        (place / "out" / "report").rmdir()
    assert [verb for verb, _ in calls(place)] == ["train", "train", "report", "report"]


def test_a_changed_stage_runs_again_and_so_does_what_is_made_from_it(place):
    chain_file = write(place, TWO)
    for seed in (1, 2):
        entry.main(["run", chain_file, "--set", f"first:seed={seed}"])
    assert [verb for verb, _ in calls(place)].count("train") == 4


def test_set_goes_to_every_stage_or_to_one(place):
    write(place, [*TWO[:1], {"name": "other", "run": "sft.yaml", "set": {"seed": 3, "data": {"size": 30}}}])
    arguments = ["--set", "data.size=20", "--set", "other:sft.max_steps=7", "--set", "other:data.size=null"]
    assert entry.main(["run", "chain.yaml", *arguments]) == 0
    first, other = config(place, "first"), config(place, "other")
    assert (first["data"]["size"], first.get("seed"), first["sft"].get("max_steps")) == (20, 42, None)
    assert (other["data"]["size"], other["seed"], other["sft"]["max_steps"]) == (20000, 3, 7)


def test_values_delete_and_go_before_set(place):
    write(place, TWO[:1], sft=SFT | {"seed": 5})
    (place / "a.yaml").write_text("seed: null\ndata: {size: 11}\nsft: {max_steps: 1}\n")
    (place / "b.yaml").write_text("sft: {max_steps: 2, save_steps: 3}\n")
    assert entry.main(["run", "chain.yaml", "-f", "a.yaml", "-f", "b.yaml", "--set", "sft.save_steps=4"]) == 0
    found = config(place, "first")
    assert (found["seed"], found["data"]["size"]) == (42, 11)
    assert (found["sft"]["max_steps"], found["sft"]["save_steps"]) == (2, 4)
    assert entry.main(["run", "sft.yaml", "-f", "a.yaml"]) == 0
    assert config(place, "sft")["seed"] == 42


def test_a_stage_without_its_files_is_skipped_and_so_is_what_needs_it(place, capsys):
    stages = [
        {"name": "first", "run": "sft.yaml", "needs": ["rows.json", "chain.yaml"], "needs_hint": "Get them."},
        {"name": "second", "run": "ppo.yaml"},
        {"name": "third", "run": "sft.yaml"},
    ]
    (place / "out" / "runs" / "first-0123456789").mkdir(parents=True)
    (place / "out" / "runs" / "first-0123456789" / "done.json").write_text("{}")  # of another day: not this chain's
    assert entry.main(["run", write(place, stages)]) == 0
    (_, third), (_, report) = calls(place)
    assert third["--name"] == ["third"]
    assert report["--skipped"] == [
        "first: rows.json not found. Get them.",
        "second: takes the model or rows of first, which was skipped.",
    ]
    assert len(report["--run"]) == 1
    assert "- first: rows.json not found. Get them." in capsys.readouterr().out


def test_a_chain_of_which_nothing_can_run_has_a_report(place, monkeypatch):
    monkeypatch.setattr(sys, "executable", PYTHON)
    assert entry.main(["run", write(place, [TWO[0] | {"needs": ["rows.json"]}])]) == 0
    assert "first: rows.json not found." in (place / "out" / "report" / "leaderboard.md").read_text()


def test_a_failed_stage_ends_the_chain(place, monkeypatch, capsys):
    monkeypatch.setenv("FAIL", "first")
    assert entry.main(["run", write(place, TWO)]) == 2
    assert [verb for verb, _ in calls(place)] == ["train"]
    assert "✗ first: ended with 2 (the user's mistake" in capsys.readouterr().out


def test_a_stage_beside_the_others(place, monkeypatch):
    stages = [{"name": "beside", "run": "sft.yaml", "background": True, "set": {"seed": 9}}, *TWO]
    assert entry.main(["run", write(place, stages)]) == 0
    found = calls(place)
    assert len(found[-1][1]["--run"]) == 3
    assert (place / "out" / "logs" / "beside.log").is_file()
    monkeypatch.setenv("FAIL", "beside")
    assert entry.main(["run", "chain.yaml", "--set", "beside:seed=10"]) == 2


def test_nothing_starts_before_all_stages_are_sound(place, capsys):
    stages = [
        {"name": "first", "run": "sft.yaml", "set": {"sft": {"n_epochs": 3}, "seed": -1}},
        {"name": "second", "run": "ppo.yaml", "set": {"model": {"run": "third"}, "gpus_per_node": 64, "nodes": 2}},
        {"name": "third", "run": "nowhere.yaml"},
    ]
    found = said(capsys, write(place, stages))
    assert [line.partition(", got")[0] for line in found] == [
        "chain.yaml: stage first: seed: expected at least 0",
        "chain.yaml: stage first: sft.n_epochs: unknown key; ours is num_train_epochs",
        *(line.partition(", got")[0] for line in found[2:4]),
        "chain.yaml: stage second: model.run: third: expected a finished run in out/runs",
        "nowhere.yaml: expected a file",
    ]
    assert "stage second: nodes: expected 1 on this machine, got 2" in found[2]
    assert "stage second: gpus_per_node: expected at most " in found[3]
    assert not (place / "calls").exists()
    assert not (place / "out").exists()


def test_a_stage_that_takes_the_model_of_one_beside_waits_for_it(place, monkeypatch):
    stages = [TWO[0] | {"background": True}, TWO[1]]
    assert entry.main(["run", write(place, stages)]) == 0
    (first, *_), (second, *_) = (list((place / "out" / "runs").glob(f"{name}-*")) for name in ("first", "second"))
    assert config(place, "second")["model"] == {"run": first.name}
    assert calls(place)[-1][1]["--run"] == [first.name, second.name]
    (place / "calls").unlink()
    monkeypatch.setenv("FAIL", "first")
    assert entry.main(["run", "chain.yaml", "--set", "seed=2"]) == 2
    assert [options["--name"] for _, options in calls(place)] == [["first"]]


def test_a_stage_may_not_take_a_model_of_later(place, capsys):
    (line,) = said(capsys, write(place, [TWO[1], TWO[0]]))
    assert "stage second: model.run: first: expected a finished run" in line


@pytest.mark.parametrize(
    ("document", "message"),
    [
        ({"title": "T", "stages": []}, "R: stages: expected at least one, each name once, got none"),
        ({"title": "T", "stages": TWO[:1] * 2}, "R: stages: expected at least one, each name once, got first"),
        ({"stages": TWO}, "R: title: expected a value, got none"),
        ({"title": "T", "stages": [{"name": "A", "run": "x"}]}, "R: stages.0.name: expected a short name of lower"),
        ({"title": "T", "stages": [{"name": "a"}]}, "R: stages.0.run: expected a value, got none"),
        (
            {"title": "T", "stages": [TWO[0] | {"needz": []}]},
            "R: stages.0.needz: unknown key; the nearest known one is",
        ),
        ({"title": "T", "stages": [TWO[0] | {"background": "yes"}]}, "R: stages.0.background: expected true or false"),
        ({"title": "T", "stages": {"a": 1}}, "R: stages: expected a list, got the map"),
    ],
)
def test_recipe_errors(document, message):
    with pytest.raises(SpecError) as caught:
        recipe.build(document, "R")
    assert caught.value.problems[0].startswith(message)


def test_unknown_names_list_the_built_in_ones(capsys):
    (line,) = said(capsys, "nonsense")
    names = {path.stem for path in Path(__file__).parents[2].glob("manifests/r*/*.yaml")}
    assert line == f"nonsense: expected a path or one of {', '.join(sorted(names))}"
    assert {"demo", "sft-tiny"} <= names
    assert said(capsys, "./nowhere.yaml") == ["nowhere.yaml: expected a file, got none"]


def test_each_document_is_validated_once(place, monkeypatch):
    seen = []
    build = local_recipe.load.build
    monkeypatch.setattr(
        local_recipe.load, "build", lambda document, source: seen.append(source) or build(document, source)
    )
    assert entry.main(["run", write(place, TWO)]) == 0
    assert seen == ["chain.yaml: stage first", "chain.yaml: stage second"]
    assert entry.main(["run", "sft.yaml"]) == 0
    assert seen[2:] == ["sft.yaml"]


def test_what_goes_wrong_later_blames_the_file_that_was_written(place, monkeypatch, capfd):
    monkeypatch.setattr(sys, "executable", PYTHON)
    assert entry.main(["run", write(place, TWO[:1], sft=SFT | {"model": {"path": "nowhere"}})]) == 2
    said = "chain.yaml: stage first: model.path: nowhere: expected a directory with config.json, got none"
    assert said in capfd.readouterr().err.splitlines()


def test_an_evaluation_blames_it_too(tmp_path, capsys):
    block = {"models": [{"name": "a", "path": "nowhere"}], "tasks": [{"task": "finqa", "path": "data.jsonl"}]}
    (tmp_path / "config.json").write_text(json.dumps({"method": "eval", "gpus_per_node": 0, "eval": block}))
    config = ["--config", str(tmp_path / "config.json"), "--work", str(tmp_path), "--source", "e.yaml"]
    assert entry.main(["evaluate", *config]) == 2
    assert [line.partition(", got")[0] for line in capsys.readouterr().err.splitlines()] == [
        "e.yaml: eval.models: a: path: nowhere: expected a directory with config.json",
        "e.yaml: eval.tasks: finqa: data.jsonl: expected a file",
    ]


def test_packages_that_are_not_installed(place, monkeypatch, capsys):
    monkeypatch.setitem(doctor._PACKAGES, "train", ("torch", "no-such-thing"))
    write(place, [])
    (line,) = said(capsys, "sft.yaml")
    assert line == "sft.yaml: method: expected no-such-thing to be installed, got none; pip install 'fino1[train]'"


def test_unknown_stage_in_set(place, capsys):
    assert said(capsys, write(place, TWO), "--set", "thrid:seed=1", "--set", "x:seed=2") == [
        "--set thrid:seed=1: expected a stage of first, second, got thrid",
        "--set x:seed=2: expected a stage of first, second, got x",
    ]


def test_a_mistake_in_set_is_not_the_files(place, capsys):
    write(place, [])
    (line,) = said(capsys, "sft.yaml", "--set", "sft.learning_rat=1")
    assert line.startswith("--set sft.learning_rat: unknown key; ")


def test_bad_names(place, capsys):
    (line,) = said(capsys, write(place, TWO), "--name", "x")
    assert line == "--name: expected none, chain.yaml is a recipe whose stages have names, got x"
    (line,) = said(capsys, "sft.yaml", "--name", "../x")
    assert line.startswith("--name: expected at most 34 lower-case letters")
    (place / "My Run.yaml").write_text((place / "sft.yaml").read_text())
    (line,) = said(capsys, "My Run.yaml")
    assert line.startswith("My Run.yaml: expected a file name, which names the run, of at most 34 lower-case letters")
    assert line.endswith("got 'My Run'; --name gives another")
    assert entry.main(["run", "My Run.yaml", "--name", "mine"]) == 0


def test_work_that_cannot_be_written(place, capsys):
    (line,) = said(capsys, write(place, TWO), "--work", "chain.yaml")
    assert line.startswith("--work: chain.yaml: expected a directory that can be written, got ")


def test_a_full_disk_is_74(place, monkeypatch, capsys):
    def full(*arguments):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(local_recipe.runs, "check_work", full)
    assert entry.main(["run", write(place, TWO)]) == 74
    assert "No space left on device" in capsys.readouterr().err


@pytest.mark.parametrize("name", ["demo", "finqa-tiny"])
def test_built_in_recipes_are_sound(name, tmp_path, monkeypatch):
    path = recipe.find(name)
    wanted = recipe.build(yamlfile.read_yaml(path), str(path))
    work = tmp_path / "work"
    work.mkdir()
    monkeypatch.chdir(path.parent.parent.parent)
    local_recipe.Chain(wanted, path, [], [], work)
    assert os.listdir(work) == []
