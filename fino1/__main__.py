"""Script `fino1`, the container's entry: what does the pod do?

`train` and `evaluate` take the run's config.json; its hash and the run's name make the name of its directory under
`--work`. `link` and `serve` are for the containers beside an evaluation, which serve its model.
"""

import argparse
import json
import sys
from pathlib import Path
from typing import TYPE_CHECKING

from fino1 import errors, exits, processes, trackers
from fino1.errors import SpecError

if TYPE_CHECKING:  # pydantic and the spec are not loaded for --help
    from fino1.spec.run import RunSpec

WORK = Path("/work")
PORT = 8000


def main(argv: list[str] | None = None) -> int:
    """Run one verb; return its exit code (exits.py)."""
    arguments = _parser().parse_args(argv)
    return errors.guarded(lambda: _VERBS[arguments.verb](arguments))


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="fino1", description=__doc__.splitlines()[0])
    verbs = parser.add_subparsers(dest="verb", required=True)
    for verb, text in (
        ("train", "SFT, verifier or PPO, by the config's method"),
        ("evaluate", "every model answers every task"),
    ):
        command = verbs.add_parser(verb, help=text)
        command.add_argument("--config", type=Path, required=True, metavar="FILE")
        command.add_argument(
            "--name", help="name of the run (default: what the file `name` beside FILE says, or method)"
        )
        command.add_argument("--work", type=Path, default=WORK, metavar="DIR")
        if verb == "evaluate":
            command.add_argument("--server", metavar="URL", help="serves the model without base_url (ends in /v1)")
    for verb, text in (("link", "make a path point at the evaluation's model"), ("serve", "serve it, on loopback")):
        command = verbs.add_parser(verb, help=text)
        command.add_argument("--config", type=Path, required=True, metavar="FILE")
        command.add_argument("--work", type=Path, default=WORK, metavar="DIR")
        if verb == "link":
            command.add_argument("--to", type=Path, required=True, metavar="PATH")
        else:
            command.add_argument("--port", type=int, default=PORT)
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
    command.add_argument("--part", choices=("train", "evaluate"), help="what this machine is for (default: both)")
    return parser


def _train(arguments: argparse.Namespace) -> int:
    config = _config(arguments.config, "sft", "verifier", "ppo")
    trackers.check(str(arguments.config))
    processes.leave_on_signals()  # before torch is loaded, which takes seconds
    from fino1.train.launch.launch import start_ranks

    return start_ranks(arguments.config, _name(arguments, config["method"]), arguments.work)


def _evaluate(arguments: argparse.Namespace) -> int:
    processes.leave_on_signals()  # until the evaluation has its own handler: there is nothing to keep
    from fino1.evaluate.main import main as evaluate

    spec = _evaluation(arguments)
    return evaluate(spec, _name(arguments, spec.method), arguments.work, arguments.server)


def _link(arguments: argparse.Namespace) -> int:
    from fino1.evaluate import link

    model = link.find_served(_evaluation(arguments).eval, str(arguments.config))
    print(link.link(model, arguments.to, arguments.work))
    return exits.DONE


def _serve(arguments: argparse.Namespace) -> int:
    from fino1 import runs
    from fino1.evaluate import link, serve

    block = _evaluation(arguments).eval
    if block.server.engine == "vllm":
        raise SpecError(f"{arguments.config}: eval.server.engine: expected transformers for `fino1 serve`, got vllm")
    where, revision = runs.resolve(link.find_served(block, str(arguments.config)), arguments.work)
    return serve.serve_in_foreground("@".join(filter(None, (where, revision))), arguments.port, block.server.args)


def _report(arguments: argparse.Namespace) -> int:
    from fino1 import report

    report.write_runs(arguments.work, arguments.run, arguments.out, arguments.title, arguments.note, arguments.skipped)
    return exits.DONE


def _score(arguments: argparse.Namespace) -> int:
    from fino1.tasks import scorefile

    scorefile.main(arguments.task, arguments.file, sys.stdout)
    return exits.DONE


def _doctor(arguments: argparse.Namespace) -> int:
    from fino1.doctor import examine

    return examine(arguments.work, arguments.gpus, arguments.part)


def _evaluation(arguments: argparse.Namespace) -> "RunSpec":
    """Which evaluation does the config ask for?"""
    from fino1.spec import load

    return load.build(_config(arguments.config, "eval"), str(arguments.config), world_size=1)


def _name(arguments: argparse.Namespace, method: str) -> str:
    """What is the run called? A ConfigMap carries the name beside the config."""
    beside = arguments.config.with_name("name")
    if arguments.name is None and beside.is_file():
        return beside.read_text(encoding="utf-8").strip()
    return arguments.name or method


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


_VERBS = {
    "train": _train,
    "evaluate": _evaluate,
    "link": _link,
    "serve": _serve,
    "report": _report,
    "score": _score,
    "doctor": _doctor,
}

if __name__ == "__main__":
    sys.exit(main())
