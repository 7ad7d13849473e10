"""Which documents may a user write? Hypothesis strategies over the tree of the spec, with and without a fault."""

import copy
import functools
import re
from typing import Any

from hypothesis import Phase, given, settings
from hypothesis import strategies as st

from fino1.spec.fields import NUMERIC
from tools import schema

TREE = schema.tree()
TEXT = st.text(
    st.one_of(
        st.sampled_from("aZ09 -_./<>&'\"\\#:{}[],%@!é√😀\u2028\u2029"), st.characters(categories=["L", "N", "P", "S"])
    ),
    min_size=1,
    max_size=12,
)
# Keys whose values must agree with others'; they are drawn by hand below.
JOINED = {
    "method", "nodes", "gpus_per_node", "processes_per_node", "model", "data", "eval", "env", "secretEnv", "value_model",
    "reward", "global_batch_size", "per_device_train_batch_size", "gradient_accumulation_steps", "num_mini_batches",
    "num_generations", "leave_one_out",
    "volumes", "backend", "launch", "report_to", "budget", "repository", "tolerations", "resources", "server",
    "paths", "samples",
}  # fmt: skip


def value(node: dict[str, Any]) -> st.SearchStrategy:
    """A value that the node takes."""
    kind = node["kind"]
    if kind == "block":
        return block(node)
    if kind == "list":
        return st.lists(value(node["items"]), max_size=2)
    if kind == "any":
        return st.fixed_dictionaries(
            {"ports": st.lists(st.fixed_dictionaries({"port": st.integers(1, 65535)}), max_size=2)}
        )
    if kind == "map":
        keys = st.sampled_from(node["keys"]) if "keys" in node else matching(node["pattern"])
        return st.dictionaries(keys, value(node["values"]), max_size=2)
    if kind == "number":
        return number(node)
    if kind == "quantity":
        return st.one_of(st.sampled_from(["1.5Gi", "64Gi", "3", "7k", "1e6"]), st.integers(1, 10**7))
    if "enum" in node:
        return st.sampled_from(node["enum"])
    if node["type"] == "boolean":
        return st.booleans()
    return matching(node["pattern"], node.get("maxLength", 99)) if "pattern" in node else TEXT


@functools.cache
def matching(pattern: str, most: int = 99) -> st.SearchStrategy[str]:
    """Text of this pattern and at most so many characters, without the newline that Python's `$` lets through."""
    return st.from_regex(
        pattern.replace("^", r"\A", 1)[: -1 if pattern.endswith("$") else None] + r"\Z",
        alphabet=st.characters(max_codepoint=126, min_codepoint=32),
    ).filter(lambda text: len(text) <= most)


def number(node: dict[str, Any]) -> st.SearchStrategy:
    """A number within the node's bounds, as a number or as text, as `--set` makes of it."""
    low = node.get("minimum", node.get("exclusiveMinimum", -1e9))
    high = min(node.get("maximum", node.get("exclusiveMaximum", 1e9)), 1e9)
    if node["integer"]:
        numbers = st.integers(int(low), int(high)) | st.integers(int(low), int(min(high, low + 9)))
        return numbers | numbers.map(float) | numbers.map(str) | numbers.map(lambda n: f"{n}.0")
    numbers = st.floats(
        low, high, exclude_min="exclusiveMinimum" in node, exclude_max="exclusiveMaximum" in node, allow_subnormal=False
    )
    return (
        numbers | numbers.map(repr) | st.sampled_from([x for x in (1e-5, "5e-7", "0.5", 1) if low < float(x) <= high])
    )


@st.composite
def block(draw: st.DrawFn, node: dict[str, Any]) -> dict[str, Any]:
    """Some of a block's keys, required ones always; a null now and then."""
    keys = [
        key
        for key in node["fields"]
        if key not in JOINED and key not in node["required"] and draw(st.integers(0, 3)) == 0
    ]
    found = {
        key: draw(
            st.none() | value(node["fields"][key]) if draw(st.integers(0, 9)) == 0 else value(node["fields"][key])
        )
        for key in keys
    }
    return {**found, **{key: draw(value(node["fields"][key])) for key in node["required"]}}


