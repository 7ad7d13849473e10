"""Small policies of many architectures, with random weights."""

import torch
from transformers import AutoConfig, AutoModelForCausalLM

SIZES = {
    "vocab_size": 97,
    "hidden_size": 32,
    "intermediate_size": 64,
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
    "max_position_embeddings": 64,
    "pad_token_id": 0,
    "bos_token_id": 1,
    "eos_token_id": 2,
}
CAP = {"head_dim": 8, "final_logit_softcapping": 2.0}
ARCHITECTURES = {
    "llama": {"tie_word_embeddings": False},
    "qwen2": {},
    "qwen3": {"head_dim": 8},
    "gemma2": CAP,
    "gemma3_text": CAP,
    "mistral": {},
    "mixtral": {"num_local_experts": 2, "router_jitter_noise": 0.5},
    "phi3": {"resid_pdrop": 0.5},
    "gpt_neox": {"attention_dropout": 0.5},
    "gpt2": {"n_embd": 32, "n_layer": 2, "n_head": 4, "n_positions": 64},
    "olmo2": {},
    "granite": {"logits_scaling": 4.0},
    "cohere": {"logit_scale": 0.25},
    "nanochat": {"final_logit_softcapping": 2.0},
    "vaultgemma": CAP,
}


def policy_of(kind):
    """Make one, the same each time."""
    torch.manual_seed(0)
    policy = AutoModelForCausalLM.from_config(AutoConfig.for_model(kind, **SIZES | ARCHITECTURES[kind]))
    with torch.no_grad():
        for weight in policy.parameters():
            if weight.dim() > 1:
                weight.mul_(10)  # it has opinions, which a cap cuts
    return policy
