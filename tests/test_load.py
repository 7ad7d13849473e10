import json
import re
from decimal import Decimal
from pathlib import Path

import pytest

from fino1 import runs
from fino1.errors import SpecError
from fino1.spec import canonical, fields, load, recipe, yamlfile
from fino1.spec.fields import Block
from fino1.spec.placement import PLACEMENT
from fino1.spec.run import READ, RunSpec

LEDGER = {"method": "sft", "gpus_per_node": 0, "sft": {"per_device_train_batch_size": 16}, "data": {"task": "ledger"}}
ONE = {"gpus_per_node": 0, "data": {"task": "ledger"}}


def build(**changes):
    return load.build(load.merge(ONE | {"method": "sft"}, changes), "F")


def problems(document):
    with pytest.raises(SpecError) as caught:
        load.build(document, "F")
    return caught.value.problems


def only(**changes):
    (problem,) = problems(load.merge(ONE | {"method": "sft"}, changes))
    return problem


def written(tmp_path, text):
    path = tmp_path / "run.yaml"
    path.write_text(text)
    return path


# Helm's rules


@pytest.mark.parametrize(
    ("base", "over", "merged"),
    [
        ({"a": {"b": 1, "c": 2}}, {"a": {"c": 3}}, {"a": {"b": 1, "c": 3}}),
        ({"a": [1, 2]}, {"a": [3]}, {"a": [3]}),
        ({"a": 1, "b": 2}, {"a": None}, {"b": 2}),
        ({"a": {"b": 1, "c": 2}}, {"a": {"b": None}}, {"a": {"c": 2}}),
        ({"a": {"b": 1}}, {"a": None}, {}),
        ({"a": {"b": 1}}, {"a": 5}, {"a": 5}),
        ({"a": 5}, {"a": {"b": 1, "c": None}}, {"a": {"b": 1}}),
        ({}, {"a": [{"b": None}]}, {"a": [{"b": None}]}),  # lists are values
    ],
)
def test_merge(base, over, merged):
    before = json.dumps([base, over])
    assert load.merge(base, over) == merged
    assert json.dumps([base, over]) == before


def test_layers_delete_what_is_below_them():
    assert load.layered([{"a": 1, "b": {"c": 2}}, {"b": {"c": None}}, {"a": None}]) == {"b": {}}
    assert load.layered([{"a": None, "b": {"c": None}}]) == {"b": {}}


def test_null_in_the_file_means_the_default():
    assert build(sft={"learning_rate": None}, model=None, seed=None) == build()
    assert load.build({**LEDGER, "sft": {"learning_rate": None}}, "F").sft.learning_rate == 5e-6


# --set


@pytest.mark.parametrize(
    ("assignments", "document"),
    [
        (["a.b=1"], {"a": {"b": 1}}),
        (["a.b=1", "a.c=2"], {"a": {"b": 1, "c": 2}}),
        (["a=1", "a=2"], {"a": 2}),
        (["a=-5"], {"a": -5}),
        (
            ["a=1.20", "b=5e-7", "c=NaN", f"d={2**63}"],
            {"a": "1.20", "b": "5e-7", "c": "NaN", "d": str(2**63)},
        ),  # as Helm
        (['a=[{"b":0.5}]'], {"a": [{"b": 0.5}]}),
        ([r"a.b\.c/d\.e=1", "a.f=2"], {"a": {"b.c/d.e": 1, "f": 2}}),
        ([r"a=b\.c"], {"a": r"b\.c"}),
        (["a=true"], {"a": True}),
        (["a=null"], {"a": None}),
        (['a="5"'], {"a": "5"}),
        (["a=x=y"], {"a": "x=y"}),
        (["a="], {"a": ""}),
        (["a=meta-llama/Llama-3.1-8B"], {"a": "meta-llama/Llama-3.1-8B"}),
        (['a=[{"b":1}]'], {"a": [{"b": 1}]}),
        (['a={"b":1}', "a.c=2"], {"a": {"b": 1, "c": 2}}),
    ],
)
def test_set(assignments, document):
    assert load.parse_set(assignments) == document


