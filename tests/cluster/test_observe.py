"""What do ps, status, logs and wait say of runs on a real API server? (the test plays controllers and kubelets)"""

import _thread
import json
import random
import signal
import threading
import time

import pytest

from fino1.k8s import cli
from fino1.k8s.cluster.client import Api, Listing
from tests.cluster.stage import terminated

pytestmark = [pytest.mark.cluster, pytest.mark.slow, pytest.mark.timeout(120)]
KINDS = {"": ("pods", "pods/log"), "batch": ("jobs",), "kubeflow.org": ("pytorchjobs",)}
KINDS |= {"jobset.x-k8s.io": ("jobsets",), "trainer.kubeflow.org": ("trainjobs",)}


@pytest.fixture
def ask(cluster, namespace, capsys):
    """`ask(verb, …)`: (exit code, what it prints, what it says on stderr)."""

    def run(*words, kubeconfig=cluster.kubeconfig):
        code = cli.main([words[0], "--kubeconfig", str(kubeconfig), "-n", namespace, *words[1:]])
        said = capsys.readouterr()
        return code, said.out, said.err

    return run


@pytest.fixture
def start(kubelet, namespace):
    """`start(run, rank)`: a running pod of a run, with a log."""
    pods = []

    def make(run, rank=0):
        key = "training.kubeflow.org/replica-index" if run.kind == "PyTorchJob" else None
        labels = {**run.labels, key or "batch.kubernetes.io/job-completion-index": str(rank)}
        labels = {name: value for name, value in labels.items() if "/" in name and "helm" not in name}
        pods.append(kubelet.start(namespace, f"{run.full}-{rank}", labels))
        return pods[-1]

    yield make
    for pod in pods:
        pod.delete()


class Asked(threading.Thread):
    """A verb in the background, as a user leaves it running."""

    def __init__(self, cluster, namespace, verb, *words):
        super().__init__(daemon=True)
        self.words = [verb, "--kubeconfig", str(cluster.kubeconfig), "-n", namespace, *words]
        self.code = None
        self.start()

    def run(self):
        self.code = cli.main(self.words)

    def end(self):
        self.join(60)
        assert not self.is_alive()
        return self.code


def until(capsys, text):
    """Wait until something is said on stderr; returns all that was said there till then."""
    said, deadline = "", time.monotonic() + 30
    while text not in said:
        assert time.monotonic() < deadline, said
        said += capsys.readouterr().err
        time.sleep(0.05)
    return said


def progress(done, total=1000, **numbers):
    return json.dumps({"event": "progress", "stage": "sft", "name": "run", "done": done, "total": total, **numbers})


def rows(text):
    """A table as lists of cells."""
    return [line.split() for line in text.splitlines()]


# ps


def test_ps_of_nothing(ask, namespace):
    assert ask("ps") == (
        0,
        f"no runs in namespace {namespace}; `fino1-k8s runs` lists what can be submitted\n",
        "",
    )


def test_ps_has_a_row_for_a_run_and_one_for_an_evaluation(stage, ask, namespace):
    (run,) = stage.submit(nodes=2)
    one, two = stage.submit("eval", "marks")
    stage.conditions(run, "Created", "Running")
    for rank in (0, 1):
        stage.running(stage.pod(run, rank))
    stage.conditions(one, "Complete")
    stage.conditions(two, ("Failed", "PodFailurePolicy", "exit code 2"))
    _, out, _ = ask("ps")
    table = rows(out)
    assert table[0] == ["NAME", "METHOD", "KIND", "PHASE", "PODS", "AGE", "RUN"]
    assert ["run", "sft", "PyTorchJob", "Running", "2/2"] in [row[:5] for row in table]
    assert "1 Succeeded, 1 Failed" in out and "2 models (status marks)" in out and len(table) == 3
    _, out, _ = ask("ps", "-o", "json")
    told = {each["run"]: each for each in json.loads(out)["runs"]}
    assert told[two.full]["phase"] == "Failed" and told[run.full]["pods"] == "2/2"
    _, out, _ = ask("ps", "-A")
    assert [row for row in rows(out) if row[:2] == [namespace, "run"]]


def test_an_evaluation_submitted_again_has_a_row_of_its_own(stage, ask):
    stage.submit("eval", "marks")
    stage.submit("eval", "marks", seed=7)
    _, out, _ = ask("ps")
    assert out.count("2 models") == 2
    _, out, _ = ask("status", "marks")
    assert out.startswith("marks  (eval, 2 models)  Pending")


# status


