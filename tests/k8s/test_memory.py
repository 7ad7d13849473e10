"""What a whole run is estimated to take, whether that fits, and what must hold for any run."""

from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from fino1.k8s.plan import architecture, footprint, gpus, memory
from fino1.k8s.plan.architecture import KNOWN, Architecture
from fino1.k8s.plan.footprint import Sharding
from fino1.spec import load
from fino1.spec.inputs import InitBlock
from fino1.spec.placement import GpuBlock

GIB = 2**30
LLAMA = KNOWN["meta-llama/Llama-3.1-8B"]
SMALL = KNOWN["meta-llama/Llama-3.2-3B"]
DATA = {"data": {"path": "rows.json"}}
NOWHERE = Path("/nowhere")


def spec(method="sft", **keys):
    return load.build({"method": method, **DATA, **keys}, "run.yaml")


def estimate(method="sft", known=None, zero_stage=3, **keys):
    return memory.estimate(spec(method, **keys), NOWHERE, zero_stage=zero_stage, known=known)


@pytest.fixture(autouse=True)
def _empty_cache(monkeypatch, tmp_path):
    monkeypatch.setenv("HF_HOME", str(tmp_path / "hf"))
    monkeypatch.delenv("HF_HUB_CACHE", raising=False)


def test_the_seed_s_sft_by_hand():
    """Llama-3.1-8B on 8 GPUs, ZeRO-3, 2 rows of 8,192 tokens: shares of 1,003,782,656 parameters."""
    found = estimate()
    assert [phase.name for phase in found.phases] == ["loss", "backward", "optimizer step"]
    loss = found.phases[0].parts
    assert loss["weights"] == 2 * 1_003_782_656
    assert loss["gradients"] == 4 * 1_003_782_656
    assert loss["optimizer"] == 12 * 1_003_782_656
    assert loss["gathered weights"] == 2 * (10**9 + 128256 * 4096)
    tokens = 2 * 8192
    assert loss["activations"] == tokens * (32 * 2 * 4096 + 8 * 4096 + 8 * 128 + 8 + 8192)
    assert found.peak.parts["CUDA context"] == GIB
    assert 28 * GIB < found.peak.total < 36 * GIB


def test_the_defaults_of_ppo_fit_eight_a100():
    found = estimate("ppo")
    assert found.peak.name == "rollout: prompts"
    assert memory.fits(found, gpus.gpu_memory(GpuBlock(product="NVIDIA-A100-SXM4-80GB"))).fits
    assert found.peak.parts["gathered weights"] == 2 * 8_030_261_248
    assert found.peak.parts["reference"] == 4 * 1_003_782_656


def test_plain_data_parallelism_does_not_fit_and_says_what_would_help():
    found = memory.fits(estimate(zero_stage=0), 80 * GIB)
    assert not found.fits
    assert found.available == 76 * GIB
    assert found.changes[:2] == ("launch.zero_stage: 3", "launch.offload_optimizer_device: cpu")
    assert "smaller sft.per_device_train_batch_size" in found.changes


def test_changes_that_are_made_already_are_not_named():
    block = {"per_device_train_batch_size": 1, "gradient_checkpointing": False}
    changes = memory.fits(estimate(sft=block), GIB).changes
    assert "launch.zero_stage: 3" not in changes
    assert "smaller sft.per_device_train_batch_size" not in changes
    assert "sft.gradient_checkpointing: true" in changes


def test_one_rank_divides_nothing():
    one = estimate(gpus_per_node=1)
    assert (one.ranks, one.zero_stage) == (1, 0)
    assert one.phases[0].parts["optimizer"] == 8 * LLAMA.parameters
    assert "buckets" not in one.phases[0].parts


def test_offloading_moves_states_to_the_node():
    found = memory.estimate(spec(), NOWHERE, offload_optimizer=True, offload_param=True)
    assert found.host == {
        "weights": 2 * 1_003_782_656,
        "gradients": 4 * 1_003_782_656,
        "optimizer": 12 * 1_003_782_656,
    }
    assert not {"weights", "gradients", "optimizer"} & set(found.peak.parts)


def test_a_reward_model_is_held_whole():
    reward = {"source": "model", "model": {"hub": "meta-llama/Llama-3.2-3B"}}
    with_model, without = estimate("ppo", ppo={"reward": reward}), estimate("ppo")
    held = with_model.phases[0].parts["reward model"]
    assert held == 2 * (SMALL.backbone + 2 * SMALL.hidden_size)
    assert with_model.phases[-1].name == "reward"
    assert with_model.peak.total > without.peak.total


