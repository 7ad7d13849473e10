import json
import os
import signal
import socket
import subprocess
import sys
import threading
import time

import pytest

from fino1 import __main__ as entry
from fino1 import exits, runs
from fino1.errors import SpecError
from fino1.evaluate import sidecar
from fino1.evaluate.endpoint import EndpointLost
from fino1.evaluate.main import main
from fino1.spec import load
from fino1.tasks import ledger

N = 6
# As in the evaluation's image: nothing may need torch or transformers.
WITHOUT = """
import sys
for package in {packages!r}:
    sys.modules[package] = None
from fino1.__main__ import main
sys.exit(main(sys.argv[1:]))
"""


def spec_of(models, server=None, **block):
    models = [{"context_length": 4000} | model for model in models]
    tasks = [{"task": "ledger", "size": N}]
    settings = {"models": models, "tasks": tasks, "max_tokens": 32, "max_retries": 1, "timeout_s": 5}
    return load.build({"method": "eval", "eval": settings | block | {"server": server or {}}}, "test")


@pytest.fixture
def spec(folder):
    """A run whose model is a folder of this machine."""
    return lambda server=None, **block: spec_of([{"name": "a", "path": str(folder)}], server, **block)


@pytest.fixture(autouse=True)
def quick(monkeypatch):
    monkeypatch.setattr(sidecar, "PAUSE_S", 0.05)


def ours(server):
    server.models = [{"id": ".", "object": "model", "owned_by": "transformers"}]
    return server


def about(work):
    (path,) = work.glob("cells/*/cell.json")
    return json.loads(path.read_text())


def free_port():
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


def test_vllm_is_asked_by_its_own_name_with_standard_parameters_only(server, spec, tmp_path):
    server.models = [{"id": "/models/link", "owned_by": "vllm"}]
    assert main(spec(temperature=0.7), "eval", tmp_path, server.base_url + "/") == 0
    assert {tuple(sorted(body)) for body in server.bodies} == {("max_tokens", "messages", "model", "temperature")}
    assert {body["model"] for body in server.bodies} == {"/models/link"}
    assert about(tmp_path)["settings"]["server"] == "vllm"
    assert not list(tmp_path.glob("runs/*/serve-*.log"))


def test_transformers_serve_is_told_to_sample(server, spec, folder, tmp_path):
    (folder / "generation_config.json").write_text('{"top_k": 7}')
    assert main(spec(temperature=0.7), "eval", tmp_path, ours(server).base_url) == 0
    configs = {body["generation_config"] for body in server.bodies}
    assert [json.loads(text) for text in configs] == [{"top_k": 7, "do_sample": True, "temperature": 0.7}]
    assert about(tmp_path)["settings"]["server"] == "transformers serve"
    assert "server_args" not in about(tmp_path)["settings"]


def test_greedy_transformers_serve_needs_no_more(server, spec, tmp_path):
    assert main(spec(), "eval", tmp_path, ours(server).base_url) == 0
    assert "generation_config" not in server.bodies[0]


def test_the_key_holds_the_engine_and_its_arguments_and_not_the_image(server, spec, tmp_path):
    vllm = server.models
    for settings in ({}, {"engine": "vllm"}, {"image": "vllm/vllm-openai:v1"}, {"args": ["--dtype", "float32"]}):
        server.models = vllm
        assert main(spec(settings), "eval", tmp_path, server.base_url) == 0
    assert main(spec(), "eval", tmp_path, ours(server).base_url) == 0
    assert len(list(tmp_path.glob("cells/*"))) == 3
    assert server.asked.total() == 3 * N


def test_a_server_that_comes_up_late(faulty, spec, tmp_path):
    port = free_port()
    threading.Timer(1.0, lambda: faulty(port)).start()
    begin = time.monotonic()
    assert main(spec(), "eval", tmp_path, f"http://127.0.0.1:{port}/v1") == 0
    assert 0.9 < time.monotonic() - begin < 20


