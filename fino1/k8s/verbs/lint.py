"""The verb `lint`: which mistakes are in these run files?"""

import argparse
import re
from pathlib import Path

from fino1 import exits
from fino1.errors import SpecError
from fino1.k8s.objects.lint import lint
from fino1.k8s.objects.unit import units
from fino1.k8s.text import print_structured
from fino1.spec import recipe


def main(arguments: argparse.Namespace) -> int:
    """Verb `lint`: 2 if a run file has an error."""
    found = []
    for run in arguments.run:
        _refuse_manifest(recipe.find(run))
        spec, name = recipe.read_run(run, arguments.values, arguments.set, arguments.name)
        units(spec, name)  # raises SpecError for what no pod could run
        found += [(run, finding) for finding in lint(spec)]
    levels = [finding.level for _, finding in found]
    if arguments.output == "text":
        for run, finding in found:
            print(f"{run}: {finding}")
        print(f"{levels.count('error')} errors, {levels.count('warning')} warnings")
    else:
        rows = [
            {"run": run, "rule": each.cause, "level": each.level, "path": each.about[0], "message": each.says}
            for run, each in found
        ]
        print_structured(rows, arguments.output)
    return exits.USER if "error" in levels else exits.DONE


def _refuse_manifest(path: Path) -> None:
    """SpecError where the file holds Kubernetes objects; a run file has no key `kind`."""
    text = path.read_text(encoding="utf-8", errors="replace") if path.is_file() else ""
    if kind := re.search(r"^kind: *(\S+)", text, re.MULTILINE):
        hint = "for manifests there are `kubectl apply --dry-run=server -f`, kubeconform and kube-linter"
        raise SpecError(f"{path}: expected a run file, got a Kubernetes object (kind {kind[1]}): {hint}")
