"""Do suspend, resume, retry, cancel and prune do what they say on a real API server? The tests play the controllers."""

import threading
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from fino1 import exits
from fino1.k8s.change import owned, retry
from fino1.k8s.cluster.client import Api
from fino1.k8s.cluster.errors import Lost
from fino1.k8s.state.run import KINDS, Run, list_runs
from tests.cluster.stage import EVAL, RULES

pytestmark = [pytest.mark.cluster, pytest.mark.slow, pytest.mark.timeout(180)]

BACKENDS = ("pytorchjob", "job", "jobset", "trainjob")


@pytest.fixture
def submitted(fino1, api):
    """`submitted(backend)`: the run object of a run called `run`."""

    def submit(backend="pytorchjob", *more, name="run"):
        code, _, err = fino1("submit", "sft-tiny", "--name", name, "--set", f"backend={backend}", *more)
        assert code == exits.DONE, err
        return list_runs(api, selector=f"app.kubernetes.io/instance={name}")[0]

    return submit


@pytest.fixture
def collector(api):
    """Plays the garbage collector: what waits for its dependents to go has none, so it goes."""
    over = threading.Event()

    def collect():
        while not over.wait(0.1):
            for kind, version in KINDS.items():
                for item in api.list(version, kind).items:
                    if "foregroundDeletion" in item["metadata"].get("finalizers", []):
                        api.patch(version, kind, item["metadata"]["name"], {"metadata": {"finalizers": None}})

    thread = threading.Thread(target=collect)
    thread.start()
    yield
    over.set()
    thread.join()


def left_of_it(api):
    return sorted(owned.label(thing) for thing in owned.list_of_run(api, "run"))


def failed(stage, run):
    types = {"Job": ("Failed", "BackoffLimitExceeded", "no"), "TrainJob": ("Failed", "Failed", "no")}
    stage.conditions(run, types.get(run.kind, ("Failed", "Failed", "no")))


def workload(api, run, **spec):
    """The Workload that Kueue makes for a run."""
    reference = {"apiVersion": run.object["apiVersion"], "kind": run.kind, "name": run.full, "controller": True}
    reference |= {"uid": run.object["metadata"]["uid"]}
    template = run.object["spec"]["pytorchReplicaSpecs"]["Worker"]["template"]
    sets = [{"name": "worker", "count": 1, "template": {"spec": template["spec"] | {"restartPolicy": "Never"}}}]
    return api.create(
        {
            "apiVersion": "kueue.x-k8s.io/v1beta1",
            "kind": "Workload",
            "metadata": {"name": f"pytorchjob-{run.full}", "ownerReferences": [reference]},
            "spec": {"queueName": run.queue, "podSets": sets, **spec},
        }
    )


# suspend, resume


@pytest.mark.parametrize("backend", BACKENDS)
def test_suspended_and_resumed(api, fino1, submitted, backend):
    run = submitted(backend)
    for verb, suspended, said in (
        ("suspend", True, "suspended, its pods end with a checkpoint"),
        ("suspend", True, "already suspended"),
        ("resume", False, "resumed"),
        ("resume", False, "not suspended"),
    ):
        assert fino1(verb, "run") == (exits.DONE, f"{run.kind}/{run.full}: {said}\n", "")
        assert list_runs(api)[0].is_suspended == suspended
    assert fino1("diff", "sft-tiny", "--name", "run", "--set", f"backend={backend}")[0] <= 1


@pytest.mark.parametrize("verb", ["suspend", "resume"])
def test_what_is_over_is_not_suspended(fino1, submitted, stage, verb):
    run = submitted("job")
    stage.conditions(run, "Complete")
    code, _, err = fino1(verb, "run")
    assert (code, err) == (exits.USER, f"run: expected a run that is not over, got {run.full} is Succeeded\n")
    code, _, err = fino1(verb, "nothing")
    assert code == exits.USER
    assert "nothing: expected a run in namespace" in err


def test_in_a_queue_kueues_workload_is_stopped(api, fino1, submitted):
    """Kueue starts again what is only suspended."""
    run = submitted("pytorchjob", "--set", "queue=gpus")
    code, _, err = fino1("suspend", "run")
    assert code == exits.BUG
    assert "Kueue has no Workload for it (is the queue gpus there, and Kueue running?)" in err
    made = workload(api, run)["metadata"]["name"]

    def active():
        return api.get("kueue.x-k8s.io/v1beta1", "Workload", made)["spec"]["active"]

    assert fino1("suspend", "run")[1] == f"PyTorchJob/{run.full}: suspended, its pods end with a checkpoint\n"
    assert not active()
    assert not list_runs(api)[0].is_suspended  # that is for Kueue to do
    assert "already suspended" in fino1("suspend", "run")[1]
    assert "resumed, it is in queue gpus" in fino1("resume", "run")[1]
    assert active()
    assert "not suspended, it is in queue gpus" in fino1("resume", "run")[1]


