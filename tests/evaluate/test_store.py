"""Cells in an object store: fsspec's own store in memory, which may go away for a while. test_s3.py has a real server."""

import json
import shutil
import threading
from collections import Counter

import fsspec
import pytest
from fsspec.implementations.memory import MemoryFileSystem

from fino1 import cells, exits
from fino1.errors import SpecError
from fino1.evaluate import store
from fino1.evaluate.endpoint import EndpointLost
from fino1.evaluate.main import main
from fino1.evaluate.store import StoreLost
from fino1.spec import load
from fino1.tasks import scoring
from tests.evaluate.test_main import N, only_cell, spec_of
from tests.evaluate.test_rescore import raise_version, rescore


class Away(MemoryFileSystem):
    """`fault(number)` says what the number-th write of a batch raises, None: nothing."""

    protocol = "away"
    store, pseudo_dirs = {}, [""]
    writes = Counter()
    fault = staticmethod(lambda number: None)

    def pipe_file(self, path, value, **options):
        if "/samples-" in path:
            Away.writes["batches"] += 1
            if problem := Away.fault(Away.writes["batches"]):
                raise problem
        super().pipe_file(path, value, **options)


@pytest.fixture
def away(monkeypatch):
    """The names of the objects in the store, as a function."""
    fsspec.register_implementation("away", Away, clobber=True)
    monkeypatch.setattr(store, "FIRST_PAUSE_S", 0.01)
    Away.store.clear()
    Away.writes.clear()
    Away.fault = staticmethod(lambda number: None)
    return lambda: sorted(name.rpartition("/")[2] for name in Away.store)


def stored(server, **block):
    return spec_of(server, store="away://bucket/evaluations", **block)


def kept(key):
    return {
        json.loads(line)["id"]
        for name, file in Away.store.items()
        if key in name and "/samples" in name
        for line in file.getvalue().splitlines()
    }


def test_a_finished_cell_comes_from_the_store_and_makes_no_request(right, tmp_path, away):
    assert main(stored(right), "eval", tmp_path / "a") == 0
    assert away() == [".fino1", "cell.json", "samples.jsonl"]
    assert main(stored(right), "eval", tmp_path / "b") == 0  # another machine
    assert right.asked.total() == N
    assert cells.read_cell(only_cell(tmp_path / "a")) == cells.read_cell(only_cell(tmp_path / "b"))
    assert main(spec_of(right), "eval", tmp_path / "a") == 0  # the same cell without a store
    assert right.asked.total() == N


def test_a_store_that_is_away_for_a_while_holds_the_questions_back(right, tmp_path, away):
    Away.fault = staticmethod(lambda number: OSError("SlowDown") if 3 <= number <= 6 else None)
    assert main(stored(right, concurrency=2), "eval", tmp_path) == 0
    assert set(right.answered.values()) == {1}
    assert Away.writes["batches"] > 6
    assert len(kept(only_cell(tmp_path).name)) == N


def test_what_a_lost_machine_had_bought_is_in_the_store(right, tmp_path, away):
    """All that is asked again is what was under way: no answer whose thread has gone on."""
    Away.fault = staticmethod(lambda number: ConnectionError("gone") if number > 4 else None)
    store_patience, store.PATIENCE_S = store.PATIENCE_S, 0.0
    try:
        with pytest.raises(StoreLost) as lost:
            main(stored(right, concurrency=2), "eval", tmp_path)
    finally:
        store.PATIENCE_S = store_patience
    assert exits.is_retryable(lost.value.exit_code)
    there, asked = kept(only_cell(tmp_path).name), right.asked.total()
    assert len(there) >= 4
    assert asked - len(there) <= 2 * 2  # a batch that could not be written, and what was under way then
    on_disk = (only_cell(tmp_path) / "samples.jsonl").read_bytes()
    assert on_disk.count(b"\n") == asked  # of what was paid for the disk has everything
    Away.fault = staticmethod(lambda number: None)
    assert main(stored(right), "eval", tmp_path) == 0
    assert set(right.answered.values()) == {1}


