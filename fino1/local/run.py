"""How is a run executed on this machine? As in a pod: the same command, environment variables, exit codes and restarts.

(docs/design.md C5)
"""

import contextlib
import os
import signal
import subprocess
import sys
import time
from collections.abc import Mapping
from pathlib import Path
from typing import IO

from fino1 import doctor, exits, hub, inputs, processes, runs, trackers
from fino1.errors import SpecError
from fino1.spec import load
from fino1.spec.run import RunSpec

RESTARTS = 6  # as a Job's default backoffLimit
_PAUSE_S = 1.0  # before the first restart; doubled with each
_VERBS = {"sft": "train", "verifier": "train", "ppo": "train", "eval": "evaluate", "paths": "paths"}


def check(spec: RunSpec, source: str) -> None:
    """Raise SpecError where a run asks for nodes, GPUs, packages, trackers or models that this machine does not have."""
    problems = []
    if spec.nodes != 1:
        problems.append(f"{source}: nodes: expected 1 on this machine, got {spec.nodes}")
    problems += [f"{source}: method: {text}" for text in doctor.missing(_VERBS[spec.method])]
    problems += [f"{source}: {text}" for text in trackers.missing(spec.report_to)]
    here = len(list(Path("/dev").glob("nvidia[0-9]*")))
    asked = max((each.gpus_per_node for each in spec.alone), default=spec.gpus_per_node)
    if asked > here:
        problems.append(
            f"{source}: gpus_per_node: expected at most {here}, as many as this machine has, got {asked}"
            " (0 runs on the CPU)"
        )
    if problems := problems or [f"{source}: {text}" for text in hub.missing(spec)]:
        raise SpecError(problems)


class LocalRun:
    """One run on this machine: started, watched with `poll`, started again where its exit code says so."""

    def __init__(
        self, spec: RunSpec, name: str, work: Path, source: str | None = None, log: Path | None = None
    ) -> None:
        """Args:
        spec: What to run.
        name: Its name.
        work: Work directory.
        source: What the run's messages name: the file that the user wrote.
        log: File for its output; None sends it to this process' own output.

        Raises SpecError where a run that has begun would read other files than then.
        """
        self.spec, self.name, self.work, self.source, self.log = spec, name, work, source, log
        self.directory = runs.directory(work, name, spec)
        try:
            inputs.check(self.directory, spec)
        except SpecError as error:
            raise load.located(error, source) from error
        self.seconds = 0.0  # from its start to its end, once it has ended
        self.was_done = (self.directory / "done.json").is_file()
        self._attempts, self._started, self._resume_at = 0, 0.0, 0.0
        self._process: subprocess.Popen | None = None
        self._stopping = False
        self._code = exits.TERMINATED  # of the latest attempt; of a run that was stopped before its first

    def start(self) -> None:
        """Start an attempt."""
        if self._attempts == 0:
            self._started = time.monotonic()
        runs.write_config(self.directory / "config.json", self.spec)
        command = [sys.executable, "-m", "fino1", _VERBS[self.spec.method]]
        options = {"--config": self.directory / "config.json", "--name": self.name, "--work": self.work}
        if self.source is not None:
            options["--source"] = self.source
        parent = os.getpid()
        with self._output() as output:
            self._process = subprocess.Popen(
                [*command, *(str(part) for option in options.items() for part in option)],
                env=_environment(self.spec),
                stdout=output,
                stderr=subprocess.STDOUT if output else None,
                stdin=subprocess.DEVNULL,
                start_new_session=True,  # Ctrl-C reaches this process only, which sends the run one SIGTERM
                preexec_fn=lambda: processes.die_with_parent(signal.SIGTERM, parent),  # noqa: PLW1509, we have no threads
            )

    def poll(self) -> int | None:
        """Start it, or start it again, where that is due. Returns its exit code once it has ended for good, None before."""
        if self.was_done:
            return exits.DONE
        if self._process is None:
            if self._stopping:
                return self._code
            if time.monotonic() >= self._resume_at:
                self.start()
            return None
        code = self._process.poll()
        if code is None:
            return None
        self._code = code = code if code >= 0 else exits.of_signal(-code)
        if not exits.is_retryable(code) or self._stopping or self._attempts == RESTARTS:
            self.seconds = self.seconds or time.monotonic() - self._started
            return code
        pause = _PAUSE_S * 2**self._attempts
        self._attempts += 1
        print(
            f"{self.name}: ended with {code} ({exits.meaning(code)}); attempt {self._attempts + 1} in {pause:.0f} s",
            file=sys.stderr,
        )
        self._process, self._resume_at = None, time.monotonic() + pause
        return None

    def stop(self) -> None:
        """Ask the run, once, to write a checkpoint and end; it is not started again."""
        if self._stopping:
            return
        self._stopping = True
        if self._process is not None and self._process.poll() is None:
            with contextlib.suppress(ProcessLookupError):
                self._process.send_signal(signal.SIGTERM)

    def _output(self) -> contextlib.AbstractContextManager[IO | None]:
        if self.log is None:
            return contextlib.nullcontext()
        self.log.parent.mkdir(parents=True, exist_ok=True)
        return self.log.open("ab")


def _environment(spec: RunSpec) -> Mapping[str, str]:
    """Return the environment that the training operator would set for a run of one node; on a CPU, one thread a rank."""
    environment = {
        **os.environ,
        "PET_NNODES": "1",
        "PET_NPROC_PER_NODE": str(spec.ranks_per_node),
        "PYTHONUNBUFFERED": "1",
        trackers.VARIABLE: ",".join(spec.report_to),
        "TOKENIZERS_PARALLELISM": "false",
    }
    if spec.gpus_per_node == 0:
        environment["CUDA_VISIBLE_DEVICES"] = ""
        environment.setdefault("OMP_NUM_THREADS", "1")  # two contending threads are slower than one
    if spec.offline:
        environment["HF_HUB_OFFLINE"] = "1"
    return environment


def run_to_end(run: LocalRun, beside: list[LocalRun]) -> int:
    """Poll a run, and those `beside` it, until it has ended; return its code. Passes SIGTERM and Ctrl-C on to all of them."""
    received: list[int] = []

    def on_signal(number: int, frame: object) -> None:
        received.append(number)
        for each in (run, *beside):
            each.stop()

    previous = {number: signal.signal(number, on_signal) for number in (signal.SIGTERM, signal.SIGINT)}
    try:
        while (code := run.poll()) is None or (received and any(each.poll() is None for each in beside)):
            for each in beside:
                each.poll()
            time.sleep(0.1)
    finally:
        for number, handler in previous.items():
            signal.signal(number, handler)
    return exits.of_signal(received[0]) if received else code


def describe(spec: RunSpec, name: str) -> str:
    """Return a line on a run that is about to start: method, number of ranks, hash."""
    text = f"{name}: {spec.method}, {spec.ranks_per_node} rank{'s' if spec.ranks_per_node > 1 else ''}"
    return f"{text}, run {load.run_hash(spec)}"
