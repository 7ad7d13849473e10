"""Do names last? What the hashes of a run's objects and of its directory hold, in both renderers. (docs/design.md C3)"""

import functools
import json
import shutil
from typing import Annotated

import pytest

from fino1.k8s.objects import pod, render
from fino1.k8s.objects.unit import units
from fino1.spec import load
from fino1.spec.evaluation import EvalBlock, ServedModel
from fino1.spec.fields import ADDED, Block, Count
from fino1.spec.placement import OF_PODS, OF_TRAINING, PLACEMENT, GpuBlock
from fino1.spec.run import ASKING, READ, RunSpec
from fino1.spec.train import SftBlock
from fino1.spec.yamlfile import read_yaml
from tests.charts import drawn
from tests.charts.equality import CHARTS, RUNS, canonical_yaml, keyed, read, template
from tools import generate, schema

# Built-in run → name of its objects → hash of its directory. A change here is a run that starts from nothing when fino1 is
# upgraded: give a new key the mark ADDED (fino1/spec/fields.py) rather than a line here.
NAMES: dict[str, dict[str, str]] = {
    "eval-hosted": {
        "eval-hosted-gpt-4o-96f4b0d6c2": "63e21f43e9",
        "eval-hosted-o1-ff10fd3ed3": "75ad40d747",
        "eval-hosted-o3-mini-a041fc1f90": "8dfd75c019",
        "eval-hosted-deepseek-v3-54b585ff7a": "39cd4eecc4",
        "eval-hosted-deepseek-r1-4ff618fac6": "3d020ecf97",
    },
    "eval-large": {
        "eval-large-llama-3-3-70b-instruct-a80c914ce6": "5d4d2d7f1d",
        "eval-large-llama-3-1-70b-instruct-29b77d1db8": "48635d7a5f",
        "eval-large-llama-3-70b-instruct-106c013793": "7cc0e029cd",
        "eval-large-qwen2-5-72b-instruct-26a47d72bb": "4f31494be5",
        "eval-large-qwen2-5-math-72b-b9e53faf7f": "339254b51c",
        "eval-large-r1-distill-llama-70b-8947c74160": "6cd1586a42",
        "eval-large-r1-distill-qwen-32b-ad6d6b2e1f": "720701e976",
    },
    "eval-tiny": {
        "eval-tiny-sft-0fca41aa9e": "c3e84a4545",
        "eval-tiny-ppo-8314a82ddf": "a3d7521ee7",
    },
    "eval": {
        "eval-fino1-8b-13c6e5d3a3": "ac3f4fad83",
        "eval-llama-3-1-8b-instruct-048978a306": "79c45622e7",
        "eval-llama-3-8b-instruct-9c6e84d5b8": "d191850ad5",
        "eval-r1-distill-llama-8b-30d84f1b6d": "32026a9e23",
        "eval-r1-distill-qwen-14b-5bbefd7fed": "73883a6b4a",
    },
    "matrix-v1": {
        "matrix-v1-llama-3-3-70b-instruct-a3499a43c0": "238b801b59",
        "matrix-v1-llama-3-1-70b-instruct-1050bf45b3": "9c11b9271b",
        "matrix-v1-llama-3-70b-instruct-b6f02c9547": "b25c67cbb5",
        "matrix-v1-qwen2-5-72b-instruct-f527af7fb4": "14f93cb003",
        "matrix-v1-qwen2-5-math-72b-e3d0a77383": "4331f30748",
        "matrix-v1-r1-distill-llama-70b-601b250ef9": "4bf3618d69",
        "matrix-v1-r1-distill-qwen-32b-42d4bde2ec": "36044181af",
        "matrix-v1-r1-distill-qwen-14b-c65c8a4efe": "3559ccd439",
        "matrix-v1-r1-distill-llama-8b-54884fc65b": "d04a891580",
        "matrix-v1-llama-3-1-8b-instruct-048978a306": "79c45622e7",
        "matrix-v1-llama-3-8b-instruct-9c6e84d5b8": "d191850ad5",
        "matrix-v1-fino1-8b-13c6e5d3a3": "ac3f4fad83",
    },
    "matrix-v3-hosted": {
        "matrix-v3-hosted-gpt-4o-96f4b0d6c2": "63e21f43e9",
        "matrix-v3-hosted-o1-ff10fd3ed3": "75ad40d747",
        "matrix-v3-hosted-o3-mini-a041fc1f90": "8dfd75c019",
        "matrix-v3-hosted-deepseek-v3-54b585ff7a": "39cd4eecc4",
        "matrix-v3-hosted-deepseek-r1-4ff618fac6": "3d020ecf97",
        "matrix-v3-hosted-gpt-4-5-1d2d01352b": "88fe97e7f2",
        "matrix-v3-hosted-llama-4-scout-bd8fc9594c": "6e7ff030d9",
    },
    "matrix-v3": {
        "matrix-v3-llama-3-3-70b-instruct-a3499a43c0": "238b801b59",
        "matrix-v3-llama-3-1-70b-instruct-1050bf45b3": "9c11b9271b",
        "matrix-v3-llama-3-70b-instruct-b6f02c9547": "b25c67cbb5",
        "matrix-v3-qwen2-5-72b-instruct-f527af7fb4": "14f93cb003",
        "matrix-v3-qwen2-5-math-72b-e3d0a77383": "4331f30748",
        "matrix-v3-r1-distill-llama-70b-601b250ef9": "4bf3618d69",
        "matrix-v3-qwen2-5-32b-instruct-ffe269e093": "d16cf7f5c3",
        "matrix-v3-qwen3-32b-79b957b8f7": "24aa86e6f6",
        "matrix-v3-qwq-32b-6bc282630b": "d173898f48",
        "matrix-v3-r1-distill-qwen-32b-42d4bde2ec": "36044181af",
        "matrix-v3-limo-81a7ddc677": "e3dbbaf25a",
        "matrix-v3-s1-32b-1676398788": "018d2ba491",
        "matrix-v3-qwen2-5-14b-instruct-aeea8a45bc": "c843b7f096",
        "matrix-v3-qwen3-14b-4fbdfd94bf": "8d2266e698",
        "matrix-v3-r1-distill-qwen-14b-c65c8a4efe": "3559ccd439",
        "matrix-v3-r1-distill-llama-8b-54884fc65b": "d04a891580",
        "matrix-v3-llama-3-8b-instruct-9c6e84d5b8": "d191850ad5",
        "matrix-v3-llama-3-1-8b-instruct-048978a306": "79c45622e7",
        "matrix-v3-qwen2-5-7b-instruct-2734e1dea3": "7e5ce1c4f6",
        "matrix-v3-qwen3-8b-1988b09f3d": "3574acd6e5",
        "matrix-v3-fin-r1-d1db0ed7aa": "e1d322f78a",
        "matrix-v3-dianjin-r1-7b-a9eaa7012a": "302a3971d5",
        "matrix-v3-fin-o1-8b-aab8d79add": "43d9ec1405",
        "matrix-v3-fin-o1-14b-28ab571d5c": "9b7a239d8e",
    },
    "paths": {
        "paths-afbb7bb4c1": "b9c945e989",
    },
    "paths-tiny": {
        "paths-tiny-c9ee464953": "8dd8a643af",
    },
    "ppo-tiny": {
        "ppo-tiny-e060d152b9": "0b70997556",
    },
    "ppo": {
        "ppo-bfa375bf62": "3dfba9ccf0",
    },
    "sft-tiny": {
        "sft-tiny-284aaca764": "b607da6c33",
    },
    "sft": {
        "sft-06ffc2c4a6": "922963c2c7",
    },
    "verifier-finqa": {
        "verifier-finqa-d1dddbb049": "325863dc27",
    },
    "verifier-tiny": {
        "verifier-tiny-c34fb72341": "2e23199abe",
    },
    "verifier": {
        "verifier-9766881019": "afbdc8b8ac",
    },
}


