"""Suspend and resume runs, also those in a Kueue queue.

Kueue starts what is suspended as soon as there is room, so a run of a queue is stopped through its Workload.
"""

from collections.abc import Iterator, Mapping
from typing import Any

from fino1.errors import ClusterError, SpecError
from fino1.k8s.change.owned import join_names, label
from fino1.k8s.cluster.client import Api
from fino1.k8s.state.queue import condition, find_workload, kueue_version
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
        yield f"{label(run.object)}: {_suspend_run(api, run, suspended)}"


def _suspend_run(api: Api, run: Run, suspended: bool) -> str:
    """Suspend or resume a run that is not over. Returns what it did, in words."""
    thing, is_suspended, queue = run.object, run.is_suspended, ""
    change: dict[str, Any] = {"suspend": suspended}
    if run.kind == "PyTorchJob":
        change = {"runPolicy": change}
    if run.queue and kueue_version(api):
        thing, change = find_own_workload(api, run) or {}, {"active": not suspended}
        if not thing:
            hint = f"is the queue {run.queue} there, and Kueue running?"
            raise ClusterError(f"{run.kind}/{run.full}: Kueue has no Workload for it ({hint}); try again in a moment")
        is_suspended, queue = not thing["spec"].get("active", True), f", it is in queue {run.queue}"
    if is_suspended == suspended:
        return "already suspended" if suspended else f"not suspended{queue}"
    api.patch(thing["apiVersion"], thing["kind"], thing["metadata"]["name"], {"spec": change})
    return "suspended, its pods end with a checkpoint" if suspended else f"resumed{queue}"


def was_given_up(api: Api, run: Run) -> bool:
    """Whether Kueue has deactivated the run by itself."""
    evicted = condition(find_own_workload(api, run) if run.is_suspended else None, "Evicted")
    return evicted.get("status") == "True" and _GIVEN_UP in evicted.get("reason", "")


def find_own_workload(api: Api, run: Run) -> Mapping[str, Any] | None:
    """The Workload that Kueue has made of the run; None where it is not in a queue, or Kueue has made none."""
    version = kueue_version(api) if run.queue else ""
    return find_workload(run, api.list(version, "Workload")) if version else None
