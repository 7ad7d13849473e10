"""What the two commands take, what they load, and who imports whom (docs/design.md#folders)."""

import ast
import json
import re
import subprocess
import sys
from pathlib import Path

import pytest

from fino1 import __main__ as entry
from fino1 import __version__
from fino1.k8s import cli

VERBS = [verb for group in cli._GROUPS.values() for verb in group]
ROOT = Path(__file__).parent.parent.parent / "fino1"
AREAS = ("evaluate", "k8s", "local", "paths", "report", "rows", "sizes", "tasks", "train")
HEAVY = ("torch", "transformers", "kubernetes", "pydantic", "datasets", "openai", "jinja2")

# area (or module) → parts of ours that it may not import, whatever is inside a function or not
FORBIDDEN = {
    "k8s": {"train", "evaluate", "tasks", "report", "paths", "rows"},
    "local": {"k8s", "train", "evaluate", "tasks", "report", "paths", "rows"},
    "train": {"k8s", "local", "rows"},
    "evaluate": {"k8s", "local", "train", "paths", "rows"},
    "paths": {"k8s", "local", "train", "report", "rows"},
    "report": {"k8s", "local", "train", "paths", "rows"},
    "rows": {"k8s", "local", "report"},
    "sizes": {"k8s", "local", "train", "evaluate", "report", "tasks", "paths", "rows"},
    "tasks": {"k8s", "local", "train", "evaluate", "report", "paths", "rows"},
}
NOT_IN = {
    "tasks": ("torch", "transformers"),
    "paths": ("torch", "transformers"),
    "rows": ("torch", "transformers"),
    "sizes": ("torch", "transformers"),
    "k8s": ("torch", "transformers"),
    "report": ("torch", "transformers"),
}


def modules(area: str) -> list[Path]:
    return sorted((ROOT / area).rglob("*.py"))


def imported(path: Path) -> set[str]:
    """Full names of what a module imports, lazily or not."""
    found: set[str] = set()
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{path}: relative import"
            found |= {node.module or ""} | {f"{node.module}.{alias.name}" for alias in node.names}
    return found


def parts(path: Path) -> set[str]:
    return {name.split(".")[1] for name in imported(path) if name.startswith("fino1.")}


@pytest.mark.parametrize("path", modules("spec"), ids=lambda path: path.stem)
def test_the_run_file_leans_on_nothing_else_of_ours_and_nothing_heavy(path):
    names = {name.split(".")[0] for name in imported(path)}
    assert names <= set(sys.stdlib_module_names) | {"pydantic", "pydantic_core", "yaml", "fino1"}
    assert parts(path) <= {"spec", "errors"}


# folder of fino1/k8s → those it may import besides itself, `objects`, `finding` and `times`; nobody imports `verbs`
LOWER = {
    "verbs": {"plan", "why", "change", "state", "cluster", "cli", "text"},
    "plan": {"change", "state", "cluster", "text"},
    "why": {"change", "state", "cluster"},
    "change": {"state", "cluster"},
    "state": {"cluster"},
    "cluster": set(),
    "objects": set(),
}


@pytest.mark.parametrize("folder", LOWER)
def test_folders_of_k8s_import_one_way(folder):
    for path in modules(f"k8s/{folder}"):
        used = {name.split(".")[2] for name in imported(path) if name.startswith("fino1.k8s.")}
        assert used <= LOWER[folder] | {folder, "objects", "finding", "times"}, path


def test_each_verb_has_a_file_of_its_name():
    files = {path.stem for path in modules("k8s/verbs")} - {"__init__"}
    assert files == set(VERBS)


SHARED = ["commandline", "errors", "exits", "files", "runs", "processes", "progress", "trackers"]


@pytest.mark.parametrize("module", SHARED)
def test_what_all_share_leans_on_no_area(module):
    assert not parts(ROOT / f"{module}.py") & set(AREAS)


@pytest.mark.parametrize("area", FORBIDDEN)
def test_areas_import_one_way(area):
    assert modules(area)
    for path in modules(area):
        assert not parts(path) & FORBIDDEN[area], path


@pytest.mark.parametrize("area", NOT_IN)
def test_areas_without_torch(area):
    for path in modules(area):
        assert not {name.split(".")[0] for name in imported(path)} & set(NOT_IN[area]), path


def loaded(statement: str) -> set[str]:
    code = f"import sys, json; {statement}; print(json.dumps(sorted({{name.split('.')[0] for name in sys.modules}})))"
    out = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, timeout=60).stdout
    return set(json.loads(out))


@pytest.mark.parametrize("module", ["fino1.k8s.cli", "fino1.__main__"])
def test_commands_load_little(module):
    assert not loaded(f"import {module}") & set(HEAVY)


def test_running_a_recipe_loads_no_torch():
    assert not loaded("import fino1.local.recipe") & (set(HEAVY) - {"pydantic"})


