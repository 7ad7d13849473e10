"""Does `status` say how a run stands on a real API server? (the test plays controllers and kubelets)"""

import json
import time

import pytest

from tests.cluster.stage import progress, rows, terminated

pytestmark = [pytest.mark.cluster, pytest.mark.slow, pytest.mark.timeout(120)]


def test_status_of_a_run_that_tells_its_progress(stage, fino1, start):
    (run,) = stage.submit(nodes=2)
    stage.conditions(run, "Created", "Running")
    first, _ = start(run, 0), start(run, 1)
    for done in (10, 20, 30):
        first.write(progress(done, loss=0.5), later_ns=10 * 10**9)
    _, out, _ = fino1("status", "run")
    assert "pods      2/2 running" in out
    assert "progress  sft 30/1000 (3 %)  loss 0.5  ETA 16m" in out
    assert f"results   /work/runs/{run.directory} on the work volume" in out
    _, out, _ = fino1("status", run.full, "-o", "json")
    (told,) = json.loads(out)["runs"]
    assert (told["phase"], told["progress"]["percent"], told["progress"]["etaSeconds"]) == ("Running", 3.0, 970)
    assert [pod["rank"] for pod in told["pods"]] == [0, 1]


def test_status_says_what_exit_codes_mean(stage, fino1):
    (run,) = stage.submit(nodes=2)
    stage.conditions(run, "Created", "Restarting")
    stage.running(stage.pod(run, 0), restarts=2, last=terminated(145))
    stage.ended(stage.pod(run, 1), 74)
    _, out, _ = fino1("status", "run")
    assert "phase     Restarting" in out and "next      fino1-k8s why run" in out
    assert [row[:4] for row in rows(out)[-2:]] == [
        ["0", f"{run.full}-worker-0", "Running", "2"],
        ["1", f"{run.full}-worker-1", "Failed", "0"],
    ]
    assert "145: another rank was lost" in out and "74: the disk is full" in out


def test_a_jobs_failed_pods_count_as_restarts(stage, fino1):
    (run,) = stage.submit(backend="job")
    stage.status(run, active=1, failed=2, startTime="2026-01-01T00:00:00Z")
    for code in (143, 137):
        stage.ended(stage.pod(run), code)
        time.sleep(1.01)  # the pods' age is told in seconds
    stage.waiting(stage.pod(run), "ContainerCreating")
    _, out, _ = fino1("status", "run", "-o", "json")
    (told,) = json.loads(out)["runs"]
    (pod,) = told["pods"]
    assert (told["phase"], pod["phase"], pod["restarts"]) == ("Restarting", "ContainerCreating", 2)
    assert pod["lastExit"]["code"] == 137


@pytest.mark.parametrize(("ready", "phase"), [(0, "Pending"), (1, "Running")])
def test_a_jobset_runs_when_its_pods_do(stage, fino1, ready, phase):
    (run,) = stage.submit(backend="jobset", nodes=2)
    job = {"name": "node", "ready": ready, "active": 1, "succeeded": 0, "failed": 0, "suspended": 0}
    stage.status(run, replicatedJobsStatus=[job])
    _, out, _ = fino1("status", "run", "-o", "json")
    assert json.loads(out)["runs"][0]["phase"] == phase


def test_status_of_a_queued_run_without_anything_of_kueue(stage, fino1):
    stage.submit(queue="gpus", suspend=True)
    _, out, _ = fino1("status", "run")
    assert "queue     gpus: not taken up by Kueue yet" in out and "Queued" in out


def test_a_name_that_nobody_has_and_one_that_nobody_can_have(stage, fino1):
    stage.submit()
    for name in ("walk", "no name"):
        code, _, err = fino1("status", name)
        assert code == 2 and err.startswith(f"{name}: expected a run in namespace") and "(there: run)" in err
