"""Does `ps` list runs as they stand on a real API server? (the test plays controllers and kubelets)"""

import json

import pytest

from tests.cluster.stage import rows

pytestmark = [pytest.mark.cluster, pytest.mark.slow, pytest.mark.timeout(120)]


def test_ps_of_nothing(fino1, namespace):
    assert fino1("ps") == (
        0,
        f"no runs in namespace {namespace}; `fino1-k8s runs` lists what can be submitted\n",
        "",
    )


def test_ps_has_a_row_for_a_run_and_one_for_an_evaluation(stage, fino1, namespace):
    (run,) = stage.submit(nodes=2)
    one, two = stage.submit("eval", "marks")
    stage.conditions(run, "Created", "Running")
    for rank in (0, 1):
        stage.running(stage.pod(run, rank))
    stage.conditions(one, "Complete")
    stage.conditions(two, ("Failed", "PodFailurePolicy", "exit code 2"))
    _, out, _ = fino1("ps")
    table = rows(out)
    assert table[0] == ["NAME", "METHOD", "KIND", "PHASE", "PODS", "AGE", "RUN"]
    assert ["run", "sft", "PyTorchJob", "Running", "2/2"] in [row[:5] for row in table]
    assert "1 Succeeded, 1 Failed" in out and "2 models (status marks)" in out and len(table) == 3
    _, out, _ = fino1("ps", "-o", "json")
    told = {each["run"]: each for each in json.loads(out)["runs"]}
    assert told[two.full]["phase"] == "Failed" and told[run.full]["pods"] == "2/2"
    _, out, _ = fino1("ps", "-A")
    assert [row for row in rows(out) if row[:2] == [namespace, "run"]]


def test_an_evaluation_submitted_again_has_a_row_of_its_own(stage, fino1):
    stage.submit("eval", "marks")
    stage.submit("eval", "marks", seed=7)
    _, out, _ = fino1("ps")
    assert out.count("2 models") == 2
    _, out, _ = fino1("status", "marks")
    assert out.startswith("marks  (eval, 2 models)  Pending")
