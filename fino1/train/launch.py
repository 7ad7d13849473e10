"""How do the ranks start, and with which code do they end? (DESIGN C4, C5)

The operator's PET_* variables are the launcher's defaults, as they are torchrun's. The launcher is used as a library: torchrun
as a program ends with 1 whatever its ranks did.
"""

import logging
import os
import sys
from collections.abc import Mapping
from pathlib import Path

from torch.distributed.elastic.multiprocessing.api import SignalException
from torch.distributed.elastic.multiprocessing.errors import ChildFailedError, ProcessFailure
from torch.distributed.launcher.api import elastic_launch
from torch.distributed.run import config_from_args, get_args_parser

from fino1 import exits

# For ranks to end in after SIGTERM; torch's 30 s would kill one that is writing a large checkpoint. It leaves the ranks that
# remain after one has failed 30 s, whatever is set here: there is nothing to write then.
SHUTDOWN_TIMEOUT_S = 600


def start_ranks(config: Path, name: str, work: Path) -> int:
    """Run one rank per process this node has, to the end; return the run's exit code."""
    logging.getLogger("torch.distributed").setLevel(logging.CRITICAL)  # what has failed is said below
    arguments = ["--config", str(config), "--name", name, "--work", str(work), "--launcher", str(os.getpid())]
    options = [f"--shutdown_timeout={SHUTDOWN_TIMEOUT_S}", "--max-restarts=0"]  # who started us starts us again
    parsed = get_args_parser().parse_args([*options, "--module", "fino1.train.rank", *arguments])
    launch, command, command_arguments = config_from_args(parsed)
    try:
        elastic_launch(launch, command)(*command_arguments)
    except ChildFailedError as error:
        explained = [f.message for f in error.failures.values() if "timestamp" in f.error_file_data]
        print(*dict.fromkeys(explained), sep="\n", end="\n" if explained else "", file=sys.stderr)
        return _first_code(error.failures)
    except SignalException as error:
        return exits.of_signal(error.sigval)
    return exits.DONE


def _first_code(failures: Mapping[int, ProcessFailure]) -> int:
    """Which code has the rank that failed first? One that ended because it lost a peer did not, even if it was noticed first.

    Says which rank it was where that cannot have said it itself.
    """
    codes = {
        rank: failure.exitcode if failure.exitcode >= 0 else exits.of_signal(-failure.exitcode)
        for rank, failure in sorted(failures.items(), key=lambda item: item[1].timestamp)
    }
    rank, code = next(((r, c) for r, c in codes.items() if c != exits.PEER_LOST), next(iter(codes.items())))
    if failures[rank].exitcode < 0 or code not in exits.MEANING:
        print(f"fino1: rank {rank} ended with {code}: {exits.meaning(code)}", file=sys.stderr)
    return code
