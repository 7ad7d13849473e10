"""How fast is an update of PPO, and what memory does it take, beside trl 1.12.0's? `make bench-ppo` (half an hour).

    python -m benchmarks.ppo [CASE …]

Same models, prompts and lengths on both sides, one thread, CPU seconds, three repeats in turn; trl runs in `.venv-trl112`.
Prints a Markdown table of medians; its last line is JSON, each figure ours to trl's.
"""

import json
import os
import statistics
import subprocess
import sys
from collections.abc import Callable
from types import SimpleNamespace
from typing import Any

import numpy as np
import torch
from transformers import AutoConfig, GenerationConfig, LogitsProcessorList

from benchmarks.ppo_shapes import (
    EOS,
    FIRST,
    FOLDER,
    IS_ON_GPU,
    MICRO,
    PAD,
    SHAPES,
    Ends,
    Meter,
    Shape,
    clock,
    count_operations,
)

CASES = {"base_1": ("base", 1), "base_4": ("base", 4), "long": ("long", 1), "vocab": ("vocab", 1)}
REPEATS = 3
OURS, TRL = sys.executable, ".venv-trl112/bin/python"


def draws(length: int, size: int, seed: int) -> np.ndarray:
    """Numbers that pick the end of sequence, which is token 0, as the token of this place, and never before."""
    found = np.random.default_rng(seed).uniform(0.02, 1, size)
    found[length - 1] = 0.0
    return found


def timed(function: Callable, name: str, phases: dict[str, float]) -> Callable:
    """Make the same function, which leaves its seconds in `phases`."""

    def call(*arguments: Any) -> Any:
        before = clock()
        result = function(*arguments)
        phases[name] = clock() - before
        return result

    return call


def describe(shape: Shape, epochs: int, engine: str = "transformers") -> dict[str, Any]:
    """The run file of ours."""
    return {
        "method": "ppo",
        "gpus_per_node": int(IS_ON_GPU),
        "model": {"path": str(shape.folder("policy"))},
        "data": {"task": "ledger", "size": 64},
        "ppo": {
            "value_model": {"path": str(shape.folder("value"))},
            "total_episodes": shape.prompts * shape.updates,
            "global_batch_size": shape.prompts,
            "per_device_train_batch_size": MICRO,
            "per_device_train_tokens": 8192 if IS_ON_GPU else shape.pass_tokens,
            "local_rollout_forward_batch_size": shape.prompts,
            "num_ppo_epochs": epochs,
            "response_length": shape.response_length,
            "max_prompt_length": 200,
            "temperature": 1.0,
            "gradient_checkpointing": shape.gradient_checkpointing,
            "bf16": shape.bf16,
            "eval_strategy": "no",
            **({} if engine == "transformers" else {"rollout": {"engine": engine}}),
        },
    }


def make_inputs(shape: Shape) -> SimpleNamespace:
    """What a run would have read: tokens instead of texts, and no rows that an answer could be judged by."""
    policy, value = (str(shape.folder(part)) for part in ("policy", "value"))
    return SimpleNamespace(
        policy=(policy, None),
        value=(value, None),
        config=AutoConfig.from_pretrained(policy),
        value_config=AutoConfig.from_pretrained(value),
        tokenizer=SimpleNamespace(pad_token_id=PAD, decode=lambda tokens, **_: ""),
        end_tokens=[EOS],
        classifier=None,
        judge=None,
        prompts=[list(prompt) for prompt in shape.lengths()],
        held_out=[],
        rows=SimpleNamespace(train=[None] * shape.prompts, evaluation=[]),
    )


def measure_update(shape: Shape, epochs: int, engine: str = "transformers") -> dict[str, float]:
    """The last update of ours: seconds, MiB; what each phase took; tokens of its prompts and responses.

    vLLM draws by itself, so that its responses have lengths of their own.
    """
    from fino1.spec import load
    from fino1.train.launch.rank import Run
    from fino1.train.ppo import main as ppo
    from fino1.train.ppo import rollout
    from fino1.train.ppo.actors import Actors

    lengths, inputs = shape.lengths(), make_inputs(shape)
    actors = Actors(Run(load.build(describe(shape, epochs, engine), "F", 1), "run", FOLDER, 0, 1), inputs)
    actors.reward = lambda texts, records: [0.1] * len(texts)
    ends = [
        [lengths[tuple(inputs.prompts[i])] for i in rollout.choose_prompts(u, shape.prompts, shape.prompts, 0)]
        for u in range(shape.updates)
    ]
    rollout.uniforms = lambda key, size: draws(ends[key[1]][key[-1]], size, key[-1])
    actors.run.directory.mkdir(parents=True, exist_ok=True)
    made, meter, phases = ppo._Ppo(actors, -1), Meter(), {}
    for owner, name in ((actors, "sample"), (actors, "look_back"), (made, "_learn")):
        setattr(owner, name, timed(getattr(owner, name), name.strip("_"), phases))
    for update in range(shape.updates):
        meter.start()
        numbers = made.update(update, rollout.ignore)
        used = meter.stop() | phases
    mean = sum(lengths.values()) / shape.prompts
    assert engine == "vllm" or numbers["response_length"] == mean, (numbers["response_length"], mean)
    prompt_tokens, response_tokens = sum(map(len, lengths)), round(numbers["response_length"] * shape.prompts)
    both, tokens = actors.both, prompt_tokens + response_tokens
    operations = [count_operations(model, tokens, response_tokens) for model in (both.policy, both.value)]
    counts = {"prompt_tokens": prompt_tokens, "response_tokens": response_tokens}
    return used | counts | {"operations": epochs * sum(operations)}


