import contextlib
import json
import signal
import subprocess
import sys
import threading
import time
import urllib.request

import pytest

from fino1 import exits
from fino1.errors import SpecError, ToolError
from fino1.evaluate import serve
from fino1.evaluate.endpoint import Cancelled, Endpoint
from fino1.evaluate.loop import wait
from fino1.evaluate.main import main
from fino1.spec import load

HOLD = """
import sys, threading, time
from pathlib import Path
from fino1.evaluate import serve
server = serve._start(serve.transformers(sys.argv[1]), Path(sys.argv[2]))
print(server.process.pid, flush=True)
time.sleep(60)
"""


def lives(pid):
    with contextlib.suppress(FileNotFoundError, ProcessLookupError), open(f"/proc/{pid}/stat") as file:
        return file.read().rpartition(")")[2].split()[0] != "Z"
    return False


def wait_for(condition, seconds=30.0):
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline, "waited too long"
        time.sleep(0.02)


def test_a_folder_without_a_chat_template_is_a_mistake(tmp_path, folder):
    (folder / "chat_template.jinja").unlink()
    models = [{"name": "a", "path": str(folder)}]
    spec = {"method": "eval", "eval": {"models": models, "tasks": [{"task": "ledger", "size": 2}], "max_tokens": 9}}
    with pytest.raises(SpecError, match="a: .*expected a tokenizer with a chat template, got none"):
        main(load.build(spec, "test"), "eval", tmp_path)


@pytest.mark.slow
@pytest.mark.skipif(sys.platform != "linux", reason="looks into /proc")
@pytest.mark.parametrize("seconds", [0.0, 1.0])  # before and while the server imports
def test_no_server_outlives_us(tmp_path, folder, seconds):
    command = [sys.executable, "-c", HOLD, folder, tmp_path / "log"]
    holder = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
    pid = int(holder.stdout.readline())
    time.sleep(seconds)
    holder.kill()
    holder.wait()
    # On two cores that others use it needs seconds to start; else it lives for ever.
    wait_for(lambda: not lives(pid), 20)


@pytest.mark.slow
def test_a_model_that_does_not_load(tmp_path, folder):
    with (
        pytest.raises(
            SpecError, match="folder: expected a model that transformers serve can load, got .*: .* .see .*/log"
        ) as caught,
        serve.serve(serve.transformers(str(folder)), tmp_path / "log", threading.Event()),
    ):
        pass
    assert "\n" not in str(caught.value)


@pytest.mark.slow
def test_halt_ends_the_start(tmp_path, folder):
    halt = threading.Event()
    halt.set()
    with pytest.raises(Cancelled), serve.serve(serve.transformers(str(folder)), tmp_path / "log", halt):
        pass


@pytest.mark.slow
def test_serving(tmp_path, llama):
    """One server for all facts about it: it takes seconds to start."""
    with serve.serve(serve.transformers(str(llama)), tmp_path / "log", threading.Event()) as server:
        halt = threading.Event()
        greedy = Endpoint(server.base_url, server.model, is_local=True, check=server.check)
        first, second = (wait(greedy.ask("sales 12 34", 20, 0.0, halt)) for _ in range(2))
        assert first.text == second.text
        assert (first.completion_tokens, first.finish_reason, first.prompt_tokens) == (20, "length", 12)
        extra = serve.build_sampling(str(llama), 1.0)
        hot = Endpoint(server.base_url, server.model, is_local=True, extra_body=extra)
        assert len({wait(hot.ask("sales 12 34", 20, 1.0, halt)).text for _ in range(3)}) == 3
        assert wait(hot.ask("sales 12 34", 5, 1.0, halt)).completion_tokens <= 5
        with pytest.raises(SpecError, match="pinned"):
            wait(Endpoint(server.base_url, "other", is_local=True).ask("x", 1, 0.0, halt))
        server.process.kill()
        with pytest.raises(ToolError, match="killed by signal 9") as caught:
            wait(greedy.ask("sales 12 34", 20, 0.0, halt))
        assert caught.value.exit_code == exits.KILLED
    assert not lives(server.process.pid)


