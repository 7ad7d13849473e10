"""Do `suspend` and `resume` do what they say on a real API server, with Kueue and without? The tests play the controllers."""

import pytest

from fino1 import exits
from fino1.k8s.state.run import list_runs
from tests.cluster.stage import make_workload

pytestmark = [pytest.mark.cluster, pytest.mark.slow, pytest.mark.timeout(180)]

BACKENDS = ("pytorchjob", "job", "jobset", "trainjob")


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
    made = make_workload(api, run)["metadata"]["name"]

    def active():
        return api.get("kueue.x-k8s.io/v1beta1", "Workload", made)["spec"]["active"]

    assert fino1("suspend", "run")[1] == f"PyTorchJob/{run.full}: suspended, its pods end with a checkpoint\n"
    assert not active()
    assert not list_runs(api)[0].is_suspended  # that is for Kueue to do
    assert "already suspended" in fino1("suspend", "run")[1]
    assert "resumed, it is in queue gpus" in fino1("resume", "run")[1]
    assert active()
    assert "not suspended, it is in queue gpus" in fino1("resume", "run")[1]
