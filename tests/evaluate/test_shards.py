import json
import signal
import threading
import time

import pytest

from fino1 import exits, runs
from fino1.cells import read_cell
from fino1.errors import SpecError
from fino1.evaluate import samples
from fino1.evaluate.endpoint import EndpointLost
from fino1.evaluate.main import main
from fino1.evaluate.samples import INDEX
from fino1.spec import load
from fino1.tasks import ledger
from tests.evaluate.forks import Fork

N = 14  # five, five and four questions for three shards


@pytest.fixture
def knowing(server):
    """A server that knows the answers to most questions, cuts some off and babbles on others."""
    records = ledger.generate("test", n=60, seed=42)
    known = {ledger.TASK.prompt(record): (i, record.response) for i, record in enumerate(records)}
    server.reply = lambda prompt: "well" if known[prompt][0] % 5 == 3 else known[prompt][1]
    server.finish_reason = lambda prompt: "length" if known[prompt][0] % 4 == 1 else "stop"
    return server


@pytest.fixture
def as_shard(monkeypatch):
    def run(spec, index, work):
        with monkeypatch.context() as patch:
            patch.setenv(INDEX, str(index))
            return main(spec, "eval", work)

    return run


@pytest.fixture
def one(knowing, monkeypatch):
    """A run with one model and one task, in so many shards."""
    monkeypatch.delenv(INDEX, raising=False)

    def build(shards, n=N, **block):
        models = [{"name": "a", "base_url": knowing.base_url}]
        settings = {"models": models, "tasks": [{"task": "ledger", "size": n}], "max_retries": 1, "timeout_s": 5}
        return load.build({"method": "eval", "eval": settings | {"shards": shards} | block}, "test")

    return build


def what_counts(work):
    """All cells, without what depends on the clock."""
    found = {}
    for path in sorted((work / "cells").iterdir()):
        about = json.loads((path / "cell.json").read_text())
        lines = [json.loads(line) for line in (path / "samples.jsonl").read_text().splitlines()]
        kept = [{key: value for key, value in line.items() if key != "seconds"} for line in lines]
        about["summary"].pop("seconds")
        assert read_cell(path).samples
        assert sorted(p.name for p in path.iterdir() if p.name[0] != ".") == ["cell.json", "samples.jsonl"]
        assert not list(path.glob(".*.tmp"))
        found[path.name] = (json.dumps(about), json.dumps(kept))
    return found


def start(config, work, index):
    arguments = ["evaluate", "--config", config, "--work", work, "--name", "eval"]
    return Fork(arguments, {INDEX: str(index)})


def written(tmp_path, spec):
    path = tmp_path / "config.json"
    runs.write_config(path, spec)
    return path


def wait_for(condition, seconds=30.0):
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline, "waited too long"
        time.sleep(0.02)


def test_three_shards_one_after_another_make_what_one_process_makes(knowing, one, as_shard, tmp_path, capsys):
    assert main(one(1), "eval", tmp_path / "whole") == 0
    parts = tmp_path / "parts"
    spec = one(3)
    done = runs.directory(parts, "eval", spec) / "done.json"
    for index in (2, 0):
        assert as_shard(spec, index, parts) == 0
        assert not done.exists()
    (cell,) = (parts / "cells").iterdir()
    assert {p.name for p in cell.glob("*.jsonl")} == {"samples-0-of-3.jsonl", "samples-2-of-3.jsonl"}
    assert as_shard(spec, 1, parts) == 0
    assert what_counts(parts) == what_counts(tmp_path / "whole")
    assert json.loads(done.read_text())["cells"] == [cell.name]
    assert set(knowing.asked.values()) == {2}
    assert as_shard(spec, 0, parts) == 0  # a pod that is started again
    assert knowing.asked.total() == 2 * N
    lines = [json.loads(line) for line in capsys.readouterr().out.splitlines() if line.startswith("{")]
    assert [(line["done"], line["total"]) for line in lines if line.get("shard") == "3/3"][-1] == (4, 4)


@pytest.mark.slow
def test_three_processes_at_once(knowing, one, tmp_path):
    knowing.delay_s = 0.02
    assert main(one(1, n=60), "eval", tmp_path / "whole") == 0
    spec = one(3, n=60)
    config = written(tmp_path, spec)
    processes = [start(config, tmp_path / "parts", index) for index in range(3)]
    assert [process.wait(60) for process in processes] == [0, 0, 0]
    assert what_counts(tmp_path / "parts") == what_counts(tmp_path / "whole")
    assert (runs.directory(tmp_path / "parts", "eval", spec) / "done.json").is_file()
    assert set(knowing.asked.values()) == {2}


@pytest.mark.slow
@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGTERM])
def test_a_shard_killed_in_the_middle_goes_on(knowing, one, tmp_path, number):
    knowing.delay_s = 0.05
    config = written(tmp_path, one(2, n=60, concurrency=2))
    process = start(config, tmp_path, 0)
    wait_for(lambda: knowing.answered.total() >= 8)
    process.send_signal(number)
    assert process.wait(20) == (exits.TERMINATED if number == signal.SIGTERM else -signal.SIGKILL)
    (cell,) = (tmp_path / "cells").iterdir()
    lines = (cell / "samples-0-of-2.jsonl").read_bytes().split(b"\n")[:-1]
    kept = {json.loads(line)["prompt"] for line in lines}
    assert 5 <= len(kept) < 30
    assert [start(config, tmp_path, index).wait(30) for index in (1, 0)] == [0, 0]
    assert what_counts(tmp_path)
    assert all(knowing.asked[prompt] == 1 for prompt in kept)
    # What was on its way when it was killed was asked and not heard; after SIGTERM it was waited for.
    assert knowing.asked.total() - 60 <= (2 if number == signal.SIGKILL else 0)


