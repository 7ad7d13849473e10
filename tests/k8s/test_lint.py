"""Does each rule of `lint` find its mistake in a run file, by the file's key, and none in what is right?"""

import json
import re
from pathlib import Path

import pytest

from fino1.k8s import cli
from fino1.k8s.objects.lint import lint
from fino1.spec import load, recipe
from fino1.spec.yamlfile import read_yaml

TOKEN = "hf_" + "abcdefghij" * 3 + "0123"
QUEUE = "kueue.x-k8s.io/queue-name"
GPU = "nvidia.com/gpu"
SFT = {"method": "sft", "gpus_per_node": 8, "data": {"path": "/work/rows.jsonl"}}
MODELS = [{"name": "a", "run": "sft"}, {"name": "b", "base_url": "https://example.org/v1"}]
WORDS, WORD = ["--api-key", "fish"], ["--hf-token=fish"]
EVAL = {"method": "eval", "gpus_per_node": 2, "eval": {"models": MODELS, "tasks": [{"task": "ledger"}]}}
ONCE = {"accessModes": ["ReadWriteOnce"]}


def findings(base, changes):
    return [str(each) for each in lint(load.build(load.merge(base, changes), "a run file"))]


RULES = [  # rule, level, run file, what is changed, the key that is named, what was got
    ("claim-access-mode", "warning", SFT, {"nodes": 2, "volumes": {"work": ONCE}}, "volumes.work.accessModes", "ReadWriteOnce"),
    ("claim-access-mode", "warning", EVAL, {"volumes": {"models": ONCE}}, "volumes.models.accessModes", "ReadWriteOnce"),
    ("config-path-outside-volumes", "warning", SFT, {"data": {"path": "/data/rows.jsonl"}}, "data.path", "/data/rows.jsonl"),
    ("config-path-outside-volumes", "warning", SFT, {"model": {"path": "/workdir/m"}}, "model.path", "/workdir/m"),
    ("grace-period", "warning", SFT, {"terminationGracePeriodSeconds": 59}, "terminationGracePeriodSeconds", "59"),
    ("image-tag", "warning", SFT, {"image": {"tag": "latest"}}, "image.tag", "latest"),
    ("image-tag", "warning", EVAL, {"eval": {"server": {"image": "host:5000/vllm"}}}, "eval.server.image", "host:5000/vllm"),
    ("kueue-queue-on-template", "error", SFT, {"podLabels": {QUEUE: "gpus"}}, f"podLabels.{QUEUE}", "gpus"),
    ("pss-capabilities", "warning", SFT, {"rdma": {"resource": "rdma/hca"}}, "rdma.resource", "rdma/hca"),
    ("pytorchjob-ttl-exit-code", "warning", SFT, {"ttlSecondsAfterFinished": 60}, "ttlSecondsAfterFinished", "60"),
    ("pytorchjob-env-overridden", "error", SFT, {"env": {"PYTHONUNBUFFERED": "0"}}, "env.PYTHONUNBUFFERED", "0"),
    ("secret-value", "error", SFT, {"env": {"HF_TOKEN": TOKEN}}, "env.HF_TOKEN", "a value of 37 characters"),
    ("secret-value", "error", SFT, {"env": {"ANYTHING": TOKEN}}, "env.ANYTHING", "a value of 37 characters"),
    ("secret-value", "error", SFT, {"env": {"PROXY": "http://me:pa55@proxy"}}, "env.PROXY", "a value of 20 characters"),
    ("secret-value", "error", SFT, {"podAnnotations": {"token": "swordfish"}}, "podAnnotations.token", "a value of 9 characters"),
    ("secret-value", "error", EVAL, {"eval": {"server": {"args": WORDS}}}, "eval.server.args.1", "a value of 4 characters"),
    ("secret-value", "error", EVAL, {"eval": {"server": {"args": WORD}}}, "eval.server.args.0", "a value of 4 characters"),
]  # fmt: skip


@pytest.mark.parametrize(("rule", "level", "base", "changes", "key", "got"), RULES)
def test_exactly_that_rule(rule, level, base, changes, key, got):
    (found,) = findings(base, changes)
    assert found.startswith(f"{level}: {key}: expected ") and f", got {got}: " in found and found.endswith(f" [{rule}]")


def test_the_page_lists_the_rules():
    page = (Path(__file__).parents[2] / "docs/lints.md").read_text()
    rows = {tuple(row) for row in re.findall(r"^\| `(\S+)` \| ([a-z, ]+) \|", page, re.MULTILINE)}
    levels = {rule: ", ".join(sorted({level for r, level, *_ in RULES if r == rule})) for rule, *_ in RULES}
    assert rows == set(levels.items())