def names(path):
    return {
        unit.full: unit.directory.rpartition("-")[2]
        for unit in units(load.build(read_yaml(path), path.name), path.stem)
    }


def test_names_of_the_built_in_runs_are_fixed():
    assert {path.stem: names(path) for path in RUNS} == NAMES


def test_the_version_is_in_no_name(monkeypatch):
    for module in (render, pod):
        monkeypatch.setattr(module, "__version__", "9.9.9")
    assert names(RUNS[0]) == NAMES[RUNS[0].stem]


# What is hashed


SOUND = {
    "sft": {"data": {"task": "ledger"}},
    "verifier": {"data": {"task": "ledger"}},
    "ppo": {"data": {"task": "ledger"}, "model": {"run": "sft"}},
    "eval": {"eval": {"models": [{"name": "a", "run": "b"}], "tasks": [{"task": "ledger"}]}},
    "paths": {"paths": {"writer": {"run": "b"}, "tasks": [{"task": "ledger"}]}},
}


def of(method, **changes):
    """The unit of a run of this method."""
    document = load.merge({"method": method, "gpus_per_node": 0, **SOUND[method]}, changes)
    (unit,) = units(load.build(document, "F"), "abc")
    return unit


@pytest.mark.parametrize("method", SOUND)
def test_config_holds_what_its_method_reads(method):
    others = {"sft", "verifier", "ppo", "eval", "paths"} - {method}
    config = load.config(of(method).spec)
    assert not config.keys() & (others - ({"ppo"} if method == "verifier" else set()))
    assert ("launch" in config) == ("model" in config) == ("data" in config) == (method not in ASKING)
    if method == "verifier":
        assert config["ppo"] == {"reward": {"threshold": 0.4}}
        assert of(method, ppo={"reward": {"threshold": 0.5}}).directory != of(method).directory
    assert not config.keys() & set(PLACEMENT)
    for other in others:
        key = {"eval": "max_tokens", "paths": "depth"}.get(other, "eval_steps")
        changed = of(method, **{other: {key: 7}})
        assert (changed.full, changed.directory) == (of(method).full, of(method).directory), other


