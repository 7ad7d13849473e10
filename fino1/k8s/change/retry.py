"""How is a run object made anew from the one that failed? No run file is needed, and nothing is lost on the way."""

import copy
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from fino1.errors import SpecError
from fino1.k8s.change import owned, suspend
from fino1.k8s.change.dryrun import UNKNOWN
from fino1.k8s.change.owned import RUN
from fino1.k8s.cluster.client import Api
from fino1.k8s.cluster.errors import ApiError
from fino1.k8s.state.run import Run
from fino1.spec.yamlfile import as_yaml

# What the Job controller's API puts into a Job that says nothing of selectors.
_JOBS_OWN = ("controller-uid", "job-name", "batch.kubernetes.io/controller-uid", "batch.kubernetes.io/job-name")
_KUBECTL = "kubectl apply --server-side --field-manager=fino1"
_OF_QUEUE = ("nodeSelector", "tolerations", "schedulingGates")


def check(api: Api, run: Run) -> None:
    """Would the server take the new object? Asked before the old one goes. SpecError, ClusterError."""
    if api.get("v1", "ConfigMap", run.full) is None:
        raise SpecError(f"{run.full}: expected its ConfigMap to be there, got none: submit the run again from its file")
    thing = fresh(api, run)
    metadata = {**thing["metadata"], "name": f"{run.full[:40]}-retry"}  # its own name is still taken
    api.apply({**thing, "metadata": metadata}, dry_run=True, before=UNKNOWN)


def make(api: Api, runs: Sequence[Run]) -> None:
    """Delete the run objects, wait for their pods (C12), create them anew.

    What is to be created lies in a file until it is, for whoever is interrupted while old pods end.
    """
    things = [fresh(api, run) for run in runs]
    with tempfile.NamedTemporaryFile("w", prefix="fino1-retry-", suffix=".yaml", delete=False) as file:
        file.write(as_yaml(things))
    fulls = {run.full for run in runs}
    old = {run.object["metadata"]["uid"] for run in runs}

    def left() -> list[dict[str, Any]]:
        found = [api.get(run.object["apiVersion"], run.kind, run.full) for run in runs]
        still = [thing for thing in found if thing and thing["metadata"]["uid"] in old]
        return still + [pod for full in fulls for pod in owned.pods(api, f"{RUN}={full}", fulls)]

    done = False
    try:
        pods = [pod for full in fulls for pod in owned.pods(api, f"{RUN}={full}", fulls)]
        owned.remove(api, [run.object for run in runs], "Foreground")
        owned.wait_until_gone(left, owned.patience_s(pods))
        # Applied, not created: a later submit of the same is then no conflict over what was defaulted.
        owned.in_parallel(lambda thing: api.apply(thing, before=UNKNOWN), things)
        done = True
    except ApiError as error:
        done = error.status == 403  # it may not be deleted, so nothing was
        raise
    finally:
        if done:
            Path(file.name).unlink()
        else:
            ending = f"to finish what was begun, once that is gone: {_KUBECTL} -n {api.namespace} -f {file.name}"
            print(ending, file=sys.stderr)


def fresh(api: Api, run: Run) -> dict[str, Any]:
    """The run object as it was submitted: without the server's, the controllers' and Kueue's additions."""
    metadata = run.object["metadata"]
    spec = copy.deepcopy(dict(run.object["spec"]))
    spec.get("runPolicy", spec).pop("suspend", None)
    for key in ("podTemplateOverrides", "runtimePatches"):  # of a TrainJob: Kueue's
        spec.pop(key, None)
    if run.kind == "Job" and not spec.get("manualSelector"):
        del spec["selector"]
        for key in _JOBS_OWN:
            spec["template"]["metadata"]["labels"].pop(key, None)
    submitted = suspend.as_submitted(api, run)
    for template, before in zip(_pod_specs(run.kind, spec), submitted, strict=False):
        for key in _OF_QUEUE:
            template.pop(key, None)
            template.update({key: before[key]} if key in before else {})
    kept = {key: metadata[key] for key in ("name", "labels", "annotations") if key in metadata}
    return {"apiVersion": run.object["apiVersion"], "kind": run.kind, "metadata": kept, "spec": spec}


def _pod_specs(kind: str, spec: dict[str, Any]) -> list[dict[str, Any]]:
    """In the order of Kueue's pod sets; a TrainJob holds none."""
    if kind == "PyTorchJob":
        return [role["template"]["spec"] for role in spec["pytorchReplicaSpecs"].values()]
    if kind == "JobSet":
        return [job["template"]["spec"]["template"]["spec"] for job in spec["replicatedJobs"]]
    return [spec["template"]["spec"]] if kind == "Job" else []