@pytest.mark.slow
def test_main_serves_a_folder_and_stops_with_its_end_of_sequence(tmp_path, llama):
    from safetensors.torch import load_file, save_file

    weights = load_file(llama / "model.safetensors")
    ends = {name: value.clone() for name, value in weights.items()}
    ends["lm_head.weight"].zero_()  # all letters alike: the first one, <eos>, wins
    ending = tmp_path / "ending"
    ending.mkdir()
    for path in llama.iterdir():
        (ending / path.name).write_bytes(path.read_bytes())
    save_file(ends, ending / "model.safetensors", metadata={"format": "pt"})
    template = (ending / "chat_template.jinja").read_text()
    (ending / "chat_template.jinja").write_text(template + "{% if more is defined %}{{ 'a' * more }}{% endif %}")
    models = [{"name": "babbles", "path": str(llama)}, {"name": "ends", "path": str(ending)}]
    models[1]["chat_template_kwargs"] = {"more": 7}
    tasks = [{"task": "ledger", "size": 5}]
    document = {"method": "eval", "eval": {"models": models, "tasks": tasks, "max_tokens": 8}}
    spec = load.build(document, "test")
    assert main(spec, "eval", tmp_path) == 0
    about = {a["model"]: a for a in map(json.loads, (p.read_text() for p in tmp_path.glob("cells/*/cell.json")))}
    assert about["babbles"]["summary"]["truncated"] == 5
    assert (about["ends"]["summary"]["truncated"], about["ends"]["summary"]["unparsed"]) == (0, 5)
    assert about["ends"]["settings"]["context_length"] == 256
    asked = {name: cell["summary"]["prompt_tokens"] for name, cell in about.items()}
    assert asked["ends"] > asked["babbles"], "the server renders with the model's chat_template_kwargs"
    (run,) = (tmp_path / "runs").iterdir()
    logs = {path.name: path.stat().st_mtime_ns for path in run.glob("serve-*.log")}
    assert set(logs) == {"serve-babbles.log", "serve-ends.log"}
    assert main(spec, "eval", tmp_path) == 0  # nothing is left: no server is started
    assert {path.name: path.stat().st_mtime_ns for path in run.glob("serve-*.log")} == logs


def test_vllm_finds_a_folder_from_inside_it(tmp_path, monkeypatch):
    (tmp_path / "model").mkdir()
    monkeypatch.chdir(tmp_path)
    assert str(tmp_path / "model") in serve.vllm("model", "m", None).list_arguments(8000)
    assert "some/body" in serve.vllm("some/body@main", "m", None).list_arguments(8000)


@pytest.mark.parametrize("prefix", ["", "(EngineCore pid=7) "])
def test_the_reason_in_vllms_log(tmp_path, prefix):
    said = "ERROR 11-29 09:32:06 [multiproc_executor.py:944]"
    lines = [
        f"{prefix}{said}     raise ValueError(",
        f"{prefix}{said} ValueError: too little memory",
        "INFO 1 [x.py:2] off",
    ]
    lines += ["(APIServer pid=1) RuntimeError: it failed. See root cause above."]
    (tmp_path / "log").write_text("\n".join(lines))
    assert serve._find_reason(tmp_path / "log") == "ValueError: too little memory"


def test_health_of_nobody(tmp_path):
    process = subprocess.Popen([sys.executable, "-c", "pass"], stdin=subprocess.PIPE)
    process.wait()
    server = serve.Server(process, 9, serve.transformers("m"), tmp_path / "log")
    (tmp_path / "log").write_text("the last words\n")
    assert not serve._is_healthy(urllib.request.build_opener(), server)
    with pytest.raises(ToolError, match="ended with 0.*\n.*the last words") as caught:
        server.check()
    assert exits.is_retryable(caught.value.exit_code)


def test_stop_ends_grandchildren(tmp_path):
    script = "import subprocess, sys; p = subprocess.Popen(['sleep', '60']); print(p.pid, flush=True); p.wait()"
    process = subprocess.Popen(
        [sys.executable, "-c", script], stdin=subprocess.PIPE, stdout=subprocess.PIPE, start_new_session=True
    )
    grandchild = int(process.stdout.readline())
    serve.stop(process)
    assert process.returncode == -signal.SIGTERM
    wait_for(lambda: not lives(grandchild), 5)
    process.stdout.close()