def test_set_says_all_that_is_wrong():
    with pytest.raises(SpecError) as caught:
        load.parse_set(["a", "=1", "a..b=1", "ok=1", "ok.b=2", "ok.b.c=3", "fine.x=1"])
    found = caught.value.problems
    assert len(found) == 5
    assert found[0] == "--set a: expected KEY.KEY=VALUE, got 'a'"
    assert found[3] == "--set ok.b=2: expected ok to be a map, got a value set before"


def test_problems_name_the_layer_that_gives_the_key(tmp_path):
    """The last one that does; the run file for what follows from several keys, or from none."""
    over = tmp_path / "over.yaml"
    over.write_text('{"data": {"exclude": [{"pth": "x"}]}, "sft": {"learning_rate": "low", "bf17": 1}}')
    file = written(tmp_path, '{"method": "sft", "data": {"task": "ledger", "x": 1}, "sft": {"learning_rate": "high"}}')
    with pytest.raises(SpecError) as caught:
        assignments = [
            "sft.learning_rate=abc",
            'model={"init":{"layers":1}}',
            r"resources.limits.nvidia\.com/gpu=1 GPU",
        ]
        recipe.read_run(str(file), [over], assignments, None)
    found = {text.split(": expected")[0].split(": unknown")[0] for text in caught.value.problems}
    assert found >= {
        "--set resources.limits.nvidia.com/gpu",
        "--set sft.learning_rate",
        "--set model.init.layers",
        f"{over}: data.exclude.0.pth",
        f"{over}: sft.bf17",
        f"{file}: data.x",
    }
    assert not any(text.startswith(f"{file}: sft") for text in caught.value.problems)
    with pytest.raises(SpecError, match=f"^{file}: method: expected a value, got none$"):
        recipe.read_run(str(written(tmp_path, "{}")), [], ["data.task=ledger"], None)


# YAML


def test_duplicate_keys_are_refused(tmp_path):
    path = written(tmp_path, "method: sft\nsft:\n  bf16: true\n  max_length: 3\n  bf16: false\n")
    with pytest.raises(SpecError) as caught:
        yamlfile.read_yaml(path)
    assert str(caught.value) == f"{path}: line 5: bf16: expected once, got twice"


def test_yaml_anchors_and_merge_keys_work(tmp_path):
    path = written(tmp_path, "a: &a {x: 1, z: 2}\nb: {<<: *a, z: 3}\nc: {<<: *a}\n")
    assert yamlfile.read_yaml(path) == {"a": {"x": 1, "z": 2}, "b": {"x": 1, "z": 3}, "c": {"x": 1, "z": 2}}


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("a: [1", "line "),
        ("- 1\n", "expected a map of keys, got the list [1]"),
        ("5", "expected a map of keys, got 5"),
        ("root:x:0:0\nsecret\n", "expected a map of keys, got text"),
        ("a: 1\n---\nb: 2\n", "expected YAML"),
        ("a: !!python/object:os.system x\n", "expected YAML"),
        ("? [a]\n: 1\n", "expected YAML"),
        (f"a: {'[' * 3000}{']' * 3000}", "expected YAML, got maximum recursion depth"),
        (f"a: {'9' * 5000}", "expected YAML, got Exceeds the limit"),
        ("a: b\0c", "expected YAML, got unacceptable character #x0000"),
    ],
)
def test_broken_files(tmp_path, text, message):
    path = written(tmp_path, text)
    with pytest.raises(SpecError) as caught:
        yamlfile.read_yaml(path)
    assert str(caught.value).startswith(f"{path}: ") and "\n" not in str(caught.value)
    assert message in str(caught.value)


def test_no_file_no_text(tmp_path):
    with pytest.raises(SpecError, match="expected a file, got none"):
        yamlfile.read_yaml(tmp_path / "none.yaml")
    with pytest.raises(SpecError, match="expected a readable text file"):
        yamlfile.read_yaml(tmp_path)
    (tmp_path / "b.yaml").write_bytes(b"\xff\xfe\x00")
    with pytest.raises(SpecError, match="expected"):
        yamlfile.read_yaml(tmp_path / "b.yaml")
    assert yamlfile.read_yaml(written(tmp_path, "# nothing\n")) == {}


# values