model = st.one_of(
    st.just({}),
    st.builds(
        lambda hub, revision: {"hub": hub, **({"revision": revision} if revision else {})}, TEXT, st.none() | TEXT
    ),
    st.builds(lambda path: {"path": f"/models/{path}"}, TEXT),
    st.sampled_from([{"run": "sft"}, {"run": "a.b-c"}]),
)
kwargs = st.sampled_from(
    [{}, {"chat_template_kwargs": {}}, {"chat_template_kwargs": {"enable_thinking": False, "n": 2, "of": ["a", None]}}]
)
init = st.sampled_from(
    [{"init": {}}, {"init": {"hidden_size": 96, "num_hidden_layers": "2"}}, {"init": {"vocab_size": None}}]
)
rows = st.one_of(
    st.just({"task": "ledger", "size": "30"}),
    st.builds(lambda path: {"task": "finqa", "path": f"/work/{path}"}, TEXT),
    st.builds(lambda hub: {"hub": hub, "columns": {"Question": "q"}}, TEXT),
    st.builds(lambda hub: {"task": "tatqa", "hub": hub, "split": "dev.json"}, TEXT),
)

TOLERATIONS = [
    None,
    [{"operator": "Exists"}],
    [
        {"key": "a", "value": "b", "effect": "NoExecute", "tolerationSeconds": "30"},
        {"key": "b/c", "operator": "Exists"},
    ],
]
RESOURCES = [
    None,
    {"requests": {"cpu": 0.5, "memory": "1.5Gi"}, "limits": {"cpu": "500m", "memory": "64Gi"}},
    {"requests": {"a.b/c": "2"}, "limits": {"a.b/c": "2.0", "hugepages-2Mi": "4Mi", "memory": "+.7E11"}},
]
IMAGES = [
    {"repository": "registry.example.com:5000/team/train", "tag": "1.20"},
    {"repository": "train:1", "tag": None, "digest": f"sha256:{'0' * 64}"},
]


def has_devices_apart(document: dict[str, Any]) -> bool:
    """Return False where GPUs and RDMA devices are one resource, which the reader of run files refuses."""
    gpu, rdma = ((document.get(key) or {}).get("resource") for key in ("gpu", "rdma"))
    return gpu is None or gpu != rdma