def test_training_loads_its_libraries_once_it_knows_what_it_needs():
    assert not loaded("import fino1.train.launch.launch") & {
        "transformers",
        "trl",
        "deepspeed",
        "accelerate",
        "datasets",
    }
    assert not loaded("import fino1.train.launch.rank") & {"torch", "transformers"}


def flags(capsys, main, *arguments: str) -> set[str]:
    with pytest.raises(SystemExit) as caught:
        main([*arguments, "--help"])
    assert caught.value.code == 0
    return {word.strip(",[]") for word in capsys.readouterr().out.split() if word.startswith(("-", "[-"))} - {"-"}


# A flag never repeats a key of the run file (docs/design.md C1): a new one is decided on, not slipped in.
H = {"-h", "--help"}
DOCUMENT = H | {"-f", "--values", "--set", "--name"}
CLUSTER = H | {"--kubeconfig", "--context", "-n", "--namespace"}
OUTPUT = {"-o", "--output"}
FLAGS = {
    (cli, "runs"): H | OUTPUT,
    (cli, "init"): DOCUMENT | {"--out"},
    (cli, "render"): DOCUMENT | OUTPUT | {"--tests"},
    (cli, "lint"): DOCUMENT | OUTPUT,
    (cli, "plan"): DOCUMENT | CLUSTER | OUTPUT | {"--offline", "--prices", "--hours"},
    (cli, "diff"): DOCUMENT | CLUSTER | OUTPUT,
    (cli, "submit"): DOCUMENT | CLUSTER | {"--dry-run", "--wait"},
    (cli, "run"): DOCUMENT | {"--work"},
    (cli, "ps"): CLUSTER | OUTPUT | {"-A", "--all-namespaces"},
    (cli, "status"): CLUSTER | OUTPUT,
    (cli, "logs"): CLUSTER | OUTPUT | {"-f", "--follow", "--since", "--tail", "--rank", "-c", "--container"},
    (cli, "why"): CLUSTER | OUTPUT,
    (cli, "wait"): CLUSTER | {"--timeout"},
    (cli, "suspend"): CLUSTER,
    (cli, "resume"): CLUSTER,
    (cli, "retry"): CLUSTER,
    (cli, "cancel"): CLUSTER | {"--timeout"},
    (cli, "fetch"): CLUSTER | {"--to", "--all"},
    (cli, "report"): CLUSTER | {"--to", "--title"},
    (cli, "prune"): CLUSTER | {"--older-than", "--dry-run"},
    (cli, "doctor"): CLUSTER | OUTPUT,
    (cli, "completion"): H,
    (entry, "run"): DOCUMENT | {"--work"},
    (entry, "train"): H | {"--config", "--name", "--work", "--source"},
    (entry, "paths"): H | {"--config", "--name", "--work", "--source", "--server"},
    (entry, "evaluate"): H | {"--config", "--name", "--work", "--source", "--server", "--rescore"},
    (entry, "link"): H | {"--config", "--work", "--to"},
    (entry, "serve"): H | {"--config", "--work", "--port"},
    (entry, "report"): H | {"--work", "--out", "--run", "--title", "--note", "--skipped", "--allow-mixed", "--lm-eval"},
    (entry, "rows"): H
    | {
        "--output",
        "--overwrite",
        "--exclude",
        "--ngram-share",
        "--similarity",
        "--tokenizer",
        "--max-length",
        "--max-response",
    }
    | {"--min-response", "--solved-by", "--rl-share", "--license", "--push", "--public"},
    (entry, "score"): H | {"--task", "--answer"},
    (entry, "tasks"): H,
    (entry, "doctor"): H | {"--work", "--gpus", "--part"},
}


@pytest.mark.parametrize(("module", "verb"), FLAGS, ids=lambda value: value if isinstance(value, str) else "")
def test_flags_are_frozen(capsys, module, verb):
    assert flags(capsys, module.main, verb) == FLAGS[module, verb]


def test_every_verb_is_in_the_table():
    assert {verb for module, verb in FLAGS if module is cli} == set(VERBS)
    assert {verb for module, verb in FLAGS if module is entry} == set(entry._VERBS)


@pytest.mark.parametrize(
    ("main", "prog", "first", "last"),
    [(entry.main, "fino1", "on this machine:", "serve"), (cli.main, "fino1-k8s", "write a run file:", "completion")],
)
def test_help_lists_the_verbs_in_groups(capsys, main, prog, first, last):
    with pytest.raises(SystemExit) as caught:
        main(["--help"])
    assert caught.value.code == 0
    lines = capsys.readouterr().out.splitlines()
    assert lines[0] == f"usage: {prog} [-h] [--version] VERB ..."
    assert lines[2].startswith("Train and evaluate financial-reasoning language models on ")
    verbs = [line.split()[0] for line in lines[lines.index(first) :] if re.match("  [a-z]", line)]
    assert verbs == list(entry._VERBS if prog == "fino1" else VERBS)
    assert verbs[-1] == last


