"""What has this machine of a client, what does the cluster offer, and what may this user do there? (verb `doctor`)"""

import re
from collections import Counter
from collections.abc import Callable, Iterable, Mapping
from importlib.metadata import version
from platform import python_version
from typing import Any

from fino1 import __version__
from fino1.k8s.cluster.client import Api
from fino1.k8s.cluster.errors import ApiError
from fino1.k8s.objects.backends import BACKENDS, GANG_SCHEDULERS, OPERATORS, group_of
from fino1.k8s.plan import preflight, rights
from fino1.k8s.state.nodes import PRODUCT, Node
from fino1.k8s.state.queue import kueue_version
from fino1.k8s.state.volumes import is_default_class

_GPU = re.compile(r"nvidia\.com/(gpu|mig-)|amd\.com/gpu|gpu\.intel\.com/|habana\.ai/gaudi")


def survey(api: Api) -> dict[str, Any]:
    """Everything, as JSON data: `missing` is what keeps runs from being submitted, `notes` what could not be seen."""
    notes: list[str] = []

    def read(about: str, look: Callable[[Api], Any], instead: Any) -> Any:
        try:
            return look(api)
        except ApiError as error:
            if error.status != 403:
                raise
            notes.append(f"{about}: {error}")
            return instead

    report = {
        **_offered(api),
        "namespace": read("namespace", _namespace, {}),
        "queues": read("queues", _queues, []),
        "gpus": read("GPU nodes", _gpus, []),
        "storage_classes": read("storage classes", _storage_classes, []),
    }
    problems = [] if report["namespace"] is not None else [f"namespace {api.namespace} does not exist"]
    lacking, unlisted = rights.find_lacking(api, rights.of_role(api))
    if lacking and unlisted:
        notes.append(f"rights: perhaps lacking: {lacking} ({unlisted})")
    elif lacking:
        problems.append(f"rights: this user lacks {lacking}; the Role in docs/rbac.md has them")
    return {**report, "lacking": lacking, "notes": notes, "missing": problems}


def _offered(api: Api) -> dict[str, Any]:
    """The client, the server, and the operators that this finds there: what everybody may ask."""
    client = {"fino1": __version__, "kubernetes": version("kubernetes"), "python": python_version()}
    return {
        "client": {**client, "credentials": api.who.source},
        "server": next(preflight.access(api)).numbers,
        "operators": [
            {"name": operator.name, "group": group, "versions": [each.rpartition("/")[2] for each in served]}
            for group, operator in OPERATORS.items()
            if (served := api.versions(group))
        ],
        "backends": [name for name, each in BACKENDS.items() if all(api.serves(*kind) for kind in each.kinds)],
        "gang": [name for name, each in GANG_SCHEDULERS.items() if api.versions(group_of(each.api_version))],
    }


def rows(report: Mapping[str, Any]) -> list[tuple[str, str]]:
    """The report for people: what a line is about, and its text."""
    client, server, namespace = report["client"], report["server"], report["namespace"]
    level = (namespace or {}).get("pod_security")
    security = f"Pod Security {level}" if level else "no Pod Security label" if namespace else "not readable"
    gpus = (f"{each['gpus']} {each['resource']} {each['product']} on {each['nodes']} nodes" for each in report["gpus"])
    classes = (
        f"{each['name']}{' (default)' if each['default'] else ''} by {each['provisioner']}, {each['binding']}"
        for each in report["storage_classes"]
    )
    return [
        ("client", f"fino1 {client['fino1']}, kubernetes {client['kubernetes']}, Python {client['python']}"),
        ("cluster", f"{server['server']}, Kubernetes {server['version']}"),
        ("login", f"{server['user']}, {client['credentials']}"),
        ("namespace", f"{server['namespace']}, {'does not exist' if namespace is None else security}"),
        ("operators", _join(f"{each['name']} {', '.join(each['versions'])}" for each in report["operators"])),
        ("backends", _join(report["backends"])),
        ("gang", _join(report["gang"])),
        ("queues", _join(f"{each['name']} → {each['cluster_queue']}" for each in report["queues"])),
        ("GPUs", _join(gpus)),
        ("storage", _join(classes)),
        ("", "no StorageClass says whether it supports ReadWriteMany: ask who runs it, or try"),
        ("rights", "lacking: " + report["lacking"] if report["lacking"] else "all of the Role in docs/rbac.md"),
    ]


def _namespace(api: Api) -> dict[str, Any] | None:
    body = api.get("v1", "Namespace", api.namespace)
    if body is None:
        return None
    labels = body["metadata"].get("labels") or {}
    return {"phase": body.get("status", {}).get("phase", "Active"), "pod_security": labels.get(preflight.ENFORCE)}


def _queues(api: Api) -> list[dict[str, str]]:
    served = kueue_version(api)
    queues = api.list(served, "LocalQueue").items if served else []
    return [{"name": each["metadata"]["name"], "cluster_queue": each["spec"]["clusterQueue"]} for each in queues]


def _gpus(api: Api) -> list[dict[str, Any]]:
    """Nodes and GPUs, by resource and product."""
    nodes: Counter[tuple[str, str]] = Counter()
    devices: Counter[tuple[str, str]] = Counter()
    for node in map(Node, api.list("v1", "Node").items):
        for resource, amount in node.allocatable.items():
            if _GPU.match(resource) and amount > 0:
                kind = resource, node.labels.get(PRODUCT, "of unknown product")
                nodes[kind] += 1
                devices[kind] += int(amount)
    return [{"resource": r, "product": p, "nodes": nodes[r, p], "gpus": devices[r, p]} for r, p in sorted(nodes)]


def _storage_classes(api: Api) -> list[dict[str, Any]]:
    return [
        {
            "name": body["metadata"]["name"],
            "default": is_default_class(body),
            "provisioner": body["provisioner"],
            "binding": body.get("volumeBindingMode", "Immediate"),
        }
        for body in api.list("storage.k8s.io/v1", "StorageClass").items
    ]


def _join(items: Iterable[str]) -> str:
    return "; ".join(items) or "none"