@pytest.mark.parametrize("text", ["5e-7", "1e-5", "0.0005", ".5e-3", "1.5e3", "+1"])
def test_numbers_may_be_text(tmp_path, text):
    path = written(tmp_path, f"method: sft\ngpus_per_node: 0\ndata: {{task: ledger}}\nsft:\n  learning_rate: {text}\n")
    assert load.build(yamlfile.read_yaml(path), "F").sft.learning_rate == float(text)
    assert build(sft={"learning_rate": text}).sft.learning_rate == float(text)
    same = load.parse_set([f"sft.learning_rate={text}"])
    assert load.run_hash(build(**same)) == load.run_hash(build(sft={"learning_rate": float(text)}))


@pytest.mark.parametrize("value", [3, 3.0, "3", "3.0", "3e0"])
def test_integers_may_be_written_as_helm_has_them(value):
    spec = build(sft={"max_steps": value})
    assert spec.sft.max_steps == 3
    assert type(spec.sft.max_steps) is int


NOT_NUMBERS = [True, False, "nan", "inf", "1_000", "0x10", " 1", "1 ", "", "x", "1,5", "٣", [], {}, [1]]


@pytest.mark.parametrize("value", NOT_NUMBERS, ids=repr)
@pytest.mark.parametrize("key", ["learning_rate", "max_steps", "weight_decay", "save_total_limit"])
def test_what_is_not_a_number(key, value):
    assert only(sft={key: value}).startswith(f"F: sft.{key}: expected a number, got ")


@pytest.mark.parametrize("value", [float("nan"), float("inf"), -float("inf"), 10**400, "1e999"], ids=str)
@pytest.mark.parametrize("key", ["learning_rate", "max_steps", "adam_beta1"])
def test_not_finite(key, value):
    assert only(sft={key: value}).startswith(f"F: sft.{key}: expected a finite number, got ")


@pytest.mark.parametrize("value", [3.5, "3.5", 1e-3])
def test_not_integers(value):
    assert only(sft={"max_steps": value}).startswith("F: sft.max_steps: expected an integer, got ")
    assert only(seed=value).startswith("F: seed: expected an integer, got ")


def test_integers_that_a_float_cannot_hold():
    assert only(sft={"max_steps": 2**53 + 1}) == (
        "F: sft.max_steps: expected an integer of at most 2^53, got 9007199254740993"
    )


@pytest.mark.parametrize("value", [0, 1, 1.0, "true", "yes", "on", "1", "false", []], ids=repr)
def test_only_true_and_false_are_booleans(value):
    assert only(sft={"bf16": value}).startswith("F: sft.bf16: expected true or false, got ")


