"""What does one rank do? Read the run, train, and end with the code that says what happened. (docs/design.md C5)

`python -m fino1.train.launch.rank --config FILE --name NAME --work DIR --launcher PID`, started by `launch` with
torch's variables.
"""

import argparse
import importlib
import json
import logging
import os
import signal
import sys
import time
import traceback
import warnings
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path
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


def main() -> int:
    """Train as this rank; return its exit code."""
    processes.die_with_parent()
    signal.signal(signal.SIGINT, signal.SIG_DFL)  # until there is a checkpoint to write, both signals end it at once
    parser = argparse.ArgumentParser(prog="fino1.train.launch.rank")
    for option in ("--config", "--work"):
        parser.add_argument(option, type=Path, required=True)
    parser.add_argument("--name", required=True)
    parser.add_argument("--launcher", type=int, required=True)
    parser.add_argument("--source")
    arguments = parser.parse_args()
    if os.getppid() != arguments.launcher:
        return exits.KILLED  # it was, before it could be the parent to die with
    rank, world_size = int(os.environ["RANK"]), int(os.environ["WORLD_SIZE"])
    source = arguments.source
    try:
        spec = load.build(json.loads(arguments.config.read_text()), source or str(arguments.config), world_size)
    except Fino1Error as error:
        return _explain(error, source)
    trackers.hide_others()  # before anything imports deepspeed or trl
    return _guarded(Run(spec, arguments.name, arguments.work, rank, world_size), source)


def _guarded(run: Run, source: str | None) -> int:
    """Train, and turn whatever ends the training into an exit code of the table."""
    with processes.pause_gc():
        from fino1.train import checkpoint, shard

        shard.prepare(run.use_cpu)
        _quiet()
    try:
        if run.is_main:
            for directory in (run.directory, run.checkpoints):
                checkpoint.clear_temporary(directory)
            checkpoint.prune(run.checkpoints, run.spec.trained.save_total_limit)
        with processes.pause_gc():
            method = importlib.import_module(_METHODS[run.spec.method])
        method.main(run)
    except checkpoint.Stopped:
        return exits.TERMINATED
    except Fino1Error as error:
        return _explain(error, source)
    except Exception as error:
        if checkpoint.is_disk_error(error):
            print(f"{run.directory}: expected a disk that can be written, got {first_line(error)}", file=sys.stderr)
            return exits.DISK
        if run.world_size > 1 and any(text in str(error) for text in _PEER_LOST):
            print(f"rank {run.rank}: another rank was lost: {first_line(error)}", file=sys.stderr)
            return exits.PEER_LOST
        traceback.print_exc()
        return exits.BUG
    return exits.DONE


def _explain(error: Fino1Error, source: str | None) -> int:
    """Write what the user should know into the file that the launcher reads, which says it once for all ranks."""
    said = load.located(error, source) if isinstance(error, SpecError) else error
    message = {"message": str(said), "timestamp": int(time.time())}
    Path(os.environ["TORCHELASTIC_ERROR_FILE"]).write_text(json.dumps(message), encoding="utf-8")
    return error.exit_code


def _quiet() -> None:
    """Keep other libraries' lines out of the output."""
    import accelerate.utils.other
    import datasets
    import transformers

    warnings.filterwarnings("ignore", message=".*gradient_checkpointing.*deprecated")
    # DeepSpeed's names for collectives, which torch 2.13 calls otherwise
    warnings.filterwarnings("ignore", message=".*torch.distributed.*is deprecated", category=FutureWarning)
    logging.getLogger("accelerate.accelerator").setLevel(
        logging.ERROR
    )  # that DeepSpeed's accumulation wins over the Trainer's
    logging.getLogger(accelerate.utils.other.__name__).setLevel(logging.ERROR)  # "Removed shared tensor", each time
    datasets.disable_progress_bars()
    transformers.utils.logging.disable_progress_bar()
    transformers.utils.logging.set_verbosity_error()


if __name__ == "__main__":
    code = main()
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(code)  # a broken process group would hang in its destructor
