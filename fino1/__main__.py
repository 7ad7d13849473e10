"""Command line `fino1`: the verbs that run on this machine or in a pod.

`run` is for people. `train`, `evaluate` and `paths` are what `run` and the pods start: they take a run's config.json, whose
hash and the run's name make the name of its directory under `--work`. `link` and `serve` are for the containers beside one that
asks models, which serve one of them.
"""

import argparse
import json
import sys
from pathlib import Path
from typing import TYPE_CHECKING

from fino1 import commandline, errors, exits, processes
from fino1.errors import SpecError
from fino1.rows import options

if TYPE_CHECKING:  # pydantic and the spec are not loaded for --help
    from fino1.spec.run import RunSpec

_POD_WORK = Path("/work")  # where a pod has the volume
_PORT = 8000
_GROUPS = {
    "on this machine": {
        "run": "run a run file or a recipe: train, evaluate, report",
        "report": "write the leaderboard and curves of finished runs as one page",
        "rows": "filter and merge rows of `paths` runs and files into a data set for SFT, PPO and DPO",
        "score": "judge answers of your own",
        "tasks": "list the tasks, or check task files: kinds of answers, licence, source",
        "doctor": "list versions and devices, check write access, and say what is missing",
    },
    "what `run` and the pods start": {
        "train": "train with the config's method (sft, verifier or ppo)",
        "evaluate": "have every model answer every task",
        "paths": "search reasoning paths for questions",
        "link": "symlink PATH to the model that is served",
        "serve": "serve the model without base_url, on loopback",
    },
}


def main(argv: list[str] | None = None) -> int:
    """Run one verb; return its exit code (exits.py)."""
    arguments = parser().parse_args(argv)
    return errors.guarded(lambda: _VERBS[arguments.verb](arguments))


def parser() -> argparse.ArgumentParser:
    """Build the command line with all its verbs."""
    top, commands = commandline.parser(
        "fino1", "Train and evaluate financial-reasoning language models on this machine.", _GROUPS
    )
    commandline.add_run(commands["run"])
    for verb in ("train", "evaluate", "paths", "link", "serve"):
        text = "the run's config.json"
        commands[verb].add_argument("--config", type=commandline.path, required=True, metavar="FILE", help=text)
    for verb in ("train", "evaluate", "paths"):
        text = "name of the run (default: what the file `name` beside FILE says, or method)"
        commands[verb].add_argument("--name", help=text)
        text = "the run file that messages name"
        commands[verb].add_argument("--source", metavar="FILE", help=text)
    for verb in ("train", "evaluate", "paths", "link", "serve"):
        commandline.add_work(commands[verb], _POD_WORK)
    for verb in ("report", "doctor"):
        commandline.add_work(commands[verb], commandline.WORK)
    for verb in ("evaluate", "paths"):
        commands[verb].add_argument("--server", metavar="URL", help="serves the model without base_url (ends in /v1)")
    text = "judge the stored completions of the run's finished cells again, and ask nobody"
    commands["evaluate"].add_argument("--rescore", action="store_true", help=text)
    commands["link"].add_argument("--to", type=commandline.path, required=True, metavar="PATH", help="the path to make")
    commands["serve"].add_argument(
        "--port", type=commandline.whole(1, 65535), default=_PORT, help=f"(default: {_PORT})"
    )
    _add_report(commands["report"])
    options.add(commands["rows"])
    commands["tasks"].add_argument("files", nargs="*", metavar="FILE.yaml", help="task files (docs/tasks.md)")
    commands["score"].add_argument("--task", required=True, help="the task whose rows were answered, or a task file")
    commands["score"].add_argument(
        "file", type=commandline.path, metavar="FILE.jsonl", help="answers and targets (docs/scoring.md)"
    )
    text = "program: the answers are programs, which are run (default: text)"
    commands["score"].add_argument("--answer", choices=("text", "program"), default="text", help=text)
    doctor = commands["doctor"]
    doctor.add_argument(
        "--gpus", type=commandline.whole(0), default=0, metavar="N", help="GPUs that must be there (default: 0)"
    )
    doctor.add_argument("--part", choices=("train", "evaluate"), help="what this machine is for (default: both)")
    return top


def _add_report(command: argparse.ArgumentParser) -> None:
    command.add_argument(
        "--out", type=commandline.path, required=True, metavar="DIR", help="where the page and tables go"
    )
    command.add_argument("--run", action="append", default=[], metavar="NAME", help="finished run, may be repeated")
    command.add_argument("--title", default="Fino1", help="heading of the page (default: Fino1)")
    command.add_argument("--note", default="", metavar="TEXT", help="a paragraph under the heading")
    text = "what was left out and why, listed on the page; may be repeated"
    command.add_argument("--skipped", action="append", default=[], metavar="TEXT", help=text)
    text = "put cells that differ in more than the model, such as the prompt, in one table, with a column that says in what"
    command.add_argument("--allow-mixed", action="store_true", help=text)
    text = "also write the samples there, as lm-evaluation-harness writes its own (docs/run.md)"
    command.add_argument("--lm-eval", type=commandline.path, metavar="DIR", help=text)


