"""A search that is killed, at several points and with shards, ends in the bytes of one that was not, and buys no call twice."""

import json
import signal
import time
from collections import Counter

import pytest

from fino1 import exits, runs
from fino1.evaluate import endpoint
from fino1.evaluate.samples import INDEX
from fino1.paths.main import main
from tests.evaluate.forks import Fork
from tests.paths.conftest import Writer, spec_of
from tests.paths.test_main import directory_of, journal, results

N, CONCURRENCY = 10, 3
pytestmark = pytest.mark.slow


def start(spec, work, index=None):
    config = work / "config.json"
    runs.write_config(config, spec)
    environment = {} if index is None else {INDEX: str(index)}
    return Fork(["paths", "--config", config, "--name", "paths", "--work", work], environment, work / "printed")


def kill_after(server, process, answers, number=signal.SIGKILL):
    """Kill it once the server has answered so many more; returns its exit code."""
    wanted, deadline = server.answered.total() + answers, time.monotonic() + 60
    while server.answered.total() < wanted:
        assert time.monotonic() < deadline, "waited too long"
        time.sleep(0.002)
    process.send_signal(number)
    return process.wait(60)


def sent(server):
    """How often each request was made, by its Idempotency-Key: a server that knows the header charges each once."""
    return Counter(headers["idempotency-key"] for headers in server.headers_seen)


def header_of(call):
    """The Idempotency-Key under which a call of the journal was made."""
    message = {"role": "user", "content": call["prompt"]}
    body = {"model": "w", "messages": [message], "max_tokens": 64, "temperature": 0.5}
    return endpoint.identify(call["key"], json.dumps(body).encode())


def on_disk(server, work):
    """How often each call that is on disk was asked so far."""
    return {header_of(call): sent(server)[header_of(call)] for call in journal(work)}


@pytest.fixture
def sound(writer, tmp_path):
    """The results of a run that nobody killed, and the requests it made."""
    writer.reply = Writer(malformed=10, wrong=70)
    writer.delay_s = 0.01
    spec = spec_of(writer, N, concurrency=CONCURRENCY, attempts=2)
    assert main(spec, "paths", tmp_path / "sound") == 0
    requests = sent(writer)
    assert set(requests.values()) == {1}
    writer.headers_seen.clear()
    (tmp_path / "killed").mkdir()
    return results(spec, tmp_path / "sound"), set(requests)


def check(writer, sound, spec, work, kept, kills):
    """The results are the sound ones; a call that was on disk (`kept`: header → requests by then) was not asked again, and
    only what was under way at a kill may have been.
    """
    assert results(spec, work) == sound[0]
    requests = sent(writer)
    assert requests.keys() == sound[1]
    assert {header: requests[header] for header in kept} == kept
    assert requests.total() - len(sound[1]) <= kills * CONCURRENCY
    lines = [call["key"] for call in journal(work)]
    assert len(lines) == len(set(lines)) == len(sound[1])


@pytest.mark.parametrize(
    ("number", "points"), [(signal.SIGKILL, (1, 4, 9, 2, 14)), (signal.SIGTERM, (12,))], ids=["SIGKILL", "SIGTERM"]
)
def test_killed_at_several_points(writer, sound, tmp_path, number, points):
    spec = spec_of(writer, N, concurrency=CONCURRENCY, attempts=2)
    work, kept = tmp_path / "killed", {}
    for answers in points:
        code = kill_after(writer, start(spec, work), answers, number)
        assert code == (exits.TERMINATED if number == signal.SIGTERM else -signal.SIGKILL)
        kept = on_disk(writer, work) | kept  # the count by the first kill after it
    assert not (directory_of(spec, work) / "done.json").exists()
    assert start(spec, work).wait(60) == 0
    # Of the answers before a kill some were under way, and some were to what had been under way at the kill before.
    assert len(kept) >= sum(max(0, answers - 2 * CONCURRENCY) for answers in points) > 0
    # After SIGTERM what was under way is waited for.
    check(writer, sound, spec, work, kept, len(points) if number == signal.SIGKILL else 0)


def test_two_shards_killed(writer, sound, tmp_path):
    spec = spec_of(writer, N, concurrency=CONCURRENCY, attempts=2, shards=2)
    work = tmp_path / "killed"
    processes = [start(spec, work, index) for index in range(2)]
    assert kill_after(writer, processes[0], 12) == -signal.SIGKILL
    assert kill_after(writer, processes[1], 4) == -signal.SIGKILL
    kept = on_disk(writer, work)
    assert kept
    processes = [start(spec, work, index) for index in range(2)]
    assert [process.wait(60) for process in processes] == [0, 0]
    check(writer, sound, spec, work, kept, 2)
    done = json.loads((directory_of(spec, work) / "done.json").read_text())
    assert done["rows"] == json.loads(sound[0]["summary.json"])["rows"]
