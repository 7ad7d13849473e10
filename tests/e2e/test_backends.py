"""Do all backends run the same run, and do the verbs tell of each what its real controller does?"""

import json
from typing import Any

from tests.e2e.shell import Shell

KINDS = {"pytorchjob": "PyTorchJob", "job": "Job", "jobset": "JobSet", "trainjob": "TrainJob"}
STEPS = 20
SHORT = ("data.size=320", "sft.save_steps=10")  # so many steps
LONG = ("sft.save_steps=10",)  # 1200 steps
PATIENCE_S = 300  # four pods at once on two cores


def _submitted(shell: Shell, *settings: str) -> dict[str, str]:
    """A run of each backend, named after it: which run object is it?"""
    return {
        backend: shell.submit("sft-tiny", backend, f"backend={backend}", *settings, wait=False) for backend in KINDS
    }


def _runs(shell: Shell) -> dict[str, dict[str, Any]]:
    """What does `ps` say of each?"""
    return {run["name"]: run for run in json.loads(shell.fino1("ps", "-o", "json"))["runs"]}


def _all_are(shell: Shell, phase: str) -> None:
    """Wait until `ps` says so of all."""
    shell.until(f"all runs are {phase}", lambda: {run["phase"] for run in _runs(shell).values()} == {phase}, PATIENCE_S)


def test_every_backend_makes_the_same_model(shell: Shell) -> None:
    runs = _submitted(shell, *SHORT)
    assert {name: run["kind"] for name, run in _runs(shell).items()} == KINDS
    seen: dict[str, list[str]] = {backend: [] for backend in KINDS}

    def all_over() -> bool:
        now = {name: run["phase"] for name, run in _runs(shell).items()}
        for name, phase in now.items():
            if phase not in seen[name][-1:]:
                seen[name].append(phase)
        return set(now.values()) <= {"Succeeded", "Failed"}

    shell.until("all runs are over", all_over, PATIENCE_S)
    for backend, phases in seen.items():
        assert phases in (["Pending", "Running", "Succeeded"], ["Running", "Succeeded"]), backend
    for backend, run in runs.items():
        shell.fino1("wait", backend)
        (told,) = json.loads(shell.fino1("status", backend, "-o", "json"))["runs"]
        assert (told["run"], told["phase"]) == (run, "Succeeded")
        assert told["results"] == f"/work/runs/{shell.directory(backend).name}"
        assert told["progress"]["done"] == told["progress"]["total"] == STEPS, backend
        (pod,) = told["pods"]
        assert (pod["rank"], pod["restarts"], pod["lastExit"]["code"]) == (0, 0, 0), backend
        assert "next      fino1-k8s fetch" in shell.fino1("status", backend)
        assert f'"done": {STEPS}, "total": {STEPS}' in shell.fino1("logs", backend)
        assert len(shell.pods(run)) == 1
        assert "nothing is wrong" in shell.fino1("why", backend)
    assert len({shell.artefact(backend) for backend in KINDS}) == 1


def test_a_run_of_each_backend_is_suspended_resumed_and_cancelled(shell: Shell) -> None:
    runs = _submitted(shell, *LONG)
    for backend in KINDS:
        shell.until(f"{backend} trains", lambda backend=backend: shell.step(backend), PATIENCE_S)
    assert {run["phase"] for run in _runs(shell).values()} == {"Running"}
    for backend in KINDS:
        shell.fino1("suspend", backend)
    shell.until("no pod is left", lambda: not shell.get("pods")["items"], PATIENCE_S)
    _all_are(shell, "Suspended")
    before = {backend: _checkpoints(shell, backend) for backend in KINDS}
    assert all(before.values())
    for backend in KINDS:
        assert f"fino1-k8s resume {backend}" in shell.fino1("why", backend)
        shell.fino1("resume", backend)
    _all_are(shell, "Running")
    for backend in KINDS:
        shell.fino1("cancel", backend)
    assert shell.get("pods,pytorchjobs,jobs,jobsets,trainjobs,trainingruntimes,services,networkpolicies")["items"] == []
    assert [thing["metadata"]["name"] for thing in shell.get("configmaps")["items"]] == ["kube-root-ca.crt"]
    assert all(_checkpoints(shell, backend) for backend in runs)


def _checkpoints(shell: Shell, name: str) -> list[str]:
    """Which checkpoints has the run?"""
    return sorted(path.name for path in shell.directory(name).glob("checkpoints/step-*"))
