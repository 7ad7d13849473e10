"""What a page shows works as it stands there: run files, fragments of them, recipes, commands.

What needs no cluster, GPU or hour runs. Of a command that needs one the arguments are parsed by the real parser, its files must
be there, and `plan --offline` and `render` take its run.
"""

import json
import re
import subprocess
import tomllib

import pytest
import yaml

from fino1 import __main__ as entry
from fino1.k8s import cli
from fino1.spec import load, recipe
from fino1.spec.yamlfile import read_yaml
from tests.docs.shown import PAGES, ROOT, blocks, commands, mentioned, unfenced

RUN_FILES = [block for block in blocks() if block.language == "yaml" and "\nmethod:" in f"\n{block.text}"]
RECIPES = [block for block in blocks() if block.language == "yaml" and "\nstages:" in f"\n{block.text}"]
PRICES = [block for block in blocks() if block.language == "yaml" and "\nprices:" in f"\n{block.text}"]
TASK_FILES = [block for block in blocks() if block.language == "yaml" and "\nprompts:" in f"\n{block.text}"]
OTHERS = (*RUN_FILES, *RECIPES, *PRICES, *TASK_FILES)
FRAGMENTS = [block for block in blocks() if block.language == "yaml" and block not in OTHERS]
COMMANDS, MENTIONED = list(commands()), list(mentioned())
OUTSIDE = {"podman", "tensorboard", "wandb", "mlflow", "hf", "git"}  # programs that are not ours and not run here
OF_DOCUMENT = {"-f", "--values", "--set", "--name"}  # options of a cluster's verb that `plan` and `render` take too


@pytest.fixture
def folder(tmp_path, monkeypatch):
    """A folder with the repository's own in it, where a command may write; `fill(page)` adds the files that pages show."""
    for name in ("charts", "manifests", "images", "tests", "benchmarks"):
        (tmp_path / name).symlink_to(ROOT / name)
    monkeypatch.chdir(tmp_path)

    def fill(page):
        for block in sorted(blocks(), key=lambda block: block.page == page):  # the page's own last
            if block.name:
                (tmp_path / block.name).write_text(block.text)
            if block.language == "json":
                (tmp_path / "answers.jsonl").write_text(block.text)

    return fill


def of(*programs):
    return [command for command in COMMANDS if command.words[0] in programs]


def ids(values):
    return {"argvalues": values, "ids": [str(value) for value in values]}


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_a_block_says_what_it_is(page):
    assert not unfenced(page), "indented code: put it between ``` bash, yaml, json or text"
    assert {block.language for block in blocks() if block.page == page} <= {"bash", "yaml", "json", "text"}


def test_blocks_are_found():
    assert len(RUN_FILES) >= 3 and len(RECIPES) >= 1 and len(FRAGMENTS) >= 3 and len(COMMANDS) >= 30


@pytest.mark.parametrize("block", **ids(RUN_FILES))
def test_a_run_file_can_be_planned_and_rendered(block, folder, capsys):
    folder(block.page)
    assert block.name, "a run file's first line is its name: # my-run.yaml"
    assert cli.main(["plan", block.name, "--offline"]) == 0, capsys.readouterr()
    capsys.readouterr()
    assert cli.main(["render", block.name]) == 0
    assert {"ConfigMap", "NetworkPolicy"} <= {thing["kind"] for thing in yaml.safe_load_all(capsys.readouterr().out)}


@pytest.mark.parametrize("block", **ids(RECIPES))
def test_a_recipe_names_runs_that_are_there(block, folder):
    folder(block.page)
    _sound_recipe(block.name)


@pytest.mark.parametrize("block", **ids(FRAGMENTS))
def test_a_fragment_fits_a_built_in_run(block, folder, tmp_path, capsys):
    (tmp_path / "fragment.yaml").write_text(block.text)
    codes = [cli.main(["render", run, "-f", "fragment.yaml"]) for run in ("sft", "ppo", "verifier", "eval")]
    assert 0 in codes, capsys.readouterr().err


@pytest.mark.parametrize("command", **ids(of("fino1-k8s")))
def test_a_command_of_fino1_k8s(command, folder, capsys):
    folder(command.page)
    verb, *rest = words = list(command.words[1:])
    cli.parser().parse_args(words)
    if command.has_placeholder:
        return
    if verb in {"runs", "init", "render", "lint", "completion"} or "--offline" in rest:
        assert cli.main(words) == 0, capsys.readouterr()
    elif verb in {"plan", "submit", "diff"}:
        document = _document_words(rest)
        assert cli.main(["plan", *document, "--offline"]) == 0, capsys.readouterr()
        assert cli.main(["render", *document]) == 0


