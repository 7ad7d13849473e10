"""What holds for all verbs that only read (ps, status, logs, why, wait): the backends, the rights, a thousand runs?"""

import time

import pytest

from fino1.k8s.cluster.client import Api
from tests.cluster.stage import progress, rows

pytestmark = [pytest.mark.cluster, pytest.mark.slow, pytest.mark.timeout(120)]
KINDS = {"": ("pods", "pods/log"), "batch": ("jobs",), "kubeflow.org": ("pytorchjobs",)}
KINDS |= {"jobset.x-k8s.io": ("jobsets",), "trainer.kubeflow.org": ("trainjobs",)}


@pytest.mark.parametrize("backend", ["pytorchjob", "job", "jobset", "trainjob"])
def test_each_backend_from_new_to_done(stage, fino1, backend):
    (run,) = stage.submit(backend=backend, nodes=2)
    for words, says in ((("ps",), "Pending"), (("status", "run"), "Pending"), (("why", "run"), "has not answered yet")):
        code, out, _ = fino1(*words)
        assert code == 0 and says in out, words
    done = {"pytorchjob": "Succeeded", "jobset": "Completed"}.get(backend, "Complete")
    stage.conditions(run, done)
    for words, says in ((("ps",), "Succeeded"), (("status", "run"), "done"), (("why", "run"), "nothing is wrong")):
        code, out, _ = fino1(*words)
        assert code == 0 and says in out, words
    assert fino1("wait", "run")[0] == 0


def rules(*left_out, verbs=("get", "list")):
    return [
        {"apiGroups": [group], "resources": [name for name in names if name not in left_out], "verbs": list(verbs)}
        for group, names in KINDS.items()
        if set(names) - set(left_out)
    ]


def test_reading_is_all_that_is_needed(stage, fino1, start, account, namespace):
    (run,) = stage.submit()
    start(run).write(progress(5))
    stage.conditions(run, "Created", "Succeeded")
    mine = account(namespace, rules())
    for words in (("ps",), ("status", "run"), ("logs", "run"), ("wait", "run")):
        code, out, _ = fino1(*words, kubeconfig=mine)
        assert code == 0 and "not read" not in out, words


def test_without_the_right_to_see_pods(stage, fino1, account, namespace):
    (run,) = stage.submit()
    stage.conditions(run, "Created", ("Failed", "PyTorchJobFailed", "failed"))
    stage.ended(stage.pod(run), 2)
    mine = account(namespace, rules("pods"))
    code, out, _ = fino1("ps", kubeconfig=mine)
    assert code == 0 and rows(out)[1][3:5] == ["Failed", "?"]
    assert "not read: forbidden: " in out and "may not list pods" in out
    code, out, _ = fino1("status", "run", kubeconfig=mine)
    assert code == 0 and "Failed" in out and "may not list pods" in out
    assert fino1("wait", "run", kubeconfig=mine)[0] == 1
    code, _, err = fino1("logs", "run", kubeconfig=mine)
    assert code == 1 and "may not list pods" in err


def test_without_the_right_to_read_logs(stage, fino1, start, account, namespace):
    (run,) = stage.submit()
    start(run).write(progress(5))
    code, out, _ = fino1("status", "run", kubeconfig=account(namespace, rules("pods/log")))
    assert code == 0 and "1/1 running" in out and "may not get pods/log" in out


def test_a_thousand_runs(stage, fino1, monkeypatch):
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
        return listed.get(kind, [])

    monkeypatch.setattr(Api, "list", listing)
    for words in (("ps",), ("status", "marks")):
        began = time.process_time()
        code, out, _ = fino1(*words)
        spent = time.process_time() - began
        assert code == 0 and "1000 " in out
        assert spent < 1.0, f"{words}: {spent:.2f} s"
