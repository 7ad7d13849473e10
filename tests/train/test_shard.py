"""Two ranks that hold half of everything each do what two do that hold it all, and lose nothing either."""

import json
from collections import Counter

import pytest
import safetensors.torch
import torch
from torch.distributed.checkpoint import FileSystemReader
from transformers import AutoModelForCausalLM

from fino1.spec import load
from fino1.train import shard
from tests.train.conftest import PPO, SFT, TrainRun
from tests.train.test_ranks import CLOSE, compare, same_experience

LLAMA = {**SFT["model"]["init"], "hidden_size": 64, "intermediate_size": 128, "num_hidden_layers": 2}
WHOLE, SHARDED = {"launch": {"zero_stage": 0}}, {"launch": {"zero_stage": 3}}


def spec(method, **launch):
    document = SFT if method == "sft" else {**PPO, "model": {"path": "x"}}
    return load.build({**document, "launch": launch}, "F", world_size=2)


@pytest.mark.parametrize("method", ["sft", "ppo"])
def test_several_ranks_share_everything_and_one_shares_nothing(method):
    assert shard.stage(spec(method), 2) == 3
    assert shard.stage(spec(method), 1) == 0
    assert shard.stage(spec(method, zero_stage=0), 2) == 0


def test_one_rank_may_offload():
    assert shard.stage(spec("sft", zero_stage=2, offload_optimizer_device="cpu"), 1) == 2


def test_deepspeed_is_told_the_stage_and_what_lies_where():
    assert shard.deepspeed_config(spec("sft"), 1) is None
    assert shard.deepspeed_config(spec("sft", zero_stage=0), 2) is None
    zero = shard.deepspeed_config(spec("sft", zero_stage=2, offload_optimizer_device="cpu"), 2)["zero_optimization"]
    assert zero["stage"] == 2 and zero["offload_optimizer"]["device"] == "cpu" and "offload_param" not in zero
    zero = shard.deepspeed_config(spec("sft", offload_param_device="cpu"), 2)["zero_optimization"]
    assert zero["stage"] == 3 and zero["offload_param"]["device"] == "cpu" and "offload_optimizer" not in zero


def weights(run, folder="model"):
    return safetensors.torch.load_file(run.directory / folder / "model.safetensors")


def pair(document, tmp):
    """The same run of two ranks, with everything on both and with half on each."""
    runs = [TrainRun({**document, **launch}, tmp / name, ranks=2) for name, launch in (("w", WHOLE), ("s", SHARDED))]
    for run in runs:
        assert run.start() == 0, run.output
        assert "Warning" not in run.output
        assert all(line.startswith('{"event": "progress"') for line in run.output.splitlines()), run.output
    return runs


@pytest.fixture(scope="module")
def sft_pair(tmp_path_factory):
    parts = {**SFT["sft"], "per_device_train_batch_size": 2}  # two a step, which the ranks' gradients add up over
    return pair({**SFT, "model": {"init": LLAMA}, "sft": parts}, tmp_path_factory.mktemp("sft-pair"))


@pytest.fixture(scope="module")
def ppo_pair(ppo_document, tmp_path_factory):
    return pair(ppo_document, tmp_path_factory.mktemp("ppo-pair"))


@pytest.mark.slow
def test_sharded_sft_has_the_losses_of_whole(sft_pair):
    whole, sharded = sft_pair
    assert sharded.steps == whole.steps
    assert compare(whole.lines(), sharded.lines(), ["loss", "grad_norm", "num_tokens", "eval/loss"]) < CLOSE
    a, b = weights(whole), weights(sharded)
    assert a.keys() == b.keys()
    for name in a:
        assert a[name].dtype == b[name].dtype
        torch.testing.assert_close(a[name], b[name], atol=1e-4, rtol=1e-3)


def held(run):
    """How many numbers has each rank written into the newest checkpoint?"""
    newest = run.checkpoints / f"step-{run.steps[-1]:08d}"
    if run.spec.method == "sft":
        states = [torch.load(p, weights_only=False)["optimizer_state_dict"] for p in newest.glob("*/*optim_states.pt")]
        groups = [[*s["fp32_flat_groups"], *tensors(s["optimizer_state_dict"]["state"])] for s in states]
        return [sum(tensor.numel() for tensor in group) for group in groups]
    metadata = FileSystemReader(newest / "shards").read_metadata()
    counts = Counter()
    for index, info in metadata.storage_data.items():
        chunks = getattr(metadata.state_dict_metadata[index.fqn], "chunks", [])
        counts[info.relative_path] += sum(c.sizes.numel() for c in chunks if c.offsets == index.offset)
    return list(counts.values())


def tensors(state):
    return [value for entry in state.values() for value in entry.values() if torch.is_tensor(value)]


