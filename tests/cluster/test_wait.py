"""Does `wait` end when a run does, with its code, on a real API server? (the test plays controllers and kubelets)"""

import _thread
import signal
import threading

import pytest

from tests.cluster.stage import Asked, progress, until

pytestmark = [pytest.mark.cluster, pytest.mark.slow, pytest.mark.timeout(120)]


def test_wait_for_a_run_that_succeeds(cluster, namespace, stage, capsys):
    (run,) = stage.submit(nodes=2)
    waiting = Asked(cluster, namespace, "wait", "run")
    assert until(capsys, "\n") == "run: Pending, 0 of 2 pods running\n"
    names = [stage.pod(run, rank) for rank in (0, 1)]
    for name in names:
        stage.running(name)
    stage.conditions(run, "Created", "Running")
    until(capsys, "run: Running, 2 of 2 pods running\n")
    for name in names:
        stage.ended(name, 0)
    stage.conditions(run, "Created", "Succeeded")
    assert waiting.end() == 0
    assert capsys.readouterr().err.endswith("run: Succeeded\n")


def test_wait_ends_with_the_code_of_the_rank_that_failed_first(stage, fino1):
    (run,) = stage.submit(nodes=4)
    for rank, code, later_s in ((0, 145, 0), (1, 2, 3), (2, 143, 4)):
        stage.ended(stage.pod(run, rank), code, later_s)
    stage.conditions(run, "Created", ("Failed", "PyTorchJobFailed", "1 Worker replica failed"))
    assert fino1("wait", "run")[0] == 2


def test_wait_over_a_restart_of_the_api_server(cluster, instance, namespace, stage, capsys):
    (run,) = stage.submit()
    waiting = Asked(cluster, namespace, "wait", "run")
    until(capsys, "Pending")
    instance.stop_apiserver(15)
    instance.start_apiserver()
    stage.ended(stage.pod(run), 74)
    stage.conditions(run, "Created", ("Failed", "PyTorchJobFailed", "failed"))
    assert waiting.end() == 74


def test_wait_shows_how_far_it_is(cluster, namespace, stage, start, capsys):
    (run,) = stage.submit()
    start(run).write(progress(30, loss=0.25))
    stage.conditions(run, "Created", "Running")
    waiting = Asked(cluster, namespace, "wait", "run")
    assert until(capsys, "\n") == "run: Running, 1 of 1 pods running: sft 30/1000 (3 %)  loss 0.25\n"
    stage.conditions(run, "Created", "Succeeded")
    assert waiting.end() == 0


def test_wait_for_no_longer_than(stage, fino1):
    stage.submit()
    code, _, err = fino1("wait", "run", "--timeout", "0.5")
    assert code == 1 and err.endswith("run: not over after 0.5 s: Pending, 0 of 1 pods running; it goes on\n")


def test_wait_for_a_run_that_is_deleted(cluster, namespace, stage, capsys):
    (run,) = stage.submit()
    waiting = Asked(cluster, namespace, "wait", "run")
    until(capsys, "Pending")
    stage.api.delete("kubeflow.org/v1", "PyTorchJob", run.full)
    assert waiting.end() == 1
    said = capsys.readouterr().err
    assert said.startswith("run: Deleted\nexit code 1: ")


def test_ctrl_c_leaves_the_run_alone(stage, fino1):
    (run,) = stage.submit()
    before = signal.signal(signal.SIGINT, signal.default_int_handler)  # a shell's background jobs ignore it
    threading.Timer(1.5, _thread.interrupt_main).start()
    code, _, err = fino1("wait", "run")
    signal.signal(signal.SIGINT, before)
    assert code == 130 and "run goes on; `fino1-k8s wait run` waits again" in err
    assert stage.api.get("kubeflow.org/v1", "PyTorchJob", run.full, stage.namespace)


def test_wait_for_an_evaluation(stage, fino1):
    one, two = stage.submit("eval", "marks")
    stage.conditions(one, "Complete")
    stage.ended(stage.pod(two), 137, reason="OOMKilled")
    stage.conditions(two, ("Failed", "BackoffLimitExceeded", ""))
    code, _, err = fino1("wait", "marks")
    assert code == 137 and "marks: 1 Succeeded, 1 Failed" in err
