"""What a whole run is estimated to take, whether that fits, and what must hold for any run."""

import json
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from fino1.sizes import footprint, memory, shapes
from fino1.sizes.footprint import Sharding
from fino1.sizes.shapes import Architecture, Finder, known
from fino1.spec import load, recipe
from fino1.spec.inputs import InitBlock, ModelRef
from fino1.spec.placement import GpuBlock

GIB = 2**30
LLAMA = known("meta-llama/Llama-3.1-8B")
SMALL = known("meta-llama/Llama-3.2-3B")
DATA = {"data": {"path": "rows.json"}}
NOWHERE = Path("/nowhere")


def spec(method="sft", **keys):
    return load.build({"method": method, **DATA, **keys}, "run.yaml")


class Given(Finder):
    """Has the shapes of some keys of the run file given."""

    def __init__(self, shapes):
        super().__init__(NOWHERE)
        self.shapes = shapes or {}

    def find(self, key, ref, default=None):
        return self.shapes.get(key) or super().find(key, ref, default)


def estimate(method="sft", sizes=None, zero_stage=3, gpu=None, **keys):
    keys = {"launch": {"zero_stage": zero_stage}, **keys}
    return memory.estimate(spec(method, **keys), Given(sizes), gpu)


@pytest.fixture(autouse=True)
def _empty_cache(monkeypatch, tmp_path):
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_CACHE", str(tmp_path / "hf/hub"))


def test_sft_of_8b_by_hand():
    """Llama-3.1-8B on 8 GPUs, ZeRO-3, 2 rows of 8,192 tokens: shares of 1,003,782,656 parameters."""
    found = estimate()
    assert found["peak"] == "backward"
    assert found["parts"]["weights"] == 2 * 1_003_782_656
    assert found["parts"]["gradients"] == 4 * 1_003_782_656
    assert found["parts"]["optimizer"] == 12 * 1_003_782_656
    assert found["parts"]["gathered weights"] == 2 * (10**9 + 128256 * 4096)
    tokens = 2 * 8192
    assert found["parts"]["activations"] == tokens * (32 * 2 * 4096 + 8 * 4096 + 8 * 128 + 8)
    assert found["parts"]["CUDA context"] == GIB
    assert 28 * GIB < found["total"] < 36 * GIB


def test_the_defaults_of_ppo_fit_eight_a100():
    found = estimate("ppo", gpu=shapes.gpu_memory(GpuBlock(product="NVIDIA-A100-SXM4-80GB")))
    assert found["peak"] == "rollout"
    assert found["fits"] and found["changes"] == []
    assert found["parts"]["gathered weights"] == 2 * 8_030_261_248
    assert found["parts"]["reference"] == 2 * 1_003_782_656


def test_vllm_takes_its_share_while_it_samples():
    found = estimate("ppo", gpu=80 * GIB, ppo={"rollout": {"engine": "vllm", "gpu_memory_utilization": 0.8}})
    assert found["peak"] == "rollout" and not found["fits"]
    assert found["parts"]["vLLM"] == 64 * GIB
    assert "another ppo.rollout.gpu_memory_utilization" in found["changes"]
    small = estimate("ppo", gpu=80 * GIB, ppo={"rollout": {"engine": "vllm", "gpu_memory_utilization": 0.1}})
    assert not small["fits"] and small["parts"]["vLLM"] > 150 * GIB  # of which a tenth would hold 15 GiB of weights


def test_plain_data_parallelism_does_not_fit_and_says_what_would_help():
    found = estimate(zero_stage=0, gpu=80 * GIB)
    assert (found["fits"], found["usable"]) == (False, 76 * GIB)
    assert found["changes"][:2] == ["launch.zero_stage: 3", "launch.offload_optimizer_device: cpu"]
    assert "smaller sft.per_device_train_batch_size" in found["changes"]


def test_changes_that_are_made_already_are_not_named():
    changes = estimate(gpu=GIB, sft={"per_device_train_batch_size": 1, "gradient_checkpointing": False})["changes"]
    assert "launch.zero_stage: 3" not in changes
    assert "smaller sft.per_device_train_batch_size" not in changes
    assert "sft.gradient_checkpointing: true" in changes


def test_one_rank_divides_nothing():
    one = estimate(gpus_per_node=1)
    assert (one["ranks"], one["zero_stage"]) == (1, 0)
    assert one["parts"]["optimizer"] == 8 * LLAMA.parameters
    assert "buckets" not in one["parts"]


def test_offloading_moves_states_to_the_node():
    found = estimate(launch={"offload_optimizer_device": "cpu", "offload_param_device": "cpu"})
    assert found["host"] == {
        "weights": 2 * 1_003_782_656,
        "gradients": 4 * 1_003_782_656,
        "optimizer": 12 * 1_003_782_656,
    }
    assert not {"weights", "gradients", "optimizer"} & set(found["parts"])