@pytest.mark.parametrize(("main", "prog"), [(entry.main, "fino1"), (cli.main, "fino1-k8s")])
def test_version(capsys, main, prog):
    with pytest.raises(SystemExit) as caught:
        main(["--version"])
    assert caught.value.code == 0
    assert capsys.readouterr().out == f"{prog} {__version__}\n"


@pytest.mark.parametrize(
    ("main", "verb", "default"),
    [
        (cli.main, "run", "out"),
        *((entry.main, verb, "out") for verb in ("run", "report", "doctor")),
        *((entry.main, verb, "/work") for verb in ("train", "evaluate", "paths")),
    ],
)
def test_help_says_where_work_is(capsys, main, verb, default):
    with pytest.raises(SystemExit):
        main([verb, "--help"])
    assert f"directory of runs and results (default: {default})" in " ".join(capsys.readouterr().out.split())


@pytest.mark.parametrize("arguments", [[], ["fly"], ["run"], ["run", "demo", "--sft"]])
def test_wrong_usage_is_the_user_s_mistake(capsys, arguments):
    with pytest.raises(SystemExit) as caught:
        cli.main(arguments)
    assert caught.value.code == 2
    assert "usage: fino1-k8s" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("main", "arguments", "said"),
    [
        (entry.main, ["report", "--out", "x", "--lm-eval", ""], "--lm-eval: expected a path, got ''"),
        (cli.main, ["logs", "x", "--tail", "-3"], "--tail: expected a whole number of at least 0, got '-3'"),
        (cli.main, ["logs", "x", "--rank", "1.5"], "--rank: expected a whole number of at least 0, got '1.5'"),
        (cli.main, ["wait", "x", "--timeout", "-1"], "--timeout: expected a number of at least 0, got '-1'"),
        (cli.main, ["cancel", "x", "--timeout", "nan"], "--timeout: expected a number of at least 0, got 'nan'"),
        (cli.main, ["cancel", ""], "argument NAME: expected a run's name, got ''"),
        (cli.main, ["plan", "x", "--hours", "inf"], "--hours: expected a number of at least 0, got 'inf'"),
        (entry.main, ["serve", "--config", "x", "--port", "70000"], "--port: expected a whole number from 1 to 65535,"),
        (entry.main, ["doctor", "--gpus", "²"], "--gpus: expected a whole number of at least 0, got '²'"),
    ],
)
def test_what_an_option_does_not_take(capsys, main, arguments, said):
    with pytest.raises(SystemExit) as caught:
        main(arguments)
    assert caught.value.code == 2
    assert said in capsys.readouterr().err.splitlines()[-1]


@pytest.mark.parametrize(
    ("verb", "content", "message"),
    [
        ("train", None, "expected a JSON document, got [Errno 2]"),
        ("train", "{", "expected a JSON document, got Expecting"),
        ("train", "[]", "expected a map of keys, got []"),
        ("train", '{"method": "eval"}', "method: expected sft or verifier or ppo, got eval"),
        ("train", "{}", "method: expected sft or verifier or ppo, got none"),
        ("evaluate", '{"method": "sft"}', "method: expected eval, got sft"),
        ("evaluate", '{"method": "eval"}', "eval.models: expected at least one, got none"),
        ("paths", '{"method": "paths"}', "paths.writer: expected a model, got none"),
    ],
)
def test_configs_that_a_verb_does_not_run(capsys, tmp_path, verb, content, message):
    path = tmp_path / "config.json"
    if content is not None:
        path.write_text(content)
    assert entry.main([verb, "--config", str(path), "--work", str(tmp_path)]) == 2
    said = capsys.readouterr().err
    assert str(path) in said
    assert message in said


def test_a_run_file_that_cannot_be_written(capsys, tmp_path):
    assert cli.main(["init", "sft", "--out", str(tmp_path / "none" / "x.yaml")]) == 2
    assert (
        capsys.readouterr().err
        == f"--out: {tmp_path}/none/x.yaml: expected a file that can be written, got No such file or directory\n"
    )


def test_the_entry_says_what_the_disk_did(capsys, monkeypatch):
    def full(arguments):
        raise OSError(28, "No space left on device")

    monkeypatch.setitem(entry._VERBS, "doctor", full)
    assert entry.main(["doctor"]) == 74
    assert "No space left on device" in capsys.readouterr().err


def test_doctor(capsys, tmp_path):
    assert entry.main(["doctor", "--work", str(tmp_path / "new")]) == 0
    assert capsys.readouterr().out.splitlines()[-1] == "nothing is missing"
    assert entry.main(["doctor", "--work", "/proc/none", "--gpus", "99"]) == 1
    said = capsys.readouterr().out.splitlines()
    assert said[-1] == "2 missing"
    assert any(line.startswith("missing: write access to /proc/none") for line in said)
    assert any(line.startswith("missing: 99 GPUs") for line in said)