@st.composite
def documents(draw: st.DrawFn) -> dict[str, Any]:
    """A sound document."""
    document = draw(block(TREE).filter(has_devices_apart))
    document["backend"] = draw(st.sampled_from(["pytorchjob", "job", "jobset", "trainjob"]))
    document["volumes"] = draw(
        st.sampled_from(
            [
                None,
                {"work": {"claimName": "a", "size": 5}, "models": {"create": False, "claimName": "a"}},
                {"models": {"readOnly": True}},
            ]
        )
    )
    document["tolerations"] = draw(st.sampled_from(TOLERATIONS))
    document["resources"] = draw(st.sampled_from(RESOURCES))
    document |= draw(st.sampled_from([{}, *({"image": image} for image in IMAGES)]))
    method = document["method"] = draw(st.sampled_from(TREE["fields"]["method"]["enum"]))
    if method != "paths":
        document |= draw(st.sampled_from([{}, {"paths": {"depth": "3", "writer": {"base_url": "http://x/v1"}}}]))
    document |= draw(
        st.fixed_dictionaries(
            {}, optional={"nodes": st.sampled_from([1, 2, "2"]), "gpus_per_node": st.sampled_from([0, 1, 8, "8"])}
        )
    )
    document |= draw(
        st.sampled_from(
            [
                {},
                {"env": {"NCCL_IB": "1", "MLFLOW_TRACKING_URI": "http://mlflow.tools:5000"}},
                {"secretEnv": {key: {"name": "a", "key": "b"} for key in ("HF_TOKEN", "WANDB_API_KEY")}},
            ]
        )
    )
    if method == "eval":
        return document | {"eval": {**draw(block(TREE["fields"]["eval"])), **draw(evaluation())}}
    if method == "paths":
        return document | {"paths": {**draw(block(TREE["fields"]["paths"])), **draw(search())}}
    document |= draw(st.sampled_from([{}, {"report_to": None}, {"report_to": ["wandb", "mlflow", "tensorboard"]}]))
    document["data"] = {
        **draw(rows if method == "verifier" else rows | st.sampled_from([{"run": "a.b-c"}, {"run": "a", "limit": 9}])),
        **draw(st.sampled_from([{}, {"exclude": [{"task": "ledger"}, {"hub": "a/b", "limit": None}]}])),
    }
    document["model"] = draw(model if method == "ppo" else model | init) | draw(
        st.just({}) if method == "verifier" else kwargs
    )
    part = {**draw(block(TREE["fields"][method])), "per_device_train_batch_size": draw(st.sampled_from([1, 2, "2"]))}
    ranks = int(document.get("nodes", 1)) * max(int(document.get("gpus_per_node", 8)), 1)
    stages: list[dict[str, Any]] = [{}, {"zero_stage": 0}, {"zero_stage": "3"}]
    offloads = [{"zero_stage": 1, "offload_optimizer_device": "cpu"}, {"offload_param_device": "cpu"}]
    document["launch"] = draw(st.sampled_from(stages if method == "ppo" else stages + offloads))
    steps = draw(st.integers(1, 3))
    part["global_batch_size"] = ranks * int(part["per_device_train_batch_size"]) * steps
    if draw(st.booleans()):
        part["gradient_accumulation_steps"] = steps
    if method == "ppo":
        part["value_model"] = draw(model | init)
        part["num_generations"] = draw(st.sampled_from([1, int(part["per_device_train_batch_size"]) * steps]))
        part["leave_one_out"] = part["num_generations"] > 1 and draw(st.booleans())
        judge = {"base_url": "http://gpu7:8000/v1", "budget": {"tokens": "1e6"}, "requests_per_minute": 60}
        rewards = [{}, {"source": "model", "model": {"hub": "a/b"}}, {"wrong": "0.2"}]
        rewards += [{"source": "mix", "judge": judge, "judge_weight": "0.5"}]
        part["reward"] = draw(st.sampled_from(rewards))
    document[method] = part
    return document


hosted = st.sampled_from(
    [
        {"base_url": "https://api.example.com/v1"},
        {"base_url": "http://vllm:8000/v1", "model_id": "m", "price": {"input": "2.5e-1", "output": 0}},
    ]
)
several = st.sampled_from([{}, {"samples": None}, {"samples": "1.0"}, {"samples": 4, "temperature": "7e-1"}])
task_rows = rows.map(lambda r: {"task": "finqa", **{k: v for k, v in r.items() if k != "columns"}})


@st.composite
def evaluation(draw: st.DrawFn) -> dict[str, Any]:
    """Models and tasks of an evaluation."""
    names = draw(st.lists(st.sampled_from(["gpt-4o", "a", "llama-3.1", "x" * 34]), min_size=1, max_size=3, unique=True))
    own = st.sampled_from(
        [{}, {"gpus": "4", "server_args": ["--reasoning-parser", "qwen3"]}, {"gpus": 0}, {"gpus": None}]
    )
    models = [{**draw(model.filter(bool) | hosted), **draw(kwargs), **draw(own), "name": name} for name in names]
    extraction = draw(st.none() | st.fixed_dictionaries({"max_tokens": st.sampled_from(["3e2", 16])}))
    extraction = extraction and {**draw(hosted), **draw(kwargs), **extraction}
    asked = [*models, *filter(None, [extraction])]
    return {"models": models, "extraction": extraction, **draw(several), **draw(asking(asked))}


