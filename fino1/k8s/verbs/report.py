"""The verb `report`: fetch runs' results, and write their leaderboard and curves as one page."""

import argparse

from fino1.commandline import WORK
from fino1.k8s.verbs.fetch import fetch_runs
from fino1.local import page


def main(arguments: argparse.Namespace) -> int:
    """Fetch what is named; write the evaluations' leaderboard and the others' curves as one page."""
    directories = [run for came in fetch_runs(arguments, arguments.names, everything=False) for run in came.runs]
    print()
    return page.write(arguments.to or WORK, directories, "--title", arguments.title)