@pytest.mark.parametrize("value", [1, True, 1.5, {}, [], ""], ids=repr)
def test_only_text_is_text(value):
    assert only(data={"task": None, "path": value}).startswith("F: data.path: expected text")


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"method": "grpo"}, "method: expected 'sft', 'verifier', 'ppo', 'eval' or 'paths', got the text grpo"),
        ({"seed": -1}, "seed: expected at least 0, got -1"),
        ({"seed": 2**32}, "seed: expected less than 4294967296, got 4294967296"),
        ({"sft": {"learning_rate": 0}}, "sft.learning_rate: expected more than 0, got 0"),
        ({"sft": {"warmup_ratio": 1.5}}, "sft.warmup_ratio: expected at most 1, got 1.5"),
        ({"sft": {"save_total_limit": 1}}, "sft.save_total_limit: expected at least 2, got 1"),
        ({"sft": [1]}, "sft: expected a map of keys, got the list [1]"),
        ({"sft": {"eval_strategy": False}}, "sft.eval_strategy: expected 'no' or 'steps', got false (YAML's reading"),
        ({"data": {"exclude": {"task": "finqa"}}}, "data.exclude: expected a list, got the map "),
        ({"data": {"exclude": [{}]}}, "data.exclude.0: expected path or hub, or task: ledger, got none"),
        ({"data": {"columns": {"Qestion": "q"}}}, "data.columns.Qestion: expected 'Question', "),
        ({"data": {"hub": "a/b", "path": "c", "task": None}}, "data: expected one of path, hub, got both"),
        ({"method": "verifier", "data": {"task": None}}, "data: expected path or hub, or task: ledger, got none"),
        ({"data": {"run": "a", "path": "b"}}, "data.run: expected none with task and path, got a"),
        (
            {"method": "verifier", "data": {"task": None, "run": "a"}},
            "data.run: expected none with method verifier, got a",
        ),
        ({"data": {"task": None, "run": "A"}}, "data.run: expected a short name of lower-case letters"),
        ({"data": {"task": "squad"}}, "data.task: expected one of finqa, xbrl_math, "),
        ({"model": {"hub": "a", "path": "b"}}, "model: expected one of hub, path, run, init, got hub and path"),
        ({"model": {"run": "a", "init": {}}}, "model: expected one of hub, path, run, init, got run and init"),
        ({"model": {"revision": "main"}}, "model.revision: expected none without hub, got main"),
        ({"model": {"run": "../x"}}, "model.run: expected a short name of lower-case letters, digits, - and ., got"),
        ({"model": {"run": "a*"}}, "model.run: expected a short name"),
        ({"model": {"init": {"hidden_size": 130}}}, "model.init.hidden_size: expected a multiple of num_attention_hea"),
        ({"model": {"init": {"hidden_size": 12}}}, "model.init.hidden_size: expected an even number for each of num_"),
        ({"model": {"init": {"num_key_value_heads": 3}}}, "model.init.num_key_value_heads: expected a divisor of num"),
        ({"model": {"init": {"vocab_size": 100}}}, "model.init.vocab_size: expected at least 261, got 100"),
        ({"sft": {"global_batch_size": 3}}, "sft.global_batch_size: expected a multiple of 2 (ranks × per_device_"),
        ({"sft": {"gradient_accumulation_steps": 3}}, "sft.gradient_accumulation_steps: expected 64, which makes glo"),
        ({"sft": {"global_batch_size": 6}, "gpus_per_node": 2}, "sft.global_batch_size: expected a multiple of 4 (ra"),
        ({"method": "ppo", "model": {"init": {}}}, "model.init: expected a trained policy (hub, path or run), got ra"),
        ({"method": "ppo", "ppo": {"num_mini_batches": 3}}, "ppo.global_batch_size: expected a multiple of 3 (num_mi"),
        ({"method": "ppo", "ppo": {"num_generations": 5}}, "ppo.num_generations: expected a divisor of 128 (global_ba"),
        (
            {"method": "ppo", "ppo": {"leave_one_out": True}},
            "ppo.leave_one_out: expected false with num_generations: 1",
        ),
        ({"method": "ppo", "ppo": {"reward": {"source": "model"}}}, "ppo.reward.model: expected hub, path or run with"),
        (
            {"method": "ppo", "ppo": {"reward": {"source": "model", "model": {"init": {}}}}},
            "ppo.reward.model: expected hub, path or run with source: model, got random weights",
        ),
        ({"shmSize": "16GB"}, "shmSize: expected a quantity such as 16Gi, got 16GB"),
        ({"shmSize": "400m"}, "shmSize: expected a quantity such as 16Gi, got 400m"),
        ({"data": {"fold": "6"}}, "data.fold: expected a part such as 1/5, got 6"),
        ({"image": {"tag": 1.2}}, "image.tag: expected text, got 1.2 (YAML's reading of a number; put"),
        (
            {"image": {"tag": ""}},
            "image.tag: expected a tag of at most 128 letters, digits, -, _ and ., got empty text",
        ),
        ({"image": {"repository": "A/b"}}, "image.repository: expected an image's name in lower case, without"),
        (
            {"image": {"repository": "host:5000/x:v3"}},
            "image.repository: expected a name without its tag (image.tag), got",
        ),
        (
            {"gpu": {"resource": "gpu"}},
            "gpu.resource: expected a device with its domain, such as nvidia.com/gpu, got gpu",
        ),
        (
            {"queue": "Team"},
            "queue: expected a name of lower-case letters, digits, - and ., each part between dots with",
        ),
        ({"queue": "a" * 64}, "queue: expected at most 63 characters, got the text aaa"),
        (
            {"env": {"1a": "x"}},
            "env.1a: expected a variable's name of letters, digits, _, - and ., which starts with no",
        ),
        (
            {"resources": {"limits": {"memory": "400m"}}, "shmSize": 0},
            "resources.limits.memory: expected whole bytes such as",
        ),
        (
            {"resources": {"limits": {"memory": "8Gi"}}},
            "shmSize: expected at most resources.limits.memory, 8Gi, got 16Gi",
        ),
        (
            {"resources": {"requests": {"memorz": 1}}},
            "resources.requests.memorz: expected cpu, memory, ephemeral-storage, h",
        ),
        ({"tolerations": [{"value": "x"}]}, "tolerations.0.key: expected one with operator Equal, got none"),
        (
            {"podLabels": {"fino1/run": "x"}},
            "podLabels.fino1/run: expected a key that the pod does not set itself, got fi",
        ),
        ({"launch": {"zero_stage": 4}}, "launch.zero_stage: expected at most 3, got 4"),
        ({"launch": {"offload_param_device": "nvme"}}, "launch.offload_param_device: expected"),
        (
            {"launch": {"zero_stage": 2, "offload_param_device": "cpu"}},
            "launch.offload_param_device: expected none with zero_stage: 2, got cpu",
        ),
        (
            {"launch": {"zero_stage": 0, "offload_optimizer_device": "cpu"}},
            "launch.offload_optimizer_device: expected none with zero_stage: 0, got cpu",
        ),
        (
            {"method": "ppo", "gpus_per_node": 8, "launch": {"zero_stage": 2}},
            "launch.zero_stage: expected 0 or 3 with method ppo and several ranks, got 2",
        ),
        (
            {"method": "ppo", "launch": {"offload_optimizer_device": "cpu"}},
            "launch.offload_optimizer_device: expected none with method ppo, got cpu",
        ),
    ],
)
def test_messages(changes, message):
    assert only(**changes).startswith(f"F: {message}")