def test_status_of_a_run_that_tells_its_progress(stage, ask, start):
    (run,) = stage.submit(nodes=2)
    stage.conditions(run, "Created", "Running")
    first, _ = start(run, 0), start(run, 1)
    for done in (10, 20, 30):
        first.write(progress(done, loss=0.5), later_ns=10 * 10**9)
    _, out, _ = ask("status", "run")
    assert "pods      2/2 running" in out
    assert "progress  sft 30/1000 (3 %)  loss 0.5  ETA 16m" in out
    assert f"results   /work/runs/{run.directory} on the work volume" in out
    _, out, _ = ask("status", run.full, "-o", "json")
    (told,) = json.loads(out)["runs"]
    assert (told["phase"], told["progress"]["percent"], told["progress"]["etaSeconds"]) == ("Running", 3.0, 970)
    assert [pod["rank"] for pod in told["pods"]] == [0, 1]


def test_status_says_what_exit_codes_mean(stage, ask):
    (run,) = stage.submit(nodes=2)
    stage.conditions(run, "Created", "Restarting")
    stage.running(stage.pod(run, 0), restarts=2, last=terminated(145))
    stage.ended(stage.pod(run, 1), 74)
    _, out, _ = ask("status", "run")
    assert "phase     Restarting" in out and "next      fino1-k8s why run" in out
    assert [row[:4] for row in rows(out)[-2:]] == [
        ["0", f"{run.full}-worker-0", "Running", "2"],
        ["1", f"{run.full}-worker-1", "Failed", "0"],
    ]
    assert "145: another rank was lost" in out and "74: the disk is full" in out


def test_a_jobs_failed_pods_count_as_restarts(stage, ask):
    (run,) = stage.submit(backend="job")
    stage.status(run, active=1, failed=2, startTime="2026-01-01T00:00:00Z")
    for code in (143, 137):
        stage.ended(stage.pod(run), code)
        time.sleep(1.01)  # the pods' age is told in seconds
    stage.waiting(stage.pod(run), "ContainerCreating")
    _, out, _ = ask("status", "run", "-o", "json")
    (told,) = json.loads(out)["runs"]
    (pod,) = told["pods"]
    assert (told["phase"], pod["phase"], pod["restarts"]) == ("Restarting", "ContainerCreating", 2)
    assert pod["lastExit"]["code"] == 137


@pytest.mark.parametrize(("ready", "phase"), [(0, "Pending"), (1, "Running")])
def test_a_jobset_runs_when_its_pods_do(stage, ask, ready, phase):
    (run,) = stage.submit(backend="jobset", nodes=2)
    job = {"name": "node", "ready": ready, "active": 1, "succeeded": 0, "failed": 0, "suspended": 0}
    stage.status(run, replicatedJobsStatus=[job])
    _, out, _ = ask("status", "run", "-o", "json")
    assert json.loads(out)["runs"][0]["phase"] == phase


def test_status_of_a_queued_run_without_anything_of_kueue(stage, ask):
    stage.submit(queue="gpus", suspend=True)
    _, out, _ = ask("status", "run")
    assert "queue     gpus: not taken up by Kueue yet" in out and "Queued" in out


def test_a_name_that_nobody_has_and_one_that_nobody_can_have(stage, ask):
    stage.submit()
    for name in ("walk", "no name"):
        code, _, err = ask("status", name)
        assert code == 2 and err.startswith(f"{name}: expected a run in namespace") and "(there: run)" in err


# logs


def test_logs_of_one_pod_have_no_prefix(stage, ask, start):
    (run,) = stage.submit()
    pod = start(run)
    pod.write("one")
    pod.write("two", later_ns=10 * 10**9)
    assert ask("logs", "run")[1] == "one\ntwo\n"
    assert ask("logs", "run", "--tail", "1")[1] == "two\n"
    _, out, _ = ask("logs", "run", "-o", "json", "--tail", "1")
    line = json.loads(out)
    assert (line["run"], line["rank"], line["text"], line["restart"]) == (run.full, 0, "two", 0)


def test_logs_say_the_rank_and_of_an_evaluation_the_model(stage, ask, start):
    (run,) = stage.submit(nodes=2)
    for rank in (1, 0):
        start(run, rank).write(f"I am {rank}")
    assert ask("logs", "run")[1] == "[0] I am 0\n[1] I am 1\n"
    assert ask("logs", "run", "--rank", "1")[1] == "I am 1\n"
    assert ask("logs", "run", "--rank", "2")[::2] == (2, "--rank: expected 0 to 1, got 2\n")
    assert ask("logs", "run", "-c", "server")[0] == 2
    for run in stage.submit("eval", "marks", eval={"shards": 2}):
        for shard in (0, 1):
            start(run, shard).write("hello")
    assert ask("logs", "marks")[1] == "[one/0] hello\n[one/1] hello\n[two/0] hello\n[two/1] hello\n"