def test_a_reward_model_is_held_whole():
    reward = {"source": "model", "model": {"hub": "meta-llama/Llama-3.2-3B"}}
    with_model, without = estimate("ppo", ppo={"reward": reward}), estimate("ppo")
    assert with_model["parts"]["reward model"] == 2 * (SMALL.backbone + 2 * SMALL.hidden_size)
    assert with_model["total"] > without["total"]
    long = estimate(
        "ppo", ppo={"reward": {**reward, "max_length": 131072}, "max_prompt_length": 64, "response_length": 8}
    )
    assert long["peak"] == "reward"


def test_a_model_that_is_not_known():
    models = Finder(NOWHERE)
    found = memory.estimate(spec(model={"hub": "some/body"}), models)
    assert (found["peak"], found["total"]) == (None, 0)
    assert models.unknown == [
        "model: some/body: sizes not known here; give model.path, a folder with its config.json, or fetch the model to "
        "Hugging Face's cache",
    ]


def test_a_reward_model_that_is_not_known_is_named_and_left_out():
    models = Finder(NOWHERE)
    reward = {"source": "model", "model": {"run": "no-such-run"}}
    assert memory.estimate(spec("ppo", ppo={"reward": reward}), models)["peak"]
    assert models.unknown[0].startswith("ppo.reward.model: no-such-run: sizes not known here")


def test_a_run_that_has_not_finished_has_the_sizes_of_its_run_file(tmp_path):
    """As written beside the planned file, else as built in: `ppo.yaml` takes the model of the run `sft`."""
    models = Finder(NOWHERE, next(path for path in recipe.built_in() if path.name == "ppo.yaml"))
    found = memory.estimate(spec("ppo", model={"run": "sft"}), models)
    assert found["parts"] == estimate("ppo", {"model": LLAMA})["parts"]
    assert found["assumed"] == [f"run sft is not in {NOWHERE}/runs; its model's size is taken from sft.yaml"]
    small = {"method": "sft", "model": {"hub": "meta-llama/Llama-3.2-3B"}, "data": {"path": "/work/rows.jsonl"}}
    (tmp_path / "sft.yaml").write_text(json.dumps(small))
    beside = Finder(NOWHERE, tmp_path / "my-ppo.yaml")
    found = memory.estimate(spec("ppo", model={"run": "sft-0123456789"}), beside)
    assert found["parts"] == estimate("ppo", {"model": SMALL})["parts"]


def test_a_run_of_a_recipe_is_its_stage():
    """The demo's `sft` goes on from its `writer`; both are `sft-tiny`, and so they are for the stage beside them."""
    models = Finder(NOWHERE, next(path for path in recipe.built_in() if path.name == "ppo-tiny.yaml"))
    tiny = recipe.read_run("sft-tiny", [], [], None)[0].model.init
    writer = tiny.model_copy(update={"vocab_size": 512, "max_position_embeddings": 640})
    assert models.find("model", ModelRef(run="sft")) == shapes.of_init(writer)


def test_a_verifier_gives_the_reward_model():
    reward = {"source": "model", "model": {"run": "verifier"}}
    found = memory.estimate(spec("ppo", ppo={"reward": reward}), Finder(NOWHERE))
    assert found["parts"]["reward model"] == 2 * (SMALL.backbone + 2 * SMALL.hidden_size)


def test_run_files_that_name_each_other(tmp_path):
    for name, other in (("a", "b"), ("b", "a")):
        document = {"method": "sft", "model": {"run": other}, "data": {"path": "/work/rows.jsonl"}}
        (tmp_path / f"{name}.yaml").write_text(json.dumps(document))
    assert Finder(NOWHERE, tmp_path / "a.yaml").find("model", ModelRef(run="b")) is None


def test_tiny_runs():
    tiny = {"weights": 4 * shapes.of_init(InitBlock()).parameters}.items()
    assert tiny <= estimate(model={"init": {}}, gpus_per_node=0)["parts"].items()
    ppo = estimate("ppo", {"model": LLAMA}, ppo={"value_model": {"init": {}}}, model={"run": "sft"})
    assert ppo["peak"]  # the value model's vocabulary is the policy's


def evaluation(*models, **keys):
    block = {"models": list(models), "tasks": [{"task": "ledger"}]}
    finder = Finder(NOWHERE)
    return memory.estimate(load.build({"method": "eval", "eval": block, **keys}, "run.yaml"), finder), finder


def test_a_served_model_by_hand():
    model = {"name": "a", "hub": "meta-llama/Llama-3.1-8B-Instruct", "context_length": 16384}
    found, _ = evaluation({"name": "b", "hub": "meta-llama/Llama-3.2-1B"}, model, gpus_per_node=2)
    assert found["peak"] == "serve a"
    assert found["parts"]["weights"] == LLAMA.parameters  # bf16, halved
    # one request of 16,384 tokens × keys and values × 4 heads of 128 × 2 bytes × 32 layers
    assert found["parts"]["KV cache"] == 16384 * 2 * 4 * 128 * 2 * 32