def test_every_pattern_has_words_for_its_message():
    schema = json.dumps(RunSpec.model_json_schema())
    patterns = [json.loads(f'"{text}"') for text in re.findall(r'"(\^(?:[^"\\]|\\.)*)"', schema)]
    assert len(patterns) > 20 and set(patterns) <= fields.EXPECTED.keys()


@pytest.mark.parametrize(
    ("text", "number"),
    [
        *[
            ("500m", "0.5"),
            ("+1.5", "1.5"),
            ("5.", "5"),
            (".5Ki", "512"),
            ("16Gi", 2**34),
            ("1E", 10**18),
            ("1Ei", 2**60),
        ],
        *[("12E2", 1200), ("1e-3", "0.001"), ("3n", "3e-9"), ("7u", "7e-6"), ("2k", 2000), ("64G", 64 * 10**9)],
    ],
)
def test_quantities(text, number):
    assert fields.amount(text) == Decimal(number)
    assert re.fullmatch(fields.QUANTITY, text)


SERVED = {"models": [{"name": "a", "run": "b"}], "tasks": [{"task": "ledger"}]}
STARTS = [
    {"resources": {"limits": {"memory": "1Gi"}}, "shmSize": "1024Mi"},
    {"resources": {"limits": {"memory": 0}}},  # no limit
    {"method": "eval", "eval": SERVED, "resources": {"limits": {"memory": "1Gi"}}},  # of the container that asks
    {"gpus_per_node": 8, "resources": {"requests": {"nvidia.com/gpu": "8", "cpu": "4"}, "limits": {"cpu": 4}}},
    {"resources": {"limits": {"hugepages-1Gi": "2Gi"}, "requests": {"cpu": 1, "hugepages-1Gi": "2048Mi"}}},
    {"tolerations": [{"operator": "Exists"}, {"key": "a", "effect": "NoExecute", "tolerationSeconds": 0}]},
    {"podLabels": {"scheduling.x-k8s.io/pod-group": "mine", "app.kubernetes.io/version": "1"}},
]


@pytest.mark.parametrize("changes", STARTS)
def test_what_a_pod_starts_with(changes):
    assert build(**changes)


