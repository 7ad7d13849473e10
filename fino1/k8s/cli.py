"""Script `fino1-k8s`: which command was asked? Parse, call, print."""

import argparse
import sys
from pathlib import Path

from fino1 import errors


def main(argv: list[str] | None = None) -> int:
    """Run one verb; return its exit code (fino1/exits.py)."""
    parser = argparse.ArgumentParser(prog="fino1-k8s", description="Train and evaluate financial-reasoning models.")
    verbs = parser.add_subparsers(dest="verb", required=True)
    command = verbs.add_parser("run", help="run a run file or a recipe on this machine")
    command.add_argument("run", metavar="RUN|RECIPE", help="built-in name, or path of a YAML file")
    command.add_argument("-f", "--values", type=Path, action="append", default=[], metavar="FILE")
    command.add_argument(
        "--set",
        action="append",
        default=[],
        metavar="KEY=VALUE",
        help="VALUE is JSON, or text; with a recipe it goes to every stage, STAGE:KEY=VALUE to one",
    )
    command.add_argument("--work", type=Path, default=Path("out"), metavar="DIR")
    command.add_argument("--name", help="name of the run (default: the file's)")
    arguments = parser.parse_args(argv)
    return errors.guarded(lambda: _VERBS[arguments.verb](arguments))


def _run(arguments: argparse.Namespace) -> int:
    from fino1.k8s import chain

    return chain.run(arguments.run, arguments.values, arguments.set, arguments.work, arguments.name)


_VERBS = {"run": _run}

if __name__ == "__main__":
    sys.exit(main())
