"""What a user gets wrong, or a cluster lacks: is it tried once only, and does `why` say what is wrong and what to do?"""

import http.server
import json
import shutil
import subprocess
import threading
from collections.abc import Iterator
from http import HTTPStatus
from pathlib import Path
from typing import Any

import pytest

from fino1 import exits
from tests.cluster.tools.node import REGISTRY, Node
from tests.e2e.shell import OWNER, Shell

LONGER = ("data.size=960", "sft.save_steps=20")  # 60 steps
SIZE = 512 << 20  # bytes of the disk
NO_ROWS = 'data={"task": null, "path": "/work/rows.jsonl", "size": 20000}'
ROWS_ARE_MISSING = "/work/rows.jsonl: expected a JSON, JSONL or Parquet file, got none"
PATIENCE_S = 300  # several pods at once on two cores


def _why(shell: Shell, name: str) -> dict[str, Any]:
    """What does `why` say of the run, as data?"""
    (told,) = json.loads(shell.fino1("why", name, "-o", "json"))["runs"]
    return told


def _explained(shell: Shell, name: str, cause: str) -> dict[str, Any]:
    """What does `why` say, once that is the cause?"""

    def found() -> dict[str, Any] | None:
        told = _why(shell, name)
        return told if told["findings"] and told["findings"][0]["cause"] in cause.split("|") else None

    return shell.until(f"why {name} says {cause}", found)


def test_what_keeps_a_pod_from_starting_is_named_with_its_remedy(shell: Shell) -> None:
    secret = 'secretEnv={"HF_TOKEN": {"name": "hub", "key": "token"}}'
    large = '{"cpu": "64", "memory": "1Gi"}'
    for name, settings in {
        "secret": [secret],
        "image": [f"image.repository={REGISTRY}/fino1/train", "image.tag=9.9.9"],
        "large": [f'resources={{"requests": {large}, "limits": {large}}}', "shmSize=1Gi"],
    }.items():
        shell.submit("sft-tiny", name, *settings, wait=False)

    told = _explained(shell, "image", "ErrImagePull|ImagePullBackOff")
    assert f"image {REGISTRY}/fino1/train:9.9.9 cannot be pulled: not found" in told["verdict"]
    assert "image.repository, tag or digest" in told["advice"]

    told = _explained(shell, "large", "Unschedulable")
    assert (
        "0/1 nodes are available: 1 Insufficient cpu" in told["verdict"] and "waiting does not help" in told["advice"]
    )
    assert told["findings"][0]["numbers"]["asked"]["cpu"] == "64"
    assert "Pending" in shell.fino1("status", "large")

    told = _explained(shell, "secret", "CreateContainerConfigError")
    assert "Secret hub does not exist" in told["verdict"]
    assert told["advice"] == "create the Secret with token in it; the container then starts by itself"
    assert "CreateContainerConfigError" in shell.fino1("status", "secret")
    shell.kubectl("create", "secret", "generic", "hub", "--from-literal=tokem=x")
    shell.until("why names the key", lambda: "Secret hub has no key token" in _why(shell, "secret")["verdict"])
    shell.kubectl("delete", "secret", "hub")
    shell.kubectl("create", "secret", "generic", "hub", "--from-literal=token=x")
    shell.until("it runs", lambda: "phase     Running" in shell.fino1("status", "secret"))


def test_a_mistake_is_not_retried(shell: Shell) -> None:
    runs = {
        backend: shell.submit("sft-tiny", backend, f"backend={backend}", NO_ROWS, wait=False)
        for backend in ("pytorchjob", "job", "jobset", "trainjob")
    }
    wrong = dict.fromkeys(runs, ROWS_ARE_MISSING)
    runs["eval"] = shell.submit("eval-tiny", "eval", 'eval.models=[{"name": "a", "run": "nowhere"}]', wait=False)
    wrong["eval"] = "run: nowhere: expected a finished run in /work/runs, got none"
    runs["ppo"] = shell.submit("ppo-tiny", "ppo", "model.run=nowhere", code=exits.USER)
    wrong["ppo"] = "model.run: nowhere: expected a finished run in /work/runs, got none"
    for name, run in runs.items():
        said = shell.fino1("wait", name, code=exits.USER)
        assert f"exit code 2: {exits.meaning(exits.USER)}; see `fino1-k8s why {name}`" in said
        told = _why(shell, name)
        assert told["phase"] == "Failed" and "ended with exit code 2: the user's mistake" in told["verdict"], name
        assert told["advice"] == "mend what the last lines name, then submit again"
        assert wrong[name] in told["lastLines"]["lines"][-1]
        (pod,) = json.loads(shell.fino1("status", name, "-o", "json"))["runs"][0]["pods"]
        assert (pod["restarts"], pod["lastExit"]["code"]) == (0, exits.USER), name
        assert f"next      fino1-k8s why {name}" in shell.fino1("status", name)
        assert len(shell.pods(run)) == 1, name


