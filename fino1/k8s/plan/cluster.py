"""What has this machine of a client, what does the cluster offer, and what may this user do there? (verb `doctor`)"""

import re
from collections import Counter
from collections.abc import Iterable
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
Part = tuple[Any, str]  # a part of the report: as JSON data, and as text


def survey(api: Api) -> tuple[dict[str, Any], dict[str, str]]:
    """The report as JSON data, and as lines under their headings. `missing` is what keeps runs from being submitted, `notes`
    what could not be seen.
    """
    report: dict[str, Any] = {}
    lines: dict[str, str] = {}
    notes: list[str] = []
    for key, (look, heading) in _PARTS.items():
        try:
            report[key], lines[heading] = look(api)
        except ApiError as error:
            if error.status != 403:
                raise
            report[key], lines[heading] = [], "not readable"
            notes.append(f"{heading}: {error}")
    allowed = rights.check(api, rights.list_role(api))
    lines["rights"] = allowed.says
    problems = [] if report["namespace"] is not None else [f"namespace {api.namespace} does not exist"]
    problems += [f"rights: {allowed.says}"] if allowed.level == "missing" else []
    notes += [f"rights: {allowed.says}"] if allowed.level == "note" else []
    return {**report, "lacking": allowed.numbers["lacking"], "notes": notes, "missing": problems}, lines


def _client(api: Api) -> Part:
    versions = {"fino1": __version__, "kubernetes": version("kubernetes"), "python": python_version()}
    text = ", ".join(f"{name} {each}" for name, each in versions.items())
    return {**versions, "credentials": api.who.source}, f"{text}; {api.who.source}"


def _server(api: Api) -> Part:
    found = next(preflight.access(api))
    return found.numbers, found.says


def _namespace(api: Api) -> Part:
    body = api.get("v1", "Namespace", api.namespace)
    if body is None:
        return None, f"{api.namespace} does not exist"
    level = (body["metadata"].get("labels") or {}).get(preflight.ENFORCE)
    data = {"phase": body.get("status", {}).get("phase", "Active"), "pod_security": level}
    return data, f"{api.namespace}, {f'Pod Security {level}' if level else 'no Pod Security label'}"


def _operators(api: Api) -> Part:
    served = {group: [each.rpartition("/")[2] for each in api.versions(group)] for group in OPERATORS}
    found = [
        {"name": OPERATORS[group].name, "group": group, "versions": versions}
        for group, versions in served.items()
        if versions
    ]
    return found, _join(f"{each['name']} {', '.join(each['versions'])}" for each in found)


def _backends(api: Api) -> Part:
    found = [name for name, each in BACKENDS.items() if all(api.serves(*kind) for kind in each.kinds)]
    return found, _join(found)


def _gangs(api: Api) -> Part:
    found = [name for name, each in GANG_SCHEDULERS.items() if api.versions(group_of(each.api_version))]
    return found, _join(found)


def _queues(api: Api) -> Part:
    served = kueue_version(api)
    queues = api.list(served, "LocalQueue").items if served else []
    found = [{"name": each["metadata"]["name"], "cluster_queue": each["spec"]["clusterQueue"]} for each in queues]
    return found, _join(f"{each['name']} → {each['cluster_queue']}" for each in found)


def _gpus(api: Api) -> Part:
    """Nodes and GPUs, by resource and product."""
    nodes: Counter[tuple[str, str]] = Counter()
    devices: Counter[tuple[str, str]] = Counter()
    for node in map(Node, api.list("v1", "Node").items):
        for resource, amount in node.allocatable.items():
            if _GPU.match(resource) and amount > 0:
                kind = resource, node.labels.get(PRODUCT, "of unknown product")
                nodes[kind] += 1
                devices[kind] += int(amount)
    found = [{"resource": r, "product": p, "nodes": nodes[r, p], "gpus": devices[r, p]} for r, p in sorted(nodes)]
    return found, _join("{gpus} {resource} {product} on {nodes} nodes".format(**each) for each in found)


def _storage_classes(api: Api) -> Part:
    found = [
        {
            "name": body["metadata"]["name"],
            "default": is_default_class(body),
            "provisioner": body["provisioner"],
            "binding": body.get("volumeBindingMode", "Immediate"),
        }
        for body in api.list("storage.k8s.io/v1", "StorageClass").items
    ]
    names = [f"{each['name']}{' (default)' if each['default'] else ''}" for each in found]
    texts = (f"{name} by {each['provisioner']}, {each['binding']}" for name, each in zip(names, found, strict=True))
    return found, f"{_join(texts)} (no class says whether it supports ReadWriteMany: ask who runs it, or try)"


def _join(items: Iterable[str]) -> str:
    return "; ".join(items) or "none"


_PARTS = {  # key of the report → what finds it, and the heading of its line
    "client": (_client, "client"),
    "server": (_server, "cluster"),
    "namespace": (_namespace, "namespace"),
    "operators": (_operators, "operators"),
    "backends": (_backends, "backends"),
    "gang": (_gangs, "gang"),
    "queues": (_queues, "queues"),
    "gpus": (_gpus, "GPU nodes"),
    "storage_classes": (_storage_classes, "storage"),
}
