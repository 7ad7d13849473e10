"""How near is `plan` to the memory that an update of PPO really takes? By hand, some minutes.

    python -m benchmarks.memory [SHAPE …]

Six shapes whose prompts and responses are as long as allowed, which is what `plan` reckons with; float32, one process each. What
is measured is the most that the process has in memory (VmHWM) above what it had before it loaded a model; libc gives back at
once what is freed. What `plan` says is taken without its allowances for a GPU (CUDA's context, fragmentation). Prints a table.
"""

import dataclasses
import json
import os
import sys

import torch

from benchmarks import ppo
from benchmarks.gpu import predict
from benchmarks.ppo_shapes import SHAPES, Shape, held_mib

FULL = 10**9  # tokens that the lengths are drawn around: cut off at what is allowed
WIDE = {"hidden_size": 1024, "num_hidden_layers": 4, "intermediate_size": 2816, "num_attention_heads": 16}
OWN = (
    SHAPES["base"],
    dataclasses.replace(SHAPES["long"], prompts=4),
    dataclasses.replace(SHAPES["vocab"], prompts=8),
    Shape("wide", 8, **WIDE),
    Shape("checkpointing", 8, **WIDE, gradient_checkpointing=True),
    Shape("value", 8, value_sizes=(1024, 4, 2816)),
)
FILLED = {  # gradients are there from the end of the first pass on, AdamW's state from that of the first update
    shape.name: dataclasses.replace(shape, name=f"full-{shape.name}", mean=FULL, mean_prompt=FULL, updates=2)
    for shape in OWN
}


def measure(shape: Shape) -> dict[str, float]:
    """MiB that an update takes at most, models included, and that `plan` says."""
    import fino1.train.ppo.main  # noqa: F401  loads what is no part of the models

    before = held_mib()
    return {"measured": ppo.measure_update(shape, 1)["peak_mib"] - before, "plan": predict(shape)}


def main(names: list[str]) -> None:
    """Measure and print."""
    os.environ |= {"MALLOC_MMAP_THRESHOLD_": "65536", "MALLOC_TRIM_THRESHOLD_": "65536", "CUDA_VISIBLE_DEVICES": ""}
    print("| shape | plan, MiB | measured, MiB | plan to measured |\n| :-- | --: | --: | --: |")
    for name in names:
        shape = FILLED[name]
        for part in ("policy", "value"):
            shape.folder(part)
        planned, measured = map(ppo.run(sys.executable, "benchmarks.memory", "measure", name).get, ("plan", "measured"))
        print(f"| {name} | {planned} | {measured:.0f} | {planned / measured:.2f} |", flush=True)


if __name__ == "__main__":
    torch.set_num_threads(1)
    match sys.argv[1:]:
        case "measure", name:
            print(json.dumps(measure(FILLED[name])))
        case names:
            main(names or list(FILLED))