def test_following_a_run_that_is_over(stage, ask, start):
    (run,) = stage.submit()
    pod = start(run)
    pod.write("one")
    pod.write("two")
    pod.end()
    stage.conditions(run, "Created", "Succeeded")
    assert ask("logs", "run", "-f") == (0, "one\ntwo\n", "")


@pytest.mark.parametrize(("given", "said"), [("5 minutes", "--since: expected seconds ago"), ("tomorrow", "--since")])
def test_a_time_that_is_none(ask, given, said):
    code, _, err = ask("logs", "run", "--since", given)
    assert code == 2 and err.startswith(said)


def test_following_loses_no_line_when_the_api_server_restarts(cluster, instance, namespace, stage, start, capsys):
    (run,) = stage.submit(nodes=2)
    stage.conditions(run, "Created", "Running")
    ranks = [start(run, 0), start(run, 1)]
    following = Asked(cluster, namespace, "logs", "run", "-f")
    expected = []

    def write(phase):
        for number in range(30):
            for rank, pod in enumerate(ranks):
                pod.write(f"{phase} {number}", random.choice([0, 10**6, 10**9]))
                expected.append(f"[{rank}] {phase} {number}")

    write("before")
    time.sleep(1)
    instance.stop_apiserver(9)
    write("while it is away")
    instance.start_apiserver()
    write("after")
    for pod in ranks:
        pod.end()
    stage.conditions(run, "Created", "Succeeded")
    assert following.end() == 0
    out = capsys.readouterr().out.splitlines()
    for rank in (0, 1):
        mine = f"[{rank}]"
        assert [line for line in out if line.startswith(mine)] == [e for e in expected if e.startswith(mine)]


# wait


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


def test_wait_ends_with_the_code_of_the_rank_that_failed_first(stage, ask):
    (run,) = stage.submit(nodes=4)
    for rank, code, later_s in ((0, 145, 0), (1, 2, 3), (2, 143, 4)):
        stage.ended(stage.pod(run, rank), code, later_s)
    stage.conditions(run, "Created", ("Failed", "PyTorchJobFailed", "1 Worker replica failed"))
    assert ask("wait", "run")[0] == 2


def test_wait_over_a_restart_of_the_api_server(cluster, instance, namespace, stage, capsys):
    (run,) = stage.submit()
    waiting = Asked(cluster, namespace, "wait", "run")
    until(capsys, "Pending")
    instance.stop_apiserver(15)
    instance.start_apiserver()
    stage.ended(stage.pod(run), 74)
    stage.conditions(run, "Created", ("Failed", "PyTorchJobFailed", "failed"))
    assert waiting.end() == 74


@pytest.mark.parametrize("backend", ["pytorchjob", "job", "jobset", "trainjob"])
def test_each_backend_from_new_to_done(stage, ask, backend):
    (run,) = stage.submit(backend=backend, nodes=2)
    for words, says in ((("ps",), "Pending"), (("status", "run"), "Pending"), (("why", "run"), "has not answered yet")):
        code, out, _ = ask(*words)
        assert code == 0 and says in out, words
    done = {"pytorchjob": "Succeeded", "jobset": "Completed"}.get(backend, "Complete")
    stage.conditions(run, done)
    for words, says in ((("ps",), "Succeeded"), (("status", "run"), "done"), (("why", "run"), "nothing is wrong")):
        code, out, _ = ask(*words)
        assert code == 0 and says in out, words
    assert ask("wait", "run")[0] == 0


def test_wait_shows_how_far_it_is(cluster, namespace, stage, start, capsys):
    (run,) = stage.submit()
    start(run).write(progress(30, loss=0.25))
    stage.conditions(run, "Created", "Running")
    waiting = Asked(cluster, namespace, "wait", "run")
    assert until(capsys, "\n") == "run: Running, 1 of 1 pods running: sft 30/1000 (3 %)  loss 0.25\n"
    stage.conditions(run, "Created", "Succeeded")
    assert waiting.end() == 0


def test_wait_for_no_longer_than(stage, ask):
    stage.submit()
    code, _, err = ask("wait", "run", "--timeout", "0.5")
    assert code == 1 and err.endswith("run: not over after 0.5 s: Pending, 0 of 1 pods running; it goes on\n")


