"""What does `plan --offline` say, and do its parts count as Kubernetes counts?"""

import json
import subprocess
import sys
from decimal import Decimal

import pytest

from fino1.k8s import cli
from fino1.k8s.state.nodes import Node, format_amount, parse_quantity, pod_requests

SFT = {"method": "sft", "gpu": {"product": "NVIDIA-H100-80GB-HBM3"}, "data": {"hub": "a/b", "limit": 1000}}


@pytest.fixture
def plan(tmp_path, capsys):
    """`plan(document, *options)`: exit code and JSON report."""

    def run(document, *options):
        path = tmp_path / "my-run.yaml"
        path.write_text(json.dumps(document))
        code = cli.main(["plan", str(path), "--offline", "-o", "json", *options])
        captured = capsys.readouterr()
        assert captured.err == ""
        return code, json.loads(captured.out)

    return run


def test_sft_with_the_defaults(plan):
    code, report = plan(SFT)
    assert code == 0 and report["missing"] == [] and report["checks"] == [] and report["cost"] is None
    assert report["pods"] == {
        "count": 1,
        "gpus_per_pod": 8,
        "gpus": 8,
        "resource": "nvidia.com/gpu",
        "product": "NVIDIA-H100-80GB-HBM3",
        "ranks": 8,
    }
    assert report["batch"] == {"global": 128, "per_device": 2, "ranks": 8, "accumulation": 8}
    assert report["steps"] == {"steps": 24, "of": "3 epochs of at most 1000 rows"}
    (run,) = report["runs"]
    assert run["directory"].startswith("runs/my-run-") and run["name"].startswith("my-run-")
    assert {"kind": "PyTorchJob", "name": run["name"]} in report["objects"]
    assert [claim["claimName"] for claim in report["claims"]] == ["fino1-work", "fino1-models"]
    assert report["memory"]["fits"] is True and report["memory"]["zero_stage"] == 3
    assert report["memory"]["peak"] == "backward"
    assert report["memory"]["total"] == sum(report["memory"]["parts"].values())


