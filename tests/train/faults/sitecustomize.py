"""Faults at exact points of a run, put there from outside: python imports this module at its start (PYTHONPATH), a fork of a
preloaded process as its first act.

FAULTS is a list, with commas, of ACTION@POINT:N or ACTION@POINT:N@RANK: at the N-th passage of POINT by that rank (any without
RANK) the ACTION happens. Each start of a run takes the next of the list; how many have happened is said by FAULTS_DIR.
"""

import gc
import importlib.machinery
import importlib.util
import os
import signal
import sys
import time
from pathlib import Path

# point → module, what is called there, does the fault come before or after it, and the name that its last path must have
POINTS = {
    "backward": ("transformers.trainer", "Trainer.training_step", "after", None),  # of a part of an SFT step
    "optimizer": ("fino1.train.ppo.rl", "ppo_loss", "after", None),  # before the backward pass of a part of a PPO step
    "rollout": ("fino1.train.ppo.rollout", "_pick", "after", None),  # one token of each response of a batch
    # the weights are written, the optimizer is not
    "sft-write": ("transformers.trainer", "Trainer._save_optimizer_and_scheduler", "before", None),
    "ppo-write": ("accelerate.checkpointing", "save", "after", None),  # at every other passage
    "written": ("fino1.files", "publish", "before", "step-"),
    "renamed": ("fino1.files", "publish", "after", "step-"),
    "prune": ("fino1.train.checkpoint", "shutil.rmtree", "torn", None),
    "model": ("fino1.files", "publish", "before", "model"),
    "between": ("fino1.files", "publish", "after", "model"),
    "save": ("fino1.train.checkpoint", "save", "before", None),
    "meet": ("accelerate.state", "torch.distributed.init_process_group", "before", None),
}


def _act(action: str) -> None:
    if action == "kill":  # the launcher first: it must not see a rank die
        os.kill(os.getppid(), signal.SIGKILL)
        os.kill(os.getpid(), signal.SIGKILL)
    elif action == "stop":  # the whole node: nothing is heard of it, and nothing of its end
        os.kill(os.getppid(), signal.SIGSTOP)
        os.kill(os.getpid(), signal.SIGSTOP)
    elif action == "kill-rank":
        os.kill(os.getpid(), signal.SIGKILL)
    elif action == "kill-launcher":
        os.kill(os.getppid(), signal.SIGKILL)
        time.sleep(60)
    elif action == "term":  # wait until it has come back to us, so that it is known what was interrupted
        os.kill(os.getppid(), signal.SIGTERM)
        stops = [thing for thing in gc.get_objects() if type(thing).__name__ == "StopSignal"]
        end = time.monotonic() + 30
        while not stops[0].received and time.monotonic() < end:
            time.sleep(0.01)
    elif action.startswith("fill"):  # the disk, all but so many KiB
        balloon = Path(os.environ["FAULTS_DIR"]).with_name("balloon")
        free = os.statvfs(balloon.parent).f_bavail * os.statvfs(balloon.parent).f_frsize
        balloon.write_bytes(b"0" * (free - (int(action.removeprefix("fill")) << 10)))
    elif action == "absent":
        time.sleep(60)
    elif action == "user":
        from fino1.errors import SpecError

        raise SpecError("the fault's file: expected no fault, got one")
    elif action == "bug":
        raise ZeroDivisionError("the fault's bug")
    else:
        raise AssertionError(action)


def _patch(module, path: str, place: str, named: str | None, action: str, count: int, ranks: list[str]) -> None:
    *parents, name = path.split(".")
    owner = module
    for parent in parents:
        owner = getattr(owner, parent)
    original = getattr(owner, name)
    passed = 0

    def wrapper(*args, **kwargs):
        nonlocal passed
        if os.environ.get("RANK") not in (ranks or [os.environ.get("RANK")]):  # that of the launcher's fork
            return original(*args, **kwargs)
        is_named = named is None or any(path.name.startswith(named) for path in args[0].values())
        passed += is_named
        is_now = passed == count and is_named
        if is_now:
            passed += 1  # once
        if is_now and place == "torn":
            next(path for path in Path(args[0]).rglob("*") if path.is_file()).unlink()
        if is_now and place != "after":
            _now(action)
        result = original(*args, **kwargs)
        if is_now and place == "after":
            _now(action)
        return result

    setattr(owner, name, wrapper)


def _now(action: str) -> None:
    number = len(os.listdir(os.environ["FAULTS_DIR"]))
    (Path(os.environ["FAULTS_DIR"]) / f"{number}").touch()
    _act(action)


def _when_imported(name: str, change) -> None:
    if name in sys.modules:
        change(sys.modules[name])
    else:
        sys.meta_path.insert(0, Finder(name, change))


class Finder:
    """Import the module as ever, then change it."""

    def __init__(self, module: str, change) -> None:
        self.module, self.change = module, change

    def find_spec(self, name, path, target=None):
        if name != self.module:
            return None
        sys.meta_path.remove(self)
        spec = importlib.util.find_spec(name)
        execute = spec.loader.exec_module

        def exec_module(module) -> None:
            execute(module)
            self.change(module)

        spec.loader.exec_module = exec_module
        return spec


def _install() -> None:
    faults = [fault for fault in os.environ["FAULTS"].split(",") if fault]
    happened = len(os.listdir(os.environ["FAULTS_DIR"]))
    if happened >= len(faults):
        return
    action, point, *ranks = faults[happened].split("@")
    point, count = point.split(":")
    module, path, place, named = POINTS[point]
    _when_imported(module, lambda loaded: _patch(loaded, path, place, named, action, int(count), ranks))


if "FAULTS_DIR" in os.environ:
    _install()
    if "SEEN_DIR" in os.environ:
        import seen

        for module, change in seen.CHANGES.items():
            _when_imported(module, change)