def test_wait_for_a_run_that_is_deleted(cluster, namespace, stage, capsys):
    (run,) = stage.submit()
    waiting = Asked(cluster, namespace, "wait", "run")
    until(capsys, "Pending")
    stage.api.delete("kubeflow.org/v1", "PyTorchJob", run.full)
    assert waiting.end() == 1
    said = capsys.readouterr().err
    assert said.startswith("run: Deleted\nexit code 1: ")


def test_ctrl_c_leaves_the_run_alone(stage, ask):
    (run,) = stage.submit()
    before = signal.signal(signal.SIGINT, signal.default_int_handler)  # a shell's background jobs ignore it
    threading.Timer(1.5, _thread.interrupt_main).start()
    code, _, err = ask("wait", "run")
    signal.signal(signal.SIGINT, before)
    assert code == 130 and "run goes on; `fino1-k8s wait run` waits again" in err
    assert stage.api.get("kubeflow.org/v1", "PyTorchJob", run.full, stage.namespace)


def test_wait_for_an_evaluation(stage, ask):
    one, two = stage.submit("eval", "marks")
    stage.conditions(one, "Complete")
    stage.ended(stage.pod(two), 137, reason="OOMKilled")
    stage.conditions(two, ("Failed", "BackoffLimitExceeded", ""))
    code, _, err = ask("wait", "marks")
    assert code == 137 and "marks: 1 Succeeded, 1 Failed" in err


# rights


def rules(*left_out, verbs=("get", "list")):
    return [
        {"apiGroups": [group], "resources": [name for name in names if name not in left_out], "verbs": list(verbs)}
        for group, names in KINDS.items()
        if set(names) - set(left_out)
    ]


def test_reading_is_all_that_is_needed(stage, ask, start, account, namespace):
    (run,) = stage.submit()
    start(run).write(progress(5))
    stage.conditions(run, "Created", "Succeeded")
    mine = account(namespace, rules())
    for words in (("ps",), ("status", "run"), ("logs", "run"), ("wait", "run")):
        code, out, _ = ask(*words, kubeconfig=mine)
        assert code == 0 and "not read" not in out, words


def test_without_the_right_to_see_pods(stage, ask, account, namespace):
    (run,) = stage.submit()
    stage.conditions(run, "Created", ("Failed", "PyTorchJobFailed", "failed"))
    stage.ended(stage.pod(run), 2)
    mine = account(namespace, rules("pods"))
    code, out, _ = ask("ps", kubeconfig=mine)
    assert code == 0 and rows(out)[1][3:5] == ["Failed", "?"]
    assert "not read: forbidden: " in out and "may not list pods" in out
    code, out, _ = ask("status", "run", kubeconfig=mine)
    assert code == 0 and "Failed" in out and "may not list pods" in out
    assert ask("wait", "run", kubeconfig=mine)[0] == 1
    code, _, err = ask("logs", "run", kubeconfig=mine)
    assert code == 1 and "may not list pods" in err


def test_without_the_right_to_read_logs(stage, ask, start, account, namespace):
    (run,) = stage.submit()
    start(run).write(progress(5))
    code, out, _ = ask("status", "run", kubeconfig=account(namespace, rules("pods/log")))
    assert code == 0 and "1/1 running" in out and "may not get pods/log" in out


# numbers


def test_a_thousand_runs(stage, ask, monkeypatch):
    """CPU seconds of what is done with the lists, once they are here."""
    (run,) = stage.submit("eval", "marks", eval={"models": [{"name": "one", "run": "one"}]})
    name = stage.pod(run)
    stage.running(name)
    pod = stage.api.get("v1", "Pod", name, stage.namespace)
    job = stage.api.get("batch/v1", "Job", run.full, stage.namespace)
    jobs, pods = [], []
    for number in range(1000):
        full = f"marks-m{number}-0123456789"
        labels = job["metadata"]["labels"] | {"fino1/run": full}
        jobs.append({**job, "metadata": job["metadata"] | {"name": full, "labels": labels}, "kind": "Job"})
        of_it = pod["metadata"]["labels"] | {"fino1/run": full}
        pods.append({**pod, "metadata": pod["metadata"] | {"name": f"{full}-0-abcde", "labels": of_it}})
    listed = {"Job": jobs, "Pod": pods}

    def listing(api, api_version, kind, **_):
        return Listing(listed.get(kind, []))

    monkeypatch.setattr(Api, "list", listing)
    for words in (("ps",), ("status", "marks")):
        began = time.process_time()
        code, out, _ = ask(*words)
        spent = time.process_time() - began
        assert code == 0 and "1000 " in out
        assert spent < 1.0, f"{words}: {spent:.2f} s"