@pytest.fixture
def disk(shell: Shell) -> Iterator[Path]:
    """The work volume as a disk of its own."""
    options = f"size={SIZE},uid={OWNER},gid={OWNER},mode=755"
    subprocess.run(["mount", "-t", "tmpfs", "-o", options, "tmpfs", shell.work], check=True)
    yield shell.work
    subprocess.run(["umount", "--lazy", shell.work], check=True)


def _resize(disk: Path, size: int) -> None:
    subprocess.run(["mount", "-o", f"remount,size={size}", disk], check=True)


def test_a_full_disk_ends_a_run_which_then_goes_on(shell: Shell, disk: Path) -> None:
    shell.submit("sft-tiny", "undisturbed", *LONGER)
    run = shell.submit("sft-tiny", "full", *LONGER, wait=False)
    shell.until("its first checkpoint", lambda: shell.step("full") and _checkpoints(shell), PATIENCE_S)
    step = shell.directory("undisturbed") / "checkpoints" / "step-00000060"
    checkpoint = sum(file.stat().st_size for file in step.iterdir())
    _resize(disk, shutil.disk_usage(disk).used + checkpoint // 2)
    shell.fino1("wait", "full", code=exits.DISK)
    (pod,) = shell.pods(run)
    assert pod["status"]["containerStatuses"][0]["restartCount"] == 0
    told = _why(shell, "full")
    assert told["phase"] == "Failed" and "the disk is full, read-only or unreadable" in told["verdict"]
    assert told["advice"].startswith("make room on the volume that the last lines name, then `fino1-k8s retry`")
    assert f"/work/runs/{shell.directory('full').name}: expected a disk" in told["lastLines"]["lines"][-1]
    newest = _checkpoints(shell)[-1]
    _resize(disk, SIZE)
    shell.fino1("retry", "full")
    shell.fino1("wait", "full")
    progress = next(line for line in shell.fino1("logs", "full").splitlines() if '"event": "progress"' in line)
    assert json.loads(progress)["done"] > newest
    assert shell.artefact("full") == shell.artefact("undisturbed")


def _checkpoints(shell: Shell) -> list[int]:
    """After which steps has the run `full` checkpoints?"""
    return sorted(int(path.name[5:]) for path in shell.directory("full").glob("checkpoints/step-*"))


class Hub(http.server.BaseHTTPRequestHandler):
    """As much of a model hub as a download begins with: every model has a config.json and a tokenizer's."""

    def do_HEAD(self) -> None:
        """Say what there is."""
        found = self.path.endswith(("/resolve/main/config.json", "/resolve/main/tokenizer_config.json"))
        self.send_response(HTTPStatus.OK if found else HTTPStatus.NOT_FOUND)
        about = {"ETag": '"1"', "X-Repo-Commit": "0" * 40, "Content-Length": "2"}
        for key, value in (about if found else {"X-Error-Code": "EntryNotFound", "Content-Length": "0"}).items():
            self.send_header(key, value)
        self.end_headers()


@pytest.fixture
def hub(node: Node) -> Iterator[str]:
    """The URL, as pods see it, of a model hub."""
    with http.server.ThreadingHTTPServer((node.host, 0), Hub) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield f"http://{node.host}:{server.server_port}"
        server.shutdown()


def test_a_model_that_is_not_in_a_read_only_cache(shell: Shell, hub: str) -> None:
    model = 'model={"hub": "fino1/tiny", "init": null}'
    shell.submit("sft-tiny", "offline", model, "offline=true", "volumes.models.readOnly=true", wait=False)
    shell.submit("sft-tiny", "online", model, f"env.HF_ENDPOINT={hub}", "volumes.models.readOnly=true", wait=False)
    shell.fino1("wait", "offline", code=exits.USER)
    told = _why(shell, "offline")
    assert "the user's mistake" in told["verdict"]
    assert "model: fino1/tiny: expected a tokenizer, got" in told["lastLines"]["lines"][-1]
    shell.fino1("wait", "online", code=exits.DISK)
    told = _why(shell, "online")
    assert "the disk is full, read-only or unreadable" in told["verdict"]
    assert "Read-only file system: '/models" in told["lastLines"]["lines"][-1]
    assert told["advice"].startswith("put the model into the cache first, or set volumes.models.readOnly=false")