def test_a_model_with_gpus_of_its_own_is_divided_over_those():
    model = {"name": "a", "hub": "meta-llama/Llama-3.1-8B-Instruct", "context_length": 16384}
    own, both = (evaluation({**model, **gpus}, gpus_per_node=n)[0] for gpus, n in (({"gpus": 2}, 8), ({}, 2)))
    assert own["parts"] == both["parts"]


def test_more_gpus_than_key_value_heads_hold_one_head_each():
    model = {"name": "a", "hub": "meta-llama/Llama-3.1-8B-Instruct", "context_length": 1024}
    eight, sixteen = (evaluation(model, gpus_per_node=n)[0]["parts"]["KV cache"] for n in (8, 16))
    assert eight == sixteen


def test_offloading_is_for_training():
    models = [{"name": "small", "hub": "meta-llama/Llama-3.2-3B"}]
    keys = {"method": "eval", "gpus_per_node": 1, "eval": {"models": models, "tasks": [{"task": "ledger"}]}}
    found = estimate(**keys, launch={"offload_optimizer_device": "cpu"})
    assert not found["host"]
    assert found["total"] == estimate(**keys)["total"]


def test_endpoints_take_no_memory_here():
    found, models = evaluation({"name": "gpt", "base_url": "https://x/v1"}, {"name": "b", "hub": "some/body"})
    assert found["peak"] is None
    assert models.unknown[0].startswith("eval.models.1: some/body")


@pytest.mark.parametrize(
    ("gpu", "gib"),
    [
        ({"product": "NVIDIA-A100-SXM4-80GB"}, 80),
        ({"product": "NVIDIA-A100-SXM4-80GB-SHARED"}, 80),
        ({"resource": "nvidia.com/mig-1g.10gb"}, 9.5),
        ({"product": "NVIDIA-A100-SXM4-40GB-MIG-3g.20gb"}, 19),
        ({"product": "Quadro-1"}, None),
        ({}, None),
    ],
)
def test_memory_of_a_gpu(gpu, gib):
    assert shapes.gpu_memory(GpuBlock(**gpu)) == (None if gib is None else gib * GIB)


WIDTHS = st.builds(
    lambda heads, kv, head, ratio, layers, vocab, tied: Architecture(
        heads * kv * head, layers, heads * kv, kv, heads * kv * head * ratio, vocab, tied, 4096, head
    ),
    heads=st.integers(1, 8),
    kv=st.integers(1, 8),
    head=st.sampled_from([16, 64, 128]),
    ratio=st.integers(2, 4),
    layers=st.integers(1, 80),
    vocab=st.sampled_from([512, 32000, 128256]),
    tied=st.booleans(),
)
METHODS = st.sampled_from(["sft", "ppo"])


def total(method, sizes, ranks, zero_stage=3, **block):
    keys = {"global_batch_size": 64, **block}
    given = {"model": sizes, "ppo.value_model": sizes}
    return estimate(method, given, zero_stage, gpus_per_node=ranks, **{method: keys})["total"]


@given(METHODS, WIDTHS, st.integers(0, 5))
@settings(max_examples=60, deadline=None)
def test_more_ranks_never_take_more_each_under_zero_3(method, shapes, power):
    block = {"per_device_train_batch_size": 1}
    assert total(method, shapes, 2 ** (power + 1), **block) <= total(method, shapes, 2**power, **block)


@given(METHODS, WIDTHS, st.sampled_from([1, 2, 4, 8]), st.sampled_from([0, 3]), st.booleans())
@settings(max_examples=60, deadline=None)
def test_a_larger_batch_never_takes_less(method, shapes, size, stage, checkpointing):
    sizes = [
        total(
            method,
            shapes,
            4,
            stage,
            per_device_train_batch_size=n,
            gradient_checkpointing=checkpointing,
            bf16=stage == 3,
        )
        for n in (size, 2 * size)
    ]
    assert sizes[0] <= sizes[1]


@given(WIDTHS, st.sampled_from([2, 8, 64]))
@settings(max_examples=60, deadline=None)
def test_a_higher_stage_never_holds_more_states(shapes, ranks):
    held = [
        sum(footprint.states(Sharding(stage, ranks, bf16=True, by_deepspeed=True), shapes.parameters).values())
        for stage in (0, 1, 2, 3)
    ]
    assert held == sorted(held, reverse=True)


@given(WIDTHS, st.sampled_from([0, 3]))
@settings(max_examples=40, deadline=None)
def test_checkpointing_keeps_fewer_activations(sizes, stage):
    s = Sharding(stage, 8, bf16=True, by_deepspeed=True)
    assert footprint.saved(s, sizes, 2, 512, True) < footprint.saved(s, sizes, 2, 512, False)


@given(METHODS, WIDTHS, st.integers(6, 11))
@settings(max_examples=40, deadline=None)
def test_longer_rows_never_take_less(method, shapes, power):
    key = "max_length" if method == "sft" else "max_prompt_length"
    assert total(method, shapes, 4, **{key: 2**power}) <= total(method, shapes, 4, **{key: 2 ** (power + 1)})
