"""Make a failed run's object anew from the one on the cluster. No run file is needed, and nothing is lost on the way."""

import copy
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from fino1.errors import SpecError
from fino1.k8s.change import owned
from fino1.k8s.cluster.client import Api, in_parallel
from fino1.k8s.cluster.errors import ApiError
from fino1.k8s.objects.backends import pod_templates
from fino1.k8s.state.run import Run
from fino1.spec.yamlfile import as_yaml

# labels that the API server adds to the template of a Job without a selector
_JOBS_OWN = ("controller-uid", "job-name", "batch.kubernetes.io/controller-uid", "batch.kubernetes.io/job-name")
_KUBECTL = "kubectl apply --server-side --field-manager=fino1"
_KUEUES = ("nodeSelector", "tolerations", "schedulingGates")


def make_anew(api: Api, runs: Sequence[Run]) -> None:
    """Delete the run objects, wait for their pods (docs/design.md C12), create the objects anew.

    First the server is asked whether it would take them. They lie in a file until they are there, for a user who is
    interrupted while old pods end.
    """
    for run in runs:
        _check(api, run)
    things = [rebuild_as_submitted(api, run) for run in runs]
    with tempfile.NamedTemporaryFile("w", prefix="fino1-retry-", suffix=".yaml", delete=False) as file:
        file.write(as_yaml(things))
    done = False
    try:
        owned.end_runs(api, [run.object for run in runs], {run.full for run in runs})
        # Applied, not created: a later submit of the same is then no conflict over what was defaulted.
        in_parallel(lambda thing: api.apply(thing, before={}), things)
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


def _check(api: Api, run: Run) -> None:
    """Ask the server whether it would take the new object, before the old one goes. Raises SpecError, ClusterError."""
    if api.get("v1", "ConfigMap", run.full) is None:
        raise SpecError(f"{run.full}: expected its ConfigMap to be there, got none: submit the run again from its file")
    thing = rebuild_as_submitted(api, run)
    metadata = {**thing["metadata"], "name": f"{run.full[:40]}-retry"}  # its own name is still taken
    api.apply({**thing, "metadata": metadata}, dry_run=True, before={})


def rebuild_as_submitted(api: Api, run: Run) -> dict[str, Any]:
    """The run object as it was submitted: without what the server, the controllers and Kueue have added."""
    metadata = run.object["metadata"]
    spec = copy.deepcopy(dict(run.object["spec"]))
    spec.get("runPolicy", spec).pop("suspend", None)
    for key in ("podTemplateOverrides", "runtimePatches"):  # of a TrainJob: Kueue's
        spec.pop(key, None)
    if run.kind == "Job" and not spec.get("manualSelector"):
        del spec["selector"]
        for key in _JOBS_OWN:
            spec["template"]["metadata"]["labels"].pop(key, None)
    workload = owned.find_own_workload(api, run)
    # in the templates' order, without the flavors' node labels
    copies = workload["spec"]["podSets"] if workload else []
    for template, before in zip(pod_templates({"kind": run.kind, "spec": spec}), copies, strict=False):
        for key in _KUEUES:
            template["spec"].pop(key, None)
        template["spec"] |= {key: value for key, value in before["template"]["spec"].items() if key in _KUEUES}
    kept = {key: metadata[key] for key in ("name", "labels", "annotations") if key in metadata}
    return {"apiVersion": run.object["apiVersion"], "kind": run.kind, "metadata": kept, "spec": spec}