def test_evaluations():
    assert problems({"method": "eval"}) == [
        "F: eval.models: expected at least one, got none",
        "F: eval.tasks: expected at least one, got none",
    ]
    models = [{"name": "a", "run": "a"}, {"name": "a", "base_url": "http://x/v1"}]
    assert problems({"method": "eval", "eval": {"models": models, "tasks": [{"task": "finqa"}]}}) == [
        "F: eval.tasks.0: expected path or hub for task finqa, got none",
        "F: eval.models: expected different names, got a twice",
    ]
    assert problems(
        {"method": "eval", "eval": {"models": [{"name": "A b"}, {"name": "c"}, {"name": "d", "init": {}}]}}
    )[0].startswith("F: eval.models.0.name: expected a short name")


@pytest.mark.parametrize("url", ["http://[::1]:80/v1", "http://u:p@h:8/v1", "https://a_b.example/v1/"])
def test_endpoints(url):
    assert load.build({"method": "eval", "eval": SERVED | {"models": [{"name": "a", "base_url": url}]}}, "F")


@pytest.mark.parametrize(
    "url",
    [
        "example.com/v1",
        "ftp://x/v1",
        "http:///v1",
        "http://[::1/v1",
        "http://h:a/v1",
        "http://h/v1?v=1",
        "http://é/v1",
        "http://h\n",
    ],
)
def test_what_is_no_endpoint(url):
    (problem,) = problems({"method": "eval", "eval": SERVED | {"models": [{"name": "a", "base_url": url}]}})
    expected = "expected a URL such as https://api.example.com/v1, without ? and #"
    assert problem == f"F: eval.models.0.base_url: {expected}, got {url if url.isprintable() else json.dumps(url)}"


def test_reasoning_paths():
    assert problems({"method": "paths", "report_to": ["wandb"]}) == [
        "F: report_to: expected none with method paths, got wandb",
        "F: paths.tasks: expected at least one, got none",
        "F: paths.writer: expected a model, got none",
    ]
    endpoint = {"base_url": "http://x/v1"}
    block = {"writer": endpoint | {"price": {"input": 1, "output": 2}}, "judge": endpoint, "budget": {"dollars": 1}}
    assert problems({"method": "paths", "paths": {**block, "tasks": [{"task": "finqa"}]}}) == [
        "F: paths.tasks.0: expected path or hub for task finqa, got none",
        "F: paths.judge.price: expected one with paths.budget.dollars, got none",
    ]


def test_without_rows_the_published_reasoning_paths_are_meant():
    assert load.build({"method": "sft"}, "F").data.source == "TheFinAI/Fino1_Reasoning_Path_FinQA"
    assert load.build({"method": "ppo", "data": {"limit": 9}}, "F").data.is_default


def test_all_problems_are_in_one_error():
    """Types, unknown keys, ranges, what a block's keys mean together, and what the method needs."""
    found = problems(
        {
            "method": "ppo",
            "gpus_per_node": 0,
            "sft": {"learning_rate": "fast", "n_epochs": 3},
            "model": {"hub": "a", "path": "b"},
            "ppo": {"num_mini_batches": 3},
            "data": {"task": "finqa"},
            "seed": True,
            "sead": 1,
            7: 8,
        }
    )
    assert len(found) == 8
    assert [problem.split(": ")[1] for problem in found] == [
        "seed",
        "model",
        "sft.learning_rate",
        "sft.n_epochs",
        "sead",
        "7",
        "ppo.global_batch_size",
        "data",
    ]


def test_a_faulty_block_has_no_second_problem():
    assert problems({"method": "sft", "data": {"pth": "x"}}) == [
        "F: data.pth: unknown key; the nearest known one is path"
    ]
    assert problems({**LEDGER, "nodes": "x", "sft": {"global_batch_size": 7}}) == [
        "F: nodes: expected a number, got the text x"
    ]


def test_text_that_is_no_text_is_refused():
    assert only(data={"task": None, "path": "\ud800"}).startswith("F: data.path: expected Unicode text, got ")


# unknown keys

