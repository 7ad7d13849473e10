"""What do helm and `fino1-k8s render` make of the same document? Shared by the chart tests."""

import json
import re
import subprocess
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import yaml

from fino1 import __version__
from fino1.errors import SpecError
from fino1.k8s.objects.render import render
from fino1.spec import load
from tools import pivot

CHARTS = Path(__file__).parents[2] / "charts"
RUNS = sorted((CHARTS.parent / "manifests" / "runs").glob("*.yaml"))
Objects = dict[tuple[str, str], dict[str, Any]]


class Refused(Exception):
    """Neither made objects: `paths` are the keys it complained about."""

    def __init__(self, text: str, paths: set[str]) -> None:
        super().__init__(text)
        self.text, self.paths = text, paths


def by_helm(helm: Path, document: dict[str, Any], name: str, folder: Path, *options: str) -> Objects:
    """What `helm template` prints; raises Refused."""
    file = folder / "values.yaml"
    file.write_text(canonical_yaml(document))
    printed = template(helm, name, CHARTS / "fino1", "-f", file, *options)
    return read(printed)


def all_by_helm(helm: Path, documents: list[dict[str, Any]], name: str, folder: Path) -> list[Objects]:
    """What one `helm template` prints for all these documents: a chart that has ours once for each, under the names c0, c1, …"""
    aliases = [f"c{i}" for i in range(len(documents))]
    dependencies = [{"name": "fino1", "version": __version__, "alias": alias} for alias in aliases]
    about = {"apiVersion": "v2", "name": "cases", "version": "0.0.0", "dependencies": dependencies}
    (folder / "charts").mkdir(parents=True)
    (folder / "charts" / "fino1").symlink_to(CHARTS / "fino1")
    (folder / "Chart.yaml").write_text(canonical_yaml(about))
    (folder / "values.yaml").write_text(canonical_yaml(dict(zip(aliases, documents, strict=True))))
    printed = template(helm, name, folder)
    parts: dict[str, list[str]] = {alias: [] for alias in aliases}
    for part in re.split(r"^---\n", printed, flags=re.MULTILINE):
        if source := re.match(r"# Source: cases/charts/(c[0-9]+)/", part):
            parts[source[1]].append(part.replace(f'helm.sh/chart: "{source[1]}-', 'helm.sh/chart: "fino1-'))
    return [read("---\n".join(each)) for each in parts.values()]


def template(helm: Path, *arguments: str | Path) -> str:
    """What `helm template` prints; raises Refused."""
    done = subprocess.run([helm, "template", *arguments], capture_output=True, text=True, timeout=300)
    if done.returncode:
        raise Refused(done.stderr, _paths(done.stderr))
    return done.stdout


def by_render(document: dict[str, Any], name: str) -> Objects:
    """What `fino1-k8s render` makes; raises Refused."""
    try:
        return keyed(render(load.build(document, "F"), name, tests=True))
    except SpecError as error:
        raise Refused(
            str(error), {re.sub(r"^F: |^--", "", text).partition(":")[0] for text in error.problems}
        ) from None


def canonical_yaml(document: dict[str, Any]) -> str:
    """YAML that is JSON, so that both readers see the same."""
    text = json.dumps(document, ensure_ascii=False)
    return text.replace("\u2028", "\\u2028").replace("\u2029", "\\u2029")


def read(text: str) -> Objects:
    """Objects of a YAML stream."""
    return keyed(yaml.load_all(text, Loader=yaml.CSafeLoader))


def in_base(path: Path) -> tuple[Objects, Objects]:
    """What manifests/base holds of a run file: the run's objects, and those of `helm test`."""
    folder = CHARTS.parent / "manifests" / "base" / path.stem
    objects, test = ((folder / name).read_text() for name in (pivot.OBJECTS, pivot.TEST))
    return read(objects), read(test)


def keyed(objects: Iterable[Any]) -> Objects:
    """Objects by kind and name; none is there twice."""
    found = {}
    for thing in objects:
        if thing is not None:
            key = (thing["kind"], thing["metadata"]["name"])
            assert key not in found, key
            found[key] = thing
    return found


def _paths(text: str) -> set[str]:
    """The keys that Helm complains about: of the schema (Helm 4, Helm 3), and of `fail`."""
    found = set()
    for line in text.splitlines():
        line = line.strip()
        if line.endswith(": validation failed"):  # of a block; the lines below it name the keys
            continue
        if match := re.match(r"- at '/?([^']*)': (.*)", line):
            path = match[1].replace("/", ".").replace("~1", "/")
            unknown = re.findall(r"'([^']*)'", match[2]) if "additional properties" in match[2] else []
            missing = re.findall(r"'([^']*)'", match[2]) if "missing propert" in match[2] else []
            found |= {f"{path}.{key}".lstrip(".") for key in unknown + missing} or {path}
        elif match := re.match(r"- ([^:]+): (.*)", line):
            path = "" if match[1] == "(root)" else match[1]
            key = re.match(r"Additional property (\S+) is not allowed|(\S+) is required", match[2])
            found.add(f"{path}.{key[1] or key[2]}".lstrip(".") if key else path)
        elif match := re.match(r"([A-Za-z_][\w./-]*): expected ", line):
            found.add(match[1])
    return found