@pytest.mark.parametrize("after", [1, 3, 14])
def test_another_number_of_shards_asks_only_what_is_left(knowing, one, as_shard, tmp_path, after):
    assert main(one(1), "eval", tmp_path / "whole") == 0
    assert as_shard(one(2), 1, tmp_path / "parts") == 0
    assert knowing.asked.total() == N + 7
    spec = one(after)
    assert spec != one(2)
    for index in range(after):
        assert as_shard(spec, index, tmp_path / "parts") == 0
    assert set(knowing.asked.values()) == {2}
    assert what_counts(tmp_path / "parts") == what_counts(tmp_path / "whole")
    assert (runs.directory(tmp_path / "parts", "eval", spec) / "done.json").is_file()
    assert as_shard(one(2), 0, tmp_path / "parts") == 0  # the first run is done as well
    assert len(list(tmp_path.glob("parts/runs/*/done.json"))) == 2
    assert knowing.asked.total() == 2 * N


def test_samples_of_a_whole_run_count_in_shards(knowing, one, as_shard, tmp_path):
    last = ledger.TASK.prompt(ledger.generate("test", n=N, seed=42)[-1])
    knowing.fault = lambda prompt, number: (503, {}, {"message": "down"}) if prompt == last else None
    with pytest.raises(EndpointLost):
        main(one(1, concurrency=1), "eval", tmp_path)
    knowing.fault = lambda prompt, number: None
    for index in range(3):
        assert as_shard(one(3), index, tmp_path) == 0
    assert set(knowing.answered.values()) == {1}
    assert what_counts(tmp_path)


def test_more_shards_than_questions(knowing, one, as_shard, tmp_path):
    for index in range(4):
        assert as_shard(one(4, n=2), index, tmp_path) == 0
    assert what_counts(tmp_path)
    assert knowing.asked.total() == 2


def test_without_an_index_one_process_does_it_all(knowing, one, tmp_path):
    assert main(one(3), "eval", tmp_path) == 0
    assert what_counts(tmp_path)
    assert (runs.directory(tmp_path, "eval", one(3)) / "done.json").is_file()


@pytest.mark.parametrize("index", ["3", "-1", "", "one", "1.0", "²"])
def test_an_index_that_is_none(knowing, one, as_shard, tmp_path, index):
    with pytest.raises(SpecError, match=f"{INDEX}: expected a number from 0 to 2 with eval.shards=3, got '{index}'"):
        as_shard(one(3), index, tmp_path)
    assert as_shard(one(1), index, tmp_path) == 0  # an index of somebody else's


def test_a_torn_line_of_a_shard_is_asked_again_by_it_alone(knowing, one, as_shard, tmp_path):
    assert as_shard(one(2), 0, tmp_path) == 0
    (path,) = tmp_path.glob("cells/*/samples-0-of-2.jsonl")
    path.write_bytes(path.read_bytes()[:-9])
    assert as_shard(one(2), 1, tmp_path) == 0
    assert knowing.asked.total() == N
    assert not list(tmp_path.glob("cells/*/cell.json"))
    assert as_shard(one(2), 0, tmp_path) == 0
    assert knowing.asked.total() == N + 1
    assert what_counts(tmp_path)


def test_two_that_finish_at_the_same_moment(knowing, one, as_shard, tmp_path, monkeypatch):
    """Both see all answers, and one has finished and dropped the parts when the other begins to."""
    assert as_shard(one(2), 0, tmp_path) == 0
    write = samples.write
    began = []

    def slow(path, questions, found):
        if path.name == "samples.jsonl" and not began:
            began.append(path)
            assert as_shard(one(2), 1, tmp_path) == 0
        write(path, questions, found)

    monkeypatch.setattr(samples, "write", slow)
    monkeypatch.setattr(samples, "_acquire", lambda *arguments: None)
    assert as_shard(one(2), 1, tmp_path) == 0
    assert began
    assert what_counts(tmp_path)
    assert knowing.asked.total() == N


def test_parts_that_vanish_while_they_are_read(knowing, one, as_shard, tmp_path, monkeypatch):
    """Another shard finishes the cell between our look at its files and our reading of them."""
    assert as_shard(one(2), 0, tmp_path) == 0
    read, reads = samples._read, []

    def late(path, questions):
        reads.append(path.name)
        if reads.count("samples-0-of-2.jsonl") == 2 and path.name == "samples-0-of-2.jsonl":  # the first one tidies up
            monkeypatch.setattr(samples, "_read", read)
            assert as_shard(one(2), 1, tmp_path) == 0
            assert not path.exists()
        return read(path, questions)

    monkeypatch.setattr(samples, "_read", late)
    monkeypatch.setattr(samples, "_acquire", lambda *arguments: None)
    assert as_shard(one(2), 0, tmp_path) == 0
    assert samples._read is read
    assert knowing.asked.total() == N
    assert what_counts(tmp_path)


def test_shards_and_a_whole_run_wait_for_each_other(knowing, one, as_shard, tmp_path):
    knowing.delay_s = 0.05
    codes = []
    thread = threading.Thread(target=lambda: codes.append(main(one(1, concurrency=1), "whole", tmp_path)))
    thread.start()
    wait_for(lambda: knowing.asked.total() >= 2)
    codes.append(as_shard(one(2), 0, tmp_path))
    thread.join()
    assert codes == [0, 0]
    assert knowing.asked.total() == N