RUNS = [path for path in recipe.built_in() if not recipe.is_recipe(read_yaml(path))]


@pytest.mark.parametrize("path", RUNS, ids=lambda path: path.stem)
def test_the_built_in_runs_have_no_findings(path):
    assert findings(read_yaml(path), {}) == []


RIGHT = [
    (SFT, {"volumes": {"work": ONCE, "models": ONCE}}),  # one pod
    (SFT, {"nodes": 2, "volumes": {"work": {"accessModes": ["ReadWriteMany"]}, "models": {**ONCE, "create": False}}}),
    (SFT, {"nodes": 2, "volumes": {"models": {"accessModes": ["ReadOnlyMany"], "readOnly": True}}}),
    (SFT, {"model": {"path": "/models/base"}}),
    (SFT, {"resources": {"requests": {GPU: "8", "cpu": "4"}, "limits": {"cpu": "8"}}}),
    (SFT, {"resources": {"requests": {"vendor.io/nic": "2"}, "limits": {"vendor.io/nic": "2"}}}),
    (EVAL, {"terminationGracePeriodSeconds": 10}),  # nothing is written at its end
    (SFT, {"image": {"repository": "registry:5000/train", "tag": "1.2"}}),
    (SFT, {"image": {"repository": "train:1", "tag": "latest", "digest": "sha256:" + "0" * 64}}),
    (EVAL, {"eval": {"server": {"image": "vllm/vllm-openai:v0.29.0"}}}),
    (SFT, {"podLabels": {QUEUE: "gpus"}, "queue": "gpus"}),
    (SFT, {"backend": "job", "ttlSecondsAfterFinished": 60, "env": {"PYTHONUNBUFFERED": "0"}}),
    (SFT, {"env": {"HF_TOKEN": "", "API_KEY": "$(OTHER)", "EOS_TOKEN": "x", "PASSWORD_FILE": "/run/x"}}),
    (SFT, {"secretEnv": {"HF_TOKEN": {"name": "hf", "key": "token"}}}),
    (EVAL, {"eval": {"server": {"args": ["--enable-token", "--api-key", "--x", "--key", "TOKEN"]}}}),
]


@pytest.mark.parametrize(("base", "changes"), RIGHT, ids=range(len(RIGHT)))
def test_what_is_right(base, changes):
    assert findings(base, changes) == []


def test_no_message_repeats_a_secret():
    secrets = {"env": {"HF_TOKEN": TOKEN, "PROXY": f"http://me:{TOKEN}@proxy"}, "podAnnotations": {"password": TOKEN}}
    found = lint(load.build(load.merge(SFT, secrets), "a run file"))
    assert len(found) == 3 and not any(TOKEN in json.dumps(each.to_dict()) for each in found)


@pytest.fixture
def path(tmp_path):
    file = tmp_path / "my-run.yaml"
    file.write_text(json.dumps(SFT))
    return file


def test_the_verb(path, capsys):
    assert cli.main(["lint", "sft-tiny", str(path)]) == 0
    assert capsys.readouterr().out == "0 errors, 0 warnings\n"
    changes = ["--set", "env.HF_TOKEN=swordfish", "--set", "image.tag=latest"]
    assert cli.main(["lint", "sft-tiny", str(path), *changes]) == 2
    lines = capsys.readouterr().out.splitlines()
    assert lines[-1] == "2 errors, 2 warnings" and lines[0].startswith("sft-tiny: warning: image.tag: ")
    assert cli.main(["lint", str(path), "--set", "image.tag=latest", "-o", "json"]) == 0
    (row,) = json.loads(capsys.readouterr().out)
    assert (row["run"], row["rule"], row["level"], row["path"]) == (str(path), "image-tag", "warning", "image.tag")
    assert row["message"].startswith("expected a digest or a tag of one version, got latest: ")


def test_what_no_pod_could_run(path, capsys):
    assert cli.main(["lint", str(path), "--set", "data.path=rows.jsonl"]) == 2
    assert "data.path: expected an absolute path on a volume" in capsys.readouterr().err


def test_a_manifest_is_no_run_file(tmp_path, capsys):
    manifest = tmp_path / "job.yaml"
    manifest.write_text("---\napiVersion: batch/v1\nkind: Job\nmetadata: {name: a}\n")
    assert cli.main(["lint", str(manifest)]) == 2
    err = capsys.readouterr().err
    assert f"{manifest}: expected a run file, got a Kubernetes object (kind Job)" in err and "kube-linter" in err
