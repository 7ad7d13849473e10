"""How fast is SFT on packed rows, and what memory does it take, beside trl 1.16's SFTTrainer? By hand (ten minutes).

    python -m benchmarks.sft

The same model, rows and packs on both sides, one thread, CPU seconds of all steps of an epoch, three repeats in turn; `padded` is
trl's default, which packs nothing. Prints a Markdown table of medians; its last line is JSON, each figure ours to trl's.
"""

import json
import os
import random
import statistics
import sys
from typing import Any

import torch
import trl
from datasets import Dataset
from transformers import AutoModelForCausalLM, PreTrainedTokenizerFast

from benchmarks import ppo
from benchmarks.ppo_shapes import FIRST, FOLDER, SHAPES, Meter

ROWS, LENGTH, PACKS, REPEATS = 64, 1024, 2, 3  # a step takes PACKS packs of LENGTH tokens
SIDES = {"ours": True, "trl": True, "ours, not packed": False, "trl, padded": False}  # and whether each packs


def make_rows() -> list[dict[str, list[int]]]:
    """Rows of random tokens, of which the last fifth has labels, as FinQA's have."""
    rng = random.Random(1)
    rows = []
    for _ in range(ROWS):
        size = min(LENGTH, 120 + int(rng.expovariate(1 / 220)))
        tokens = [rng.randrange(FIRST, SHAPES["base"].vocab_size) for _ in range(size)]
        rows.append({"input_ids": tokens, "labels": [-100] * (size * 4 // 5) + tokens[size * 4 // 5 :]})
    return rows


def measure(side: str) -> dict[str, float]:
    """CPU seconds and MiB of an epoch, its tokens with and without label, and the mean loss of its first step."""
    from fino1.spec import load
    from fino1.train import sft
    from fino1.train.launch.rank import Run
    from fino1.train.trainer import training_arguments

    packs = SIDES[side]
    size = PACKS if packs else PACKS * 3  # about as many tokens
    block = {
        "max_length": LENGTH,
        "per_device_train_batch_size": size,
        "global_batch_size": size,
        "packing": packs,
        "num_train_epochs": 1,
        "gradient_checkpointing": False,
        "bf16": False,
        "eval_strategy": "no",
    }
    rows, folder = make_rows(), SHAPES["base"].folder("policy")
    run = Run(
        load.build({"method": "sft", "gpus_per_node": 0, "launch": {"zero_stage": 0}, "sft": block}, "F", 1),
        "run",
        FOLDER,
        0,
        1,
    )
    policy = AutoModelForCausalLM.from_pretrained(folder, dtype=torch.float32)
    tokenizer = _name_tokens(policy.config.vocab_size)
    settings, examples = training_arguments(run, False), Dataset.from_list(rows)
    settings |= {"save_strategy": "no", "logging_steps": 1}
    if side.startswith("ours"):
        trainer = sft.make_trainer(run, settings, policy, tokenizer, LENGTH, examples, examples.select([]))
    else:
        args = trl.SFTConfig(**settings, max_length=LENGTH, packing=packs)
        trainer = trl.SFTTrainer(policy, args, train_dataset=examples, processing_class=tokenizer)
    meter = Meter()
    meter.start()
    trainer.train()
    used = meter.stop()
    tokens, labels = sum(len(row["input_ids"]) for row in rows), sum(len(row["labels"]) // 5 + 1 for row in rows)
    return used | {"tokens": tokens, "labels": labels, "loss": trainer.state.log_history[0]["loss"]}


def _name_tokens(count: int) -> PreTrainedTokenizerFast:
    """A tokenizer that has as many tokens, and a pad token: rows come tokenised."""
    from tokenizers import Tokenizer, models

    vocabulary = {f"<{i}>": i for i in range(count)}
    tokenizer = Tokenizer(models.WordLevel(vocabulary, unk_token="<0>"))
    return PreTrainedTokenizerFast(tokenizer_object=tokenizer, pad_token="<1>", eos_token="<0>")


def main() -> None:
    """Measure all sides, print the table and the figures."""
    SHAPES["base"].folder("policy")
    os.environ |= {"RANK": "0", "LOCAL_RANK": "0", "WORLD_SIZE": "1", "MASTER_ADDR": "localhost", "MASTER_PORT": "0"}
    found: dict[str, list[dict[str, Any]]] = {side: [] for side in SIDES}
    for _ in range(REPEATS):
        for side, results in found.items():
            results.append(ppo.run(sys.executable, "benchmarks.sft", side))
    print("| | CPU s | tokens per CPU s | MiB | loss of the first step | load |\n| :-- | --: | --: | --: | --: | --: |")
    medians = {}
    for side, results in found.items():
        seconds, mib = (statistics.median(each[key] for each in results) for key in ("seconds", "mib"))
        medians[side] = seconds, mib
        loss, load = results[0]["loss"], max(each["load"] for each in results)
        print(
            f"| {side} | {seconds:.1f} | {results[0]['tokens'] / seconds:.0f} | {mib:.0f} | {loss:.5f} | {load:.1f} |"
        )
    print(f"{ROWS} rows, {results[0]['tokens']} tokens, {results[0]['labels']} labels; torch {torch.__version__}")
    (ours, ours_mib), (theirs, their_mib) = medians["ours"], medians["trl"]
    figures = {"speedup_packing": theirs / ours, "memory_packing": ours_mib / their_mib}
    figures["speedup_padded"] = medians["trl, padded"][0] / medians["ours, not packed"][0]
    print(json.dumps({name: round(value, 2) for name, value in figures.items()}))


if __name__ == "__main__":
    if sys.argv[1:]:
        torch.set_num_threads(1)
        print(json.dumps(measure(sys.argv[1])))
    else:
        main()