# retry


@pytest.mark.parametrize("backend", BACKENDS)
def test_a_failed_run_is_made_anew(api, fino1, submitted, stage, collector, backend):
    run = submitted(backend)
    failed(stage, run)
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
    failed(stage, second)
    code, out, _ = fino1("retry", "run")
    assert (code, out) == (exits.DONE, f"Job/{second.full}: started again\n")
    uids = {run.full: run.object["metadata"]["uid"] for run in list_runs(api)}
    assert [uids[run.full] == run.object["metadata"]["uid"] for run in (first, second, third)] == [True, False, True]


def test_what_kueue_put_into_a_run_and_has_given_up_is_made_anew(api, fino1, submitted, collector):
    run = submitted("pytorchjob", "--set", "queue=gpus", "--set", "nodeSelector.zone=a")
    made = workload(api, run, active=False)
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
    failed(stage, run)
    threading.Timer(1.5, lambda: api.delete("v1", "Pod", pod)).start()
    began = time.monotonic()
    code, _, err = fino1("retry", "run")
    assert code == exits.DONE
    assert time.monotonic() - began > 1.4
    assert f"Pod/{pod}" in err


def test_a_retry_without_its_configuration_changes_nothing(api, fino1, submitted, stage):
    run = submitted()
    failed(stage, run)
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
    failed(stage, run)
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


# cancel


@pytest.mark.parametrize("backend", BACKENDS)
def test_cancelled_with_all_but_claims_and_once(api, fino1, submitted, collector, backend):
    run = submitted(backend)
    code, out, err = fino1("cancel", "run")
    assert code == exits.DONE, err
    assert out.splitlines()[0] == f"{run.kind}/{run.full}: cancelled"
    assert left_of_it(api) == []
    assert len(api.list("v1", "PersistentVolumeClaim").items) == 2
    code, out, _ = fino1("cancel", "run")
    assert (code, out) == (exits.DONE, f"run: nothing of it is in namespace {api.namespace}, nothing to cancel\n")


def test_all_models_of_an_evaluation_are_cancelled_or_one(api, fino1, collector):
    fino1("submit", *EVAL)
    one = list_runs(api)[0].full
    assert fino1("cancel", one)[0] == exits.DONE
    assert len(list_runs(api)) == 2
    code, out, _ = fino1("cancel", "run")
    assert (code, out.count(": cancelled"), left_of_it(api)) == (exits.DONE, 2, [])


def test_what_ranks_need_stays_until_their_pods_are_gone(api, fino1, submitted, stage, collector):
    run = submitted()
    pod = stage.pod(run)
    before = set(left_of_it(api))
    code, _, err = fino1("cancel", "run", "--timeout", "1.5")
    assert code == exits.BUG
    assert f"still there after 2 s: Pod/{pod}" in err
    assert before - set(left_of_it(api)) == {f"PyTorchJob/{run.full}"}
    api.delete("v1", "Pod", pod)
    assert fino1("cancel", "run")[:2] == (
        exits.DONE,
        "deleted: 1 ConfigMap, 1 NetworkPolicy, 1 ServiceAccount; claims and results stay\n",
    )


def test_a_pod_that_comes_after_its_object_has_gone_is_waited_for(api, fino1, submitted, stage, collector):
    """As a controller makes one that has not heard of the end; the garbage collector then ends it."""
    run = submitted()

    def come_and_go():
        while api.get(run.object["apiVersion"], run.kind, run.full):
            time.sleep(0.05)
        time.sleep(1)
        pod = stage.pod(run)
        time.sleep(3)
        around = left_of_it(api)
        api.delete("v1", "Pod", pod)
        return around

    with ThreadPoolExecutor() as pool:
        around = pool.submit(come_and_go)
        code, _, err = fino1("cancel", "run")
        assert (code, api.list("v1", "Pod").items) == (exits.DONE, []), err
        assert f"NetworkPolicy/{run.full}" in around.result()


def of_helm(api, run):
    annotations = {"meta.helm.sh/release-name": "run", "meta.helm.sh/release-namespace": api.namespace}
    api.patch(run.object["apiVersion"], run.kind, run.full, {"metadata": {"annotations": annotations}})


