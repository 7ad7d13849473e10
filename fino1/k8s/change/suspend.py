"""Suspend and resume runs, also those in a Kueue queue.

Kueue starts what is suspended as soon as there is room, so a run of a queue is stopped through its Workload.
"""

from collections.abc import Iterator, Mapping
from typing import Any

from fino1.errors import ClusterError, SpecError
from fino1.k8s.change.owned import join_names, label
from fino1.k8s.cluster.client import Api
from fino1.k8s.state.queue import find_workload, kueue_version
from fino1.k8s.state.run import Run, latest_runs

# reason of Kueue's condition after too many or too long attempts (its pkg/workload)
_GIVEN_UP = "DeactivatedDueTo"


def set_suspended(api: Api, name: str, suspended: bool) -> Iterator[str]:
    """Suspend or resume the newest run objects called `name`, with a line for each. Raises SpecError where all are over."""
    runs = latest_runs(api, name)
    open_runs = [run for run in runs if not run.is_over]
    if not open_runs:
        stand = join_names(f"{run.full} is {run.phase}" for run in runs)
        raise SpecError(f"{name}: expected a run that is not over, got {stand}")
    for run in open_runs:
        yield f"{label(run.object)}: {suspend_run(api, run, suspended)}"


def suspend_run(api: Api, run: Run, suspended: bool) -> str:
    """Suspend or resume a run that is not over. Returns what it did, in words."""
    if run.queue and (version := kueue_version(api)):
        return _set_active(api, version, run, not suspended)
    if run.is_suspended == suspended:
        return "already suspended" if suspended else "not suspended"
    change: dict[str, Any] = {"suspend": suspended}
    spec = {"runPolicy": change} if run.kind == "PyTorchJob" else change
    api.patch(run.object["apiVersion"], run.kind, run.full, {"spec": spec})
    return "suspended, its pods end with a checkpoint" if suspended else "resumed"


def was_given_up(api: Api, run: Run) -> bool:
    """Whether Kueue has deactivated the run by itself."""
    workload = _find_own_workload(api, run) if run.is_suspended else None
    conditions = (workload or {}).get("status", {}).get("conditions", [])
    return any(c["status"] == "True" and _GIVEN_UP in c.get("reason", "") for c in conditions)


def list_submitted_specs(api: Api, run: Run) -> list[Mapping[str, Any]]:
    """Pod specs as submitted: Kueue's copies from before it added its flavors' node labels; none without Kueue."""
    workload = _find_own_workload(api, run)
    return [pods["template"]["spec"] for pods in workload["spec"]["podSets"]] if workload else []


def _find_own_workload(api: Api, run: Run) -> Mapping[str, Any] | None:
    version = kueue_version(api) if run.queue else ""
    return find_workload(run, api.list(version, "Workload").items) if version else None


def _set_active(api: Api, version: str, run: Run, active: bool) -> str:
    workload = _find_own_workload(api, run)
    if workload is None:
        raise ClusterError(
            f"{run.kind}/{run.full}: Kueue has no Workload for it (is the queue {run.queue} there, and Kueue running?);"
            " try again in a moment"
        )
    if workload["spec"].get("active", True) == active:
        return f"not suspended, it is in queue {run.queue}" if active else "already suspended"
    api.patch(version, "Workload", workload["metadata"]["name"], {"spec": {"active": active}})
    return f"resumed, it is in queue {run.queue}" if active else "suspended, its pods end with a checkpoint"
