"""Policies of many architectures learn on the distribution that they sample from, and keep little for the backward pass."""

import weakref

import pytest
import torch

from fino1.errors import SpecError
from fino1.spec import load
from fino1.spec.inputs import InitBlock
from fino1.train import attention, model
from fino1.train.launch.rank import Run
from fino1.train.ppo import main, networks, rollout
from fino1.train.ppo.episodes import Episode, pack
from tests.train.architectures import ARCHITECTURES, policy_of
from tests.train.conftest import PPO, llama_config


@pytest.mark.parametrize("separate", [False, True])
@pytest.mark.parametrize("kind", ARCHITECTURES)
def test_the_first_pass_gives_what_was_sampled_with(kind, separate):
    """In train mode: nothing random is left. PPO's ratio is 1."""
    policy = policy_of(kind)
    if separate and not attention.separate(policy):
        assert kind in ("gemma2", "vaultgemma")  # which cap the scores inside their attention
        return
    networks.train_without_noise(policy)
    prompts = [[5, 6, 7], [8, 9, 10, 11, 12], [4]]
    draws = [rollout.uniforms((0, 0, i), 9) for i in range(3)]
    found = rollout.sample(
        policy, prompts, draws, response_length=9, temperature=0.7, stop_tokens=[2], pad_token=0, batch_size=3
    )
    episodes = [Episode(i, p, r.tokens, None) for i, (p, r) in enumerate(zip(prompts, found, strict=True))]
    packed = pack(episodes, torch.device("cpu"), one_row=separate)
    loss, logprobs, _ = networks.policy_loss(policy, packed, 0.7, lambda logprobs, _: logprobs.sum())
    wanted = torch.tensor([each for response in found for each in response.logprobs])
    torch.testing.assert_close(logprobs, wanted, atol=2e-4, rtol=0)
    torch.testing.assert_close(networks.policy_logprobs(policy, packed, 0.7)[0], logprobs)
    gradients = torch.autograd.grad(loss, list(policy.parameters()), allow_unused=True)
    assert all(torch.isfinite(each).all() for each in gradients if each is not None)


@pytest.mark.parametrize("kind", ARCHITECTURES)
def test_a_reference_in_bf16_computes_what_autocast_computes(kind):
    policy = policy_of(kind)
    packed = pack([Episode(0, [5, 6, 7], [8, 9, 2], None), Episode(1, [4], [9, 2], None)], torch.device("cpu"))
    found = []
    for bf16 in (False, True):
        reference = networks.Reference(policy, bf16, is_sharded=False)
        with torch.autocast("cpu", torch.bfloat16):
            found.append(reference(packed, 0.7))
    assert torch.equal(*found)
    is_held = torch.bfloat16 in {weight.dtype for weight in policy.parameters()}
    assert is_held == (kind != "gpt2")  # whose layers are no nn.Linear


@pytest.fixture
def small_run(tmp_path):
    """A run of PPO from a small policy."""
    tokenizer = model.train_tokenizer([f"{i} + {i}" for i in range(50)], InitBlock(vocab_size=300))
    config = llama_config()
    config.vocab_size, config.eos_token_id = len(tokenizer), tokenizer.eos_token_id
    model.load_policy(config, None, None).save_pretrained(tmp_path / "model")
    tokenizer.save_pretrained(tmp_path / "model")
    document = {**PPO, "model": {"path": str(tmp_path / "model")}}
    return Run(load.build(document, "F", 1), "run", tmp_path, 0, 1)


def test_a_value_model_that_gives_no_numbers_ends_the_run(small_run, monkeypatch):
    """It took the policy along, to the end of the run."""
    load_value = model.load_value

    def load_broken(*arguments):
        broken = load_value(*arguments)
        torch.nn.init.constant_(broken.score.weight, float("nan"))
        return broken

    monkeypatch.setattr(model, "load_value", load_broken)
    with pytest.raises(
        SpecError, match="^ppo: expected a finite loss/policy_avg, got nan in update 1; lower the learning"
    ):
        main.main(small_run)
    assert not list(small_run.checkpoints.glob("*"))


def test_a_policy_that_learns_on_another_distribution_ends_the_run(small_run, monkeypatch):
    head = networks.logits_of
    monkeypatch.setattr(networks, "logits_of", lambda policy: lambda hidden: head(policy)(hidden) / 2)
    with pytest.raises(
        SpecError, match=r"model: expected a policy .* -\d\.\d+ a token, .* got -\d\.\d+, \d\.\d+ apart"
    ):
        main.main(small_run)
    assert not list(small_run.checkpoints.glob("*"))


@pytest.mark.parametrize("make", [model.load_policy, model.load_value])
def test_gradient_checkpointing_of_a_model_that_was_loaded(make, tmp_path):
    """A pass keeps one hidden state a layer, and a few small ones."""
    config = llama_config(num_labels=1)
    config.num_hidden_layers = 8
    make(config, None, None).save_pretrained(tmp_path)
    saved = {}
    for is_on in (False, True):
        loaded = make(config, str(tmp_path), None)
        networks.train_without_noise(loaded)
        if is_on:
            loaded.gradient_checkpointing_enable({"use_reentrant": False})
        weights = {weight.data_ptr() for weight in loaded.parameters()}
        found = {}

        def keep(tensor, found=found):
            found[tensor.data_ptr()] = tensor
            return tensor

        with torch.autograd.graph.saved_tensors_hooks(keep, lambda tensor: tensor):
            loaded.base_model(input_ids=torch.arange(30)[None], use_cache=False).last_hidden_state.sum()
        saved[is_on] = sum(tensor.nbytes for place, tensor in found.items() if place not in weights)
    assert saved[True] < 2 * 8 * 30 * 32 * 4 < saved[False] / 5


def test_what_the_policy_keeps_is_gone_before_the_value_model_begins(small_run, monkeypatch):
    kept, gradients, seen = weakref.WeakSet(), [], {"policy": [], "value": []}
    policy_loss, values = networks.policy_loss, networks.values

    class Kept:
        def __init__(self, tensor):
            self.tensor = tensor
            kept.add(self)

    def watched_loss(*arguments):
        with torch.autograd.graph.saved_tensors_hooks(Kept, lambda each: each.tensor):
            found = policy_loss(*arguments)
        seen["policy"].append(len(kept))
        gradients.extend(map(weakref.ref, found[0].grad_fn.gradients))
        return found

    def watched_values(*arguments):
        seen["value"].append(len(kept) + sum(each() is not None for each in gradients))
        return values(*arguments)

    monkeypatch.setattr(networks, "policy_loss", watched_loss)
    monkeypatch.setattr(networks, "values", watched_values)
    main.main(small_run)
    assert min(seen["policy"]) > 0 and max(seen["value"]) == 0
