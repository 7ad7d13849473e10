"""The verbs that need no cluster: runs, init, render, lint."""

import argparse
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from fino1 import exits, load, recipe
from fino1.errors import SpecError
from fino1.k8s import output
from fino1.spec import RunSpec
from fino1.yamlfile import read_yaml


def read(arguments: argparse.Namespace) -> tuple[RunSpec, str]:
    """Which run do RUN, `--values` and `--set` ask for, under which name? Raises SpecError with every problem."""
    path = recipe.find(arguments.run)
    document = read_yaml(path)
    if recipe.is_recipe(document):
        raise SpecError(f"{path}: expected a run file, got a recipe, which is for `fino1-k8s run`")
    overlays = [read_yaml(file) for file in arguments.values]
    spec = load.build(load.layered([document, *overlays, load.parse_set(arguments.set)]), str(path))
    return spec, arguments.name or path.stem


def rendered(arguments: argparse.Namespace) -> list[dict[str, Any]]:
    """The run's objects."""
    from fino1.k8s.render import render

    return render(*read(arguments))


def list_runs(arguments: argparse.Namespace) -> int:
    """Verb `runs`."""
    rows = [_described(path) for path in recipe.built_in()]
    if arguments.output == "text":
        output.table(rows, ("name", "kind", "about"))
    else:
        output.structured(rows, arguments.output)
    return exits.DONE


def init(arguments: argparse.Namespace) -> int:
    """Verb `init`: a built-in run file with its comments, to be changed."""
    path = recipe.find(arguments.run)
    text = path.read_text(encoding="utf-8")
    if arguments.values or arguments.set:
        document = load.layered([read_yaml(path), *map(read_yaml, arguments.values), load.parse_set(arguments.set)])
        load.build(document, str(path))
        text = f"# From {path.stem}\n{output.as_yaml([document])}"
    if arguments.out is None:
        print(text, end="")
    elif arguments.out.exists():
        raise SpecError(f"--out: {arguments.out}: expected a new file, got one that exists")
    else:
        arguments.out.write_text(text, encoding="utf-8")
        print(
            f"{arguments.out}: change it, then `fino1-k8s plan {arguments.out}` and `fino1-k8s submit {arguments.out}`"
        )
    return exits.DONE


def render(arguments: argparse.Namespace) -> int:
    """Verb `render`."""
    objects = rendered(arguments)
    if arguments.output == "json":
        output.structured({"apiVersion": "v1", "kind": "List", "items": objects}, "json")
    else:
        print(output.as_yaml(objects), end="")
    return exits.DONE


def lint(arguments: argparse.Namespace) -> int:
    """Verb `lint`: runs by name or file, and manifests of any origin. 2 if anything is wrong."""
    from fino1.k8s.lint import lint as findings

    found = []
    for run in arguments.run:
        found += [(run, finding) for finding in findings(_objects(run, arguments))]
    if arguments.output == "text":
        for run, finding in found:
            print(f"{run}: {finding}")
        print(
            f"{sum(f.level == 'error' for _, f in found)} errors, {sum(f.level == 'warning' for _, f in found)} warnings"
        )
    else:
        import dataclasses

        output.structured([{"run": run, **dataclasses.asdict(finding)} for run, finding in found], arguments.output)
    return exits.USER if any(finding.level == "error" for _, finding in found) else exits.DONE


def _objects(run: str, arguments: argparse.Namespace) -> Sequence[dict[str, Any]]:
    """The objects of a run, or those in a file of manifests."""
    path = recipe.find(run)
    manifests = _manifests(path)
    return manifests if manifests else rendered(argparse.Namespace(**{**vars(arguments), "run": run}))


def _manifests(path: Path) -> list[dict[str, Any]]:
    """The Kubernetes objects in a YAML file; none if it is a run file, or cannot be read (`rendered` says why)."""
    import yaml

    try:
        documents = list(yaml.load_all(path.read_text(encoding="utf-8"), Loader=yaml.CSafeLoader))
    except (OSError, UnicodeDecodeError, yaml.YAMLError):
        return []
    objects = [thing for thing in documents if isinstance(thing, dict) and "kind" in thing and "apiVersion" in thing]
    return [item for thing in objects for item in (thing.get("items", []) if thing["kind"] == "List" else [thing])]


def _described(path: Path) -> dict[str, str]:
    """A row of `runs`: the first comment of a run file, the title of a recipe."""
    document = read_yaml(path)
    kind = "recipe" if recipe.is_recipe(document) else str(document.get("method", ""))
    first = path.read_text(encoding="utf-8").partition("\n")[0]
    return {"name": path.stem, "kind": kind, "about": first.removeprefix("#").strip()}