SEED_SFT = [
    "experiment_name",
    "model_path",
    "data_path",
    "output_dir",
    "max_ckpts",
    "log_dir",
    "max_seq_len",
    "gradient_checkpointing",
    "gradient_accumulation_steps",
    "train_bsz_per_gpu",
    "weight_decay",
    "learning_rate",
    "warmup_rates",
    "n_epochs",
    "seed",
]
SEED_RL = [
    "dataset_name",
    "model_name_or_path",
    "reward_model_path",
    "value_model_path",
    "response_length",
    "temperature",
    "local_rollout_forward_batch_size",
    "num_ppo_epochs",
    "num_mini_batches",
    "total_episodes",
    "per_device_train_batch_size",
    "gradient_accumulation_steps",
    "bf16",
    "output_dir",
    "save_strategy",
    "save_step",
    "save_steps",
    "save_total_limit",
    "eval_strategy",
    "eval_steps",
    "kl_coef",
    "learning_rate",
    "warmup_ratio",
    "gradient_checkpointing",
    "dataloader_num_workers",
    "run_name",
    "num_sample_generations",
    "report_to",
    "exp_name",
    "whiten_rewards",
    "cliprange",
    "vf_coef",
    "cliprange_value",
    "gamma",
    "lam",
    "model_adapter_name",
    "ref_adapter_name",
    "stop_token",
    "stop_token_id",
    "missing_eos_penalty",
    "sft_model_path",
    "batch_size",
    "dataset_num_proc",
    "seed",
    "lr_scheduler_type",
    "adam_beta1",
    "adam_beta2",
    "adam_epsilon",
    "max_grad_norm",
    "weight_decay",
]
SEED_LAUNCH = ["num_processes", "num_machines"]


@pytest.mark.parametrize(
    ("block", "flag"),
    [("sft", flag) for flag in SEED_SFT]
    + [("ppo", flag) for flag in SEED_RL]
    + [("ppo", flag) for flag in SEED_LAUNCH],
)
def test_every_flag_of_the_seed_is_ours_or_explained(block, flag):
    ours = {**RunSpec.model_fields, **RunSpec.model_fields[block].annotation.model_fields}
    if flag in ours:
        assert flag not in load.ORIGINAL_NAMES.keys() | load.NOT_OFFERED.keys()
        return
    assert (flag in load.ORIGINAL_NAMES) != (flag in load.NOT_OFFERED)
    explained = f"ours is {load.ORIGINAL_NAMES[flag]}" if flag in load.ORIGINAL_NAMES else load.NOT_OFFERED[flag]
    assert only(method=block, **{block: {flag: 1}}) == f"F: {block}.{flag}: unknown key; {explained}"


def test_the_seed_s_names_lead_to_keys_that_exist():
    words = {word.strip(",") for ours in load.ORIGINAL_NAMES.values() for word in ours.split()}
    names = {word for word in words if "." in word or "_" in word} - {"command"}
    for name in names:
        blocks: list[type[Block]] = [RunSpec, *(RunSpec.model_fields[b].annotation for b in ("sft", "ppo", "data"))]
        first, _, rest = name.partition(".")
        owner = next(block for block in blocks if first in block.model_fields)
        if rest:
            assert load._block(owner, first), name
            assert rest.partition(".")[0] in load._block(owner, first).model_fields, name


def test_adapters_are_not_offered():
    assert "adapters are not offered" in only(method="ppo", ppo={"model_adapter_name": "x"})
    assert "adapters are not offered" in only(method="ppo", ppo={"ref_adapter_name": "x"})


@pytest.mark.parametrize(
    ("changes", "hint"),
    [
        ({"sft": {"learning_rat": 1}}, "sft.learning_rat: unknown key; the nearest known one is learning_rate"),
        ({"max_length": 1}, "max_length: unknown key; there is sft.max_length and verifier.max_length"),
        ({"sft": {"kl_coef": 1}}, "sft.kl_coef: unknown key; there is ppo.kl_coef"),
        ({"ppo": {"reward": {"treshold": 1}}}, "ppo.reward.treshold: unknown key; the nearest known one is threshold"),
        ({"model": {"init": {"layers": 1}}}, "model.init.layers: unknown key; known here are vocab_size, hidden_size,"),
        ({"data": {"exclude": [{"pth": "x"}]}}, "data.exclude.0.pth: unknown key; the nearest known one is path"),
    ],
)
def test_unknown_keys_have_a_hint(changes, hint):
    assert only(**changes).startswith(f"F: {hint}")


# identity

