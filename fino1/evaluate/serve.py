"""How is a model on this machine served? By a server on loopback, which ends with the evaluation (docs/design.md C9).

The server is this module run as a program: before it loads anything it arranges to end with its parent, then it calls the
command line of transformers (`transformers serve` itself would look for updates first, on the network) or the module of vLLM's
server. It answers to one model name and lists that name alone (transformers would list what lies in the hub's cache);
`/health` answers once the model is loaded.

It notices its parent's end in two ways, since no `finally` runs in a process that is killed: PR_SET_PDEATHSIG (Linux: at
once, whatever the server does) and end of file on its standard input (everywhere, as soon as it runs Python code). vLLM's own
processes then end with it: the former is SIGTERM there, and the latter ends the process group.
"""

import contextlib
import json
import os
import re
import runpy
import signal
import socket
import subprocess
import sys
import threading
import time
import urllib.request
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from types import FrameType
from typing import IO, Any

from fino1 import exits, hub
from fino1.errors import SpecError, ToolError
from fino1.processes import die_with_parent, pause_gc
from fino1.spec.server import list_vllm_arguments

START_TIMEOUT_S = 1800.0  # a 70B model from a cold volume
STOP_TIMEOUT_S = 3.0
PORT_TRIES = 3
SMALL_BYTES = 64 * 2**20  # weights up to this size run faster on one thread
TAIL_LINES, REASON_LINES = 15, 200
VLLM_SERVER = "vllm.entrypoints.openai.api_server"
_PROCESS = re.compile(r"^(?:\(\w+ pid=\d+\) )?(?:ERROR [-0-9: ]+\[[^]]*\] )?")  # what vLLM puts before a line
_ERROR = re.compile(r"[\w.]+(?:Error|Exception): .")


class ServerLost(ToolError):
    """The model server ended by itself."""

    def __init__(self, message: str, exit_code: int) -> None:
        super().__init__(message)
        self.exit_code = exit_code


@dataclass(frozen=True)
class Program:
    """What serves `model`, a directory or `ID` or `ID@REVISION` of the hub, under `name` on a port; `title` is for messages."""

    title: str
    model: str
    name: str
    list_arguments: Callable[[int], Sequence[str]]

    @property
    def folder(self) -> Path | None:
        """The model's directory; None for one of the hub."""
        return Path(self.model) if Path(self.model).is_dir() else None


def transformers(model: str, args: Sequence[str] = ()) -> Program:
    """`transformers serve`. It serves a folder as `.` from inside: it would read `@` and `:` in its path."""
    name = "." if Path(model).is_dir() else model
    title = "transformers serve"
    return Program(title, model, name, lambda port: ["serve", name, "--host", "127.0.0.1", "--port", str(port), *args])


def vllm(model: str, name: str, context_length: int | None, args: Sequence[str] = ()) -> Program:
    """vLLM, with the arguments that it has in a pod, on as many GPUs as `fino1 run` says in torchrun's variable."""
    gpus = int(os.environ.get("PET_NPROC_PER_NODE", "1"))
    is_folder = Path(model).is_dir()  # vLLM starts inside it, where a relative path would name another
    where, _, revision = (str(Path(model).absolute()), "", "") if is_folder else model.partition("@")
    known = where, name, revision or None, context_length
    list_arguments = partial(list_vllm_arguments, *known, gpus=gpus)
    return Program("vllm", model, name, lambda port: ["vllm", *list_arguments(port=port), *args])


class Server:
    """A server process, with the URL and the model name under which it is asked."""

    def __init__(self, process: subprocess.Popen, port: int, program: Program, log: Path) -> None:
        self.base_url = f"http://127.0.0.1:{port}/v1"
        self.model, self.title = program.name, program.title
        self.process, self.log = process, log

    def check(self) -> None:
        """Raise ServerLost where the server has ended, with an exit code that makes the run be tried again."""
        code = self.process.poll()
        if code is not None:
            ended = f"killed by signal {-code}" if code < 0 else f"ended with {code}"
            raise ServerLost(
                f"{self.title}: {ended}; {self.log} ends with\n{_read_tail(self.log)}",
                exits.of_signal(-code) if code < 0 else exits.ENDPOINT_LOST,
            )


@contextlib.contextmanager
def serve(program: Program, log: Path, halt: threading.Event) -> Iterator[Server]:
    """Serve a model until the block ends.

    Raises SpecError where the model does not load, ToolError where no port is free, ServerLost where its server was killed,
    Cancelled on `halt`.
    """
    log.parent.mkdir(parents=True, exist_ok=True)
    server = _start(program, log)
    try:
        for _ in range(PORT_TRIES):
            if _wait_until_ready(server, program.model, halt):
                break
            server = _start(program, log)  # another program took the port after it was found free
        else:
            raise ToolError(f"{program.title}: no free port in {PORT_TRIES} tries; see {log}")
        yield server
    finally:
        stop(server.process)


def build_sampling(model: str, temperature: float) -> dict[str, str]:
    """Return the extra fields of a request that make the server sample; none at temperature 0.

    `transformers serve` takes the temperature from a request but `do_sample` from the model's folder only, so that a model
    without a sampling default would answer greedily at any temperature.
    """
    if temperature == 0:
        return {}
    name, _, revision = (model, "", "") if Path(model).is_dir() else model.partition("@")
    config = hub.read((name, revision or None), "generation_config.json")
    return {"generation_config": json.dumps(config | {"do_sample": True, "temperature": temperature})}


