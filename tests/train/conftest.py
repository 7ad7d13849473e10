"""Tiny runs as a pod starts them: `fino1 train`, the operator's variables, and faults put in from outside."""

import fcntl
import json
import os
import sys
import threading
from dataclasses import dataclass, field
from pathlib import Path

import pytest
from transformers import LlamaConfig

from fino1 import runs
from fino1.spec import load
from fino1.train import checkpoint
from tests import preloaded

ROOT = Path(__file__).parents[2]
FAULTS = Path(__file__).with_name("faults")
LLAMA = {
    "hidden_size": 32,
    "intermediate_size": 64,
    "num_hidden_layers": 1,
    "num_attention_heads": 2,
    "num_key_value_heads": 2,
    "max_position_embeddings": 256,
}
SFT = {
    "method": "sft",
    "gpus_per_node": 0,
    "model": {"init": {"vocab_size": 400, **LLAMA}},
    # of 57 rows one is over in the last part of two ranks, of 5 held out one in the last of one
    "data": {"task": "ledger", "size": 57, "eval_size": 5},
    "sft": {  # 8 steps an epoch, the last filled up; ends within the second epoch
        "learning_rate": 2e-3,
        "per_device_train_batch_size": 4,
        "global_batch_size": 8,
        "num_train_epochs": 2,
        "max_steps": 11,
        "max_length": 256,
        "gradient_checkpointing": False,
        "bf16": False,
        "save_steps": 2,
        "logging_steps": 3,  # not in step with the checkpoints
        "eval_strategy": "steps",
        "eval_steps": 4,
    },
}
WHOLE = {"launch": {"zero_stage": 0}}  # ranks that each hold the whole model
VERIFIER = {**SFT, "method": "verifier", "sft": {}, "verifier": SFT["sft"]}
VERIFIER["data"] = {"task": "ledger", "size": 60, "eval_size": 20}
PPO = {
    "method": "ppo",
    "gpus_per_node": 0,
    "data": {"task": "ledger", "size": 64, "eval_size": 4},
    "ppo": {
        "value_model": {"init": LLAMA},
        "total_episodes": 64,
        "global_batch_size": 16,
        "num_generations": 2,
        "per_device_train_batch_size": 4,
        "local_rollout_forward_batch_size": 4,
        "num_mini_batches": 2,
        "num_ppo_epochs": 1,
        "response_length": 12,
        "max_prompt_length": 128,
        "temperature": 1.0,
        "value_warmup_updates": 1,
        "learning_rate": 1e-3,
        "gradient_checkpointing": False,
        "bf16": False,
        "save_steps": 1,
        "eval_steps": 2,
    },
}


