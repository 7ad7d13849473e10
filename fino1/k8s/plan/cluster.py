"""What has this machine of a client, what does the cluster offer, and what may this user do there? (verb `doctor`)"""

import re
from collections import Counter
from collections.abc import Callable, Iterable, Mapping
from fractions import Fraction
from importlib.metadata import version
from platform import python_version
from typing import Any

from fino1 import __version__
from fino1.k8s.cluster.client import Api
from fino1.k8s.cluster.errors import ApiError
from fino1.k8s.plan import needs, preflight, rights
from fino1.k8s.state import kueue
from fino1.k8s.state import nodes as capacity
from fino1.k8s.text import print_table

_GROUPS = {  # API group → who serves it
    "kubeflow.org": "Kubeflow Training Operator",
    "trainer.kubeflow.org": "Kubeflow Trainer",
    "jobset.x-k8s.io": "JobSet",
    "kueue.x-k8s.io": "Kueue",
    "scheduling.volcano.sh": "Volcano",
    "scheduling.x-k8s.io": "scheduler-plugins (coscheduling)",
    "karpenter.sh": "Karpenter",
}
_BACKENDS = {  # backend → kinds without which it does nothing
    "pytorchjob": (("kubeflow.org/v1", "PyTorchJob"),),
    "job": (("batch/v1", "Job"),),
    "jobset": (("jobset.x-k8s.io/v1alpha2", "JobSet"),),
    "trainjob": (
        ("trainer.kubeflow.org/v1alpha1", "TrainJob"),
        ("trainer.kubeflow.org/v1alpha1", "TrainingRuntime"),
        ("jobset.x-k8s.io/v1alpha2", "JobSet"),
    ),
}
_GPU = re.compile(r"nvidia\.com/(gpu|mig-)|amd\.com/gpu|gpu\.intel\.com/|habana\.ai/gaudi")


def survey(api: Api) -> dict[str, Any]:
    """Everything, as plain data; `missing` is what keeps runs from being submitted, `notes` what could not be seen."""
    access = next(preflight.access(api)).facts
    seen = _Seen()
    allowed = _allowed(api)
    report = {
        "client": {
            "fino1": __version__,
            "kubernetes": version("kubernetes"),
            "python": python_version(),
            "credentials": api.who.source,
        },
        "server": {**access, "skew": _skew(version("kubernetes"), access["version"])},
        "operators": [
            {"name": name, "group": group, "versions": [v.rpartition("/")[2] for v in served]}
            for group, name in _GROUPS.items()
            if (served := api.versions(group))
        ],
        "backends": [name for name, kinds in _BACKENDS.items() if all(api.serves(*kind) for kind in kinds)],
        "gang": [name for name, group in needs.GANGS.items() if api.versions(group)],
        "namespace": seen.or_note("namespace", lambda: _namespace(api), {}),
        "queues": seen.or_note("queues", lambda: _queues(api), []),
        "gpus": seen.or_note("GPU nodes", lambda: _gpus(api), []),
        "storage_classes": seen.or_note("storage classes", lambda: _storage_classes(api), []),
        "allowed": allowed,
    }
    problems = []
    if report["namespace"] is None:
        problems.append(f"namespace {api.namespace} does not exist")
    if allowed["submit"]:
        problems.append(f"submit: this user lacks {allowed['submit']}; the Role in docs/rbac.md has them")
    return report | {"notes": seen.notes, "missing": problems}


class _Seen:
    """Looks at what a user may be forbidden to see, and remembers that."""

    def __init__(self) -> None:
        self.notes: list[str] = []

    def or_note(self, about: str, look: Callable[[], Any], instead: Any) -> Any:
        """What is there; `instead`, and a note, where it may not be read."""
        try:
            return look()
        except ApiError as error:
            if error.status != 403:
                raise
            self.notes.append(f"{about}: {error}")
            return instead


