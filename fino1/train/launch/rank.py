"""What does one rank do? Read the run, train, and end with the code that says what happened. (docs/design.md C5)

`ranks` calls `main` in a fork of the launcher, or starts `python -m fino1.train.launch.rank` with the same options and torch's
variables.
"""

import argparse
import importlib
import json
import logging
import os
import sys
import time
import traceback
import warnings
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path
from types import ModuleType
from typing import Any

from fino1 import exits, files, processes, runs, trackers
from fino1.errors import Fino1Error, SpecError, first_line
from fino1.spec import load
from fino1.spec.run import RunSpec

_METHODS = {"sft": "fino1.train.sft", "verifier": "fino1.train.verifier.main", "ppo": "fino1.train.ppo.main"}
# What gloo, NCCL and torch's store say when another rank has gone: its connection breaks, or does not answer.
_PEER_LOST = (
    "Connection closed by",
    "Connection reset by peer",
    "Connection was likely closed",
    "Broken pipe",
    "Socket closed",
    "Timed out waiting",
    "ncclRemoteError",
    "remote process exited",
)


@dataclass(frozen=True)
class Run:
    """One rank's view of the run: what to do and where."""

    spec: RunSpec
    name: str
    work: Path
    rank: int
    world_size: int

    @property
    def is_main(self) -> bool:
        """True for the rank that writes what all ranks share."""
        return self.rank == 0

    @property
    def directory(self) -> Path:
        """The run's directory (docs/design.md C13)."""
        return runs.directory(self.work, self.name, self.spec)

    @property
    def checkpoints(self) -> Path:
        """Directory of its checkpoints."""
        return self.directory / "checkpoints"

    @property
    def use_cpu(self) -> bool:
        """True where there is no GPU; `fino1 run` hides them from a run that asks for none."""
        import torch

        return not torch.cuda.is_available()

    def finish(self, started: float, **figures: Any) -> None:
        """Write done.json: `model/` is there and whole. `started` is time.monotonic() of this attempt's start."""
        files.write_json(
            self.directory / "done.json",
            {
                "method": self.spec.method,
                "artefact_sha256": files.artefact_hash(self.directory / "model"),
                "world_size": self.world_size,
                "seconds": round(time.monotonic() - started, 1),
                **figures,
                "versions": {
                    package: version(package)
                    for package in ("fino1", "torch", "transformers", "trl", "accelerate", "deepspeed")
                },
            },
        )


def main(argv: list[str]) -> int:
    """Train as this rank; return its exit code."""
    sys.stdout.reconfigure(line_buffering=True)  # type: ignore[union-attr]  # the ranks of a node share it
    parser = argparse.ArgumentParser(prog="fino1.train.launch.rank")
    for option in ("--config", "--work"):
        parser.add_argument(option, type=Path, required=True)
    parser.add_argument("--name", required=True)
    parser.add_argument("--explanation", type=int, required=True, help="file descriptor for what the user should know")
    parser.add_argument("--source")
    arguments = parser.parse_args(argv)
    rank, world_size = int(os.environ["RANK"]), int(os.environ["WORLD_SIZE"])
    source = arguments.source
    trackers.hide_others()  # before anything imports deepspeed or trl
    try:
        spec = load.build(json.loads(arguments.config.read_text()), source or str(arguments.config), world_size)
        return _train(Run(spec, arguments.name, arguments.work, rank, world_size))
    except Fino1Error as error:
        said = load.located(error, source) if isinstance(error, SpecError) else error
        os.write(arguments.explanation, str(said).encode())
        return error.exit_code


def load_modules(method: str, use_cpu: bool) -> ModuleType:
    """Import what a rank needs, which takes seconds; return the module that trains with `method`."""
    with processes.pause_gc():
        from fino1.train import shard

        shard.prepare(use_cpu)
        _quiet()
        return importlib.import_module(_METHODS[method])


def _train(run: Run) -> int:
    """Train, and turn what ends the training into an exit code of the table. Raises Fino1Error."""
    from fino1.train import checkpoint

    method = load_modules(run.spec.method, run.use_cpu)
    try:
        if run.is_main:
            for directory in (run.directory, run.checkpoints):
                checkpoint.clear_temporary(directory)
            checkpoint.prune(run.checkpoints, run.spec.trained.save_total_limit)
        method.main(run)
    except checkpoint.Stopped:
        return exits.TERMINATED
    except Fino1Error:
        raise
    except Exception as error:
        if exits.is_disk_error(error):
            print(f"{run.directory}: expected a disk that can be written, got {first_line(error)}", file=sys.stderr)
            return exits.DISK
        if run.world_size > 1 and any(text in str(error) for text in _PEER_LOST):
            print(f"rank {run.rank}: another rank was lost: {first_line(error)}", file=sys.stderr)
            return exits.PEER_LOST
        traceback.print_exc()
        return exits.BUG
    return exits.DONE


def _quiet() -> None:
    """Keep other libraries' lines out of the output."""
    import accelerate.utils.other
    import datasets
    import transformers

    warnings.filterwarnings("ignore", message=".*gradient_checkpointing.*deprecated")
    # DeepSpeed's names for collectives, which torch 2.13 calls otherwise
    warnings.filterwarnings("ignore", message=".*torch.distributed.*is deprecated", category=FutureWarning)
    # That DeepSpeed's accumulation wins over the Trainer's
    logging.getLogger("accelerate.accelerator").setLevel(logging.ERROR)
    logging.getLogger(accelerate.utils.other.__name__).setLevel(logging.ERROR)  # "Removed shared tensor", each time
    datasets.disable_progress_bars()
    transformers.utils.logging.disable_progress_bar()
    transformers.utils.logging.set_verbosity_error()


if __name__ == "__main__":
    code = main(sys.argv[1:])
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(code)  # a broken process group would hang in its destructor
