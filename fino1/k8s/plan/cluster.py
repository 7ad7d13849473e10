"""What has this machine of a client, what does the cluster offer, and what may this user do there? (verb `doctor`)"""

import re
from collections import Counter
from collections.abc import Callable, Mapping
from importlib.metadata import version
from platform import python_version
from typing import Any

from fino1 import __version__
from fino1.k8s.cluster.client import Api
from fino1.k8s.cluster.errors import ApiError
from fino1.k8s.objects.backends import BACKENDS, GANG_SCHEDULERS, OPERATORS, group_of
from fino1.k8s.plan import preflight, rights
from fino1.k8s.plan.needs import readable
from fino1.k8s.state.nodes import PRODUCT, Node
from fino1.k8s.state.queue import kueue_version
from fino1.k8s.state.volumes import is_default_class

_GPU = re.compile(r"nvidia\.com/(gpu|mig-)|amd\.com/gpu|gpu\.intel\.com/|habana\.ai/gaudi")


def survey(api: Api) -> tuple[dict[str, Any], dict[str, str]]:
    """The report as JSON data, and as lines under their headings. `missing` is what keeps runs from being submitted, `notes`
    what could not be seen.
    """
    client = {"fino1": __version__, "kubernetes": version("kubernetes"), "python": python_version()}
    versions = ", ".join(f"{name} {each}" for name, each in client.items())
    server, namespace = next(preflight.access(api)), next(readable("namespace", preflight.find_namespace, api))
    found = (server, namespace, rights.check(api, rights.list_role(api)))
    report: dict[str, Any] = {
        "client": {**client, "credentials": api.who.source},
        "server": server.numbers,
        "namespace": dict(namespace.numbers) or None,
        "lacking": found[-1].numbers["lacking"],
    }
    lines = {"client": f"{versions}; {api.who.source}", **{each.about[0]: each.says for each in found}}
    notes = [f"{each.about[0]}: {each.says}" for each in found if each.level == "note"]
    for key, (heading, look, text) in _PARTS.items():
        try:
            report[key] = look(api)
            lines[heading] = "; ".join(map(text, report[key])) or "none"
        except ApiError as error:
            if error.status != 403:
                raise
            report[key], lines[heading] = [], "not readable"
            notes.append(f"{heading}: {error}")
    lines[""] = "no StorageClass says whether it supports ReadWriteMany: ask who runs it, or try"
    problems = [f"{each.about[0]}: {each.says}" for each in found if each.level == "missing"]
    return {**report, "notes": notes, "missing": problems}, lines


def _list_operators(api: Api) -> list[dict[str, Any]]:
    served = {group: [each.rpartition("/")[2] for each in api.versions(group)] for group in OPERATORS}
    return [
        {"name": OPERATORS[group].name, "group": group, "versions": found} for group, found in served.items() if found
    ]


def _list_backends(api: Api) -> list[str]:
    return [name for name, each in BACKENDS.items() if all(api.serves(*kind) for kind in each.kinds)]


def _list_gangs(api: Api) -> list[str]:
    return [name for name, each in GANG_SCHEDULERS.items() if api.versions(group_of(each.api_version))]


def _list_queues(api: Api) -> list[dict[str, Any]]:
    served = kueue_version(api)
    queues = api.list(served, "LocalQueue") if served else []
    return [{"name": each["metadata"]["name"], "cluster_queue": each["spec"]["clusterQueue"]} for each in queues]


def _list_gpus(api: Api) -> list[dict[str, Any]]:
    """Nodes and GPUs, by resource and product."""
    nodes: Counter[tuple[str, str]] = Counter()
    devices: Counter[tuple[str, str]] = Counter()
    for node in map(Node, api.list("v1", "Node")):
        for resource, amount in node.allocatable.items():
            if _GPU.match(resource) and amount > 0:
                kind = resource, node.labels.get(PRODUCT, "of unknown product")
                nodes[kind] += 1
                devices[kind] += int(amount)
    return [{"resource": r, "product": p, "nodes": nodes[r, p], "gpus": devices[r, p]} for r, p in sorted(nodes)]


def _list_classes(api: Api) -> list[dict[str, Any]]:
    return [
        {
            "name": body["metadata"]["name"],
            "default": is_default_class(body),
            "provisioner": body["provisioner"],
            "binding": body.get("volumeBindingMode", "Immediate"),
        }
        for body in api.list("storage.k8s.io/v1", "StorageClass")
    ]


# key → heading, items, an item's text
_PARTS: Mapping[str, tuple[str, Callable[[Api], list[Any]], Callable[[Any], str]]] = {
    "operators": ("operators", _list_operators, lambda each: f"{each['name']} {', '.join(each['versions'])}"),
    "backends": ("backends", _list_backends, str),
    "gang": ("gang", _list_gangs, str),
    "queues": ("queues", _list_queues, "{name} → {cluster_queue}".format_map),
    "gpus": ("GPU nodes", _list_gpus, "{gpus} {resource} {product} on {nodes} nodes".format_map),
    "storage_classes": (
        "storage",
        _list_classes,
        lambda each: (
            f"{each['name']}{' (default)' if each['default'] else ''} by {each['provisioner']}, {each['binding']}"
        ),
    ),
}
