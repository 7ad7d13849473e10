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
from benchmarks.ppo_shapes import FIRST, FOLDER, IS_ON_GPU, SHAPES, Meter, Shape, count_operations

LENGTH, PACKS, REPEATS = 1024, 2, 3  # a step takes PACKS packs of LENGTH tokens
SIDES = {"ours": True, "trl": True, "ours, not packed": False, "trl, padded": False}  # and whether each packs


def make_rows(shape: Shape) -> list[dict[str, list[int]]]:
    """Rows of random tokens, of which the last fifth has labels, as FinQA's have."""
    rng = random.Random(1)
    rows = []
    for _ in range(2 * shape.prompts):
        size = min(LENGTH, 120 + int(rng.expovariate(1 / 220)))
        tokens = [rng.randrange(FIRST, shape.vocab_size) for _ in range(size)]
        rows.append({"input_ids": tokens, "labels": [-100] * (size * 4 // 5) + tokens[size * 4 // 5 :]})
    return rows


def measure(side: str, shape: Shape) -> dict[str, float]:
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
        "bf16": shape.bf16,
        "eval_strategy": "no",
    }
    rows, folder = make_rows(shape), shape.folder("policy")
    run = Run(
        load.build(
            {"method": "sft", "gpus_per_node": int(IS_ON_GPU), "launch": {"zero_stage": 0}, "sft": block}, "F", 1
        ),
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
    for _ in range(shape.updates):
        meter.start()
        trainer.train()
    used = meter.stop()
    tokens, labels = sum(len(row["input_ids"]) for row in rows), sum(len(row["labels"]) // 5 + 1 for row in rows)
    loss, operations = trainer.state.log_history[0]["loss"], count_operations(policy, tokens, labels)
    return used | {"tokens": tokens, "labels": labels, "operations": operations, "loss": loss}


def _name_tokens(count: int) -> PreTrainedTokenizerFast:
    """A tokenizer that has as many tokens, and a pad token: rows come tokenised."""
    from tokenizers import Tokenizer, models

    vocabulary = {f"<{i}>": i for i in range(count)}
    tokenizer = Tokenizer(models.WordLevel(vocabulary, unk_token="<0>"))
    return PreTrainedTokenizerFast(tokenizer_object=tokenizer, pad_token="<1>", eos_token="<0>")


def main() -> None:
    """Measure all sides, print the table and the figures."""
    os.environ["CUDA_VISIBLE_DEVICES"] = ""
    SHAPES["base"].folder("policy")
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
    print(
        f"{2 * SHAPES['base'].prompts} rows, {results[0]['tokens']} tokens, {results[0]['labels']} labels; "
        f"torch {torch.__version__}"
    )
    (ours, ours_mib), (theirs, their_mib) = medians["ours"], medians["trl"]
    figures = {"speedup_packing": theirs / ours, "memory_packing": ours_mib / their_mib}
    figures["speedup_padded"] = medians["trl, padded"][0] / medians["ours, not packed"][0]
    print(json.dumps({name: round(value, 2) for name, value in figures.items()}))


if __name__ == "__main__":
    match sys.argv[1:]:
        case []:
            main()
        case side, *name:
            torch.set_num_threads(1)
            os.environ |= {
                "RANK": "0",
                "LOCAL_RANK": "0",
                "WORLD_SIZE": "1",
                "MASTER_ADDR": "localhost",
                "MASTER_PORT": "0",
            }
            print(json.dumps(measure(side, SHAPES[name[0] if name else "base"])))
