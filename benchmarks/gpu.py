"""What do SFT and PPO do on this machine's GPU, how near is `plan`, and is a killed run resumed exactly? `make test-gpu`.

    python -m benchmarks.gpu [SIZE]

SIZE is `1b` (a random Llama of 1.2B parameters; meant to take 12 minutes) or `toy`, for a CPU. Each part is a process of its own:
PPO sampling by itself, by vLLM where .venv-vllm is there, and trl 1.12.0's where .venv-trl112 is there. The last line is JSON:
seconds, tokens a second, MiB at the peak and as `plan` says, and the share of the GPU's operations that learning takes (MFU).
"""

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import torch

from benchmarks import ppo
from benchmarks.ppo_shapes import FOLDER, IS_ON_GPU, SHAPES, Shape
from fino1.sizes import memory
from fino1.sizes.shapes import Finder
from fino1.spec import load

TRL, VLLM = ".venv-trl112/bin/python", ".venv-vllm/bin/python"
PEAKS = {"A100": 312e12, "H100": 989e12, "H200": 989e12}  # dense bf16 operations a second, by NVIDIA's data sheets
TIMEOUT_S = 240
TINY = ("sft-tiny", "--set", "data.size=320", "--set", "sft.save_steps=5", "--set", "sft.logging_steps=1")


def measure(size: str) -> dict[str, Any]:
    """Measure every part; one that fails or is not there says why."""
    shape = SHAPES[size]
    for part in ("policy", "value"):
        shape.folder(part)
    found = {
        "sft": attempt(sys.executable, "benchmarks.sft", "ours", size),
        "ppo": attempt(sys.executable, "benchmarks.ppo", "update", size, 1),
        "ppo, vLLM": attempt(VLLM, "benchmarks.ppo", "update", size, 1, "vllm"),
        "ppo, trl 1.12.0": attempt(TRL, "benchmarks.ppo_trl", size, 1),
    }
    for name, result in found.items():
        result |= rate(result) if name != "ppo, trl 1.12.0" else {}
    ours, theirs = (found[name].get("seconds") for name in ("ppo", "ppo, trl 1.12.0"))
    found["ppo"] |= {"plan_mib": predict(shape)} | ({"speedup": round(theirs / ours, 2)} if ours and theirs else {})
    return found


def attempt(python: str, *arguments: Any) -> dict[str, Any]:
    """Measure in a process of its own."""
    if not Path(python).exists():
        return {"skipped": f"no {python}"}
    try:
        return ppo.run(python, *arguments, timeout=TIMEOUT_S)
    except (subprocess.CalledProcessError, subprocess.TimeoutExpired) as error:
        return {"failed": str(error)}


def rate(result: dict[str, Any]) -> dict[str, float]:
    """Tokens a second and MFU: six operations for each parameter and token that is learnt from."""
    if "seconds" not in result:
        return {}
    learning, tokens = result.get("learn", result["seconds"]), result.get("tokens")
    rates = {}
    if tokens is None:
        tokens = result["prompt_tokens"] + result["response_tokens"]
        rates["sampled_per_s"] = round(result["response_tokens"] / result["sample"])
    rates["learnt_per_s"] = round(tokens / learning)
    name = torch.cuda.get_device_name() if IS_ON_GPU else ""
    peak = next((peak for part, peak in PEAKS.items() if part in name), None)
    return rates | ({"mfu": round(6 * result["parameters"] * tokens / learning / peak, 3)} if peak else {})


def predict(shape: Shape) -> int:
    """MiB at the peak of an update as `plan` says, without its allowances, which no allocator counts."""
    parts = memory.estimate(load.build(ppo.describe(shape, 1), "F", 1), Finder(FOLDER))["parts"]
    return sum(size for part, size in parts.items() if part not in ("fragmentation", "CUDA context")) // 2**20


def kill_and_resume(work: Path) -> dict[str, Any]:
    """Train twice, once with a SIGKILL on the way: are the weights the same?"""
    hashes = []
    for name, is_killed in (("whole", False), ("killed", True)):
        command = [sys.executable, "-m", "fino1", "run", *TINY, "--name", name, "--work", str(work)]
        command += ["--set", f"gpus_per_node={int(IS_ON_GPU)}"]
        if is_killed:
            kill_once(subprocess.Popen(command, start_new_session=True, stdout=subprocess.DEVNULL), work, name)
        subprocess.run(command, check=True, timeout=TIMEOUT_S, stdout=subprocess.DEVNULL)
        (done,) = work.glob(f"runs/{name}-*/done.json")
        hashes.append(json.loads(done.read_text())["artefact_sha256"])
    return {"same_hash": hashes[0] == hashes[1]}


def kill_once(process: subprocess.Popen, work: Path, name: str) -> None:
    """Kill the run and all its ranks once there is a checkpoint."""
    while not list(work.glob(f"runs/{name}-*/checkpoints/*")):
        if process.poll() is not None:
            raise SystemExit(f"{name}: ended before it could be killed")
        time.sleep(0.05)
    os.killpg(process.pid, signal.SIGKILL)
    process.wait()


def main(size: str = "1b") -> None:
    """Measure and print."""
    work = FOLDER / f"kills-{os.getpid()}"
    found = {"device": torch.cuda.get_device_name() if IS_ON_GPU else "CPU", "torch": torch.__version__}
    found |= measure(size) | {"kill": kill_and_resume(work)}
    print(json.dumps(found))


if __name__ == "__main__":
    main(*sys.argv[1:])
