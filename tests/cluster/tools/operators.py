"""How does an operator get into the cluster? From its module's own kustomization, with our build as its image.

What differs from upstream: the image (built here, pulled by digest), small requests (two cores run everything), no replica
that waits for another, and no part whose image cannot be built (Kueue's metrics proxy).
"""

import json
import os
import shutil
import subprocess
from pathlib import Path
from typing import Any

from tests.cluster.tools import oci, programs
from tests.cluster.tools.cache import ToolError, say
from tests.cluster.tools.node import REGISTRY, Node

READY_S = 300


def install(node: Node, name: str) -> None:
    """Install the operator and wait until it serves; once more does no harm. Raises ToolError where it does not come up."""
    operator = programs.OPERATORS[name]
    say(f"installing {name} {operator.version}")
    image = oci.push(REGISTRY, name, programs.server(name), "/manager")
    folder = node.folder / "operators" / name
    shutil.rmtree(folder, ignore_errors=True)
    shutil.copytree(programs.deployments() / name, folder / "upstream")
    _write_kustomization(folder, operator, image)
    kubectl(node, "apply", "--server-side", "--force-conflicts", "--kustomize", str(folder))
    wait = f"--timeout={READY_S}s"
    kubectl(node, "rollout", "status", f"deployment/{operator.deployment}", f"--namespace={operator.namespace}", wait)


def kubectl(node: Node, *arguments: str) -> str:
    """What does kubectl print, asked as the administrator?"""
    environment = os.environ | {"KUBECONFIG": str(node.kubeconfig)}
    ran = subprocess.run([programs.kubectl(), *arguments], env=environment, capture_output=True, text=True)
    if ran.returncode:
        raise ToolError(f"kubectl {' '.join(arguments)}: {(ran.stderr or ran.stdout).strip()[-3000:]}")
    return ran.stdout


def _write_kustomization(folder: Path, operator: programs.Operator, image: str) -> None:
    """JSON, which is YAML."""
    for line in operator.without:
        file = folder / "upstream" / operator.overlay / "kustomization.yaml"
        text = file.read_text()
        if line not in text:
            raise ToolError(f"{file}: expected a line {line!r}")
        file.write_text(text.replace(line, ""))
    first = f"/spec/template/spec/containers/{operator.container}"
    changes: list[dict[str, Any]] = [
        {"op": "add", "path": f"{first}/image", "value": image},
        {"op": "add", "path": f"{first}/imagePullPolicy", "value": "IfNotPresent"},
        {"op": "add", "path": f"{first}/resources", "value": {"requests": {"cpu": "10m", "memory": "64Mi"}}},
    ]
    changes += [{"op": "add", "path": f"{first}/args/-", "value": word} for word in operator.arguments]
    content = {
        "apiVersion": "kustomize.config.k8s.io/v1beta1",
        "kind": "Kustomization",
        "resources": [f"upstream/{operator.overlay}"],
        "patches": [{"target": {"kind": "Deployment", "name": operator.deployment}, "patch": json.dumps(changes)}],
    }
    (folder / "kustomization.yaml").write_text(json.dumps(content, indent=1) + "\n")
