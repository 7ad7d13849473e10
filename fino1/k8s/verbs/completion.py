"""The verb `completion`: which script makes a shell complete `fino1-k8s`? And the answer to the shell, when it asks."""

import argparse
from pathlib import Path

import argcomplete
from argcomplete.completers import FilesCompleter

from fino1 import exits


def main(arguments: argparse.Namespace) -> int:
    """Print the script; what it offers, it asks of `fino1-k8s` itself (see `answer`)."""
    print(argcomplete.shellcode(["fino1-k8s"], use_defaults=False, shell=arguments.shell).strip())
    return exits.DONE


def answer(parser: argparse.ArgumentParser) -> None:
    """Tell the shell that started this process what can come next, and end the process."""
    argcomplete.autocomplete(parser, always_complete_options=False, default_completer=_words)


def _words(prefix: str, action: argparse.Action, parsed_args: argparse.Namespace, **_: object) -> list[str]:
    """Values of an argument without `choices`: built-in names (recipes are for `run` alone), paths, or nothing."""
    names = []
    if action.dest == "run":
        from fino1.spec import recipe  # loads pydantic, which other words need not wait for

        is_for_all = parsed_args.verb == "run"
        names = [path.stem for path in recipe.built_in() if is_for_all or path.parent.name != "recipes"]
    may_be_path = action.dest == "run" or action.type is Path or action.metavar == "FILE"
    return [*names, *(FilesCompleter()(prefix) if may_be_path else ())]
