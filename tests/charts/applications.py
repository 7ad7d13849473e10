"""Which Application does manifests/gitops/argocd/runs.yaml make of a folder? Shared by the chart and the cluster tests."""

import json
import subprocess
from pathlib import Path
from typing import Any

import yaml

MANIFESTS = Path(__file__).parents[2] / "manifests"
GITOPS = MANIFESTS / "gitops"
RUNS = sorted((MANIFESTS / "runs").glob("*.yaml"))


def application(helm: Path, name: str, chart: Path) -> dict[str, Any]:
    """The ApplicationSet's template filled in by helm, whose template language it is; `chart` is an empty folder."""
    spec = yaml.safe_load((GITOPS / "argocd" / "runs.yaml").read_text())["spec"]
    (chart / "templates").mkdir()
    (chart / "Chart.yaml").write_text("{apiVersion: v2, name: x, version: 0.0.0}")
    (chart / "template").write_text(yaml.safe_dump(spec["template"], width=1000))
    (chart / "templates" / "all.yaml").write_text('{{ tpl ($.Files.Get "template") (merge (deepCopy $.Values) $) }}\n')
    parameters = {"path": {"path": f"runs/{name}", "basename": name}}  # what the git generator gives
    (chart / "parameters.yaml").write_text(json.dumps(parameters))
    command = [helm, "template", "x", chart, "-f", chart / "parameters.yaml"]
    done = subprocess.run(command, capture_output=True, text=True, timeout=60)
    assert done.returncode == 0, done.stderr
    return yaml.safe_load(done.stdout)