@st.composite
def search(draw: st.DrawFn) -> dict[str, Any]:
    """Writer, judge and tasks of a search for paths; one of the two is served in the pod, or none."""
    writer, judge = {**draw(hosted), **draw(kwargs)}, draw(st.none() | hosted)
    served = {**draw(model.filter(bool)), **draw(st.sampled_from([{}, {"context_length": "4096"}]))}
    writer, judge = draw(st.sampled_from([(writer, judge), (served, judge), (writer, served)]))
    found = {"writer": writer, "judge": judge, "exclude": draw(st.lists(task_rows, max_size=2))}
    return {**found, **draw(asking([writer, judge or {}]))}


@st.composite
def asking(draw: st.DrawFn, models: list[dict[str, Any]]) -> dict[str, Any]:
    """What a run that asks these models says besides: tasks, a budget, their server."""
    is_priced = all("price" in each for each in models if "base_url" in each)
    budget = draw(st.sampled_from([None, {}, {"tokens": "1e6"}] + ([{"dollars": "7.5", "tokens": None}] * is_priced)))
    server = {
        "engine": st.sampled_from(["vllm", "transformers", None]),
        "image": st.sampled_from(["vllm/vllm-openai", f"a.b:5000/c__d:E@sha256:{'0' * 64}"]),
        "args": st.lists(TEXT, max_size=2),
    }
    served = draw(st.none() | st.fixed_dictionaries({}, optional=server))
    return {"tasks": draw(st.lists(task_rows, min_size=1, max_size=2)), "budget": budget, "server": served}


def leaves(node: dict[str, Any] = TREE, path: tuple[str, ...] = ()) -> list[tuple[tuple[str, ...], dict[str, Any]]]:
    """Every single key of the tree, with its node."""
    if node["kind"] == "block":
        return [leaf for key, field in node["fields"].items() for leaf in leaves(field, (*path, key))]
    return [(path, node)]


def faults(node: dict[str, Any]) -> list[Any]:
    """Values that the node does not take."""
    if node["kind"] in ("list", "map", "any"):
        return [3, "x", True, *([[3], [True]] if node["kind"] == "list" else [[1]])]
    wrong: list[Any] = [{"a": 1}, [1]]
    if node["kind"] == "number":
        wrong += [True, "x", "", "1e999", *([1.5, "1.5"] if node["integer"] else [])]
        wrong += [f(node["minimum"] - 1) for f in (int, str) if "minimum" in node]
        wrong += [f(node["exclusiveMinimum"]) for f in (float, str) if "exclusiveMinimum" in node]
        return wrong + [f(node["maximum"] + 1) for f in (float, repr) if node.get("maximum", 1e99) < 1e9]
    if node["kind"] == "quantity":
        return [*wrong, True, "16GB", "-1", -1, "400m", "1 Gi", 0.5]
    wrong += [3, 1.5] if node["type"] != "boolean" else [1, "true"]
    wrong += ["\u2603"] if {"enum", "pattern"} & node.keys() else []
    return (
        wrong + ([""] if "minLength" in node else []) + (["a" * (node["maxLength"] + 1)] if "maxLength" in node else [])
    )


def passes_the_schema(node: dict[str, Any], wrong: Any) -> bool:
    """Is it a number as text, or one that is no quantity? JSON Schema bounds only numbers, and patterns only text."""
    if node["kind"] == "quantity":
        return isinstance(wrong, float) and wrong > 0
    return node["kind"] == "number" and isinstance(wrong, str) and re.fullmatch(NUMERIC, wrong) is not None


def with_fault(document: dict[str, Any], path: tuple[str, ...], wrong: Any) -> dict[str, Any]:
    """The document with a wrong value at this path."""
    document = copy.deepcopy(document)
    place = document
    for key in path[:-1]:
        place[key] = place[key] if isinstance(place.get(key), dict) else {}
        place = place[key]
    place[path[-1]] = wrong
    return document


@functools.cache
def some(number: int) -> list[dict[str, Any]]:
    """So many sound documents, the same ones wherever the same modules are loaded: Hypothesis draws constants from them."""
    found: list[dict[str, Any]] = []

    @settings(max_examples=number, deadline=None, derandomize=True, database=None, phases=[Phase.generate])
    @given(document=documents())
    def collect(document: dict[str, Any]) -> None:
        found.append(document)

    collect()
    return found
