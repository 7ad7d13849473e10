"""Real vLLM, on the CPU: the build `vllm-cpu` of the release that the pods run. `make test-vllm` has what it needs."""

import contextlib
import json
import os
import shutil
import signal
import socket
import subprocess
import sys
import time
from importlib.util import find_spec
from pathlib import Path

import pytest

from fino1 import exits
from fino1.k8s.objects.pod import CONFIG, LINK
from fino1.k8s.objects.unit import SERVER_PORT

DEMO, SMOLLM2 = Path("out/demo/runs").absolute(), Path("out/models/smollm2-135m").absolute()
ARGS = ["--enforce-eager", "--dtype", "float32"]
N = 24
TIE = 0.01  # logits of two tokens of which float32 sums in another order may prefer either
# The image's entry point. The build for the CPU has its command too, which looks for the version of a package `vllm`.
VLLM = """
import importlib.metadata
from vllm.version import __version__
importlib.metadata.version = lambda name, of=importlib.metadata.version: __version__ if name == "vllm" else of(name)
from vllm.entrypoints.cli.main import main
main()
"""

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(not (find_spec("vllm") and DEMO.is_dir() and SMOLLM2.is_dir()), reason="make test-vllm"),
]


@pytest.fixture(autouse=True)
def small(monkeypatch):
    monkeypatch.setenv("VLLM_CPU_KVCACHE_SPACE", "1")  # GiB
    monkeypatch.setenv("VLLM_NO_USAGE_STATS", "1")
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")


def write(folder, model, engine, size=N, args=(), **block):
    server = {"engine": engine, "args": [*args] or (ARGS if engine == "vllm" else ["--dtype", "float32"])}
    settings = {"models": [{"name": "a", **model}], "tasks": [{"task": "ledger", "size": size}], "server": server}
    document = {"method": "eval", "gpus_per_node": 0, "eval": {"max_tokens": 48, "concurrency": 8} | settings | block}
    (folder / f"{engine}.yaml").write_text(json.dumps(document))
    return folder / f"{engine}.yaml"


def fino1(*arguments, **options):
    """Starts `fino1`; it prints into a pipe."""
    command = [sys.executable, "-m", "fino1", *map(str, arguments)]
    return subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, **options)


def finish(process):
    """Returns its exit code and what it printed."""
    printed, _ = process.communicate(timeout=500)
    return process.returncode, printed


def wait_for_answers(process, count):
    for line in process.stdout:
        if line.startswith('{"event": "progress"') and json.loads(line)["done"] >= count:
            return
    pytest.fail(f"it ended with {process.wait()} before {count} answers")


def answers(work):
    """Those on disk."""
    return sum(file.read_text().count("\n") for file in work.glob("cells/*/*.jsonl"))


def samples(work, engine):
    """Those of the cell that this engine answered, by their question's id."""
    for cell in work.glob("cells/*/cell.json"):
        if json.loads(cell.read_text())["settings"]["server"].split()[0] == engine:
            lines = (cell.parent / "samples.jsonl").read_text().splitlines()
            return {sample["id"]: sample for sample in map(json.loads, lines)}
    raise AssertionError(f"no cell of {engine}")


def compare(work, folder):
    """Greedy answers are equal, or part at a token that the model holds for as good as the other."""
    import torch
    from transformers import AutoModelForCausalLM, AutoTokenizer

    tokenizer = AutoTokenizer.from_pretrained(folder)
    model = AutoModelForCausalLM.from_pretrained(folder, dtype=torch.float32)
    theirs, equal = samples(work, "transformers"), 0
    for name, ours in samples(work, "vllm").items():
        pair = [tokenizer.encode(each["completion"], add_special_tokens=False) for each in (ours, theirs[name])]
        if pair[0] == pair[1]:
            equal += 1
            continue
        i = len(os.path.commonprefix(pair))
        first, second = ([*tokens, tokenizer.eos_token_id][i] for tokens in pair)
        said = [{"role": "user", "content": ours["prompt"]}]
        text = tokenizer.apply_chat_template(said, add_generation_prompt=True, tokenize=False)
        prompt = tokenizer.encode(text, add_special_tokens=False)
        with torch.no_grad():
            logits = model(torch.tensor([prompt + pair[0][:i]])).logits[0, -1]
        gap = abs(logits[first] - logits[second]).item()
        words = [tokenizer.decode([token]) for token in (first, second)]
        print(f"{name}: token {i}: vLLM {words[0]!r}, transformers serve {words[1]!r}; {gap:.5f} between their logits")
        assert gap < TIE and {first, second} == set(logits.topk(2).indices.tolist())
    print(f"{folder.name}: {equal} of {len(theirs)} greedy answers are equal")


@contextlib.contextmanager
def serving(arguments, log):
    """A server of a pod, in a process group of its own."""
    with log.open("ab") as file:
        options = {"stdin": subprocess.DEVNULL, "stdout": file, "stderr": file, "start_new_session": True}
        process = subprocess.Popen([sys.executable, *map(str, arguments)], **options)
    try:
        yield process
    finally:
        with contextlib.suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)
        process.wait()


def free_port():
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


