"""What the command lines of `fino1` and `fino1-k8s` share: verbs in groups, `--version`, a run file's options."""

import argparse
import math
from collections.abc import Callable, Mapping
from pathlib import Path

from fino1 import __version__

WORK = Path("out")  # where `run` leaves runs and results, and `report` and `doctor` look for them
Groups = Mapping[str, Mapping[str, str]]  # heading → verb → help


def parser(
    prog: str, description: str, groups: Groups
) -> tuple[argparse.ArgumentParser, dict[str, argparse.ArgumentParser]]:
    """Build a command's parser, and by name those of its verbs, whose options the caller adds."""
    title, *others = groups
    headings = {next(iter(groups[heading])): f"\n{heading}:\n" for heading in others}

    class Formatter(argparse.HelpFormatter):
        """Lists the verbs under their groups' headings: argparse has groups of options only."""

        def _format_action(self, action: argparse.Action) -> str:
            if isinstance(action, argparse._SubParsersAction):
                return "".join(map(self._format_action, action._get_subactions()))
            return headings.get(action.dest, "") + super()._format_action(action)

    top = argparse.ArgumentParser(prog=prog, description=description, formatter_class=Formatter)
    top.add_argument("--version", action="version", version=f"{prog} {__version__}")
    commands = top.add_subparsers(dest="verb", required=True, metavar="VERB", title=title, prog=prog)
    return top, {
        verb: commands.add_parser(verb, help=text, description=text)
        for verbs in groups.values()
        for verb, text in verbs.items()
    }


def whole(least: int, most: float = math.inf) -> Callable[[str], int]:
    """Make an option's `type`: a whole number in a range."""

    def read(text: str) -> int:
        if text.lstrip("-").isdecimal() and len(text) < 20 and least <= int(text) <= most:
            return int(text)
        limits = f"of at least {least}" if most == math.inf else f"from {least} to {most}"
        raise argparse.ArgumentTypeError(f"expected a whole number {limits}, got {text!r}")

    return read


def amount(text: str) -> float:
    """Read an option's number, 0 or more; its `type`."""
    try:
        found = float(text)
    except ValueError:
        found = math.nan
    if not 0 <= found < math.inf:
        raise argparse.ArgumentTypeError(f"expected a number of at least 0, got {text!r}")
    return found


def path(text: str) -> Path:
    """Read an option's path; its `type`. None is `''`, as of a shell's variable that is not set: that would be this directory."""
    if not text:
        raise argparse.ArgumentTypeError("expected a path, got ''")
    return Path(text)


def add_run_file(
    command: argparse.ArgumentParser,
    assignment: str = r"VALUE as helm --set reads it, a list or map as JSON; \. is a dot of a key's own; may be repeated",
) -> None:
    """Add the options that change a run file: overlays, single keys (`assignment` says how), the name."""
    text = "run file whose keys are laid over it; may be repeated"
    command.add_argument("-f", "--values", type=path, action="append", default=[], metavar="FILE", help=text)
    command.add_argument("--set", action="append", default=[], metavar="KEY=VALUE", help=assignment)
    command.add_argument("--name", help="name of the run (default: the file's)")


def add_name(command: argparse.ArgumentParser) -> None:
    """Add the name of a run on the cluster."""

    def read(text: str) -> str:
        if not text:
            raise argparse.ArgumentTypeError("expected a run's name, got ''")
        return text

    command.add_argument("name", type=read, metavar="NAME", help="the run's name, or its object's full name")


def add_run(command: argparse.ArgumentParser) -> None:
    """Add what the verb `run` takes, which both commands have."""
    command.add_argument(
        "run", metavar="RUN|RECIPE", help="built-in name (see `fino1-k8s runs`), or path of a YAML file"
    )
    add_run_file(
        command,
        "VALUE as helm --set reads it, a list or map as JSON; in a recipe for every stage, STAGE:KEY=VALUE for one",
    )
    add_work(command, WORK)


def add_work(command: argparse.ArgumentParser, default: Path) -> None:
    """Add `--work`."""
    text = f"directory of runs and results (default: {default})"
    command.add_argument("--work", type=path, default=default, metavar="DIR", help=text)
