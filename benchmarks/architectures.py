"""Which architectures go through the whole recipe? By hand, a quarter of an hour.

    python benchmarks/architectures.py [KIND …]

For each a tiny model with random weights: SFT, save, PPO from that at a learning rate of 1e-12, and an evaluation of the SFT
model by `transformers serve`. Prints the KL to the reference and the ratio of PPO's first update, which must be 0 and 1 but for
rounding: the policy learns on the distribution that it samples from.
"""

import json
import subprocess
import sys
from pathlib import Path

import torch
import yaml
from transformers import AutoConfig, AutoModelForCausalLM

from fino1.spec.inputs import InitBlock
from fino1.tasks import ledger, task
from fino1.tasks.record import solution
from fino1.train.model import train_tokenizer

WORK = Path("out/architectures")
SIZES = {
    "hidden_size": 64,
    "intermediate_size": 128,
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
    "max_position_embeddings": 512,
}
CAP = {"head_dim": 16, "final_logit_softcapping": 2.0}
KINDS = {
    "llama": {"tie_word_embeddings": False},
    "qwen2": {},
    "qwen3": {"head_dim": 16},
    "gemma2": CAP,
    "gemma3_text": CAP,
    "mistral": {},
    "mixtral": {"num_local_experts": 2},
    "phi3": {},
    "gpt_neox": {},
    "gpt2": {"n_embd": 64, "n_layer": 2, "n_head": 4, "n_positions": 512},
    "olmo2": {},
    "granite": {"logits_scaling": 4.0},
    "cohere": {"logit_scale": 0.25},
}
SFT = {
    "method": "sft",
    "gpus_per_node": 0,
    "data": {"task": "ledger", "size": 64, "eval_size": 0},
    "sft": {"max_steps": 8, "global_batch_size": 8, "per_device_train_batch_size": 8, "max_length": 256, "bf16": False},
}
PPO = {
    "method": "ppo",
    "gpus_per_node": 0,
    "data": {"task": "ledger", "size": 64, "eval_size": 0},
    "ppo": {
        "value_model": {"init": {**SIZES, "num_key_value_heads": 4}},
        "total_episodes": 16,
        "global_batch_size": 16,
        "per_device_train_batch_size": 4,
        "local_rollout_forward_batch_size": 8,
        "num_ppo_epochs": 1,
        "num_mini_batches": 1,
        "response_length": 16,
        "max_prompt_length": 200,
        "learning_rate": 1e-12,
        "bf16": False,
    },
}
EVAL = {
    "method": "eval",
    "gpus_per_node": 0,
    "eval": {"tasks": [{"task": "ledger", "size": 4}], "max_tokens": 16, "concurrency": 2},
}


def main(kinds: list[str]) -> None:
    """Make the models, run the recipe, print the table."""
    rows = ledger.generate("sft", n=64, seed=0)
    texts = [f"{task('ledger').prompt(row)}\n{solution(row.cot, row.response)}" for row in rows]
    tokenizer = train_tokenizer(texts, InitBlock(vocab_size=400))
    ids = {f"{name}_token_id": getattr(tokenizer, f"{name}_token_id") for name in ("pad", "eos")}
    for kind in kinds:
        torch.manual_seed(0)
        config = AutoConfig.for_model(kind, **SIZES | KINDS[kind] | ids, vocab_size=len(tokenizer), bos_token_id=None)
        AutoModelForCausalLM.from_config(config).save_pretrained(WORK / "models" / kind)
        tokenizer.save_pretrained(WORK / "models" / kind)
    for name, document in (("sft", SFT), ("ppo", PPO), ("eval", EVAL)):
        (WORK / f"{name}.yaml").write_text(yaml.safe_dump(document))
    stages = []
    for kind in kinds:
        model, name = {"path": str(WORK / "models" / kind)}, kind.replace("_", "-")
        stages.append({"name": f"sft-{name}", "run": str(WORK / "sft.yaml"), "set": {"model": model}})
        stages.append({"name": f"ppo-{name}", "run": str(WORK / "ppo.yaml"), "set": {"model": {"run": f"sft-{name}"}}})
    models = [{"name": name, "run": f"sft-{name}"} for name in (kind.replace("_", "-") for kind in kinds)]
    stages.append({"name": "eval", "run": str(WORK / "eval.yaml"), "set": {"eval": {"models": models}}})
    (WORK / "recipe.yaml").write_text(yaml.safe_dump({"title": "Architectures", "stages": stages}, sort_keys=False))
    fino1 = Path(sys.executable).with_name("fino1")
    code = subprocess.run([fino1, "run", WORK / "recipe.yaml", "--work", WORK]).returncode
    print("\n| architecture | KL of the first update | ratio | answers served |\n| :-- | --: | --: | --: |")
    for kind in kinds:
        print(f"| {kind} | {' | '.join(_read(kind.replace('_', '-')))} |")
    sys.exit(code)


def _read(name: str) -> tuple[str, str, str]:
    lines = [path.read_text().splitlines() for path in WORK.glob(f"runs/ppo-{name}-*/metrics.jsonl")]
    first = next((json.loads(line) for file in lines for line in file if "val/ratio" in line), None)
    cells = [json.loads(path.read_text()) for path in WORK.glob("cells/*/cell.json")]
    served = sum(cell["summary"]["n"] for cell in cells if cell["model"] == name)
    if first is None:
        return "–", "–", str(served)
    return f"{first['objective/kl']:.1e}", f"{first['val/ratio']:.6f}", str(served)


if __name__ == "__main__":
    main(sys.argv[1:] or list(KINDS))