def render(run, replaced):
    """The arguments of a pod's containers, with the paths and ports of this machine."""
    command = [Path(sys.executable).with_name("fino1-k8s"), "render", run, "-o", "json"]
    objects = json.loads(subprocess.run(command, stdout=subprocess.PIPE, check=True).stdout)["items"]
    (pod,) = (each["spec"]["template"]["spec"] for each in objects if each["kind"] == "Job")
    containers = {each["name"]: each["args"] for each in [*pod["initContainers"], *pod["containers"]]}
    (config,) = (each["data"] for each in objects if each["kind"] == "ConfigMap")
    Path(replaced[CONFIG]).write_text(config["config.json"])
    for name, arguments in containers.items():
        for old, new in replaced.items():
            arguments = [each.replace(old, str(new)) for each in arguments]
        containers[name] = arguments
    return containers


def test_the_containers_of_a_pod(tmp_path):
    """The server is killed in mid-run and comes again; then `fino1 serve` answers the same questions."""
    (ppo,) = DEMO.glob("ppo-*")
    work = tmp_path / "work"
    (work / "runs").mkdir(parents=True)
    (work / "runs" / ppo.name).symlink_to(ppo)
    port = free_port()
    replaced = {CONFIG: tmp_path / "config.json", LINK: tmp_path / "link" / "model", str(SERVER_PORT): port}
    run = write(tmp_path, {"run": "ppo"}, "vllm", concurrency=1, max_retries=1)
    pod = render(run, replaced)
    assert finish(fino1(*pod["model"], "--work", work))[0] == 0
    log = tmp_path / "server.log"
    serve = ["-c", VLLM, "serve", *pod["server"]]
    with serving(serve, log) as server:
        process = fino1(*pod["evaluate"], "--work", work)  # it waits for the server
        wait_for_answers(process, 3)
        os.killpg(server.pid, signal.SIGKILL)
        assert finish(process)[0] == exits.ENDPOINT_LOST
    kept, before = answers(work), log.read_text().count(" 200 OK")
    assert 3 <= kept < N
    with serving(serve, log):
        code, printed = finish(fino1(*pod["evaluate"], "--work", work))
    assert code == 0, printed
    assert len(samples(work, "vllm")) == N
    asked = [line for line in log.read_text().splitlines() if "POST /v1/chat/completions" in line]
    assert len(asked) in (N, N + 1), before  # at most the answer that was under way is asked for again
    render(write(tmp_path, {"run": "ppo"}, "transformers"), replaced)
    config = ["--config", tmp_path / "config.json", "--work", work]
    with serving(["-m", "fino1", "serve", *config, "--port", port], tmp_path / "transformers.log"):
        code, printed = finish(fino1("evaluate", *config, "--server", f"http://127.0.0.1:{port}/v1"))
    assert code == 0, printed
    compare(work, ppo / "model")


def test_a_run_on_this_machine(tmp_path):
    """`fino1 run` starts vLLM, which ends even with a run that is killed; what was answered is not asked for again."""
    run = write(tmp_path, {"path": str(SMOLLM2)}, "vllm", size=8, concurrency=2)
    process = fino1("run", run, "--work", tmp_path, start_new_session=True)
    wait_for_answers(process, 2)
    (log,) = tmp_path.glob("runs/*/serve-a.log")
    os.killpg(process.pid, signal.SIGKILL)
    process.wait()
    deadline = time.monotonic() + 20
    while left := _list_processes(tmp_path):
        assert time.monotonic() < deadline, left
        time.sleep(0.2)
    kept = answers(tmp_path)
    assert 2 <= kept < 8
    log.unlink()
    began = time.monotonic()
    code, printed = finish(fino1("run", run, "--work", tmp_path))
    assert code == 0, printed
    assert log.read_text().count("POST /v1/chat/completions") == 8 - kept
    ours = time.monotonic() - began
    code, printed = finish(fino1("run", write(tmp_path, {"path": str(SMOLLM2)}, "transformers", 8), "--work", tmp_path))
    assert code == 0, printed
    theirs = time.monotonic() - began - ours
    print(f"with the server's start: {8 - kept} answers by vLLM {ours:.0f} s, 8 by transformers serve {theirs:.0f} s")
    compare(tmp_path, SMOLLM2)


def _list_processes(folder):
    """The processes that have a file of the folder open: vLLM's own write to its log, however they are called."""
    found = []
    for process in Path("/proc").glob("[0-9]*"):
        with contextlib.suppress(OSError):
            if any(os.readlink(each).startswith(str(folder)) for each in (process / "fd").iterdir()):
                found += [(process.name, (process / "cmdline").read_text())]
    return found


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        ({"hidden_size": 64, "head_dim": 16}, "must match the size"),
        ({"architectures": ["NoSuchModel"], "model_type": "nosuch"}, "nosuch"),
    ],
)
def test_a_model_that_does_not_load(tmp_path, change, reason):
    (ppo,) = DEMO.glob("ppo-*")
    model = Path(shutil.copytree(ppo / "model", tmp_path / "model"))
    (model / "config.json").write_text(json.dumps(json.loads((model / "config.json").read_text()) | change))
    code, printed = finish(fino1("run", write(tmp_path, {"path": str(model)}, "vllm"), "--work", tmp_path / "work"))
    said = [line for line in printed.splitlines() if f"{model}: expected a model that vllm can load, got " in line]
    print(*said, sep="\n")
    assert code == exits.USER and "Traceback" not in printed
    assert said and all(reason in line for line in said)
