"""Script `fino1`, the container's entry: what does the pod do?

`train` and `evaluate` take the run's config.json; its hash and `--name` name the run's directory under `--work`.
"""

import argparse
import json
import sys
from pathlib import Path

from fino1 import errors, exits
from fino1.errors import SpecError

WORK = Path("/work")


def main(argv: list[str] | None = None) -> int:
    """Run one verb; return its exit code (exits.py)."""
    parser = argparse.ArgumentParser(prog="fino1", description=__doc__.splitlines()[0])
    verbs = parser.add_subparsers(dest="verb", required=True)
    for verb, text in (
        ("train", "SFT, verifier or PPO, by the config's method"),
        ("evaluate", "every model answers every task"),
    ):
        command = verbs.add_parser(verb, help=text)
        command.add_argument("--config", type=Path, required=True, metavar="FILE")
        command.add_argument("--name", help="name of the run (default: the config's method)")
        command.add_argument("--work", type=Path, default=WORK, metavar="DIR")
    command = verbs.add_parser("report", help="leaderboard and page from finished runs")
    command.add_argument("--work", type=Path, default=WORK, metavar="DIR")
    command.add_argument("--out", type=Path, required=True, metavar="DIR")
    command.add_argument("--run", action="append", default=[], metavar="NAME", help="finished run, may be repeated")
    command.add_argument("--title", default="Fino1")
    command.add_argument("--note", default="")
    command.add_argument("--skipped", action="append", default=[], metavar="TEXT")
    command = verbs.add_parser("score", help="judge answers of your own")
    command.add_argument("--task", required=True)
    command.add_argument("file", type=Path, metavar="FILE.jsonl")
    command = verbs.add_parser("doctor", help="versions, devices, write access, and what is missing")
    command.add_argument("--work", type=Path, default=WORK, metavar="DIR")
    command.add_argument("--gpus", type=int, default=0, metavar="N", help="GPUs that must be there")
    arguments = parser.parse_args(argv)
    return errors.guarded(lambda: _VERBS[arguments.verb](arguments))


def _train(arguments: argparse.Namespace) -> int:
    config = _config(arguments.config, "sft", "verifier", "ppo")
    from fino1.train.launch import start_ranks

    return start_ranks(arguments.config, arguments.name or config["method"], arguments.work)


def _evaluate(arguments: argparse.Namespace) -> int:
    from fino1 import load
    from fino1.evaluate.main import main as evaluate

    spec = load.build(_config(arguments.config, "eval"), str(arguments.config), world_size=1)
    return evaluate(spec, arguments.name or spec.method, arguments.work)


def _report(arguments: argparse.Namespace) -> int:
    from fino1 import runs
    from fino1.report import write

    cells, names, curves = [], [], {}
    for name in arguments.run:
        directory = runs.finished(arguments.work, name)
        done = json.loads((directory / "done.json").read_text())
        if done["method"] == "eval":
            cells += [arguments.work / "cells" / key for key in done["cells"]]
            names += done["models"]
        else:
            curves[directory.name.rpartition("-")[0]] = directory
    write(cells, curves, arguments.out, arguments.title, arguments.note, arguments.skipped, names)
    return exits.DONE


def _score(arguments: argparse.Namespace) -> int:
    from fino1.tasks import scorefile

    scorefile.main(arguments.task, arguments.file, sys.stdout)
    return exits.DONE


def _doctor(arguments: argparse.Namespace) -> int:
    from fino1.doctor import examine

    return examine(arguments.work, arguments.gpus)


def _config(path: Path, *methods: str) -> dict:
    """Read a config.json whose method this verb runs."""
    try:
        config = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise SpecError(f"--config: {path}: expected a JSON document, got {error}") from error
    if not isinstance(config, dict):
        raise SpecError(f"--config: {path}: expected a map of keys, got {json.dumps(config)[:60]}")
    if config.get("method") not in methods:
        raise SpecError(f"{path}: method: expected {' or '.join(methods)}, got {config.get('method', 'none')}")
    return config


_VERBS = {"train": _train, "evaluate": _evaluate, "report": _report, "score": _score, "doctor": _doctor}

if __name__ == "__main__":
    sys.exit(main())
