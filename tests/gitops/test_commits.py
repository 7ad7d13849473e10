"""What does the cluster hold, and what were models asked, after each kind of commit? By Argo CD's own controllers.

Each test has folders of its own in one repository, and models of its own: on the common page each stands once.
"""

import json

import pytest

from fino1.k8s import cli
from tests.gitops.argocd import problems
from tests.tasks.test_finqa import ROW

pytestmark = [pytest.mark.gitops, pytest.mark.slow, pytest.mark.timeout(900)]


def fino1(team, *words):
    return cli.main([*words, "--kubeconfig", str(team.argocd.kubeconfig), "-n", "fino1"])


def uids(runs):
    return {model: run.object["metadata"]["uid"] for model, run in runs.items()}


def test_a_model_added_runs_just_its_cells(team):
    team.commit("models a and b", {"added": team.evaluation("a", "b")})
    assert team.models.take() == {"a": 2, "b": 2}
    before = team.runs("added")
    team.commit("model c beside them", {"added": team.evaluation("a", "b", "c")})
    assert team.models.take() == {"c": 2}
    after = team.runs("added")
    assert {run.phase for run in after.values()} == {"Succeeded"}
    assert uids(after).items() > uids(before).items() and set(after) == {"a", "b", "c"}


def test_a_change_runs_what_it_changes_and_a_revert_nothing(team):
    rows = team.kubelet.work / "finqa.json"
    rows.write_text(json.dumps([ROW, ROW | {"id": "ETR/2016/page_24.pdf-1", "question": "did it grow?"}]))
    tasks = [{"task": "finqa", "path": str(rows)}]
    first, sft = team.evaluation("d", tasks=tasks), team.training()
    team.commit("two evaluations, and a training on 8 GPUs", {"first": first, "other": team.evaluation("e", size=3)})
    assert team.models.take() == {"d": 2, "e": 3}
    team.commit("a training on 8 GPUs", {"sft": sft})
    before, other, (training,) = team.runs("first"), team.runs("other"), team.gpus()

    changed = {"first": team.evaluation("d", tasks=tasks, prompt="paper"), "sft": team.training(seed=1)}
    team.commit("another prompt in one evaluation, another seed", changed)
    assert team.models.take() == {"d": 2}
    assert uids(team.runs("other")) == uids(other)
    (second,) = team.gpus()
    assert second != training and training not in team.jobs(), "the run that was replaced holds no GPU"
    assert team.runs("first")["d"].full != before["d"].full

    cells = team.cells()
    team.commit("both reverted", {"first": first, "sft": sft})
    assert (team.models.take(), team.cells()) == ({}, cells)
    (run,) = team.runs("first").values()
    assert (run.full, run.phase) == (before["d"].full, "Succeeded")
    assert team.gpus() == {training}


def test_a_file_deleted_or_renamed_keeps_its_run_and_trains_nothing_again(team, capsys):
    team.commit("a training on 8 GPUs", {"kept": team.training(seed=2), "gone": team.training(seed=3)})
    kept, gone = (team.runs(name)[""] for name in ("kept", "gone"))
    directory = team.kubelet.work / "runs" / kept.directory
    directory.mkdir(parents=True)
    config = team.api.get("v1", "ConfigMap", kept.full)["data"]["config.json"]
    (directory / "config.json").write_text(config)
    (directory / "done.json").write_text(json.dumps({"method": "sft", "name": "kept"}))

    team.commit("a folder deleted", {"gone": None})
    assert team.argocd.application("gone") is None
    assert uids(team.runs("gone")) == uids({"": gone}) and gone.full in team.gpus()
    assert fino1(team, "ps") == 0 and gone.full in capsys.readouterr().out
    assert fino1(team, "cancel", "kept") == 2 and "Argo CD application fino1-kept" in capsys.readouterr().err
    assert fino1(team, "cancel", "gone") == 0
    assert gone.full not in team.gpus()

    team.kubelet.holds = False  # what is renamed runs: `fino1 train` itself says that there is nothing to do
    team.move("kept", "named-anew")
    team.kubelet.holds = True
    assert team.argocd.application("kept") is None
    assert uids(team.runs("kept")) == uids({"": kept}) and kept.full in team.gpus()
    anew = team.runs("named-anew")[""]
    assert anew.phase == "Succeeded"
    (pod,) = team.pods(anew.full)
    assert f"{anew.directory} is the same run as {kept.directory}" in team.kubelet.log(pod["metadata"]["name"])
    assert (directory.parent / anew.directory).resolve() == directory.resolve()


