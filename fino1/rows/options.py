"""What does `fino1 rows` take? (docs/rows.md)"""

import argparse
import re

from fino1.commandline import path
from fino1.errors import SpecError


def add(command: argparse.ArgumentParser) -> None:
    """Add the verb's arguments."""
    command.add_argument(
        "input", type=path, nargs="+", metavar="RUN|FILE", help="directory of a finished `paths` run, or rows for SFT"
    )
    command.add_argument("--output", type=path, required=True, metavar="DIR", help="the data set's directory")
    command.add_argument("--overwrite", action="store_true", help="replace what `fino1 rows` wrote there before")
    text = "evaluation set whose pages, tables and questions are left out: TASK=FILE, or an evaluation's run file"
    command.add_argument("--exclude", action="append", default=[], metavar="SET", help=text + "; may be repeated")
    text = "share of an evaluated document's figures in shared 8-grams, from which a row is left out (default: 0.3)"
    command.add_argument("--ngram-share", type=_share, default=0.3, metavar="SHARE", help=text)
    text = "how alike the parts of two prompts are that count as one (Jaccard, default: 0.7)"
    command.add_argument("--similarity", type=_share, default=0.7, metavar="SHARE", help=text)
    text = "count lengths in this model's tokens (hub id or directory; default: in characters)"
    command.add_argument("--tokenizer", metavar="MODEL", help=text)
    for name, text in (
        ("--max-length", "longest prompt and response together"),
        ("--max-response", "longest response, with its reasoning"),
        ("--min-response", "shortest response, with its reasoning"),
    ):
        command.add_argument(name, type=_count, metavar="N", help=text)
    text = "finished cells of a model (out/cells, or one of them): what it answered right is left out"
    command.add_argument("--solved-by", type=path, metavar="DIR", help=text)
    text = "share of the pages whose questions are for PPO and not for SFT (default: 0.2)"
    command.add_argument("--rl-share", type=_share, default=0.2, metavar="SHARE", help=text)
    text = "licence of the rows, of one task as TASK=ID; the hub's name of it; may be repeated"
    command.add_argument("--license", action="append", default=[], metavar="ID", help=text)
    text = "upload the data set to this dataset repository (HF_TOKEN, HF_ENDPOINT), made private"
    command.add_argument("--push", metavar="ORG/NAME", help=text)
    command.add_argument("--public", action="store_true", help="let the repository be public")


def read_licenses(arguments: list[str], tasks: list[str]) -> dict[str, str]:
    """Return each task's licence, "unknown" where none is named. Raises SpecError for a task that no row has."""
    found: dict[str, str] = {}
    for argument in arguments:
        task, _, name = argument.rpartition("=")
        if not re.fullmatch(r"[a-z0-9.-]+", name):
            raise SpecError(f"--license: expected a name such as mit or cc-by-4.0, got {argument}")
        if task and task not in tasks:
            known = f"one of {', '.join(filter(None, tasks))}" if any(tasks) else "no task, since the rows name none"
            raise SpecError(f"--license: expected {known}, got {task} in {argument}")
        if task in found:
            raise SpecError(f"--license: expected one for {task or 'all tasks'}, got {found[task]} and {name}")
        found[task] = name
    return {task: found.get(task, found.get("", "unknown")) for task in tasks}


def _share(text: str) -> float:
    try:
        value = float(text)
    except ValueError:
        value = -1.0
    if not 0 <= value <= 1:
        raise argparse.ArgumentTypeError(f"expected a number from 0 to 1, got {text}")
    return value


def _count(text: str) -> int:
    if not (text.isascii() and text.isdecimal() and int(text) > 0):
        raise argparse.ArgumentTypeError(f"expected a number of at least 1, got {text}")
    return int(text)
