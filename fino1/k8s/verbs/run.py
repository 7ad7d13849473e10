"""The verb `run`: `fino1 run` under its other name."""

import argparse

from fino1.local import recipe


def main(arguments: argparse.Namespace) -> int:
    """Verb `run`."""
    return recipe.main(arguments)