PPO = {"method": "ppo", "model": {"run": "sft"}}
EVAL = {"models": [{"name": "a", "run": "b"}], "tasks": [{"task": "ledger"}]}
OTHERS = [
    {"seed": 43},
    {"model": {"hub": "a/b"}},
    {"model": {"hub": "a/b", "revision": "c"}},
    {"model": {"init": {}}},
    {"data": {"size": 7}},
    {"data": {"exclude": [{"task": "ledger"}]}},
    {"sft": {"learning_rate": 1e-5}},
    {"sft": {"packing": True}},
    {"launch": {"zero_stage": 2}},
    PPO,
    {**PPO, "ppo": {"stop_token": "none"}},
    {**PPO, "ppo": {"reward": {"wrong": 0}}},
    {**PPO, "ppo": {"value_model": {"path": "x"}}},
    {"method": "verifier"},
    {"method": "verifier", "ppo": {"reward": {"threshold": 0.5}}},
    {"method": "eval", "eval": EVAL},
    {"method": "eval", "eval": {**EVAL, "max_tokens": 7}},
]


def test_every_key_that_the_method_reads_makes_another_run():
    hashes = [load.run_hash(build(**changes)) for changes in [{}, *OTHERS]]
    assert len(set(hashes)) == len(hashes)


@pytest.mark.parametrize("changes", [{"ppo": {"stop_token": "none"}}, {"verifier": {"max_length": 7}}, {"eval": EVAL}])
def test_another_methods_settings_leave_the_run_what_it_is(changes):
    assert load.run_hash(build(**changes)) == load.run_hash(build())


@pytest.mark.parametrize("changes", [{"gpus_per_node": 4}, {"processes_per_node": 2}, {"nodes": 2}])
def test_placement_leaves_the_run_what_it_is(changes):
    assert set(changes) <= set(PLACEMENT)
    assert load.run_hash(build(**changes)) == load.run_hash(build())


def test_writing_a_default_changes_nothing():
    assert load.run_hash(build(sft={"learning_rate": 5e-6, "num_train_epochs": 3})) == load.run_hash(build())
    assert load.run_hash(build(**load.effective(build()))) == load.run_hash(build())


@pytest.mark.parametrize(
    "changes", [{}, *OTHERS, {**PPO, "ppo": {"missing_eos_penalty": 0, "temperature": "1e-3"}}], ids=str
)
def test_config_json_reads_back_as_the_same_run(tmp_path, changes):
    spec = build(**changes)
    runs.write_config(tmp_path / "config.json", spec)
    read = load.build(json.loads((tmp_path / "config.json").read_text()), "config.json", world_size=1)
    assert load.config(read) == load.config(spec)
    keys = {path for path in READ[spec.method] if "." not in path}
    assert [getattr(read, key) for key in keys] == [getattr(spec, key) for key in keys]
    assert read.ppo.reward.threshold == spec.ppo.reward.threshold
    assert load.run_hash(read) == load.run_hash(spec)
    assert (tmp_path / "config.json").read_text() == canonical.dumps(load.config(read))


def test_the_run_files_are_sound():
    folder = Path(__file__).parent.parent / "manifests" / "runs"
    for path in sorted(folder.glob("*.yaml")):
        load.build(yamlfile.read_yaml(path), str(path))


@pytest.mark.parametrize(
    "text",
    [
        "model.path: nowhere: expected a directory, got none",
        "data: row 3: expected a question that fits, got 9",
        "eval.tasks.0.path: rows.jsonl: expected a file, got none",
        "eval.models: a: path: expected a directory, got none",
    ],
)
def test_a_key_is_located_in_its_file(text):
    assert load.located(SpecError(text), "x.yaml").problems == [f"x.yaml: {text}"]
    assert load.located(SpecError(text), None).problems == [text]


@pytest.mark.parametrize(
    "text",
    [
        "data.jsonl:1: Question: expected text, got none",
        "eval.tasks.jsonl: expected rows, got an empty file",
        "--work: out: expected a directory, got a file",
        "x/model.path: expected Parquet, got ",
    ],
)
def test_what_names_its_own_file_is_left_alone(text):
    assert load.located(SpecError(text), "x.yaml").problems == [text]
