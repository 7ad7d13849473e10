"""The verb `run`: `fino1 run` under its other name."""

import argparse

from fino1.local import recipe


def main(arguments: argparse.Namespace) -> int:
    """Run a run file or a recipe on this machine."""
    return recipe.main(arguments)
