"""How is a run stopped and started, alone or in a Kueue queue?

Kueue starts what is suspended as soon as there is room, so a run of a queue is stopped through its Workload.
"""

from collections.abc import Mapping
from typing import Any

from fino1 import exits
from fino1.errors import ClusterError, SpecError
from fino1.k8s.change.owned import label, names
from fino1.k8s.cluster.client import Api
from fino1.k8s.state.queue import find_workload, kueue_version
from fino1.k8s.state.run import Run, latest_runs

# Kueue has deactivated it by itself, after too many or too long attempts (pkg/workload, `DeactivatedDueTo…`).
_GIVEN_UP = "DeactivatedDueTo"


def suspend_run(api: Api, run: Run, suspended: bool) -> str:
    """Stop or start a run that is not over; in words, how it stands then."""
    if run.queue and (version := kueue_version(api)):
        return _set_active(api, version, run, not suspended)
    if run.is_suspended == suspended:
        return "already suspended" if suspended else "not suspended"
    change: dict[str, Any] = {"suspend": suspended}
    spec = {"runPolicy": change} if run.kind == "PyTorchJob" else change
    api.patch(run.object["apiVersion"], run.kind, run.full, {"spec": spec})
    return "suspended, its pods end with a checkpoint" if suspended else "resumed"


def was_given_up(api: Api, run: Run) -> bool:
    """Has Kueue stopped it for good?"""
    version = kueue_version(api) if run.queue and run.is_suspended else ""
    thing = find_workload(run, api.list(version, "Workload").items) if version else None
    conditions = (thing or {}).get("status", {}).get("conditions", [])
    return any(c["status"] == "True" and _GIVEN_UP in c.get("reason", "") for c in conditions)


def as_submitted(api: Api, run: Run) -> list[Mapping[str, Any]]:
    """Kueue's copies of the pod templates from before it put its flavours' node labels into them; none without Kueue."""
    version = kueue_version(api) if run.queue else ""
    thing = find_workload(run, api.list(version, "Workload").items) if version else None
    return [pods["template"]["spec"] for pods in thing["spec"]["podSets"]] if thing else []


def _set_active(api: Api, version: str, run: Run, active: bool) -> str:
    thing = find_workload(run, api.list(version, "Workload").items)
    if thing is None:
        raise ClusterError(
            f"{run.kind}/{run.full}: Kueue has no Workload for it (is the queue {run.queue} there, and Kueue running?);"
            " try again in a moment"
        )
    if thing["spec"].get("active", True) == active:
        return f"not suspended, it is in queue {run.queue}" if active else "already suspended"
    api.patch(version, "Workload", thing["metadata"]["name"], {"spec": {"active": active}})
    return f"resumed, it is in queue {run.queue}" if active else "suspended, its pods end with a checkpoint"


def set_suspended(cluster: Api, name: str, suspended: bool) -> int:
    """Suspend or resume the newest run objects called `name`; prints a line for each. Raises SpecError where all are over."""
    runs = latest_runs(cluster, name)
    open_runs = [run for run in runs if not run.is_over]
    if not open_runs:
        stand = names(f"{run.full} is {run.phase}" for run in runs)
        raise SpecError(f"{name}: expected a run that is not over, got {stand}")
    for run in open_runs:
        print(f"{label(run.object)}: {suspend_run(cluster, run, suspended)}")
    return exits.DONE
