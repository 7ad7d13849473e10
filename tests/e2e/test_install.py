"""Does a chart's run run? As a new user would type it."""

from tests.e2e.shell import RUNS, SHORT_SFT, Shell


def test_helm_installs_trains_tests_and_leaves_the_results(shell: Shell) -> None:
    said = shell.helm("install", "fino1-sft", "charts/train", "-f", RUNS / "sft-tiny.yaml", "--set", SHORT_SFT)
    assert "fino1-k8s status fino1-sft" in said
    shell.fino1("wait", "fino1-sft")
    assert "Succeeded" in shell.fino1("status", "fino1-sft")
    assert '"done": 40, "total": 40' in shell.fino1("logs", "fino1-sft")
    assert (shell.directory("fino1-sft") / "config.json").exists()
    assert "nothing is missing" in shell.helm("test", "fino1-sft", "--logs")
    before = shell.artefact("fino1-sft")
    shell.helm("uninstall", "fino1-sft")
    assert shell.get("pods,pytorchjobs")["items"] == []
    assert {claim["status"]["phase"] for claim in shell.get("persistentvolumeclaims")["items"]} == {"Bound"}
    assert shell.artefact("fino1-sft") == before
