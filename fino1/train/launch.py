"""How do the ranks start, and with which code do they end? (DESIGN C4, C5)

The operator's PET_* variables are the launcher's defaults, as they are torchrun's. The launcher is used as a library: torchrun
as a program ends with 1 whatever its ranks did.
"""

import logging
import sys
from pathlib import Path

from torch.distributed.elastic.multiprocessing.api import SignalException
from torch.distributed.elastic.multiprocessing.errors import ChildFailedError, ProcessFailure
from torch.distributed.launcher.api import elastic_launch
from torch.distributed.run import config_from_args, get_args_parser

from fino1 import exits

SHUTDOWN_TIMEOUT_S = 600  # torch's 30 s would kill a rank that is writing a large checkpoint


def start_ranks(config: Path, name: str, work: Path) -> int:
    """Run one rank per process this node has, to the end; return the run's exit code."""
    logging.getLogger("torch.distributed").setLevel(logging.ERROR)
    arguments = ["--config", str(config), "--name", name, "--work", str(work)]
    parsed = get_args_parser().parse_args(
        [f"--shutdown_timeout={SHUTDOWN_TIMEOUT_S}", "--module", "fino1.train.rank", *arguments]
    )
    launch, command, command_arguments = config_from_args(parsed)
    try:
        elastic_launch(launch, command)(*command_arguments)
    except ChildFailedError as error:
        return _first_code(list(error.failures.values()))
    except SignalException as error:
        return exits.of_signal(error.sigval)
    return exits.DONE


def _first_code(failures: list[ProcessFailure]) -> int:
    """Which rank failed first? One that ended because it lost a peer did not, even if it was noticed first."""
    codes = [
        failure.exitcode if failure.exitcode >= 0 else exits.of_signal(-failure.exitcode)
        for failure in sorted(failures, key=lambda f: f.timestamp)
    ]
    causes = [code for code in codes if code != exits.PEER_LOST]
    code = (causes or codes)[0]
    if code not in exits.MEANING:
        print(f"fino1: a rank ended with {code}: {exits.meaning(code)}", file=sys.stderr)
    return code
