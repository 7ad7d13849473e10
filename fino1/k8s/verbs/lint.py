"""The verb `lint`: what is wrong that the API server does not catch?"""

import argparse
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from fino1 import exits
from fino1.k8s.objects.lint import lint
from fino1.k8s.objects.render import render
from fino1.k8s.text import print_structured
from fino1.spec import recipe


def main(arguments: argparse.Namespace) -> int:
    """Verb `lint`: runs by name or file, and manifests of any origin. 2 if anything is wrong."""
    found = []
    for run in arguments.run:
        found += [(run, finding) for finding in lint(_objects(run, arguments))]
    if arguments.output == "text":
        for run, finding in found:
            print(f"{run}: {finding}")
        print(
            f"{sum(f.level == 'error' for _, f in found)} errors, {sum(f.level == 'warning' for _, f in found)} warnings"
        )
    else:
        import dataclasses

        print_structured([{"run": run, **dataclasses.asdict(finding)} for run, finding in found], arguments.output)
    return exits.USER if any(finding.level == "error" for _, finding in found) else exits.DONE


def _objects(run: str, arguments: argparse.Namespace) -> Sequence[dict[str, Any]]:
    """The objects of a run, or those in a file of manifests."""
    path = recipe.find(run)
    manifests = _manifests(path)
    return manifests if manifests else render(*recipe.read_run(run, arguments.values, arguments.set, arguments.name))


def _manifests(path: Path) -> list[dict[str, Any]]:
    """The Kubernetes objects in a YAML file; none if it is a run file, or cannot be read (`rendered` says why)."""
    import yaml

    try:
        documents = list(yaml.load_all(path.read_text(encoding="utf-8"), Loader=yaml.CSafeLoader))
    except (OSError, UnicodeDecodeError, yaml.YAMLError):
        return []
    objects = [thing for thing in documents if isinstance(thing, dict) and "kind" in thing and "apiVersion" in thing]
    return [item for thing in objects for item in (thing.get("items", []) if thing["kind"] == "List" else [thing])]