def test_a_server_that_never_comes(spec, tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(sidecar, "WAIT_S", 0.3)
    config = tmp_path / "config.json"
    runs.write_config(config, spec())
    url = f"http://127.0.0.1:{free_port()}/v1"
    arguments = ["evaluate", "--config", str(config), "--work", str(tmp_path / "work"), "--server", url]
    assert entry.main(arguments) == exits.ENDPOINT_LOST
    assert f"--server: {url}: no list of models after" in capsys.readouterr().err


def test_a_mistake_is_told_before_the_server_is_waited_for(tmp_path):
    begin = time.monotonic()
    with pytest.raises(SpecError, match="run: nowhere"):
        main(spec_of([{"name": "a", "run": "nowhere"}]), "eval", tmp_path, f"http://127.0.0.1:{free_port()}/v1")
    assert time.monotonic() - begin < 5


def test_sigterm_ends_the_waiting(spec, tmp_path):
    threading.Timer(0.5, lambda: os.kill(os.getpid(), signal.SIGTERM)).start()
    assert main(spec(), "eval", tmp_path, f"http://127.0.0.1:{free_port()}/v1") == exits.TERMINATED


def test_a_server_that_dies_leaves_the_samples_for_the_next_attempt(server, spec, tmp_path):
    server.fault = lambda prompt, number: "drop" if server.answered.total() >= 3 else None
    with pytest.raises(EndpointLost) as caught:
        main(spec(concurrency=1), "eval", tmp_path, server.base_url)
    assert caught.value.exit_code == exits.ENDPOINT_LOST == 146
    server.fault = lambda prompt, number: None
    assert main(spec(concurrency=1), "eval", tmp_path, server.base_url) == 0
    assert set(server.answered.values()) == {1}


def test_a_finished_cell_with_a_known_engine_needs_no_server(server, spec, tmp_path):
    assert main(spec({"engine": "vllm"}), "eval", tmp_path, server.base_url) == 0
    assert main(spec({"engine": "vllm"}), "again", tmp_path, f"http://127.0.0.1:{free_port()}/v1") == 0


@pytest.mark.parametrize(
    ("models", "name"),
    [
        (["m"], "m"),
        (["x", "a"], "a"),
        (["x", "FOLDER"], "FOLDER"),
        (["x", "y"], "expected one model, or one named a, got x, y"),
        ([], "expected a server of vllm or `fino1 serve`, got owned_by no model"),
    ],
)
def test_what_the_server_calls_the_model(server, spec, folder, tmp_path, models, name):
    server.models = [{"id": each.replace("FOLDER", str(folder)), "owned_by": "vllm"} for each in models]
    if name.startswith("expected"):
        with pytest.raises(SpecError, match=name):
            main(spec(), "eval", tmp_path, server.base_url)
    else:
        assert main(spec(), "eval", tmp_path, server.base_url) == 0
        assert {body["model"] for body in server.bodies} == {name.replace("FOLDER", str(folder))}


def test_mistakes(server, spec, folder, tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "vllm", None)
    two = [{"name": "a", "path": str(folder)}, {"name": "b", "path": str(folder)}]
    for run, url, message in (
        (spec(), "127.0.0.1:8000", "--server: expected http://"),
        (spec_of(two), server.base_url, "--server: expected one model without base_url, got a, b"),
        (spec({"engine": "transformers"}), server.base_url, "expected transformers .server.engine., got vllm"),
        (spec({"engine": "vllm"}), None, "eval.server.engine: expected vllm to be installed, or transformers"),
    ):
        with pytest.raises(SpecError, match=message):
            main(run, "eval", tmp_path, url)
    server.models = [{"id": "gpt-4o", "owned_by": "openai"}]
    with pytest.raises(SpecError, match="got owned_by openai"):
        main(spec(), "eval", tmp_path, server.base_url)
    assert server.asked.total() == 0


def test_an_endpoint_needs_no_sidecar(server, tmp_path):
    models = [{"name": "a", "base_url": server.base_url}]
    assert main(spec_of(models), "eval", tmp_path, f"http://127.0.0.1:{free_port()}/v1") == 0


@pytest.mark.parametrize("packages", [["torch", "transformers"], ["torch", "transformers", "tokenizers"]])
def test_an_image_without_torch_and_transformers(server, folder, tmp_path, packages):
    """Served elsewhere, sampled, and with documents that are cut: all that could need them."""
    rows, work = tmp_path / "rows.jsonl", tmp_path / "work"
    ledger.write(ledger.generate("test", n=N, seed=42), rows)
    longest = max(len(ledger.TASK.prompt(record)) for record in ledger.read(rows))
    server.models = ours(server).models
    models = [{"name": "a", "path": str(folder), "context_length": longest + 33}]
    tasks = [{"task": "ledger", "path": str(rows)}]
    run = spec_of(models, tasks=tasks, temperature=0.5)
    runs.write_config(tmp_path / "config.json", run)
    arguments = ["evaluate", "--config", tmp_path / "config.json", "--work", work, "--server", server.base_url]
    command = [sys.executable, "-c", WITHOUT.format(packages=packages), *arguments]
    assert subprocess.run(command, stdout=subprocess.DEVNULL, timeout=60).returncode == 0
    assert json.loads(server.bodies[0]["generation_config"]) == {"do_sample": True, "temperature": 0.5}
    estimated = "tokenizers" in packages
    assert about(work)["settings"].get("prompt_tokens") == ("estimate" if estimated else None)
    assert main(run, "eval", work, server.base_url) == 0  # with them all it is the same cell, unless it was estimated
    assert server.asked.total() == (2 * N if estimated else N)


@pytest.mark.slow
def test_fino1_serve_and_an_evaluation_without_transformers(llama, tmp_path):
    port = free_port()
    runs.write_config(tmp_path / "config.json", load.build(_small(llama), "test"))
    config = ["--config", tmp_path / "config.json", "--work", tmp_path / "work"]
    with (tmp_path / "log").open("wb") as log:
        server = subprocess.Popen(
            [sys.executable, "-m", "fino1", "serve", *config, "--port", str(port)], stdout=log, stderr=log
        )
    try:
        command = [sys.executable, "-c", WITHOUT.format(packages=["torch", "transformers"]), "evaluate", *config]
        code = subprocess.run([*command, "--server", f"http://127.0.0.1:{port}/v1"], timeout=120).returncode
        assert code == 0, (tmp_path / "log").read_text()
        settings = about(tmp_path / "work")["settings"]
        assert (settings["server"], settings["server_args"]) == ("transformers serve", ["--log-level", "error"])
        assert about(tmp_path / "work")["summary"]["completion_tokens"] > 0
        server.send_signal(signal.SIGTERM)
        assert server.wait(20) == exits.TERMINATED
    finally:
        server.kill()
    with socket.socket() as probe:
        assert probe.connect_ex(("127.0.0.1", port)) != 0  # the server went with us


def _small(llama):
    models = [{"name": "a", "path": str(llama), "server_args": ["error"]}]
    tasks = [{"task": "ledger", "size": 2}]
    settings = {"models": models, "tasks": tasks, "max_tokens": 8, "temperature": 0.5}
    return {"method": "eval", "eval": settings | {"server": {"args": ["--log-level"]}}}