def test_rows_of_a_run(plan, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    document = {**SFT, "data": {"run": "my-paths"}}
    steps = plan(document)[1]["steps"]
    assert steps == {"steps": None, "of": "3 epochs; number of rows not known; run my-paths is not in out/runs"}
    folder = tmp_path / "out" / "runs" / "my-paths-0123456789"
    folder.mkdir(parents=True)
    (folder / "done.json").write_text('{"method": "paths", "rows": 300}')
    assert plan(document)[1]["steps"]["of"] == "3 epochs of at most 300 rows"
    assert plan({**SFT, "data": {"run": "my-paths", "limit": 128}})[1]["steps"]["steps"] == 3


def test_a_gpu_that_is_too_small(plan):
    code, report = plan({**SFT, "gpu": {"product": "Tesla-T4"}})
    assert code == 2 and report["memory"]["fits"] is False
    (text,) = report["missing"]
    assert text.startswith("GPU memory: peak 3") and "what helps: " in text


def test_what_lint_finds(plan):
    keys = {"volumes": {"work": {"accessModes": ["ReadWriteOnce"]}}, "podLabels": {"kueue.x-k8s.io/queue-name": "q"}}
    code, report = plan({**SFT, "nodes": 2, **keys})
    found = {check["about"]: (check["verdict"], check["text"]) for check in report["checks"]}
    verdict, text = found["volumes.work.accessModes"]
    assert verdict == "note" and text.startswith("expected ReadWriteMany for 2 pods, got ReadWriteOnce: ")
    assert text.endswith(" [claim-access-mode]")
    assert code == 2 and report["missing"][0].startswith(
        "podLabels.kueue.x-k8s.io/queue-name: expected the key queue, got q"
    )


def test_a_gpu_that_is_not_known(plan):
    code, report = plan({**SFT, "gpu": {"product": "Some-New-GPU"}})
    assert code == 0 and report["memory"]["fits"] is None and report["memory"]["peak"]


def test_a_model_that_is_not_known(plan):
    code, report = plan({**SFT, "model": {"hub": "some/model"}})
    assert code == 0 and report["memory"]["peak"] is None and "sizes not known" in report["memory"]["unknown"][0]


def test_ppo_of_a_run_that_has_not_finished(plan):
    """The main recipe: memory and value model are estimated by the built-in run file of `sft`."""
    document = {"method": "ppo", "model": {"run": "sft"}, "data": {"task": "ledger"}}
    code, report = plan({**document, "gpu": {"product": "NVIDIA-H100-80GB-HBM3"}})
    memory = report["memory"]
    assert (code, memory["fits"], memory["unknown"]) == (0, True, [])
    assert memory["assumed"] == ["run sft is not in out/runs; its model's size is taken from sft.yaml"]
    # 8B policy and 3B value model, float32 weights over 8 ranks
    assert memory["parts"]["weights"] == 4 * -(-(8_030_261_248 + 3_212_749_824 + 3072) // 8)


def test_ppo(plan):
    document = {"method": "ppo", "nodes": 2, "data": {"task": "ledger"}, "ppo": {"num_mini_batches": 2}}
    _, report = plan(document)
    assert report["batch"] == {"global": 128, "per_device": 1, "ranks": 16, "accumulation": 4, "mini_batches": 2}
    assert report["steps"] == {"steps": 942, "of": "157 updates × 3 passes × 2 mini-batches"}


QWEN = {"hub": "Qwen/Qwen2.5-7B-Instruct"}


@pytest.mark.parametrize(
    ("policy", "value", "says"),
    [
        (
            QWEN,
            {},
            "meta-llama/Llama-3.2-3B-Instruct (the default): expected the policy's vocabulary of 152064 tokens, got ",
        ),
        (QWEN, {"hub": "Qwen/Qwen2.5-14B-Instruct"}, None),
        (
            {},
            {"hub": "our/own"},
            "not checked whether it has the policy's vocabulary: the sizes of ppo.value_model are",
        ),
        ({"hub": "our/own"}, {"init": {}}, None),
    ],
)
@pytest.mark.parametrize("gpus", [0, 8])
def test_a_value_model_reads_the_policy_s_tokens(plan, policy, value, says, gpus):
    document = {"method": "ppo", "model": policy, "ppo": {"value_model": value}, "gpus_per_node": gpus}
    report = plan({**document, "data": {"hub": "a/b"}})[1]
    found = [check for check in report["checks"] if check["about"] == "ppo.value_model"]
    assert [check["text"].startswith(says) for check in found] == ([True] if says else [])
    is_missing = any(text.startswith("ppo.value_model: ") for text in report["missing"])
    assert is_missing is ("expected" in (says or ""))


def test_an_evaluation(plan):
    models = [{"name": "a", "run": "sft"}, {"name": "b", "base_url": "https://example.org/v1"}]
    tasks = [{"task": "ledger", "size": 100}, {"task": "finqa", "hub": "x/y", "limit": 50}]
    _, report = plan({"method": "eval", "gpus_per_node": 2, "eval": {"models": models, "tasks": tasks, "shards": 3}})
    assert report["backend"] == "job" and report["batch"] is None and report["pods"]["ranks"] is None
    assert (report["pods"]["count"], report["pods"]["gpus"]) == (6, 6)
    assert report["steps"] == {"questions": 300, "of": "2 models × 2 tasks"}
    assert [run["model"] for run in report["runs"]] == ["a", "b"]


def test_the_calls_of_an_evaluation(plan, tmp_path, capsys):
    """Four answers to each of 100 questions, of three models, one of them with a price."""
    models = [{"name": name, "base_url": "https://x/v1"} for name in "abc"]
    models[0]["price"] = {"input": 1, "output": 10}
    tasks = [{"task": "ledger", "size": 60}, {"task": "finqa", "path": "/work/test.json", "limit": 40}]
    block = {"models": models, "tasks": tasks, "samples": 4, "temperature": 0.7, "max_tokens": 1000}
    document = {"method": "eval", "gpus_per_node": 0, "eval": block | {"budget": {"tokens": 2_000_000}}}
    code, report = plan(document)
    assert (code, report["steps"]["questions"]) == (0, 300)
    assert report["calls"] == {
        "per_question": [4, 4],
        "all": [1200, 1200],
        "reply_tokens": 1_200_000,
        "reply_dollars": 4.0,
        "budget": {"tokens": 2_000_000},
    }
    (tmp_path / "my-eval.yaml").write_text(json.dumps(document))
    assert cli.main(["plan", str(tmp_path / "my-eval.yaml"), "--offline"]) == 0
    lines = [line.split(maxsplit=1) for line in capsys.readouterr().out.splitlines()]
    assert ["calls", "1200 (4 a question)"] in lines
    assert ["their", "replies take at most 1200000 tokens, 4.00 dollars; prompts are not in it"] in lines


def test_cost(plan, tmp_path):
    book = tmp_path / "prices.yaml"
    book.write_text("currency: EUR\nprices: {NVIDIA-H100-80GB-HBM3: 2.5}\n")
    _, report = plan(SFT, "--prices", str(book), "--hours", "3")
    assert (report["cost"]["amount"], report["cost"]["bound"], report["cost"]["gpus"]) == (60, "estimated", 8)


@pytest.mark.parametrize("prices", [[], ["--prices", "prices.yaml"]])
def test_hours_are_some_and_need_prices(capsys, prices):
    assert cli.main(["plan", "sft", "--offline", *prices, "--hours", "0" if prices else "3"]) == 2
    assert capsys.readouterr().err.startswith("--hours: expected more than 0 hours, and --prices, got ")


def test_the_text(tmp_path, capsys):
    path, book = tmp_path / "my-run.yaml", tmp_path / "prices.yaml"
    path.write_text(json.dumps(SFT))
    book.write_text("currency: EUR\nprices: {nvidia.com/gpu: 2}\n")
    assert cli.main(["plan", str(path), "--offline", "--prices", str(book), "--hours", "2"]) == 0
    out = capsys.readouterr().out
    for line in (
        "run      my-run (method sft, backend pytorchjob)",
        "pods     1 pod × 8 nvidia.com/gpu (NVIDIA-H100-80GB-HBM3), 8 GPUs in all, 8 ranks",
        "batch    128 = 2 per device × 8 ranks × 8 accumulation",
        "cost     8 GPUs, 16.00 EUR an hour; estimated 32.00 EUR for 2 hours",
        "nothing is missing by the run file alone; no cluster was asked",
    ):
        assert f"{line}\n" in out, line
    assert (
        "memory   peak 31.3 GiB per rank (backward); fits, a GPU has 75.7 GiB to give (estimated, docs/memory.md)\n"
        in out
    )
    assert cli.main(["plan", str(path), "--offline", "--set", "gpu.product=Tesla-T4"]) == 2
    assert "\n1. missing: GPU memory: " in capsys.readouterr().out


def test_without_a_kubeconfig_there_is_offline(tmp_path, capsys, monkeypatch):
    monkeypatch.setenv("KUBECONFIG", str(tmp_path / "none"))
    assert cli.main(["plan", "sft-tiny"]) == 2
    assert capsys.readouterr().err.endswith("set KUBECONFIG to yours, or add --offline\n")


def test_the_text_of_an_evaluation(tmp_path, capsys):
    """It has no ranks, and its questions are not known where a task's rows are read from the hub."""
    path = tmp_path / "my-eval.yaml"
    tasks = [{"task": "finqa", "hub": "x/y"}, {"task": "ledger"}]
    models = [{"name": "a", "hub": "meta-llama/Llama-3.1-8B-Instruct"}]
    path.write_text(json.dumps({"method": "eval", "gpus_per_node": 1, "eval": {"models": models, "tasks": tasks}}))
    assert cli.main(["plan", str(path), "--offline", "--set", "gpu.product=Some-New-GPU"]) == 0
    out = capsys.readouterr().out
    assert "questions  not known until the tasks are read (1 model × 2 tasks)\n" in out
    assert " per GPU (serve a); the memory of Some-New-GPU is not known (estimated" in out


def test_many_objects_are_counted(tmp_path, capsys):
    path = tmp_path / "my-run.yaml"
    models = [{"name": f"m{i}", "run": "sft"} for i in range(20)]
    path.write_text(json.dumps({"method": "eval", "eval": {"models": models, "tasks": [{"task": "ledger"}]}}))
    assert cli.main(["plan", str(path), "--offline"]) == 0
    out = capsys.readouterr().out
    assert "20 Job" in out and "and 12 more" in out and len(out.splitlines()) < 40


def test_offline_loads_no_client():
    code = (
        "import sys; from fino1.k8s import cli; cli.main(['plan', 'sft-tiny', '--offline']);"
        "print({'kubernetes', 'torch', 'urllib3'} & set(sys.modules))"
    )
    out = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout
    assert out.splitlines()[-1] == "set()"


@pytest.mark.parametrize(
    ("text", "number"),
    [
        ("1", 1),
        ("500m", Decimal("0.5")),
        ("64Gi", 64 * 2**30),
        ("1.5k", 1500),
        ("1e3", 1000),
        ("2E", 2 * 10**18),
        ("0.1", Decimal("0.1")),
    ],
)
def test_quantities(text, number):
    assert parse_quantity(text) == number


def test_amounts_for_people():
    assert format_amount("requests.memory", parse_quantity("1536Mi")) == "1.5Gi"
    assert format_amount("cpu", parse_quantity("1500m")) == "1.5"
    assert format_amount("nvidia.com/gpu", Decimal(8)) == "8"


def container(cpu, **keys):
    return {"name": "c", "resources": {"requests": {"cpu": cpu}}, **keys}


@pytest.mark.parametrize(
    ("init", "main", "cpu"),
    [
        ([], ["1", "2"], 3),
        ([container("5")], ["1"], 5),
        ([container("2", restartPolicy="Always")], ["1"], 3),  # a sidecar stays
        ([container("2", restartPolicy="Always"), container("4")], ["1"], 6),
        ([container("4"), container("2", restartPolicy="Always")], ["1"], 4),
    ],
)
def test_what_a_pod_requests(init, main, cpu):
    """As kubernetes' resourcehelper.PodRequests counts it."""
    pod = {"initContainers": init, "containers": [container(c) for c in main]}
    assert pod_requests(pod) == {"cpu": cpu, "pods": 1}


def test_a_limit_without_a_request_is_one():
    resources = {"limits": {"cpu": "2", "memory": "1Gi"}, "requests": {"cpu": "1"}}
    pod = {"containers": [{"name": "c", "resources": resources}]}
    assert pod_requests(pod) == {"cpu": 1, "memory": 2**30, "pods": 1}


def node(*taints, labels=None, ready="True", **spec):
    body = {"metadata": {"name": "n", "labels": labels or {}}, "spec": {"taints": list(taints), **spec}}
    return Node({**body, "status": {"conditions": [{"type": "Ready", "status": ready}]}})


TAINT = {"key": "k", "value": "v", "effect": "NoSchedule"}


@pytest.mark.parametrize(
    ("toleration", "tolerates"),
    [
        ({"key": "k", "operator": "Exists"}, True),
        ({"operator": "Exists"}, True),
        ({"key": "k", "operator": "Equal", "value": "v"}, True),
        ({"key": "k", "value": "w"}, False),
        ({"key": "other", "operator": "Exists"}, False),
        ({"key": "k", "operator": "Exists", "effect": "NoExecute"}, False),
        ({"key": "k", "operator": "Exists", "effect": "NoSchedule"}, True),
    ],
)
def test_taints(toleration, tolerates):
    assert (node(TAINT).refuses({"tolerations": [toleration]}) == "") == tolerates


def test_why_a_node_is_of_no_use():
    assert node(labels={"a": "1"}).refuses({"nodeSelector": {"a": "2"}}) == "a=1"
    assert node().refuses({"nodeSelector": {"a": "2"}}) == "no label a"
    assert node(unschedulable=True).refuses({}) == "cordoned"
    assert node(ready="Unknown").refuses({}) == "not Ready"
    assert node({**TAINT, "effect": "PreferNoSchedule"}).refuses({}) == ""
    assert node(TAINT).refuses({}) == "taint k=v not tolerated"


HOSTED = {"base_url": "https://x/v1", "max_tokens": 1000, "price": {"input": 1, "output": 10}}


def search(**keys):
    return {"method": "paths", "paths": {"tasks": [{"task": "ledger", "size": 40}], "writer": HOSTED} | keys}


def test_the_calls_of_a_search_for_paths(plan):
    block = {"depth": 3, "attempts": 2, "fallback": True, "shards": 4, "budget": {"dollars": 3}}
    code, report = plan(search(**block))
    assert code == 0 and report["missing"] == []
    assert (report["pods"]["count"], report["pods"]["gpus"], report["pods"]["ranks"]) == (4, 0, None)
    assert report["steps"] == {"questions": 40, "of": "1 task"}
    assert report["calls"] == {
        "per_question": [3, 10],
        "all": [120, 400],
        "reply_tokens": 400_000,
        "reply_dollars": 4.0,
        "budget": {"dollars": 3.0},
    }
    code, report = plan(search(tasks=[{"task": "finqa", "path": "/work/train.json"}]))
    assert (report["calls"]["per_question"], report["calls"]["all"]) == ([3, 5], None)
    assert plan(SFT)[1]["calls"] is None


def test_the_writer_that_a_pod_serves_takes_its_gpus(plan):
    code, report = plan(search(writer={"hub": "meta-llama/Llama-3.1-8B-Instruct"}, judge=HOSTED) | {"gpus_per_node": 2})
    assert (code, report["pods"]["gpus"], report["memory"]["peak"]) == (0, 2, "serve writer")


def test_the_calls_as_text(tmp_path, capsys):
    (tmp_path / "my-paths.yaml").write_text(json.dumps(search(budget={"dollars": 3, "tokens": 9_000_000})))
    assert cli.main(["plan", str(tmp_path / "my-paths.yaml"), "--offline"]) == 0
    lines = [line.split(maxsplit=1) for line in capsys.readouterr().out.splitlines()]
    assert ["pods", "1 pod × no GPU"] in lines  # though gpus_per_node is 8 where nothing is said
    assert ["calls", "120 … 200 (3 … 5 a question), and those of the judge and for malformed replies"] in lines
    assert ["their", "replies take at most 200000 tokens, 2.00 dollars; prompts are not in it"] in lines
    assert ["budget", "9000000 tokens or 3 dollars, then the run ends"] in lines


def test_gpus_of_an_evaluation_are_each_models_own(plan, capsys):
    """A model with 4, one with those of the file, one behind an API without; two shards of each."""
    models = [{"name": "a", "hub": "x/a", "gpus": 4}, {"name": "b", "hub": "x/b"}]
    models.append({"name": "c", "base_url": "https://api.example.com/v1", "gpus": 8})
    block = {"models": models, "tasks": [{"task": "ledger"}], "shards": 2}
    code, report = plan({"method": "eval", "gpus_per_node": 1, "eval": block})
    assert code == 0
    assert {key: report["pods"][key] for key in ("count", "gpus_per_pod", "gpus")} == {
        "count": 6,
        "gpus_per_pod": 4,
        "gpus": 10,
    }