def test_a_machine_without_a_disk_asks_only_what_the_store_lacks(right, tmp_path, away):
    Away.fault = staticmethod(lambda number: PermissionError("AccessDenied") if number > 5 else None)
    with pytest.raises(SpecError, match="eval.store: expected a store that can be written and read, got away://bucket"):
        main(stored(right, concurrency=1), "eval", tmp_path / "a")
    there = len(kept(only_cell(tmp_path / "a").name))
    shutil.rmtree(tmp_path / "a")
    Away.fault = staticmethod(lambda number: None)
    asked = right.asked.total()
    assert main(stored(right), "eval", tmp_path / "b") == 0
    assert right.asked.total() - asked == N - there
    assert away() == [".fino1", "cell.json", "samples.jsonl"]


def test_shards_without_a_common_disk_share_a_cell(right, tmp_path, away, monkeypatch):
    for index in range(3):
        monkeypatch.setenv("JOB_COMPLETION_INDEX", str(index))
        assert main(stored(right, shards=3), "eval", tmp_path / str(index)) == 0
    assert right.asked.total() == N
    assert cells.find_finished(only_cell(tmp_path / "2")).summary.n == N
    assert cells.find_finished(only_cell(tmp_path / "0")) is None
    assert away() == [".fino1", "cell.json", "samples.jsonl"]


def test_a_disk_with_answers_fills_a_store(right, tmp_path, away):
    assert main(spec_of(right), "eval", tmp_path) == 0
    assert main(stored(right), "eval", tmp_path) == 0
    assert away() == [".fino1", "cell.json", "samples.jsonl"]
    (only_cell(tmp_path) / "cell.json").unlink()
    Away.store.clear()
    assert main(stored(right), "eval", tmp_path) == 0
    assert right.asked.total() == N


def test_completions_of_an_earlier_scorer_come_from_the_store(right, tmp_path, away, monkeypatch):
    assert main(stored(right), "eval", tmp_path / "a") == 0
    raise_version(monkeypatch)
    assert main(stored(right), "eval", tmp_path / "b") == 0
    assert right.asked.total() == N
    assert rescore(tmp_path / "a", stored(right)) == 0
    found = [cells.find_finished(path).settings["scorer"] for path in (tmp_path / "a/cells").iterdir()]
    assert scoring.SCORER_VERSION in found


def test_sigterm_while_the_store_is_away(right, tmp_path, away):
    Away.fault = staticmethod(lambda number: OSError("away"))
    stop = threading.Event()
    stop.set()
    opened = store.Store("away://bucket", stop)
    with pytest.raises(store.Cancelled):
        opened.put("key", b"{}\n")


@pytest.mark.parametrize(
    ("url", "problem"),
    [
        ("file://data/cells", "expected an object store such as s3://…, got file://data/cells"),
        ("memory://cells", "expected an object store such as s3://…, got memory://cells; it ends with the process"),
        ("http://127.0.0.1:9/cells", "expected an object store such as s3://…, got http://127.0.0.1:9/cells"),
        ("nosuch://bucket", "expected a URL that fsspec can open here, got nosuch://bucket"),
        ("reference://bucket", "expected a URL that fsspec can open here, got reference://bucket"),
    ],
)
def test_a_store_that_is_none_is_told_before_a_request(right, tmp_path, url, problem):
    with pytest.raises(SpecError, match=f"eval.store: {problem}"):
        main(spec_of(right, store=url), "eval", tmp_path)
    assert right.asked.total() == 0


def test_a_user_and_password_have_no_place_in_the_url(server):
    with pytest.raises(
        SpecError, match="eval.store: expected a URL such as s3://bucket/prefix, without user and password"
    ):
        spec_of(server, store="s3://key:secret@bucket/x")


def test_a_run_without_a_store_is_named_as_before(server):
    assert "store" not in load.config(spec_of(server))["eval"]


def test_extractions_lie_in_the_store_beside_their_answers(right, faulty, tmp_path, away):
    reader = faulty()
    settings = {"extraction": {"base_url": reader.base_url}, "concurrency": 1}
    reader.fault = lambda prompt, number: None if reader.answered.total() < 5 else (503, {}, {"message": "down"})
    with pytest.raises(EndpointLost):
        main(stored(right, **settings), "eval", tmp_path / "a")
    reader.fault = lambda prompt, number: None
    for work in "bc":  # machines without the disk of the first
        assert main(stored(right, **settings), "eval", tmp_path / work) == 0
    assert (right.asked.total(), set(reader.answered.values())) == (N, {1})
    assert away().count("cell.json") == 2
