"""Are the documented roles enough for suspend, resume, retry, cancel and prune, and do they allow no more?"""

import pytest

from fino1 import exits
from fino1.k8s.change import retry
from fino1.k8s.state.run import list_runs
from tests.cluster.stage import RULES, fail, make_workload

pytestmark = [pytest.mark.cluster, pytest.mark.slow, pytest.mark.timeout(180)]

BACKENDS = ("pytorchjob", "job", "jobset", "trainjob")


def test_with_the_documented_role(api, fino1, submitted, stage, collector, account, namespace):
    mine = account(namespace, RULES["fino1"])
    queued = submitted("pytorchjob", "--set", "queue=gpus")
    make_workload(api, queued)
    for verb in ("suspend", "resume"):
        assert fino1(verb, "run", kubeconfig=mine)[0] == exits.DONE
    for backend in BACKENDS:
        run = submitted(backend, name=backend)
        for verb in ("suspend", "resume"):
            assert fino1(verb, backend, kubeconfig=mine)[0] == exits.DONE
        fail(stage, run)
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
    fail(stage, run)
    for verb, refused in ((("retry", "run"), "patch"), (("prune", "--older-than", "0s"), "delete")):
        code, _, err = fino1(*verb, kubeconfig=mine)
        assert code == exits.BUG
        assert f"may not {refused} pytorchjobs" in err
    assert list_runs(api)[0].object["metadata"]["uid"] == run.object["metadata"]["uid"]
    assert retry.rebuild_as_submitted(api, run)["metadata"]["name"] == run.full