@dataclass
class TrainRun:
    """One run of a test in a `--work` of its own."""

    document: dict
    work: Path
    ranks: int = 1
    output: str = ""
    codes: list[int] = field(default_factory=list)

    def __post_init__(self):
        self.spec = load.build(self.document, "test", self.ranks)
        self.directory = runs.directory(self.work, "run", self.spec)
        self.checkpoints = self.directory / "checkpoints"
        self.faults = self.work / "faults"
        self.seen = self.work / "seen"
        for folder in (self.faults, self.seen):
            folder.mkdir(parents=True, exist_ok=True)
        runs.write_config(self.directory / "config.json", self.spec)

    @property
    def command(self):
        config = self.directory / "config.json"
        return [sys.executable, "-m", "fino1", "train", "--config", config, "--name", "run", "--work", self.work]

    def environment(self, faults=""):
        return {
            **os.environ,
            "PET_NNODES": "1",
            "PET_NPROC_PER_NODE": str(self.ranks),
            "CUDA_VISIBLE_DEVICES": "",
            "OMP_NUM_THREADS": "1",
            "TOKENIZERS_PARALLELISM": "false",
            "PYTHONPATH": f"{FAULTS}:{ROOT}",
            "FAULTS": faults,
            "FAULTS_DIR": str(self.faults),
            "SEEN_DIR": str(self.seen),
        }

    def start(self, faults=""):
        """One attempt; its exit code as a shell says it."""
        reading, writing = os.pipe()
        with os.fdopen(reading) as output, os.fdopen(writing, "w") as log:
            process = preloaded.Start(self.command[3:], self.environment(faults), log)
            log.close()
            limit = threading.Timer(180, process.kill)
            limit.start()
            self.output = output.read()  # until its ranks have ended too
            limit.cancel()
        code = process.wait(10)
        self.codes.append(code if code >= 0 else 128 - code)
        return self.codes[-1]

    def finished(self):
        """Itself, once an attempt that nothing interrupts has ended well."""
        assert self.start() == 0, self.output
        return self

    def refused(self, ranks):
        """Do other ranks than those that began it say so in a line, end with 2 and leave everything as it was?"""
        other, there = TrainRun(self.document, self.work, ranks), files(self.directory)
        assert (other.directory, other.start()) == (self.directory, 2), other.output
        wanted, newest = f"{self.ranks} rank{'s' if self.ranks > 1 else ''}", f"step-{self.steps[-1]:08d}"
        assert f"{newest}: expected to go on with {wanted} (" in other.output
        assert len(other.output.splitlines()) == 1, other.output
        return files(self.directory) == there

    def saw(self, key, rank=0):
        """The lines of what a rank has computed that have this key (faults/seen.py)."""
        lines = [json.loads(line) for line in (self.seen / f"{rank}.jsonl").read_text().splitlines()]
        return [line for line in lines if key in line]

    def happened(self):
        return len(os.listdir(self.faults))

    @property
    def steps(self):
        return [checkpoint.step_of(path) for path in checkpoint.all_valid(self.checkpoints)]

    @property
    def sha256(self):
        return json.loads((self.directory / "done.json").read_text())["artefact_sha256"]

    def lines(self, name="metrics.jsonl"):
        """The lines of metrics.jsonl without the one figure that a clock made."""
        lines = [json.loads(line) for line in (self.directory / name).read_text().splitlines()]
        return [{key: value for key, value in line.items() if key != "eps"} for line in lines]


def files(directory):
    """Every file with its bytes, but for the lock, which says who has held it."""
    return {path: path.read_bytes() for path in directory.rglob("*") if path.is_file() and path.name != ".lock"}


@pytest.fixture(scope="session")
def undisturbed(tmp_path_factory):
    """`undisturbed(NAME, document, ranks)`: a run that nothing interrupts, made once for all of pytest's workers."""
    base = tmp_path_factory.getbasetemp()
    folder = base.parent if "PYTEST_XDIST_WORKER" in os.environ else base

    def make(name, document, ranks=1):
        with (folder / f"{name}.lock").open("w") as lock:
            fcntl.flock(lock, fcntl.LOCK_EX)
            run = TrainRun(document, folder / name, ranks)
            return run if (run.directory / "done.json").exists() else run.finished()

    return make


@pytest.fixture(scope="session")
def sft(undisturbed):
    return undisturbed("sft", SFT)


@pytest.fixture(scope="session")
def sft_of_two(undisturbed):
    return undisturbed("sft-of-two", {**SFT, **WHOLE}, ranks=2)


@pytest.fixture(scope="session")
def ppo_document(sft):
    return {**PPO, "model": {"path": str(sft.directory / "model")}}


@pytest.fixture(scope="session")
def ppo(ppo_document, undisturbed):
    return undisturbed("ppo", ppo_document)


def llama_config(**changes):
    """A Llama small enough for unit tests, its weights large enough that it has opinions."""
    sizes = {
        "vocab_size": 40,
        "hidden_size": 32,
        "intermediate_size": 64,
        "num_hidden_layers": 2,
        "num_attention_heads": 4,
        "num_key_value_heads": 2,
        "max_position_embeddings": 128,
    }
    return LlamaConfig(**sizes, initializer_range=0.3, **changes)