@pytest.mark.parametrize("command", **ids(of("fino1")))
def test_a_command_of_fino1(command, folder, capsys):
    folder(command.page)
    words = list(command.words[1:])
    arguments = entry.parser().parse_args(words)
    if words[0] == "score":
        assert entry.main(words) == 0
        assert json.loads(capsys.readouterr().out)["strict"] is True
    elif words[0] == "tasks":
        assert entry.main(words) == 0
    elif words[0] == "run" and recipe.is_recipe(read_yaml(recipe.find(arguments.run))):
        _sound_recipe(arguments.run, *(text.split(":", 1) for text in arguments.set))
    elif words[0] == "run":
        recipe.read_run(arguments.run, arguments.values, arguments.set, arguments.name)


@pytest.mark.parametrize("command", **ids(of("make")))
def test_a_command_of_make(command):
    makefile = (ROOT / "Makefile").read_text()
    for word in command.words[1:]:
        name, _, value = word.partition("=")
        assert f"$({name})" in makefile if value else re.search(rf"^{name}:", makefile, re.MULTILINE), word


@pytest.mark.helm
@pytest.mark.parametrize("command", **ids(of("helm")))
def test_a_command_of_helm(command, folder, helm):
    folder(command.page)
    verb, *rest = (word for word in command.words[1:] if word != "--install")
    assert verb in {"install", "upgrade", "template", "lint"} | {"test", "uninstall"}
    if command.has_placeholder or verb in {"test", "uninstall"}:
        return
    run = ["lint", "--strict"] if verb == "lint" else ["template"]
    done = subprocess.run([helm, *run, *rest], capture_output=True, text=True, timeout=60)
    assert done.returncode == 0, done.stderr


@pytest.mark.parametrize("command", **ids(of("kubectl", "podman", "python", "python3", ".venv/bin/python", "pip")))
def test_the_files_of_other_programs_are_there(command):
    words = command.words
    if words[0] == "pip":
        extras = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["optional-dependencies"]
        assert set(re.findall(r"fino1\[(\w+)\]", " ".join(words))) <= extras.keys()
    elif words[0].endswith(("python", "python3")) and words[1] == "-m":
        assert (ROOT / (words[2].replace(".", "/") + ".py")).is_file()
    for word in words[1:]:
        if re.match(r"(?:charts|manifests|images|tests|benchmarks|ci)/", word) and not re.search("[A-Z]{3}", word):
            assert (ROOT / word).exists(), word


def test_every_program_is_known():
    known = {"fino1", "fino1-k8s", "make", "helm", "kubectl", "python", "python3", ".venv/bin/python", "pip", *OUTSIDE}
    assert {command.words[0] for command in COMMANDS} <= known


@pytest.mark.parametrize("command", **ids(MENTIONED))
def test_a_command_in_the_text_is_one(command, capsys):
    program, verb, *rest = command.words
    if program == "make":
        return test_a_command_of_make(command)
    if program == "helm":
        return None
    with pytest.raises(SystemExit) as end:
        {"fino1": entry.main, "fino1-k8s": cli.main}[program]([verb, "--help"])
    assert end.value.code == 0, verb
    flags = {word.partition("=")[0] for word in rest if word.startswith("--")}
    assert flags <= set(re.findall(r"--[a-z-]+", capsys.readouterr().out)), rest


def _document_words(words):
    """RUN and the options of its document, of a verb's arguments."""
    kept, words = [], iter(words)
    for word in words:
        if word in OF_DOCUMENT:
            kept += [word, next(words)]
        elif word in {"-n", "--namespace", "--context", "--kubeconfig", "--prices", "--hours", "-o"}:
            next(words)
        elif not word.startswith("-"):
            kept.append(word)
    return kept


def _sound_recipe(name, *assignments):
    """Read a recipe and each stage's run file, as `fino1 run` does before anything starts."""
    found = recipe.build(read_yaml(recipe.find(name)), name)
    stages = {stage.name for stage in found.stages}
    assert {stage for stage, _ in assignments} <= stages
    for stage in found.stages:
        mine = [text for name, text in assignments if name == stage.name]
        load.build(load.layered([read_yaml(recipe.find(stage.run)), stage.set, load.parse_set(mine)]), stage.name)
