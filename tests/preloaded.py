"""`fino1 …` without its imports, which take five seconds of CPU: each is a fork of a process that has them.

`python -m tests.preloaded FD`: the process, one for each environment that its imports may have read. It is asked over the
socket FD, and ends with who asks.
"""

import atexit
import contextlib
import json
import os
import signal
import socket
import struct
import subprocess
import sys
import threading
import traceback
from pathlib import Path

ROOT = Path(__file__).parents[1]
# Variables that no import reads: they may differ.
READ_LATE = ("PET_", "FINO1_BACKOFF_LIMIT", "FAULTS", "SEEN_DIR", "PYTHONPATH", "PYTEST_", "MLFLOW_")
_AT_MOST = 2  # such processes of a worker; each has 0.7 GB
_NUMBER = struct.Struct("!i")
_servers: dict[str, socket.socket] = {}


class Start:
    """A process that runs `fino1` with these arguments, as subprocess.Popen would start it."""

    def __init__(self, arguments, env, log, start_new_session=False):
        """Args: `log` is an open file for stdout and stderr."""
        self.returncode = None
        self._answers, theirs = socket.socketpair()
        request = {
            "arguments": [str(each) for each in arguments],
            "env": env,
            "cwd": os.getcwd(),
            "session": start_new_session,
        }
        with theirs:
            socket.send_fds(_server(env), [b"1"], [theirs.fileno(), log.fileno()])
        self._answers.sendall(json.dumps(request).encode())
        self._answers.shutdown(socket.SHUT_WR)
        self.pid = self._receive()

    def _receive(self):
        number = self._answers.recv(_NUMBER.size)
        assert number, "the preloaded process is gone"
        return _NUMBER.unpack(number)[0]

    def poll(self):
        if self.returncode is None:
            with contextlib.suppress(TimeoutError):
                self.wait(0)
        return self.returncode

    def wait(self, timeout=None):
        """Its exit code, -n where signal n ended it. Raises TimeoutError."""
        if self.returncode is None:
            self._answers.settimeout(timeout if timeout is None else max(timeout, 1e-3))
            self.returncode = self._receive()
            self._answers.close()
        return self.returncode

    def send_signal(self, number):
        if self.poll() is None:
            os.kill(self.pid, number)

    def kill(self):
        self.send_signal(signal.SIGKILL)


def _server(env):
    """The process for such an environment, asked over this socket."""
    kept = {name: value for name, value in env.items() if not name.startswith(READ_LATE)}
    key = json.dumps(kept, sort_keys=True)
    if key not in _servers:
        if len(_servers) == _AT_MOST:
            _servers.pop(next(iter(_servers))).close()  # it ends then, and its forks go on
        ours, theirs = socket.socketpair()
        with theirs:
            command = [sys.executable, "-m", "tests.preloaded", str(theirs.fileno())]
            pipes = {"stdin": subprocess.DEVNULL, "stdout": subprocess.DEVNULL, "pass_fds": [theirs.fileno()]}
            environment = kept | {"PYTHONPATH": str(ROOT)}
            process = subprocess.Popen(command, cwd=ROOT, env=environment, start_new_session=True, **pipes)
        atexit.register(_end, ours, process)
        _servers[key] = ours
    return _servers[key]


def _end(ours, process):
    ours.close()
    process.wait()


def _serve(requests):
    """Fork for each request until nobody asks any more."""
    initial = dict(os.environ)
    _load()
    added = {name: value for name, value in os.environ.items() if name not in initial}
    assert threading.active_count() == 1
    while True:
        message, handles, *_ = socket.recv_fds(requests, 1, 2)
        with contextlib.suppress(ChildProcessError):
            while os.waitpid(-1, os.WNOHANG)[0]:
                pass
        if not message:
            return
        if os.fork() == 0:
            try:
                requests.close()
                _watch(socket.socket(fileno=handles[0]), handles[1], added)
            except BaseException:
                traceback.print_exc()
            finally:
                os._exit(0)
        for handle in handles:
            os.close(handle)


def _load():
    from fino1 import __main__, processes, trackers  # noqa: F401

    trackers.hide_others()
    with processes.pause_gc():
        import deepspeed.runtime.zero.muon.muon_optimizer  # noqa: F401, torch's compiler with it
        import transformers.models.llama.modeling_llama  # noqa: F401
        from transformers.conversion_mapping import get_checkpoint_conversion_mapping

        from fino1.spec import load  # noqa: F401
        from fino1.train.launch import launch, rank  # noqa: F401

        for method in rank._METHODS:
            rank.load_modules(method, use_cpu=True)
        get_checkpoint_conversion_mapping("llama")  # makes those of all models


def _watch(answers, log, added):
    """Fork once more, and say the process id and at last the exit code of that fork."""
    request = json.loads(b"".join(iter(lambda: answers.recv(2**16), b"")))
    pid = os.fork()
    if pid == 0:
        answers.close()
        _run(request, log, added)
    os.close(log)
    answers.sendall(_NUMBER.pack(pid))
    _, status = os.waitpid(pid, 0)
    with contextlib.suppress(BrokenPipeError):
        answers.sendall(_NUMBER.pack(os.waitstatus_to_exitcode(status)))


def _run(request, log, added):
    """Be `python -m fino1` with the request's arguments."""
    code = 1
    try:
        if request["session"]:
            os.setsid()
        os.chdir(request["cwd"])
        os.environ.clear()
        os.environ.update(added | request["env"])
        os.dup2(log, 1)
        os.dup2(log, 2)
        os.close(log)
        sys.argv = ["fino1", *request["arguments"]]
        if "FAULTS_DIR" in os.environ:
            sys.path.insert(0, os.environ["PYTHONPATH"].partition(":")[0])
            sys.modules.pop("sitecustomize", None)
            import sitecustomize  # noqa: F401, the faults

        from fino1.__main__ import main

        try:
            code = main(request["arguments"])
        except SystemExit as error:
            code = error.code or 0
        sys.stdout.flush()
        sys.stderr.flush()
    except BaseException:
        traceback.print_exc()
    finally:
        os._exit(code)


if __name__ == "__main__":
    _serve(socket.socket(fileno=int(sys.argv[1])))