def test_what_helm_installed_is_helms_to_remove(api, fino1, submitted):
    run = submitted()
    of_helm(api, run)
    before = left_of_it(api)
    code, _, err = fino1("cancel", "run")
    assert code == exits.USER
    assert err == f"PyTorchJob/{run.full} belongs to Helm release run: helm uninstall run -n {api.namespace}\n"
    assert left_of_it(api) == before


# prune


def test_pruned_is_what_is_over_for_long_enough(api, fino1, submitted, stage):
    run = submitted("job")
    assert fino1("prune", "--older-than", "0s")[1] == "runs deleted: 0; claims and results stay\n"
    stage.conditions(run, "Complete")
    assert fino1("prune")[1] == "runs deleted: 0; claims and results stay\n"
    code, out, _ = fino1("prune", "--older-than", "0s", "--dry-run")
    assert code == exits.DONE
    head, row, end = out.splitlines()
    assert row.split()[:2] == [run.full, "Succeeded"]
    assert "1 ConfigMap, 1 Job, 1 NetworkPolicy, 1 ServiceAccount" in row
    assert end == "runs that would be deleted: 1; claims and results stay"
    assert len(left_of_it(api)) == 4
    assert fino1("prune", "--older-than", "0s")[0] == exits.DONE
    assert [Run(thing).full for thing in owned.list_of_run(api, "run") if thing["kind"] != "Job"] == []
    assert len(api.list("v1", "PersistentVolumeClaim").items) == 2


def test_leftovers_of_a_run_that_is_gone_go_unless_it_has_pods(api, fino1, submitted, stage):
    run = submitted()
    pod = stage.pod(run)
    api.delete("kubeflow.org/v1", "PyTorchJob", run.full)
    fino1("prune", "--older-than", "0s")
    assert len(left_of_it(api)) == 3
    api.delete("v1", "Pod", pod)
    out = fino1("prune", "--older-than", "0s")[1]
    assert out.splitlines()[1].split()[:2] == [run.full, "gone"]
    assert left_of_it(api) == []


def test_helms_are_kept(api, fino1, submitted, stage):
    run = submitted()
    stage.conditions(run, "Succeeded")
    for thing in owned.list_of_run(api, "run"):
        of_helm(api, Run(thing))
    code, _, err = fino1("prune", "--older-than", "0s")
    assert (code, len(left_of_it(api))) == (exits.DONE, 4)
    assert f"kept: what belongs to Helm release run (helm uninstall run -n {api.namespace})" in err


def test_how_old_is_said_plainly(fino1):
    code, _, err = fino1("prune", "--older-than", "soon")
    assert (code, err) == (exits.USER, "--older-than: expected a time such as 90s, 5m, 2h or 7d, got 'soon'\n")


# rights


def test_with_the_documented_role(api, fino1, submitted, stage, collector, account, namespace):
    mine = account(namespace, RULES["fino1"])
    queued = submitted("pytorchjob", "--set", "queue=gpus")
    workload(api, queued)
    for verb in ("suspend", "resume"):
        assert fino1(verb, "run", kubeconfig=mine)[0] == exits.DONE
    for backend in BACKENDS:
        run = submitted(backend, name=backend)
        for verb in ("suspend", "resume"):
            assert fino1(verb, backend, kubeconfig=mine)[0] == exits.DONE
        failed(stage, run)
        assert fino1("retry", backend, kubeconfig=mine)[0] == exits.DONE
        code, _, err = fino1("cancel", backend, kubeconfig=mine)
        assert code == exits.DONE, err
    run = submitted("job", name="old")
    stage.conditions(run, "Complete")
    code, out, err = fino1("prune", "--older-than", "0s", kubeconfig=mine)
    assert (code, err) == (exits.DONE, "")
    assert "runs deleted: 1;" in out


def test_with_the_role_that_only_reads(api, fino1, submitted, stage, account, namespace):
    mine = account(namespace, RULES["fino1-view"])
    run = submitted()
    for verb, refused in (("suspend", "patch"), ("cancel", "delete")):
        code, _, err = fino1(verb, "run", kubeconfig=mine)
        assert code == exits.BUG
        assert (
            f"may not {refused} pytorchjobs (API group kubeflow.org) in namespace {namespace}; the Role in docs" in err
        )
    failed(stage, run)
    for verb, refused in ((("retry", "run"), "patch"), (("prune", "--older-than", "0s"), "delete")):
        code, _, err = fino1(*verb, kubeconfig=mine)
        assert code == exits.BUG
        assert f"may not {refused} pytorchjobs" in err
    assert list_runs(api)[0].object["metadata"]["uid"] == run.object["metadata"]["uid"]
    assert retry.fresh(api, run)["metadata"]["name"] == run.full
