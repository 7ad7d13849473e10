"""Does `prune` delete what is old and over, and nothing else, on a real API server? The tests play the controllers."""

import pytest

from fino1 import exits
from fino1.k8s.change import owned
from fino1.k8s.state.run import Run
from tests.cluster.stage import left_of_run, make_helms

pytestmark = [pytest.mark.cluster, pytest.mark.slow, pytest.mark.timeout(180)]

BACKENDS = ("pytorchjob", "job", "jobset", "trainjob")


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
    assert len(left_of_run(api)) == 4
    assert fino1("prune", "--older-than", "0s")[0] == exits.DONE
    assert [Run(thing).full for thing in owned.list_of_run(api, "run") if thing["kind"] != "Job"] == []
    assert len(api.list("v1", "PersistentVolumeClaim")) == 2


def test_leftovers_of_a_run_that_is_gone_go_unless_it_has_pods(api, fino1, submitted, stage):
    run = submitted()
    pod = stage.pod(run)
    api.delete("kubeflow.org/v1", "PyTorchJob", run.full)
    fino1("prune", "--older-than", "0s")
    assert len(left_of_run(api)) == 3
    api.delete("v1", "Pod", pod)
    out = fino1("prune", "--older-than", "0s")[1]
    assert out.splitlines()[1].split()[:2] == [run.full, "gone"]
    assert left_of_run(api) == []


def test_helms_are_kept(api, fino1, submitted, stage):
    run = submitted()
    stage.conditions(run, "Succeeded")
    for thing in owned.list_of_run(api, "run"):
        make_helms(api, Run(thing))
    code, _, err = fino1("prune", "--older-than", "0s")
    assert (code, len(left_of_run(api))) == (exits.DONE, 4)
    assert f"kept: what belongs to Helm release run: helm uninstall run -n {api.namespace}" in err


def test_how_old_is_said_plainly(fino1):
    code, _, err = fino1("prune", "--older-than", "soon")
    assert (code, err) == (exits.USER, "--older-than: expected a time such as 90s, 5m, 2h or 7d, got 'soon'\n")
