"""What do helm and `fino1-k8s render` make of the same document? Shared by the chart tests."""

import json
import re
import subprocess
from pathlib import Path
from typing import Any

import yaml

from fino1.errors import SpecError
from fino1.k8s.objects import unit
from fino1.k8s.objects.render import render
from fino1.spec import load

CHARTS = Path(__file__).parents[2] / "charts"
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
    chart = CHARTS / unit.chart(document.get("method", "sft"))
    command = [helm, "template", name, chart, "-f", file, *options]
    done = subprocess.run(command, capture_output=True, text=True, timeout=120)
    if done.returncode:
        raise Refused(done.stderr, _paths(done.stderr))
    return _keyed(yaml.load_all(done.stdout, Loader=yaml.CSafeLoader))


def by_render(document: dict[str, Any], name: str) -> Objects:
    """What `fino1-k8s render` makes; raises Refused."""
    try:
        return _keyed(render(load.build(document, "F"), name))
    except SpecError as error:
        raise Refused(
            str(error), {re.sub(r"^F: |^--", "", text).partition(":")[0] for text in error.problems}
        ) from None


def canonical_yaml(document: dict[str, Any]) -> str:
    """YAML that is JSON, so that both readers see the same."""
    text = json.dumps(document, ensure_ascii=False)
    return text.replace("\u2028", "\\u2028").replace("\u2029", "\\u2029")


def _keyed(objects: Any) -> Objects:
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
        if match := re.match(r"- at '/?([^']*)': (.*)", line):
            path = match[1].replace("/", ".").replace("~1", "/")
            unknown = re.findall(r"'([^']*)'", match[2]) if "additional properties" in match[2] else []
            missing = re.findall(r"'([^']*)'", match[2]) if "missing propert" in match[2] else []
            found |= {f"{path}.{key}".lstrip(".") for key in unknown + missing} or {path}
        elif match := re.match(r"- ([^:]+): (.*)", line):
            path = "" if match[1] == "(root)" else match[1]
            key = re.match(r"Additional property (\S+) is not allowed|(\S+) is required", match[2])
            found.add(f"{path}.{key[1] or key[2]}".lstrip(".") if key else path)
        elif match := re.match(r"([A-Za-z_][\w.]*): expected ", line):
            found.add(match[1])
    return found