@pytest.mark.slow
@pytest.mark.parametrize("method", ["sft", "ppo"])
def test_each_rank_holds_its_half(method, request):
    sharded = request.getfixturevalue(f"{method}_pair")[1]
    folders = ["model"] if method == "sft" else ["model", "value_model"]
    count = sum(weight.numel() for folder in folders for weight in weights(sharded, folder).values())
    halves = held(sharded)
    assert len(halves) == 2
    for half in halves:  # the weights and Adam's two moments; the name of a tied embedding a second time; padding
        assert 3 * count / 2 * 0.95 < half < 3 * count / 2 * 1.15


@pytest.mark.slow
def test_sharded_sft_killed_and_stopped_ends_the_same(sft_pair, tmp_path):
    whole = sft_pair[1]
    run = TrainRun(whole.document, tmp_path, ranks=2)
    faults = "kill@sft-write:1@0,kill-rank@backward:6@1,term@backward:2@0"
    assert [run.start(faults) for _ in range(3)] == [137, 137, 143], run.output
    assert run.refused(ranks=1)
    assert run.start(faults) == 0, run.output
    assert run.happened() == 3
    assert run.sha256 == whole.sha256
    assert run.lines() == whole.lines()


@pytest.mark.slow
def test_sharded_ppo_has_the_responses_and_losses_of_whole(ppo_pair):
    whole, sharded = ppo_pair  # the norm that gradients are clipped by is summed share by share: last bits differ
    same_experience(whole.saw("responses"), sharded.saw("responses"))
    keys = ["objective/entropy", "loss/policy_avg", "loss/value_avg", "policy/entropy_avg", "val/ratio"]
    assert compare(whole.lines(), sharded.lines(), keys) < CLOSE
    assert sharded.lines("generations.jsonl") == whole.lines("generations.jsonl")
    for folder in ("model", "value_model"):
        a, b = (weights(run, folder) for run in ppo_pair)
        for name in a:
            torch.testing.assert_close(a[name], b[name], atol=1e-4, rtol=1e-3)


@pytest.mark.slow
def test_sharded_ppo_killed_and_stopped_ends_the_same(ppo_pair, tmp_path):
    whole = ppo_pair[1]
    run = TrainRun(whole.document, tmp_path, ranks=2)
    faults = "kill@written:1@0,kill@optimizer:5@1,term@rollout:30@0,kill@model:1@0"
    assert [run.start(faults) for _ in range(3)] == [137, 137, 143], run.output
    assert run.refused(ranks=1)
    assert [run.start(faults) for _ in range(2)] == [137, 0], run.output
    assert run.happened() == 4
    assert run.sha256 == whole.sha256
    assert run.lines() == whole.lines()


@pytest.fixture(scope="module")
def bf16_whole(sft_pair, tmp_path_factory):
    """Two ranks that hold everything train on from a model, in bf16 and with gradient checkpointing."""
    changes = {"bf16": True, "gradient_checkpointing": True, "max_steps": 4, "logging_steps": 1, "save_steps": 4}
    document = {**SFT, "model": {"path": str(sft_pair[0].directory / "model")}, "sft": {**SFT["sft"], **changes}}
    return TrainRun({**document, **WHOLE}, tmp_path_factory.mktemp("bf16"), ranks=2).finished()


@pytest.mark.slow
@pytest.mark.parametrize("launch", [{"zero_stage": 3}, {"zero_stage": 2, "offload_optimizer_device": "cpu"}])
def test_bf16_from_a_pretrained_model_with_gradient_checkpointing(sft_pair, bf16_whole, launch, tmp_path):
    whole = bf16_whole
    sharded = TrainRun({**whole.document, "launch": launch}, tmp_path, ranks=2).finished()
    assert compare(whole.lines(), sharded.lines(), ["loss"]) < 1e-2
    found = AutoModelForCausalLM.from_pretrained(sharded.directory / "model")
    start = AutoModelForCausalLM.from_pretrained(sft_pair[0].directory / "model")
    assert {n: p.shape for n, p in found.named_parameters()} == {n: p.shape for n, p in start.named_parameters()}
    assert json.loads((sharded.directory / "done.json").read_text())["world_size"] == 2


@pytest.mark.slow
def test_bf16_ppo_with_gradient_checkpointing(ppo_document, ppo_pair, tmp_path):
    document = {
        **ppo_document,
        "ppo": {**PPO["ppo"], "bf16": True, "gradient_checkpointing": True, "total_episodes": 32},
    }
    whole, sharded = pair(document, tmp_path)
    assert compare(whole.lines(), sharded.lines(), ["objective/entropy", "loss/value_avg", "val/ratio"]) < 1e-2
    for rank in (0, 1):  # the one that read the weights, and the one that got its share of them
        for run, without in zip((whole, sharded), ppo_pair, strict=True):
            for part in ("policy", "value"):
                found, usual = (
                    [line["saved"] for line in each.saw("saved", rank) if line["part"] == part]
                    for each in (run, without)
                )
                assert max(found) < 0.6 * min(usual), (rank, part, found, usual)
    AutoModelForCausalLM.from_pretrained(sharded.directory / "model")