def measure_rollout(shape: Shape) -> dict[str, float]:
    """CPU seconds of our rollout and of Transformers' `generate`, alone."""
    from transformers import AutoModelForCausalLM

    from fino1.train import attention
    from fino1.train.ppo import rollout

    policy = AutoModelForCausalLM.from_pretrained(shape.folder("policy")).eval()
    attention.separate(policy)  # as a run does
    lengths = shape.lengths()
    prompts, ends = list(lengths), list(lengths.values())
    longest = max(map(len, prompts))
    ids = torch.tensor([[PAD] * (longest - len(prompt)) + list(prompt) for prompt in prompts])
    config = GenerationConfig(
        max_new_tokens=shape.response_length, do_sample=True, top_k=0, top_p=1.0, eos_token_id=EOS, pad_token_id=PAD
    )
    meter, found = Meter(), {"ours": [], "generate": []}
    for _ in range(REPEATS):
        meter.start()
        responses = rollout.sample(
            policy,
            prompts,
            [draws(end, shape.response_length, i) for i, end in enumerate(ends)],
            response_length=shape.response_length,
            temperature=1.0,
            stop_tokens=[EOS],
            pad_token=PAD,
            batch_size=shape.prompts,
        )
        found["ours"].append(meter.stop()["seconds"])
        assert [len(response.tokens) for response in responses] == ends
        meter.start()
        processors = LogitsProcessorList([Ends(torch.tensor(ends), longest)])
        mask = (ids >= FIRST).long()
        policy.generate(ids, attention_mask=mask, generation_config=config, logits_processor=processors)
        found["generate"].append(meter.stop()["seconds"])
    return {side: statistics.median(seconds) for side, seconds in found.items()}


def run(python: str, *arguments: Any, timeout: float | None = None) -> dict[str, float]:
    """One measurement in a process of its own; its last line."""
    environment = {**os.environ, "OMP_NUM_THREADS": "1", "TOKENIZERS_PARALLELISM": "false"}
    command = [python, "-m", *map(str, arguments)]
    done = subprocess.run(command, env=environment, stdout=subprocess.PIPE, text=True, check=True, timeout=timeout)
    return json.loads(done.stdout.splitlines()[-1])


def main(cases: list[str]) -> None:
    """Measure the cases, print the table and the figures."""
    os.environ["CUDA_VISIBLE_DEVICES"] = ""
    figures: dict[str, float] = {}
    print("| case | ours, CPU s | trl, CPU s | ours, MiB | trl, MiB | load |\n| :-- | --: | --: | --: | --: | --: |")
    for case in cases:
        name, epochs = CASES[case]
        for part in ("policy", "value"):
            SHAPES[name].folder(part)
        found = [
            (run(OURS, "benchmarks.ppo", "update", name, epochs), run(TRL, "benchmarks.ppo_trl", name, epochs))
            for _ in range(REPEATS)
        ]
        (ours, ours_mib), (trl, trl_mib) = (
            [statistics.median(pair[side][key] for pair in found) for key in ("seconds", "mib")] for side in (0, 1)
        )
        load = max(side["load"] for pair in found for side in pair)
        print(f"| {case} | {ours:.1f} | {trl:.1f} | {ours_mib:.0f} | {trl_mib:.0f} | {load:.1f} |", flush=True)
        figures[f"speedup_{case}"] = round(trl / ours, 2)
        if case != "base_4":
            figures[f"memory_{case.removesuffix('_1')}"] = round(ours_mib / trl_mib, 2)
    rollouts = run(OURS, "benchmarks.ppo", "rollout", "base")
    print(f"rollout of base: ours {rollouts['ours']:.2f} CPU s, generate {rollouts['generate']:.2f}")
    figures["rollout_speedup"] = round(rollouts["generate"] / rollouts["ours"], 2)
    print(f"torch {torch.__version__}, {os.cpu_count()} cores, load {os.getloadavg()[0]:.1f}")
    print(json.dumps(figures))


if __name__ == "__main__":
    torch.set_num_threads(1)
    match sys.argv[1:]:
        case "update", name, epochs, *engine:
            print(json.dumps(measure_update(SHAPES[name], int(epochs), *engine)))
        case "rollout", name:
            print(json.dumps(measure_rollout(SHAPES[name])))
        case cases:
            main(cases or list(CASES))
