"""Which version of Kueue does the cluster serve, and does a queue of it admit anything?"""

from collections.abc import Iterator, Mapping
from typing import Any

from fino1.k8s.cluster.client import Api

GROUP = "kueue.x-k8s.io"


def version(api: Api) -> str:
    """The version of Kueue's API that the cluster prefers; empty without Kueue."""
    return next(iter(api.versions(GROUP)), "")


def stopped(queue: Mapping[str, Any]) -> Iterator[tuple[str, str]]:
    """Why a LocalQueue or ClusterQueue admits nothing, as (cause, words): stopped by its administrator, or not active."""
    policy = queue["spec"].get("stopPolicy", "None")
    if policy != "None":
        yield "QueueStopped", f"is stopped by its administrator ({policy})"
    for condition in (queue.get("status") or {}).get("conditions") or []:
        if condition["type"] == "Active" and condition["status"] != "True":
            yield "QueueInactive", f"is not active: {condition.get('message') or condition.get('reason')}"