def changed(path):
    """Another value of this key of placement than its default, as a document."""
    node = functools.reduce(lambda node, key: node["fields"][key], path, drawn.TREE)
    values = {
        "list": [{"key": "a", "operator": "Exists"}],
        "map": {"A": {"name": "a", "key": "b"}} if path[-1] == "secretEnv" else {"cpu": "1"},
        "number": 8,
        "quantity": "7Gi",
    }
    value = values.get(node["kind"])
    if value is None:
        text = "example.com/other" if path[-1] == "resource" else "other"
        value = not node["default"] if node["type"] == "boolean" else text
    if path[-1] in ("accessModes", "pullSecrets", "report_to", "egress"):
        value = {"accessModes": ["ReadWriteOnce"], "pullSecrets": ["a"], "report_to": ["wandb"], "egress": [{}]}[
            path[-1]
        ]
    if "enum" in node:
        value = next(each for each in node["enum"] if each != node.get("default"))
    if path[-1] == "digest":
        value = f"sha256:{'0' * 64}"
    return functools.reduce(lambda inner, key: {key: inner}, reversed(path), value)


OF_PLACEMENT = [path for path, _ in drawn.leaves() if path[0] in PLACEMENT]


@pytest.mark.parametrize("path", OF_PLACEMENT, ids=".".join)
def test_what_of_placement_is_in_the_objects_name(path):
    """All but what changes beside the pods: claims' sizes, the test pod, network rules, whether it waits, how long it stays."""
    beside = {"networkPolicy", "suspend", "test", "ttlSecondsAfterFinished"}
    claim = path[0] == "volumes" and path[-1] not in ("claimName", "readOnly")
    one = of("sft", **changed(path))
    assert one.directory == of("sft").directory, "placement changes no directory"
    assert (one.full == of("sft").full) == (path[0] in beside or claim)
    is_of_pods = ".".join(path) in OF_PODS or path[0] in OF_PODS
    assert is_of_pods == (one.full != of("sft").full)
    if path[0] != "report_to":
        for method in ASKING:
            is_same = of(method, **changed(path)).full == of(method).full
            assert is_same == (not is_of_pods or path[0] in OF_TRAINING), method


# Keys that are added later