def _run(arguments: argparse.Namespace) -> int:
    from fino1.local import recipe

    return recipe.main(arguments)


def _train(arguments: argparse.Namespace) -> int:
    from fino1 import trackers

    source = arguments.source or str(arguments.config)
    config = _config(arguments.config, "sft", "verifier", "ppo")
    trackers.check(source)
    processes.leave_on_signals()  # before torch is loaded, which takes seconds
    with processes.pause_gc():
        from fino1.spec import load
        from fino1.train.launch.launch import start_ranks

    try:
        return start_ranks(arguments.config, _name(arguments, config["method"]), arguments.work, arguments.source)
    except SpecError as error:
        raise load.located(error, arguments.source) from error


def _evaluate(arguments: argparse.Namespace) -> int:
    processes.leave_on_signals()  # until the evaluation has its own handler: there is nothing to keep
    from fino1.evaluate import rescore
    from fino1.evaluate.main import main as evaluate
    from fino1.spec import load

    spec = _build(arguments, "eval")
    try:
        if arguments.rescore:
            return rescore.main(spec, _name(arguments, spec.method), arguments.work)
        return evaluate(spec, _name(arguments, spec.method), arguments.work, arguments.server)
    except SpecError as error:
        raise load.located(error, arguments.source) from error


def _paths(arguments: argparse.Namespace) -> int:
    processes.leave_on_signals()  # until the search has its own handler
    from fino1.paths.main import main as search
    from fino1.spec import load

    spec = _build(arguments, "paths")
    try:
        return search(spec, _name(arguments, spec.method), arguments.work, arguments.server)
    except SpecError as error:
        raise load.located(error, arguments.source) from error


def _link(arguments: argparse.Namespace) -> int:
    from fino1.evaluate import link

    key, model = link.find_served(_build(arguments, "eval", "paths"), str(arguments.config))
    print(link.link(key, model, arguments.to, arguments.work))
    return exits.DONE


def _serve(arguments: argparse.Namespace) -> int:
    from fino1 import runs
    from fino1.evaluate import link, serve

    spec = _build(arguments, "eval", "paths")
    if spec.asking.server.engine == "vllm":
        place = f"{arguments.config}: {spec.method}.server.engine"
        raise SpecError(f"{place}: expected transformers for `fino1 serve`, got vllm")
    key, model = link.find_served(spec, str(arguments.config))
    where, revision = runs.resolve(model, arguments.work, key=key)
    program = serve.transformers("@".join(filter(None, (where, revision))), spec.list_server_args(model))
    return serve.serve_in_foreground(program, arguments.port)


def _report(arguments: argparse.Namespace) -> int:
    from fino1 import report

    texts = (arguments.title, arguments.note, arguments.skipped)
    report.write_runs(arguments.work, arguments.run, arguments.out, *texts, arguments.allow_mixed)
    if arguments.lm_eval:
        report.write_samples(arguments.work, arguments.run, arguments.lm_eval)
    return exits.DONE


def _rows(arguments: argparse.Namespace) -> int:
    from fino1.rows.main import main as write_rows

    return write_rows(arguments)


def _score(arguments: argparse.Namespace) -> int:
    from fino1.tasks import scorefile

    scorefile.main(arguments.task, arguments.file, sys.stdout, arguments.answer)
    return exits.DONE


def _tasks(arguments: argparse.Namespace) -> int:
    from fino1.tasks import listing

    listing.main(arguments.files, sys.stdout)
    return exits.DONE


def _doctor(arguments: argparse.Namespace) -> int:
    from fino1.doctor import examine

    return examine(arguments.work, arguments.gpus, arguments.part)


def _build(arguments: argparse.Namespace, *methods: str) -> "RunSpec":
    """Read the run that the config describes, of one of `methods`, which ask models."""
    from fino1.spec import load

    return load.build(_config(arguments.config, *methods), str(arguments.config), world_size=1)


def _name(arguments: argparse.Namespace, method: str) -> str:
    """Return the run's name: `--name`, else what the file `name` beside the config says, else the method."""
    beside = arguments.config.with_name("name")
    if arguments.name is None and beside.is_file():
        return beside.read_text(encoding="utf-8").strip()
    return arguments.name or method


def _config(path: Path, *methods: str) -> dict:
    """Read a config.json. Raises SpecError where it is none, or its method is not one of `methods`."""
    try:
        config = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        hint = "" if path.suffix == ".json" else "; `fino1 run FILE` takes a run file"
        raise SpecError(f"--config: {path}: expected a JSON document, got {error}{hint}") from error
    if not isinstance(config, dict):
        raise SpecError(f"--config: {path}: expected a map of keys, got {json.dumps(config)[:60]}")
    if config.get("method") not in methods:
        raise SpecError(f"{path}: method: expected {' or '.join(methods)}, got {config.get('method', 'none')}")
    return config


_VERBS = {
    "run": _run,
    "report": _report,
    "rows": _rows,
    "score": _score,
    "tasks": _tasks,
    "doctor": _doctor,
    "train": _train,
    "evaluate": _evaluate,
    "paths": _paths,
    "link": _link,
    "serve": _serve,
}

if __name__ == "__main__":
    sys.exit(main())
