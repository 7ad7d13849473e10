"""Does `cancel` remove a run, its pods first, and nothing else, on a real API server? The tests play the controllers."""

import time
from concurrent.futures import ThreadPoolExecutor

import pytest

from fino1 import exits
from fino1.k8s.state.run import list_runs
from tests.cluster.stage import EVAL, left_of_run, make_helms

pytestmark = [pytest.mark.cluster, pytest.mark.slow, pytest.mark.timeout(180)]

BACKENDS = ("pytorchjob", "job", "jobset", "trainjob")


@pytest.mark.parametrize("backend", BACKENDS)
def test_cancelled_with_all_but_claims_and_once(api, fino1, submitted, collector, backend):
    run = submitted(backend)
    code, out, err = fino1("cancel", "run")
    assert code == exits.DONE, err
    assert out.splitlines()[0] == f"{run.kind}/{run.full}: cancelled"
    assert left_of_run(api) == []
    assert len(api.list("v1", "PersistentVolumeClaim")) == 2
    code, out, _ = fino1("cancel", "run")
    assert (code, out) == (exits.DONE, f"run: nothing of it is in namespace {api.namespace}, nothing to cancel\n")


def test_all_models_of_an_evaluation_are_cancelled_or_one(api, fino1, collector):
    fino1("submit", *EVAL)
    one = list_runs(api)[0].full
    assert fino1("cancel", one)[0] == exits.DONE
    assert len(list_runs(api)) == 2
    code, out, _ = fino1("cancel", "run")
    assert (code, out.count(": cancelled"), left_of_run(api)) == (exits.DONE, 2, [])


def test_what_ranks_need_stays_until_their_pods_are_gone(api, fino1, submitted, stage, collector):
    run = submitted()
    pod = stage.pod(run)
    before = set(left_of_run(api))
    code, _, err = fino1("cancel", "run", "--timeout", "4")
    assert code == exits.BUG
    assert f"still there after 4 s: Pod/{pod}" in err
    assert before - set(left_of_run(api)) == {f"PyTorchJob/{run.full}"}
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
        around = left_of_run(api)
        api.delete("v1", "Pod", pod)
        return around

    with ThreadPoolExecutor() as pool:
        around = pool.submit(come_and_go)
        code, _, err = fino1("cancel", "run")
        assert (code, api.list("v1", "Pod")) == (exits.DONE, []), err
        assert f"NetworkPolicy/{run.full}" in around.result()


def test_what_helm_installed_is_helms_to_remove(api, fino1, submitted):
    run = submitted()
    make_helms(api, run)
    before = left_of_run(api)
    code, _, err = fino1("cancel", "run")
    assert code == exits.USER
    assert err == f"PyTorchJob/{run.full} belongs to Helm release run: helm uninstall run -n {api.namespace}\n"
    assert left_of_run(api) == before
