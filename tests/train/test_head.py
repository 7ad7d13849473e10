"""A head computes from hidden states that are known, and of the positions of a row only those that have a label."""

import pytest
import torch
from transformers import AutoConfig
from trl.trainer.sft_trainer import DataCollatorForLanguageModeling
from trl.trainer.utils import add_fused_lm_head

from fino1.errors import SpecError
from fino1.train import attention, head
from fino1.train.ppo import networks
from tests.train.architectures import ARCHITECTURES, SIZES, policy_of
from tests.train.conftest import llama_config

ROWS = [  # prompts have no label
    {"input_ids": [5, 6, 7, 8, 9, 10, 11], "labels": [-100] * 4 + [9, 10, 11]},
    {"input_ids": [12, 13, 14, 15], "labels": [-100, 13, 14, 15]},
    {"input_ids": [16, 17, 18, 19, 20], "labels": [-100] * 5},
]


@pytest.mark.parametrize("kind", ["gemma2", "granite", "cohere"])
def test_a_head_alone_is_another_distribution(kind):
    policy = policy_of(kind)
    hidden = torch.randn(5, 32)
    plain = torch.nn.functional.linear(hidden, policy.get_output_embeddings().weight)
    with torch.no_grad():
        assert (head.logits_of(policy)(hidden) - plain).abs().max() > 0.5


def test_a_model_whose_head_is_not_apart_is_refused():
    config = AutoConfig.for_model("opt", **SIZES, word_embed_proj_dim=32, ffn_dim=64)
    with pytest.raises(SpecError, match="model: x: expected a causal .* got OPTForCausalLM"):
        head.check_head(config, "x")
    head.check_head(llama_config(), "x")


def differentiate(model, rows, is_end_to_end):
    """What TRL's SFTTrainer makes of rows: loss, entropies' and hits' sums, what was counted, and every gradient."""
    inputs = DataCollatorForLanguageModeling(0, padding_free=is_end_to_end)(rows)
    found = model(**inputs, use_cache=False, fused_lm_head=True)
    loss = -found.log_probs.sum()
    model.zero_grad()
    loss.backward()
    gradients = {name: weight.grad for name, weight in model.named_parameters() if weight.grad is not None}
    return loss.detach(), found.entropy.sum().detach(), found.is_top1.sum(), found.label_mask, gradients


@pytest.mark.parametrize("kind", ARCHITECTURES)
def test_positions_without_a_label_meet_no_head(kind):
    """Padded as TRL lays them out, and end to end where episodes can attend to themselves: the same loss and gradients."""
    model = policy_of(kind)
    networks.train_without_noise(model)
    add_fused_lm_head(model, outputs=("log_probs", "entropy", "is_top1"))
    wanted = differentiate(model, ROWS, False)
    is_separate = attention.separate(model)
    head.score_labels_only(model)
    for is_end_to_end in {False, is_separate}:
        found = differentiate(model, ROWS, is_end_to_end)
        torch.testing.assert_close(found[:3], wanted[:3], atol=2e-4, rtol=2e-4)
        torch.testing.assert_close(found[4], wanted[4], atol=2e-4, rtol=2e-4)
        assert found[3].shape == (1, 6)
        assert found[3].all()


def test_rows_without_any_label_leave_gradients_of_zero():
    model = policy_of("llama")
    add_fused_lm_head(model, outputs=("log_probs", "entropy", "is_top1"))
    head.score_labels_only(model)
    loss, _, _, mask, gradients = differentiate(model, ROWS[2:], False)
    assert (loss, mask.sum()) == (0, 0)
    assert not any(gradient.any() for gradient in gradients.values())