def test_packed_rows_are_one_row():
    packed, padded = estimate(sft={"packing": True}), estimate()
    assert packed.phases[0].parts["activations"] - padded.phases[0].parts["activations"] == 2 * 8192 * 8192


def test_a_model_that_is_not_known():
    found = estimate(model={"hub": "some/body"})
    assert found.peak is None
    assert memory.fits(found, 80 * GIB) is None
    assert found.unknown == (
        "model: some/body: sizes not known here; give model.path, a folder with its config.json, or fetch the model to "
        "Hugging Face's cache",
    )


def test_a_model_whose_shapes_are_given():
    found = estimate("ppo", known={"model": SMALL}, model={"run": "sft"})
    assert not found.unknown
    assert found.phases[0].parts["gathered weights"] == 2 * SMALL.parameters


def test_a_reward_model_that_is_not_known_is_named_and_left_out():
    found = estimate("ppo", ppo={"reward": {"source": "model", "model": {"run": "verifier"}}})
    assert found.peak is not None
    assert found.unknown[0].startswith("ppo.reward.model: verifier: sizes not known here")


def test_tiny_runs():
    sft = estimate(model={"init": {}}, gpus_per_node=0)
    assert sft.phases[0].parts["weights"] == 4 * architecture.of_init(InitBlock()).parameters
    ppo = estimate("ppo", known={"model": LLAMA}, ppo={"value_model": {"init": {}}}, model={"run": "sft"})
    assert ppo.peak is not None  # its vocabulary is the policy's


def evaluation(*models, **keys):
    block = {"models": list(models), "tasks": [{"task": "ledger"}]}
    return memory.estimate(load.build({"method": "eval", "eval": block, **keys}, "run.yaml"), NOWHERE)


def test_a_served_model_by_hand():
    model = {"name": "a", "hub": "meta-llama/Llama-3.1-8B-Instruct", "context_length": 16384}
    (phase,) = evaluation(model, gpus_per_node=2).phases
    assert phase.name == "serve a"
    assert phase.parts["weights"] == LLAMA.parameters  # bf16, halved
    # one request of 16,384 tokens × keys and values × 4 heads of 128 × 2 bytes × 32 layers
    assert phase.parts["KV cache"] == 16384 * 2 * 4 * 128 * 2 * 32


def test_more_gpus_than_key_value_heads_hold_one_head_each():
    model = {"name": "a", "hub": "meta-llama/Llama-3.1-8B-Instruct", "context_length": 1024}
    eight, sixteen = (evaluation(model, gpus_per_node=n).phases[0].parts["KV cache"] for n in (8, 16))
    assert eight == sixteen


def test_endpoints_take_no_memory_here():
    found = evaluation({"name": "gpt", "base_url": "https://x/v1"}, {"name": "b", "hub": "some/body"})
    assert found.phases == ()
    assert found.unknown[0].startswith("eval.models.1: some/body")


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
    assert gpus.gpu_memory(GpuBlock(**gpu)) == (None if gib is None else gib * GIB)


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


def total(method, shapes, ranks, zero_stage=3, **block):
    keys = {"global_batch_size": 64, **block}
    known = {"model": shapes, "ppo.value_model": shapes}
    return estimate(method, known, zero_stage, gpus_per_node=ranks, **{method: keys}).peak.total


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
        sum(footprint.states(Sharding(stage, ranks, bf16=True, by_deepspeed=True), shapes.parameters, 0).values())
        for stage in (0, 1, 2, 3)
    ]
    assert held == sorted(held, reverse=True)


@given(METHODS, WIDTHS, st.sampled_from([0, 3]))
@settings(max_examples=40, deadline=None)
def test_checkpointing_keeps_fewer_activations(method, shapes, stage):
    def kept(checkpointing):
        known = {"model": shapes, "ppo.value_model": shapes}
        found = estimate(method, known, stage, **{method: {"gradient_checkpointing": checkpointing}})
        return max(phase.parts.get("activations", 0) for phase in found.phases)

    assert kept(True) < kept(False)


@given(METHODS, WIDTHS, st.integers(6, 11))
@settings(max_examples=40, deadline=None)
def test_longer_rows_never_take_less(method, shapes, power):
    key = "max_length" if method == "sft" else "max_prompt_length"
    assert total(method, shapes, 4, **{key: 2**power}) <= total(method, shapes, 4, **{key: 2 ** (power + 1)})