def show_survey(report: Mapping[str, Any]) -> None:
    """Print it for people."""
    client, server, place = report["client"], report["server"], report["namespace"]
    rows = [
        ("client", f"fino1 {client['fino1']}, kubernetes {client['kubernetes']}, Python {client['python']}"),
        ("cluster", f"{server['server']}, Kubernetes {server['version']} ({server['skew']})"),
        ("login", f"{server['user']}, {client['credentials']}"),
        ("namespace", f"{server['namespace']}, {_about(place)}"),
        ("operators", _listed(f"{o['name']} {', '.join(o['versions'])}" for o in report["operators"])),
        ("backends", _listed(report["backends"])),
        ("gang", _listed(report["gang"])),
        ("queues", _listed(f"{q['name']} → {q['cluster_queue']}" for q in report["queues"])),
        ("GPUs", _listed(f"{g['gpus']} {g['resource']} {g['product']} on {g['nodes']} nodes" for g in report["gpus"])),
        ("storage", _listed(map(_storage, report["storage_classes"]))),
    ]
    for key, text in rows:
        print(f"{key:<9}  {text}")
    print("           no StorageClass says whether it can do ReadWriteMany: ask who runs it, or try")
    print()
    allowed = report["allowed"]
    table = [{"verb": v, "allowed": "no" if lacks else "yes", "lacks": lacks} for v, lacks in allowed.items()]
    print_table(table, ("verb", "allowed", "lacks"), styles={"yes": "green", "no": "red"})
    print()
    for text in report["notes"]:
        print(f"note: {text}")
    for number, text in enumerate(report["missing"], 1):
        print(f"{number}. missing: {text}")
    if not report["missing"]:
        print("nothing is missing")


def _allowed(api: Api) -> dict[str, str]:
    """Verb → the rights that this user lacks for it; empty where there are all."""
    wanted = rights.by_verb(api)
    refused = set(rights.refused(api, [right for each in wanted.values() for right in each]))
    return {verb: rights.listed(right for right in each if right in refused) for verb, each in wanted.items()}


def _skew(client: str, server: str) -> str:
    """How far is the client from the server? It asks by plain paths and discovery, so this breaks nothing by itself."""
    minor = re.match(r"v?\d+\.(\d+)", server)
    apart = abs(int(client.partition(".")[0]) - int(minor[1])) if minor else 0
    return f"{apart} minor versions from the client's" if apart else "the client's version"


def _namespace(api: Api) -> dict[str, Any] | None:
    body = api.get("v1", "Namespace", api.namespace)
    if body is None:
        return None
    labels = body["metadata"].get("labels") or {}
    return {"phase": body.get("status", {}).get("phase", "Active"), "pod_security": labels.get(preflight.ENFORCE)}


def _queues(api: Api) -> list[dict[str, str]]:
    served = kueue.version(api)
    queues = api.list(served, "LocalQueue").items if served else []
    return [{"name": q["metadata"]["name"], "cluster_queue": q["spec"]["clusterQueue"]} for q in queues]


def _gpus(api: Api) -> list[dict[str, Any]]:
    """Nodes and GPUs, by resource and product."""
    nodes: Counter[tuple[str, str]] = Counter()
    devices: Counter[tuple[str, str]] = Counter()
    for node in (capacity.Node(body) for body in api.list("v1", "Node").items):
        for resource, amount in node.allocatable.items():
            if _GPU.match(resource) and amount > Fraction(0):
                kind = resource, node.labels.get(capacity.PRODUCT, "of unknown product")
                nodes[kind] += 1
                devices[kind] += int(amount)
    return [{"resource": r, "product": p, "nodes": nodes[r, p], "gpus": devices[r, p]} for r, p in sorted(nodes)]


def _storage_classes(api: Api) -> list[dict[str, Any]]:
    return [
        {
            "name": body["metadata"]["name"],
            "default": needs.is_default(body),
            "provisioner": body["provisioner"],
            "binding": body.get("volumeBindingMode", "Immediate"),
        }
        for body in api.list("storage.k8s.io/v1", "StorageClass").items
    ]


def _storage(item: Mapping[str, Any]) -> str:
    return f"{item['name']}{' (default)' if item['default'] else ''} by {item['provisioner']}, {item['binding']}"


def _about(place: Mapping[str, Any] | None) -> str:
    if place is None:
        return "does not exist"
    level = place.get("pod_security")
    return f"Pod Security {level}" if level else "no Pod Security label" if place else "not readable"


def _listed(items: Iterable[str]) -> str:
    return "; ".join(items) or "none"