def serve_in_foreground(program: Program, port: int) -> int:
    """Serve a model on loopback until the server ends, or SIGTERM or Ctrl-C ends it; returns its exit code."""
    received: list[int] = []
    process: subprocess.Popen | None = None

    def pass_on(number: int, frame: FrameType | None) -> None:
        received.append(number)
        if process is not None:
            _send_signal(process, number)

    numbers = (signal.SIGTERM, signal.SIGINT)
    before = {number: signal.signal(number, pass_on) for number in numbers}
    try:
        process = _spawn(program, port, output=None)
        for number in received:  # signals that came before the process was started
            _send_signal(process, number)
        code = process.wait()
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
    return exits.of_signal(-code) if code < 0 else code


def stop(process: subprocess.Popen) -> None:
    """End the server and what it started: SIGTERM, after a moment SIGKILL, to its process group."""
    for number in (signal.SIGTERM, signal.SIGKILL):
        _send_signal(process, number)
        with contextlib.suppress(subprocess.TimeoutExpired):
            process.wait(STOP_TIMEOUT_S)
    if process.stdin:
        process.stdin.close()


def _send_signal(process: subprocess.Popen, number: int) -> None:
    with contextlib.suppress(ProcessLookupError):
        os.killpg(process.pid, number)


def _start(program: Program, log: Path) -> Server:
    port = _find_free_port()
    with log.open("ab") as output:
        process = _spawn(program, port, output)
    return Server(process, port, program, log)


def _spawn(program: Program, port: int, output: IO[bytes] | None) -> subprocess.Popen:
    """Start the server as a child in a group of its own; without `output` it writes to ours."""
    return subprocess.Popen(
        # -P: the model's folder, our current directory then, must not be a place to import from
        [sys.executable, "-P", "-m", "fino1.evaluate.serve", *program.list_arguments(port)],
        cwd=program.folder,
        env=_build_environment(os.environ, program.folder),
        stdin=subprocess.PIPE,
        stdout=output,
        stderr=subprocess.STDOUT if output else None,
        start_new_session=True,
    )


def _build_environment(outer: Mapping[str, str], folder: Path | None) -> dict[str, str]:
    environment: dict[str, Any] = dict(outer)
    package = str(Path(__file__).parents[2])  # where fino1 lies; -P and the other directory would hide a checkout
    environment["PYTHONPATH"] = os.pathsep.join(filter(None, [package, outer.get("PYTHONPATH")]))
    environment |= {"PYTHONUNBUFFERED": "1", "VLLM_NO_USAGE_STATS": "1"}
    if folder:
        environment["HF_HUB_OFFLINE"] = "1"
        if sum(path.stat().st_size for path in folder.glob("*.safetensors")) <= SMALL_BYTES:
            environment.setdefault("OMP_NUM_THREADS", "1")
    return environment


def _find_free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


def _wait_until_ready(server: Server, model: str, halt: threading.Event) -> bool:
    """Wait until the server is ready; False where its port was taken. Raises as `serve` does."""
    # Not at the top: it imports openai, which takes a second, and the server (this module as a program) needs none of it.
    from fino1.evaluate.endpoint import Cancelled

    opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))
    deadline = time.monotonic() + START_TIMEOUT_S
    while time.monotonic() < deadline:
        if halt.wait(0.1):
            raise Cancelled
        code = server.process.poll()
        if code is not None and code > 0:
            if "address already in use" in _read_tail(server.log).lower():
                return False
            got = _find_reason(server.log)
            raise SpecError(
                f"{model}: expected a model that {server.title} can load, got {got[:200]} (see {server.log})"
            )
        server.check()
        # Another program may answer at this port before our server does, so its process is checked as well.
        if _is_healthy(opener, server) and server.process.poll() is None:
            return True
    raise ServerLost(f"{server.title}: not ready after {START_TIMEOUT_S:.0f} s; see {server.log}", exits.ENDPOINT_LOST)


def _is_healthy(opener: urllib.request.OpenerDirector, server: Server) -> bool:
    try:
        with opener.open(server.base_url.removesuffix("/v1") + "/health", timeout=5) as reply:
            return reply.status == 200
    except OSError:  # URLError is one
        return False


def _read_tail(log: Path, lines: int = TAIL_LINES) -> str:
    return "\n".join(log.read_text(encoding="utf-8", errors="replace").splitlines()[-lines:])


def _find_reason(log: Path) -> str:
    """Find the error that a server ended with: the end of its last traceback but vLLM's "See root cause above"."""
    lines = [_PROCESS.sub("", line).strip() for line in _read_tail(log, REASON_LINES).splitlines()]
    errors = [i for i, line in enumerate(lines) if _ERROR.match(line) and "root cause" not in line]
    if not errors:
        return (lines or ["nothing in its log"])[-1]
    said = lines[errors[-1] :]
    is_pydantic = "validation error" in said[0]  # which says what on the next line
    return ": ".join(said[:2]) if is_pydantic else said[0]


def _end_with_parent(number: int) -> None:
    """Make this process end with its parent by this signal, and with its group; at once if the parent has ended already."""
    die_with_parent(number)

    def watch() -> None:
        os.read(0, 1)  # nothing is ever sent. Not sys.stdin: its lock, held by a daemon thread, aborts a normal exit
        os.killpg(0, signal.SIGKILL)

    threading.Thread(target=watch, daemon=True).start()


def _main(arguments: list[str]) -> None:
    is_vllm = arguments[0] == "vllm"
    _end_with_parent(signal.SIGTERM if is_vllm else signal.SIGKILL)
    if is_vllm:
        sys.argv = arguments
        runpy.run_module(VLLM_SERVER, run_name="__main__")
        return
    with pause_gc():
        from transformers.cli.serving.model_manager import ModelManager
        from transformers.cli.transformers import app

    ours = {"id": arguments[1], "object": "model", "created": 0, "owned_by": "transformers"}
    ModelManager.get_gen_models = staticmethod(lambda: [ours])
    app(arguments)


if __name__ == "__main__":
    _main(sys.argv[1:])
