"""With which other ranks does a run's rank train, and with which code does the run end? (docs/design.md C5, C12)

The operator's PET_* variables say which ranks run here; they are those of torchrun. We start the ranks ourselves: torchrun ends
with 1 whatever its ranks did, gives them 30 s to write a checkpoint, and imports everything once more in each.
"""

import contextlib
import json
import os
import sys
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path
from typing import TYPE_CHECKING

from fino1 import exits, files, hub, inputs, processes, runs, trackers
from fino1.errors import SpecError, first_line
from fino1.spec import load
from fino1.train import checkpoint
from fino1.train.launch import rank
from fino1.train.launch.attempts import Attempts
from fino1.train.launch.connection import Identity
from fino1.train.launch.group import WAIT_S, Group
from fino1.train.launch.ranks import Enter, Ranks, first_code

if TYPE_CHECKING:
    from torch.distributed import TCPStore

STORE_TIMEOUT_S = 120  # to connect to torch's store, of nodes that have just met


@dataclass(frozen=True)
class Node:
    """One of the nodes of a run: its number, how many there are, ranks on each, and where node 0 listens."""

    number: int
    nodes: int
    ranks: int
    address: str
    port: int

    @property
    def world_size(self) -> int:
        """Number of ranks on all nodes."""
        return self.nodes * self.ranks

    def variables(self, local: int, port: int) -> dict[str, str]:
        """What torch, accelerate and deepspeed read in a rank. Ranks meet in the store that node 0's launcher has at `port`."""
        return {
            "RANK": str(self.number * self.ranks + local),
            "LOCAL_RANK": str(local),
            "WORLD_SIZE": str(self.world_size),
            "LOCAL_WORLD_SIZE": str(self.ranks),
            "MASTER_ADDR": self.address,
            "MASTER_PORT": str(port),
            "TORCHELASTIC_USE_AGENT_STORE": "True",
            "TORCHELASTIC_RESTART_COUNT": "0",  # torch 2.11 asks for it
            # A rank whose collective fails ends, as under torchrun.
            "TORCH_NCCL_ASYNC_ERROR_HANDLING": os.environ.get("TORCH_NCCL_ASYNC_ERROR_HANDLING", "1"),
        }


def read_node(environment: Mapping[str, str]) -> Node:
    """Read the operator's variables, with torchrun's defaults. Raises SpecError for what is no number, or no node of the run."""

    def number(name: str, default: int, least: int) -> int:
        text = environment.get(name, str(default)).rpartition(":")[2]  # of 1:4 nodes all four
        if not text.isdecimal() or int(text) < least:
            raise SpecError(f"{name}: expected a number from {least}, got {environment[name]!r}")
        return int(text)

    node, nodes = number("PET_NODE_RANK", 0, 0), number("PET_NNODES", 1, 1)
    if node >= nodes:
        raise SpecError(f"PET_NODE_RANK: expected a number below {nodes} (PET_NNODES), got {node}")
    ranks = environment.get("PET_NPROC_PER_NODE", "1")
    count = _devices(ranks) if ranks in ("auto", "cpu", "gpu") else number("PET_NPROC_PER_NODE", 1, 1)
    address = environment.get("PET_MASTER_ADDR", "127.0.0.1") if nodes > 1 else "localhost"
    return Node(node, nodes, count, address, number("PET_MASTER_PORT", 29500, 1))


def _devices(kind: str) -> int:
    """Count this machine's GPUs, its CPUs, or (`auto`) the CPUs where there are no GPUs."""
    if kind != "cpu":
        import torch

        gpus = torch.cuda.device_count()
        if gpus:
            return gpus
        if kind == "gpu":
            raise SpecError("PET_NPROC_PER_NODE: expected GPUs, as gpu says, got none")
    return os.cpu_count() or 1


