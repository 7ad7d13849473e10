"""Do ranks of two attempts ever train together, or one of them wait for ever? (docs/design.md C12)

The trap: restarted pods keep their DNS names. So a run of two pods is deleted and made again at once, past `fino1-k8s`, which
would wait for the old pods; then one pod of the new two goes without a word.
"""

import json
import subprocess
import sys

import pytest

from tests.e2e.shell import ROOT, RUNS, Shell

KINDS = {
    "pytorchjob": "pytorchjobs.kubeflow.org",
    "job": "jobs.batch",
    "jobset": "jobsets.jobset.x-k8s.io",
    "trainjob": "trainjobs.trainer.kubeflow.org",
}
STEPS = 80  # robbed at about 30, where nothing else runs
SFT = [f"data.size={16 * STEPS}", "sft.per_device_train_batch_size=8", "sft.save_steps=10", "launch.zero_stage=0"]
TWO_PODS = [*SFT, "nodes=2", "processes_per_node=1"]


def options(*settings: str) -> list[str]:
    return [word for setting in settings for word in ("--set", setting)]


@pytest.fixture(scope="session")
def undisturbed(tmp_path_factory: pytest.TempPathFactory) -> str:
    """The hash of two ranks of one machine that nothing disturbs."""
    work = tmp_path_factory.mktemp("undisturbed")
    command = [
        sys.executable,
        "-m",
        "fino1.k8s.cli",
        "run",
        str(RUNS / "sft-tiny.yaml"),
        "--name",
        "two",
        "--work",
        str(work),
    ]
    subprocess.run([*command, *options(*SFT, "processes_per_node=2")], cwd=ROOT, check=True, capture_output=True)
    (done,) = work.glob("runs/two-*/done.json")
    return json.loads(done.read_text())["artefact_sha256"]


@pytest.mark.timeout(1500)
@pytest.mark.parametrize("backend", KINDS)
def test_made_again_at_once_and_robbed_of_a_pod(shell: Shell, undisturbed: str, backend: str) -> None:
    settings = [*TWO_PODS, f"backend={backend}"]
    objects = shell.run("fino1-k8s", "render", RUNS / "sft-tiny.yaml", "--name", "two", *options(*settings))
    run = shell.submit("sft-tiny", "two", *settings, wait=False)
    shell.until("the first attempt trains", lambda: shell.step("two") >= 10)
    old = {pod["metadata"]["uid"] for pod in shell.pods(run)}
    shell.kubectl("delete", KINDS[backend], run, "--wait=false")
    shell.kubectl("apply", "--server-side", "-f", "-", stdin=objects)

    def new() -> list[dict]:
        return [pod for pod in shell.pods(run) if pod["metadata"]["uid"] not in old]

    shell.until("two pods of the new attempt run", lambda: running(new()) == 2, timeout_s=300)
    reached = shell.step("two")
    shell.until("the new attempt trains", lambda: shell.step("two") > reached, timeout_s=300)
    shell.kubectl("delete", "pod", new()[1]["metadata"]["name"], "--grace-period=0", "--force")
    assert shell.step("two") < STEPS, "it was over before it was robbed"
    shell.fino1("wait", "two", timeout_s=900)
    assert shell.artefact("two") == undisturbed


def running(pods: list[dict]) -> int:
    return sum(pod["status"]["phase"] == "Running" for pod in pods)
