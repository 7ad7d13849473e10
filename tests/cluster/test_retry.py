"""Does `retry` make failed runs anew on a real API server, and lose nothing on the way? The tests play the controllers."""

import threading
import time
from pathlib import Path

import pytest

from fino1 import exits
from fino1.k8s.cluster.client import Api
from fino1.k8s.cluster.errors import Lost
from fino1.k8s.state.run import list_runs
from tests.cluster.stage import EVAL, fail, make_workload

pytestmark = [pytest.mark.cluster, pytest.mark.slow, pytest.mark.timeout(180)]

BACKENDS = ("pytorchjob", "job", "jobset", "trainjob")


@pytest.mark.parametrize("backend", BACKENDS)
def test_a_failed_run_is_made_anew(api, fino1, submitted, stage, collector, backend):
    run = submitted(backend)
    fail(stage, run)
    assert list_runs(api)[0].phase == "Failed"
    code, out, err = fino1("retry", "run")
    assert (code, out) == (exits.DONE, f"{run.kind}/{run.full}: started again\n"), err
    [new] = list_runs(api)
    assert new.object["metadata"]["uid"] != run.object["metadata"]["uid"]
    assert new.phase == "Pending"
    assert (new.labels, new.directory) == (run.labels, run.directory)
    if backend == "job":  # the controller's own labels are the new object's
        for thing in (run.object, new.object):
            thing["spec"].pop("selector")
            labels = thing["spec"]["template"]["metadata"]["labels"]
            for key in [key for key in labels if key.endswith("controller-uid")]:
                del labels[key]
    assert new.object["spec"] == run.object["spec"]
    document = ("sft-tiny", "--name", "run", "--set", f"backend={backend}")
    code, out, err = fino1("submit", *document)
    assert code == exits.DONE, err
    assert out.splitlines()[0].endswith(": unchanged")


def test_a_run_that_has_not_failed_is_not_retried(fino1, submitted, stage):
    run = submitted()
    assert f"expected a failed run, got one that is not: {run.full} is Pending" in fino1("retry", "run")[2]
    stage.conditions(run, "Succeeded")
    code, _, err = fino1("retry", "run")
    assert (code, f"{run.full} is Succeeded" in err) == (exits.USER, True)


def test_only_the_failed_models_of_an_evaluation_are_retried(api, fino1, stage, collector):
    fino1("submit", *EVAL)
    first, second, third = list_runs(api)
    stage.conditions(first, "Complete")
    fail(stage, second)
    code, out, _ = fino1("retry", "run")
    assert (code, out) == (exits.DONE, f"Job/{second.full}: started again\n")
    uids = {run.full: run.object["metadata"]["uid"] for run in list_runs(api)}
    assert [uids[run.full] == run.object["metadata"]["uid"] for run in (first, second, third)] == [True, False, True]


def test_what_kueue_put_into_a_run_and_has_given_up_is_made_anew(api, fino1, submitted, collector):
    run = submitted("pytorchjob", "--set", "queue=gpus", "--set", "nodeSelector.zone=a")
    made = make_workload(api, run, active=False)
    condition = {
        "type": "Evicted",
        "status": "True",
        "reason": "InactiveWorkloadDeactivatedDueToRequeuingLimitExceeded",
    }
    condition |= {"lastTransitionTime": "2026-01-01T00:00:00Z", "message": "no"}
    status = {"status": {"conditions": [condition]}}
    api.patch("kueue.x-k8s.io/v1beta1", "Workload", made["metadata"]["name"], status, subresource="status")
    roles = run.object["spec"]["pytorchReplicaSpecs"]
    roles["Worker"]["template"]["spec"]["nodeSelector"] = {"zone": "a", "flavor": "spot"}
    spec = {"pytorchReplicaSpecs": roles, "runPolicy": {"suspend": True}}
    api.patch("kubeflow.org/v1", "PyTorchJob", run.full, {"spec": spec})
    code, _, err = fino1("retry", "run")
    assert code == exits.DONE, err
    [new] = list_runs(api)
    assert new.object["spec"]["pytorchReplicaSpecs"]["Worker"]["template"]["spec"]["nodeSelector"] == {"zone": "a"}
    assert not new.is_suspended


def test_a_retry_waits_for_old_pods(api, fino1, submitted, stage, collector):
    run = submitted()
    pod = stage.pod(run)
    fail(stage, run)
    threading.Timer(1.5, lambda: api.delete("v1", "Pod", pod)).start()
    began = time.monotonic()
    code, _, err = fino1("retry", "run")
    assert code == exits.DONE
    assert time.monotonic() - began > 1.4
    assert f"Pod/{pod}" in err


def test_a_retry_without_its_configuration_changes_nothing(api, fino1, submitted, stage):
    run = submitted()
    fail(stage, run)
    api.delete("v1", "ConfigMap", run.full)
    code, _, err = fino1("retry", "run")
    assert (code, err) == (
        exits.USER,
        f"{run.full}: expected its ConfigMap to be there, got none: submit the run again from its file\n",
    )
    assert list_runs(api)[0].object["metadata"]["uid"] == run.object["metadata"]["uid"]


def test_a_retry_that_loses_the_server_says_how_to_finish(
    api, fino1, cluster, submitted, stage, collector, monkeypatch
):
    run = submitted()
    fail(stage, run)
    apply = Api.apply

    def lose(self, obj, *, dry_run=False, **options):
        if dry_run:
            return apply(self, obj, dry_run=dry_run, **options)
        raise Lost("https://there cannot be reached", unsent=True)

    monkeypatch.setattr(Api, "apply", lose)
    code, _, err = fino1("retry", "run")
    assert (code, list_runs(api)) == (exits.BUG, [])
    command = err.partition("kubectl ")[2].split("\n")[0].split()
    assert cluster.kubectl(*command).returncode == 0
    assert list_runs(api)[0].full == run.full
    Path(command[-1]).unlink()
