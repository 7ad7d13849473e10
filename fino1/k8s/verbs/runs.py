"""The verb `runs`: which run files and recipes are built in?"""

import argparse
from pathlib import Path

from fino1 import exits
from fino1.k8s.text import print_structured, print_table
from fino1.spec import recipe
from fino1.spec.yamlfile import read_yaml


def main(arguments: argparse.Namespace) -> int:
    """Verb `runs`: list them."""
    rows = [_describe(path) for path in recipe.built_in()]
    if arguments.output == "text":
        print_table(rows, ("name", "kind", "about"))
    else:
        print_structured(rows, arguments.output)
    return exits.DONE


def _describe(path: Path) -> dict[str, str]:
    """A row of `runs`: name, kind, and the first comment of the file."""
    document = read_yaml(path)
    kind = "recipe" if recipe.is_recipe(document) else str(document.get("method", ""))
    first = path.read_text(encoding="utf-8").partition("\n")[0]
    return {"name": path.stem, "kind": kind, "about": first.removeprefix("#").strip()}
