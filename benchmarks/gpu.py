"""What do SFT and PPO do on this machine's GPU, how near is `plan`, and is a killed run resumed exactly? `make test-gpu`.

    python -m benchmarks.gpu [SIZE [PART …]]

SIZE is `1b` (a random Llama of 1.2B parameters) or `toy`, for a CPU. The parts are `sft`; `ppo`, which samples by itself;
`vllm`, PPO sampled by vLLM, where .venv-vllm is there; `trl`, PPO of trl 1.12.0, where .venv-trl112 is there; and `kill`. Each
prints a line of JSON as soon as it has ended: seconds, tokens a second, MiB at the peak and as `plan` says, and the share of the
GPU's operations that learning takes (MFU).
"""

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import torch

from benchmarks import ppo
from benchmarks.ppo_shapes import FOLDER, IS_ON_GPU, SHAPES, Shape
from fino1.sizes import memory
from fino1.sizes.shapes import Finder
from fino1.spec import load

TRL, VLLM = ".venv-trl112/bin/python", ".venv-vllm/bin/python"
PEAKS = {  # dense bf16 operations a second, by NVIDIA's data sheets
    "NVIDIA A100": 312e12,
    "NVIDIA H100 80GB HBM3": 989e12,
    "NVIDIA H200": 989e12,
}
LIMIT_S = 560  # of all parts together
PART_S = 200
TINY = ("sft-tiny", "--set", "data.size=320", "--set", "sft.save_steps=5", "--set", "sft.logging_steps=1")


def measure(size: str, name: str, timeout: float) -> dict[str, Any]:
    """Measure one part; one that fails or is not there says why."""
    shape = SHAPES[size]
    parts: dict[str, Callable[[], dict[str, Any]]] = {
        "sft": partial(attempt, timeout, sys.executable, "benchmarks.sft", "ours", size),
        "ppo": partial(attempt, timeout, sys.executable, "benchmarks.ppo", "update", size, 1),
        "vllm": partial(attempt, timeout, VLLM, "benchmarks.ppo", "update", size, 1, "vllm"),
        "trl": partial(attempt, timeout, TRL, "benchmarks.ppo_trl", size, 1),
        "kill": partial(kill_and_resume, FOLDER / f"kill-{os.getpid()}", timeout),
    }
    try:
        found = parts[name]()
        return found | rate(found) | ({"plan_mib": predict(shape)} if name == "ppo" else {})
    except (subprocess.SubprocessError, ValueError, IndexError, TimeoutError) as error:
        return {"failed": str(error)}


def attempt(timeout: float, python: str, *arguments: Any) -> dict[str, Any]:
    """Measure in a process of its own."""
    if not Path(python).exists():
        return {"skipped": f"no {python}"}
    if IS_ON_GPU:
        asked = subprocess.check_output([python, "-c", "import torch; print(torch.cuda.is_available())"], text=True)
        if "True" not in asked:
            return {"skipped": f"{python}: its torch sees no GPU"}
    return ppo.run(python, *arguments, timeout=timeout)


def rate(result: dict[str, Any]) -> dict[str, float]:
    """Tokens a second and MFU, of what learns; of PPO also what it samples a second."""
    if "operations" not in result:
        return {}
    learning = result.get("learn", result["seconds"])
    tokens = result.get("tokens") or result["prompt_tokens"] + result["response_tokens"]
    rates = {"learnt_per_s": round(tokens / learning)}
    if "sample" in result:
        rates["sampled_per_s"] = round(result["response_tokens"] / result["sample"])
    name = torch.cuda.get_device_name() if IS_ON_GPU else ""
    peak = next((peak for start, peak in PEAKS.items() if name.startswith(start)), None)
    return rates | ({"mfu": round(result["operations"] / learning / peak, 3)} if peak else {})


def predict(shape: Shape) -> int:
    """MiB at the peak of an update as `plan` says, without its allowances, which no allocator counts."""
    parts = memory.estimate(load.build(ppo.describe(shape, 1), "F", 1), Finder(FOLDER))["parts"]
    return sum(size for part, size in parts.items() if part not in ("fragmentation", "CUDA context")) // 2**20


def kill_and_resume(work: Path, timeout: float) -> dict[str, Any]:
    """Train twice, once with a rank killed on the way: are the weights the same, and was it resumed?"""
    hashes, attempts, deadline = [], [], time.monotonic() + timeout
    for name in ("whole", "killed"):
        command = [sys.executable, "-m", "fino1", "run", *TINY, "--name", name, "--work", str(work)]
        command += ["--set", f"gpus_per_node={int(IS_ON_GPU)}"]
        with subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True) as process:
            try:
                if name == "killed":
                    kill_a_rank(work, process, deadline)
                said = process.communicate(timeout=max(1, deadline - time.monotonic()))[1]
            finally:
                process.terminate()  # what ends the block waits for it
        attempts.append(1 + said.count("; attempt "))
        (done,) = work.glob(f"runs/{name}-*/done.json")
        hashes.append(json.loads(done.read_text())["artefact_sha256"])
    return {"same_hash": hashes[0] == hashes[1], "attempts": attempts}


def kill_a_rank(work: Path, process: subprocess.Popen, deadline: float) -> None:
    """Send SIGKILL to the process that trains, once there is a checkpoint."""
    while not list(work.glob("runs/killed-*/checkpoints/step-*")):
        if process.poll() is not None or time.monotonic() > deadline:
            raise TimeoutError("the run ended, or took too long, before it could be killed")
        time.sleep(0.02)
    launcher = subprocess.check_output(["pgrep", "-o", "-f", f"fino1 train.*{work}"], text=True).strip()
    os.kill(int(subprocess.check_output(["pgrep", "-P", launcher], text=True).split()[0]), signal.SIGKILL)


def main(size: str = "1b", *parts: str) -> None:
    """Measure and print."""
    device = torch.cuda.get_device_name() if IS_ON_GPU else "CPU"
    print(json.dumps({"device": device, "torch": torch.__version__, "size": size}), flush=True)
    for part in ("policy", "value"):
        SHAPES[size].folder(part)
    deadline = time.monotonic() + LIMIT_S
    for name in parts or ("sft", "ppo", "trl", "vllm", "kill"):
        left = deadline - time.monotonic()
        found = measure(size, name, min(left, PART_S)) if left > 0 else {"skipped": "no time left"}
        print(json.dumps({name: found}), flush=True)


if __name__ == "__main__":
    main(*sys.argv[1:])
