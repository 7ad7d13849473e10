"""Does a search for paths whose pods are killed make the rows of an undisturbed one, and buy no call twice? (docs/paths.md)

The writer is a server on this machine, at the bridge's address, which pods reach. The pods have no torch.
"""

import json
import threading
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import pytest

from fino1.paths import output
from tests.cluster.tools import machine
from tests.e2e import killing
from tests.e2e.killing import LONG_S, Ordeal, Witness
from tests.e2e.shell import Shell
from tests.evaluate.conftest import Faulty
from tests.paths.conftest import SEED, Writer

QUESTIONS, CONCURRENCY = 24, 2
KEY = "sesame"


@pytest.fixture
def writer() -> Iterator[Faulty]:
    """A writer whose replies follow from the prompt, half a second each: there is time to kill."""
    server = Faulty(host=machine.ADDRESS)
    server.reply, server.delay_s = Writer(malformed=10, wrong=70), 0.5
    threading.Thread(target=server.serve_forever, daemon=True).start()
    yield server
    server.shutdown()
    server.server_close()


def sent(writer: Faulty) -> Counter[str]:
    """How often each call was asked, by its Idempotency-Key: an endpoint that heeds it charges each once."""
    assert {headers["authorization"] for headers in writer.headers_seen} == {f"Bearer {KEY}"}
    return Counter(headers["idempotency-key"] for headers in writer.headers_seen)


def keys(shell: Shell) -> list[str]:
    """The key of each call on the volume."""
    return [json.loads(line)["key"] for path in shell.work.glob("paths/*/calls*.jsonl") for line in path.open()]


def results(shell: Shell, name: str) -> dict[str, bytes]:
    """The files that the run left, without what names its time."""
    files = (output.ROWS, output.RL_ROWS, output.PATHS, output.EXCLUDED, output.SUMMARY)
    return {file: (shell.directory(name) / file).read_bytes() for file in files}


def write_run(file: Path, writer: Faulty) -> None:
    """Two shards, whose key for the writer comes from a Secret."""
    model = {"base_url": writer.base_url, "model_id": "w", "api_key_env": "WRITER_KEY", "max_tokens": 64}
    tasks = [{"task": "ledger", "size": QUESTIONS}]
    block = {"writer": model, "tasks": tasks, "attempts": 2, "concurrency": CONCURRENCY, "shards": 2}
    secret = {"WRITER_KEY": {"name": "writer", "key": "key"}}
    document = {"method": "paths", "gpus_per_node": 0, "seed": SEED, "paths": block, "secretEnv": secret}
    file.write_text(json.dumps(document))


@pytest.mark.timeout(1200)
def test_killed_it_makes_the_same_rows_and_buys_no_call_twice(shell: Shell, writer: Faulty, tmp_path: Path) -> None:
    run_file = tmp_path / "paths.yaml"
    write_run(run_file, writer)
    shell.kubectl("create", "secret", "generic", "writer", f"--from-literal=key={KEY}")
    shell.fino1("submit", run_file, "--name", "sound", "--wait")
    bought, sound = keys(shell), sent(writer)
    assert set(sound.values()) == {1} and len(sound) == len(set(bought)) == len(bought) > 2 * QUESTIONS
    (shell.work / "paths").rename(shell.work / "paths-undisturbed")  # or there is nothing left to buy
    writer.headers_seen.clear()

    shell.fino1("submit", run_file, "--name", "killed")
    (run,) = [each["run"] for each in json.loads(shell.fino1("ps", "-o", "json"))["runs"] if each["name"] == "killed"]
    witness = Witness(shell, tmp_path / "pods.json")
    try:
        ordeal = Ordeal(shell, witness, run, "paths", "paths/*/calls*.jsonl")
        for part, way in enumerate((killing.delete_by_force, killing.kill_first, killing.evict)):
            ordeal.kill(way, part * len(sound) // 5 + 5)
        shell.fino1("wait", run, timeout_s=LONG_S)
    finally:
        witness.close()
    assert results(shell, "killed") == results(shell, "sound")
    assert sorted(keys(shell)) == sorted(bought)
    asked = sent(writer)
    assert asked.keys() == sound.keys()
    assert asked.total() - len(sound) <= len(ordeal.kills) * CONCURRENCY, "only what was under way is asked again"
    shell.fino1("fetch", "killed", "--to", tmp_path / "out")
    (rows,) = tmp_path.glob("out/runs/killed-*/rows.jsonl")
    assert rows.read_bytes() == results(shell, "sound")["rows.jsonl"]
