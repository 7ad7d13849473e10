"""How do the ranks start, and with which code do they end? (docs/design.md C5, C12)

The operator's PET_* variables are the launcher's defaults, as they are torchrun's. The launcher is used as a library: torchrun
as a program ends with 1 whatever its ranks did.
"""

import contextlib
import json
import logging
import os
import signal
import sys
from collections.abc import Collection, Mapping, Sequence
from pathlib import Path

from torch.distributed import DistError
from torch.distributed.elastic.multiprocessing.api import PContext, SignalException
from torch.distributed.elastic.multiprocessing.errors import ChildFailedError, ProcessFailure
from torch.distributed.launcher.api import LaunchConfig, elastic_launch
from torch.distributed.run import config_from_args, get_args_parser

from fino1 import exits, files, hub, inputs, processes, runs
from fino1.errors import SpecError, first_line
from fino1.spec import load
from fino1.train import checkpoint
from fino1.train.launch.attempts import Attempts
from fino1.train.launch.connection import Identity
from fino1.train.launch.group import WAIT_S, Group

# For ranks to end in after SIGTERM; torch's 30 s would kill one that is writing a large checkpoint. Those that remain after
# one has failed keep torch's: there is nothing to write then.
SHUTDOWN_TIMEOUT_S = 600
RENDEZVOUS_TIMEOUT_S = 120  # torch's, of nodes that have just met


def start_ranks(config: Path, name: str, work: Path, source: str | None = None) -> int:
    """Run one rank per process this node has, together with those of the other nodes, to the end; return the run's exit code.

    Raises SpecError for a run that cannot be, AttemptError where another attempt is in the way or other nodes do not come.
    """
    logging.getLogger("torch.distributed").setLevel(logging.CRITICAL)  # failures are printed below
    arguments = ["--config", str(config), "--name", name, "--work", str(work), "--launcher", str(os.getpid())]
    arguments += ["--source", source] if source else []
    options = ["--max-restarts=0", "--module", "fino1.train.launch.rank"]  # who started us starts us again
    parsed = get_args_parser().parse_args([*options, *arguments])
    launch, *command = config_from_args(parsed)
    nodes, ranks = launch.max_nodes, launch.nproc_per_node
    spec = load.build(json.loads(config.read_text()), source or str(config), nodes * ranks)
    directory = runs.directory(work, name, spec)
    runs.check_work(directory)
    done = directory / "done.json"
    with contextlib.ExitStack() as stack:
        if parsed.node_rank == 0:  # before it lets others in: two of the same name cannot both
            stack.enter_context(files.lock(directory, WAIT_S))
            if not (directory / "config.json").exists():  # in a pod --config is another file (docs/design.md C13)
                runs.write_config(directory / "config.json", spec)
        inputs.check(directory, spec, writes=parsed.node_rank == 0)
        if done.is_file():
            return exits.DONE  # killed, or started once more, after its last act
        checkpoint.newest(directory / "checkpoints", nodes * ranks)  # here too: before GPUs and models are waited for
        if problems := hub.missing(spec):
            raise SpecError(problems)
        limit = os.environ.get("FINO1_BACKOFF_LIMIT") if parsed.node_rank == 0 else None
        attempts = Attempts(directory, int(limit)) if limit else None
        if nodes == 1:
            return _run(launch, command, attempts)
        identity = Identity(os.environ.get("FINO1_ATTEMPT", ""), load.run_hash(spec), nodes, ranks)
        group = Group(identity, parsed.node_rank, parsed.master_addr, parsed.master_port, done.is_file)
        if not group.join():
            return exits.DONE
        launch.run_id, launch.rdzv_endpoint = group.rendezvous_id, f"{parsed.master_addr}:{group.port}"
        launch.rdzv_configs["timeout"] = RENDEZVOUS_TIMEOUT_S
        return group.end(_run(launch, command, attempts, group.killed))


def _run(launch: LaunchConfig, command: Sequence, attempts: Attempts | None, killed: Collection[int] = ()) -> int:
    """Run the ranks of this node to their end; return the code. An attempt counts from here on: the nodes are there."""
    if attempts:
        attempts.begin()
    code = _elastic(launch, command, killed)
    if attempts:
        attempts.end(code)
    return code


def _elastic(launch: LaunchConfig, command: Sequence, killed: Collection[int]) -> int:
    program, arguments = command
    PContext.close = _close
    try:
        elastic_launch(launch, program)(*arguments)
    except ChildFailedError as error:
        explained = [f.message for f in error.failures.values() if "timestamp" in f.error_file_data]
        print(*dict.fromkeys(explained), sep="\n", end="\n" if explained else "", file=sys.stderr)
        return _first_code(error.failures, killed)
    except SignalException as error:
        return exits.of_signal(error.sigval)
    except DistError as error:
        if launch.max_nodes == 1:
            raise
        print(f"fino1: torch's rendezvous failed: {first_line(error)}", file=sys.stderr)
        return exits.PEER_LOST
    finally:
        processes.leave_on_signals()  # torch's handlers would end us with a traceback
    return exits.DONE


_close_in = PContext.close


def _close(self: PContext, death_sig: signal.Signals | None = None, timeout: int = 30) -> None:
    """Give the ranks SHUTDOWN_TIMEOUT_S where torch's agent handles an exception: a signal, or a rendezvous that is lost.

    torch 2.13 has an option for it (--shutdown_timeout), torch 2.11 none; this does for both.
    """
    _close_in(self, death_sig, timeout if sys.exc_info()[1] is None else SHUTDOWN_TIMEOUT_S)


def _first_code(failures: Mapping[int, ProcessFailure], killed: Collection[int] = ()) -> int:
    """Exit code of the rank that failed first. One that ended because it lost a peer did not, even if it was noticed first,
    nor did one that we have `killed` (process ids) because it hung without its peer.

    Prints which rank it was where that cannot have printed anything itself.
    """
    codes = {}
    for rank, failure in sorted(failures.items(), key=lambda item: item[1].timestamp):
        if failure.exitcode == -signal.SIGKILL and failure.pid in killed:
            codes[rank] = exits.PEER_LOST
        else:
            codes[rank] = failure.exitcode if failure.exitcode >= 0 else exits.of_signal(-failure.exitcode)
    rank, code = next(((r, c) for r, c in codes.items() if c != exits.PEER_LOST), next(iter(codes.items())))
    if (failures[rank].exitcode < 0 and code != exits.PEER_LOST) or code not in exits.MEANING:
        print(f"fino1: rank {rank} ended with {code}: {exits.meaning(code)}", file=sys.stderr)
    return code