def start_ranks(config: Path, name: str, work: Path, source: str | None = None) -> int:
    """Run one rank per process this node has, together with those of the other nodes, to the end; return the run's exit code.

    Raises SpecError for a run that cannot be, AttemptError where another attempt is in the way or other nodes do not come.
    """
    if os.environ.get("PET_NPROC_PER_NODE", "1") != "1":
        # Before torch is loaded: the threads of several ranks would contend for the cores.
        os.environ.setdefault("OMP_NUM_THREADS", "1")
    node = read_node(os.environ)
    is_first = node.number == 0
    spec = load.build(json.loads(config.read_text()), source or str(config), node.world_size)
    directory = runs.directory(work, name, spec)
    if os.environ.get("FINO1_ONCE"):
        inputs.link_to_same(directory, spec)
    runs.check_work(directory)
    done = directory / "done.json"
    with contextlib.ExitStack() as stack:
        locked = []
        if is_first:  # before it lets others in: two of the same name cannot both
            locked.append(stack.enter_context(files.lock(directory, WAIT_S)))
            if not (directory / "config.json").exists():  # in a pod --config is another file (docs/design.md C13)
                runs.write_config(directory / "config.json", spec)
        inputs.check(directory, spec, writes=is_first)
        if done.is_file():
            return exits.DONE  # killed, or started once more, after its last act
        checkpoint.newest(directory / "checkpoints", node.world_size)  # here too: before GPUs and models are waited for
        if problems := hub.missing(spec):
            raise SpecError(problems)
        limit = os.environ.get("FINO1_BACKOFF_LIMIT") if is_first else None
        attempts = Attempts(directory, int(limit)) if limit else None
        arguments = ["--config", str(config), "--name", name, "--work", str(work)]
        arguments += ["--source", source] if source else []
        ranks = Ranks(node.ranks, _prepare(spec.method, arguments), locked)
        if node.nodes == 1:
            return _run(ranks, node, attempts)
        identity = Identity(os.environ.get("FINO1_ATTEMPT", ""), load.run_hash(spec), node.nodes, node.ranks)
        group = Group(identity, node.number, node.address, node.port, done.is_file)
        if not group.join():
            return exits.DONE
        return group.end(_run(ranks, node, attempts, group))


def _prepare(method: str, arguments: list[str]) -> Enter:
    """Return how a fork of this process becomes a rank. Where there is no GPU, load here what it will need."""
    import torch

    if sys.platform.startswith("linux") and torch.cuda.device_count() == 0:
        trackers.hide_others()  # before anything imports deepspeed or trl
        rank.load_modules(method, use_cpu=True)
        return lambda explanation: rank.main([*arguments, "--explanation", str(explanation)])

    def start_anew(explanation: int) -> int:
        os.set_inheritable(explanation, True)
        command = [sys.executable, "-m", "fino1.train.launch.rank", *arguments, "--explanation", str(explanation)]
        os.execv(command[0], command)

    return start_anew


def _run(ranks: Ranks, node: Node, attempts: Attempts | None, group: Group | None = None) -> int:
    """Run the ranks of this node to their end; return the code. An attempt counts from here on: the nodes are there."""
    from torch.distributed import DistError

    if attempts:
        attempts.begin()
    try:
        store = _open_store(node, group)  # held until the ranks have ended
        ranks.run(lambda local: node.variables(local, store.port))
    except DistError as error:
        print(f"fino1: torch's store, where the ranks meet: {first_line(error)}", file=sys.stderr)
        code = exits.PEER_LOST
    else:
        print(*(f"{text}\n" for text in ranks.explanations()), sep="", end="", file=sys.stderr)
        if ranks.told:
            code = exits.of_signal(ranks.told)
        else:
            code = first_code(ranks.ended, node.number * node.ranks, group.killed if group else ())
    finally:
        processes.leave_on_signals()
    if attempts:
        attempts.end(code)
    return code


def _open_store(node: Node, group: Group | None) -> "TCPStore":
    """Open the store in which the ranks meet, on node 0 at a free port, elsewhere as proof that its ranks will reach it.

    Raises DistError where they would not.
    """
    from torch.distributed import DistNetworkError, TCPStore

    port, attempt = (group.port, group.attempt_id) if group else (0, "")
    is_first, wait = node.number == 0, timedelta(seconds=STORE_TIMEOUT_S)
    store = TCPStore(node.address, port, is_master=is_first, wait_for_workers=False, timeout=wait)
    if is_first:
        store.set("attempt", attempt)
    elif store.get("attempt") != attempt.encode():
        raise DistNetworkError(f"expected that of attempt {attempt}, got another's")
    return store