def test_another_version_runs_nothing_again(team):
    team.commit("model f", {"version": team.evaluation("f")})
    assert team.models.take() == {"f": 2}
    before = team.jobs()
    chart = (team.repository.place / "charts" / "fino1" / "Chart.yaml").read_text()
    team.commit("fino1 9.9.9", {"charts/fino1/Chart.yaml": chart.replace("0.1.0", "9.9.9")})
    assert (team.jobs(), team.models.take()) == (before, {})
    team.commit("model g, by fino1 9.9.9", {"version": team.evaluation("f", "g")})
    assert team.models.take() == {"g": 2}
    found = team.runs("version")
    assert found["f"].object["metadata"]["uid"] == before[found["f"].full]
    images = {model: run.object["spec"]["template"]["spec"]["containers"][0]["image"] for model, run in found.items()}
    assert images == {"f": "ghcr.io/fino1/eval:0.1.0", "g": "ghcr.io/fino1/eval:9.9.9"}
    assert found["f"].labels["app.kubernetes.io/version"] == "9.9.9"
    team.commit("fino1 as before", {"charts/fino1/Chart.yaml": chart})


def test_a_bad_file_is_its_own_applications_and_the_others_go_on(team):
    nothing = {"eval": team.evaluation("m")["eval"]}
    team.commit("bad files", {"broken": "method: [\n  eval: {", "methodless": nothing, "fine": team.evaluation("h")})
    assert team.models.take() == {"h": 2}
    (said,) = problems(team.argocd.application("broken"))
    assert "error converting YAML to JSON" in said and "run.yaml" in said
    (said,) = problems(team.argocd.application("methodless"))
    assert "method: expected a value, got none" in said
    assert not team.runs("broken") and not team.runs("methodless")
    kept = team.jobs()
    team.commit("a file that was good is broken", {"fine": "method: ["})
    assert problems(team.argocd.application("fine")) and team.jobs() == kept, "nothing is pruned for that"
    team.commit("mended", {"broken": None, "methodless": {"method": "eval", **nothing}})
    assert not problems(team.argocd.application("methodless")) and team.runs("methodless")["m"].phase == "Succeeded"
    assert team.models.take() == {"m": 2}


def test_an_unrelated_commit_restarts_nothing(team):
    team.commit("model i", {"calm": team.evaluation("i")})
    assert team.models.take() == {"i": 2}
    run = team.runs("calm")["i"]
    team.api.delete("batch/v1", "Job", run.full)  # as its TTL does
    before = team.jobs()
    team.commit("a word in README", {"docs/README.md": "Runs.\n"})
    assert (team.jobs(), team.models.take()) == (before, {})


def test_a_failed_model_is_started_again_and_the_leaderboards_follow(team, capsys):
    team.models.down = {"j"}
    files = {"one": team.evaluation("j", "k"), "two": team.evaluation("l", size=3)}
    team.commit("two evaluations, model j is down", files)
    assert team.models.take() == {"k": 2, "l": 3}
    assert {model: run.phase for model, run in team.runs("one").items()} == {"j": "Failed", "k": "Succeeded"}
    team.argocd.until(
        "k is on the one, l on the other", lambda: (board(team, "one"), board(team, "two")) == ({"k"}, {"l"})
    )
    team.argocd.look("one")
    assert team.argocd.application("one")["status"]["health"]["status"] == "Degraded"
    synced = team.argocd.application("one")["status"]["operationState"]["finishedAt"]

    team.models.down = set()
    assert fino1(team, "retry", "one") == 0
    team.argocd.until("the leaderboard has j", lambda: board(team, "one") == {"j", "k"})
    team.argocd.until("the common page has all", lambda: {"j", "k", "l"} <= board(team, ""))
    assert team.models.take() == {"j": 2}
    application = team.argocd.application("one")
    assert application["status"]["operationState"]["finishedAt"] == synced, "nobody synced"


def board(team, name):
    """Models of a leaderboard."""
    file = team.kubelet.work / "reports" / name / "leaderboard.json"
    return {row["model"] for row in json.loads(file.read_text())["rows"]} if file.is_file() else set()


@pytest.mark.parametrize(
    ("backend", "kind", "version"),
    [
        ("pytorchjob", "PyTorchJob", "kubeflow.org/v1"),
        ("jobset", "JobSet", "jobset.x-k8s.io/v1alpha2"),
        ("trainjob", "TrainJob", "trainer.kubeflow.org/v1alpha1"),
    ],
)
def test_health_as_argo_cd_computes_it(team, backend, kind, version):
    claims = {name: {"create": False} for name in ("work", "models")}  # one that nobody binds is Progressing
    team.commit(f"a {kind}", {backend: team.training(backend=backend, volumes=claims)}, waits=False)
    run = team.runs(backend)[""]

    def becomes(expected, *true):
        now = "2026-01-01T00:00:00Z"
        conditions = [
            {"type": each, "status": "True", "reason": each, "message": each, "lastTransitionTime": now}
            for each in true
        ]
        team.api.patch(version, kind, run.full, {"status": {"conditions": conditions}}, subresource="status")
        team.argocd.until(f"{backend} is {expected}", lambda: health() == expected, 30)

    def health():
        team.argocd.look(backend)
        return team.argocd.application(backend)["status"]["health"]["status"]

    becomes("Progressing")
    becomes("Suspended", "Suspended")
    becomes("Degraded", "Failed")
    becomes("Healthy", {"PyTorchJob": "Succeeded", "JobSet": "Completed", "TrainJob": "Complete"}[kind])