TODAY = {
    "data.calls",
    "data.run",
    "eval.extraction",
    "eval.samples",
    "eval.store",
    "paths.wording",
    "ppo.leave_one_out",
    "ppo.num_generations",
    "ppo.rollout",
    *(f"eval.models.*.{key}" for key in ("gpus", "server_args")),
    *(
        f"{model}.chat_template_kwargs"
        for model in ("model", "eval.models.*", "eval.extraction", "paths.writer", "paths.judge")
    ),
    *(
        f"{model}.{limit}_per_minute"
        for model in ("eval.models.*", "eval.extraction", "paths.writer", "paths.judge", "ppo.reward.judge")
        for limit in ("requests", "tokens")
    ),
    *(f"ppo.per_device_{key}" for key in ("train_tokens", "rollout_batch_size", "forward_batch_size")),
    *(f"ppo.reward.{key}" for key in ("judge", "judge_weight", "judge.chat_template_kwargs")),
    *(f"paths.budget.{key}_per_question" for key in ("tokens", "dollars")),
    *(
        f"{rows}.{key}"
        for rows in ("data", "eval.tasks.*", "paths.tasks.*", "paths.exclude.*")
        for key in ("answer", "evidence")
    ),
    *(f"{rows}.gold" for rows in ("eval.tasks.*", "paths.tasks.*", "paths.exclude.*")),
}


class LaterGpu(GpuBlock):
    made_up: Annotated[Count | None, ADDED] = 4


class LaterInner(Block):
    a: Count = 1


class LaterSft(SftBlock):
    made_up: Annotated[float, ADDED] = 0.5
    made_up_block: Annotated[LaterInner, ADDED] = LaterInner()


class LaterModel(ServedModel):
    made_up: Annotated[str, ADDED] = "as before"


class LaterEval(EvalBlock):
    models: list[LaterModel] = []


class Later(RunSpec):
    """A run file of a version to come."""

    gpu: LaterGpu = LaterGpu()
    sft: LaterSft = LaterSft()
    eval: LaterEval = LaterEval()


def later(document):
    return keyed(render.render(Later.model_validate(document), "abc", tests=True))


def now(document):
    return keyed(render.render(load.build(document, "F"), "abc", tests=True))


BEFORE = [{"method": "sft", **SOUND["sft"]}, {"method": "eval", "gpus_per_node": 2, **SOUND["eval"]}]
AS_BEFORE = [
    {"sft": {"made_up": 0.5, "made_up_block": {"a": 1}}, "gpu": {"made_up": 4}},
    {"eval": {"models": [{"name": "a", "run": "b", "made_up": "as before"}]}, "gpu": {"made_up": 4}},
]
OTHERWISE = [
    {"sft": {"made_up": 0.25}},
    {"sft": {"made_up_block": {"a": 2}}},
    {"gpu": {"made_up": 5}},
    {"eval": {"models": [{"name": "a", "run": "b", "made_up": "new"}]}},
]


def test_an_added_key_names_nothing_while_it_has_its_default():
    for before, as_before in zip(BEFORE, AS_BEFORE, strict=True):
        assert later(before) == later(load.merge(before, as_before)) == now(before)
    for i, changes in enumerate(OTHERWISE):
        before = BEFORE[i == 3]
        assert not later(load.merge(before, changes)).keys() & {
            key for key in now(before) if "PersistentVolume" not in key[0]
        }


@pytest.mark.slow
@pytest.mark.helm
def test_an_added_key_in_the_chart(helm, tmp_path, monkeypatch):
    """The chart that is generated from such a spec renders what its Python renders."""
    chart = tmp_path / "fino1"
    shutil.copytree(CHARTS / "fino1", chart)
    tree = generate.schema.tree
    monkeypatch.setattr(generate.schema, "tree", lambda: tree(Later))
    generate._chart(chart)
    made_up = {"gpu.made_up", "sft.made_up", "sft.made_up_block", "eval.models.*.made_up"}
    assert set(json.loads((chart / "files" / "spec.json").read_text())["added"]) == TODAY | made_up
    cases = [load.merge(before, more) for before, more in zip(BEFORE, AS_BEFORE, strict=True)]
    cases += [load.merge(BEFORE[i == 3], changes) for i, changes in enumerate(OTHERWISE)]
    for document in [*BEFORE, *cases]:
        (tmp_path / "values.yaml").write_text(canonical_yaml(document))
        assert read(template(helm, "abc", chart, "-f", tmp_path / "values.yaml")) == later(document), document


def test_todays_added_keys():
    """The table of READ and the marks are all that names depend on."""
    assert set(generate.schema.added(drawn.TREE)) == TODAY
    assert READ.keys() == set(drawn.TREE["fields"]["method"]["enum"])


def test_every_block_has_its_own_words():
    blocks = RunSpec.model_json_schema()["$defs"].items()
    assert {name for name, block in blocks if "properties" in block} <= {
        name for name, field in schema._docs() if not field
    }
