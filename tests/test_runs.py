import json
import os
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path

import pytest

from fino1 import files, runs
from fino1.errors import AttemptError, SpecError
from fino1.spec import load
from fino1.spec.inputs import DataBlock, ModelRef


def make(work: Path, name: str, *, done: bool = True, model: bool = True) -> Path:
    folder = work / "runs" / name
    (folder / "model").mkdir(parents=True)
    if model:
        (folder / "model" / "config.json").write_text("{}")
    if done:
        (folder / "done.json").write_text("{}")
    return folder


def said(call, *arguments, **options):
    with pytest.raises(SpecError) as caught:
        call(*arguments, **options)
    return str(caught.value)


def test_one_finished_run(tmp_path):
    folder = make(tmp_path, "sft-0123456789")
    make(tmp_path, "sft-tiny-0123456789")  # another name that begins alike
    make(tmp_path, "sft-9876543210", done=False)
    assert runs.finished(tmp_path, "sft") == folder
    assert runs.finished(tmp_path, "sft-0123456789") == folder
    assert runs.finished(tmp_path, "sft-tiny") == tmp_path / "runs" / "sft-tiny-0123456789"


def test_none_is_finished(tmp_path):
    assert "run: sft: expected a finished run in " in said(runs.finished, tmp_path, "sft")
    assert said(runs.finished, tmp_path, "sft").endswith("got none (finished there: none)")
    make(tmp_path, "sft-0123456789", done=False)
    make(tmp_path, "ppo-0123456789")
    assert said(runs.finished, tmp_path, "sft").endswith("got none (finished there: ppo-0123456789)")


@pytest.mark.parametrize("name", ["s*", "sf?", "[s]ft", "", "..", "sft-", "."])
def test_a_name_is_no_pattern(tmp_path, name):
    make(tmp_path, "sft-0123456789")
    assert "expected a finished run" in said(runs.finished, tmp_path, name)


def test_several_are_finished(tmp_path):
    make(tmp_path, "sft-bbbbbbbbbb")
    make(tmp_path, "sft-aaaaaaaaaa")
    message = said(runs.finished, tmp_path, "sft")
    assert "expected one finished run" in message
    assert "got 2: sft-aaaaaaaaaa, sft-bbbbbbbbbb" in message
    assert runs.finished(tmp_path, "sft-bbbbbbbbbb").name == "sft-bbbbbbbbbb"


def test_resolve(tmp_path):
    folder = make(tmp_path, "sft-0123456789")
    (tmp_path / "here").mkdir()
    (tmp_path / "here" / "config.json").write_text("{}")
    here = str(tmp_path / "here")
    assert runs.resolve(ModelRef(run="sft"), tmp_path) == (str(folder / "model"), None)
    assert runs.resolve(ModelRef(path=here), tmp_path) == (here, None)
    assert runs.resolve(ModelRef(hub="a/b", revision="main"), tmp_path) == ("a/b", "main")
    assert runs.resolve(ModelRef(), tmp_path, "a/b") == ("a/b", None)


def test_resolve_names_the_key(tmp_path):
    make(tmp_path, "eval-0123456789", model=False)
    key = {"key": "ppo.value_model"}
    assert said(runs.resolve, ModelRef(), tmp_path, **key) == (
        "ppo.value_model: expected one of hub, path, run, got none"
    )
    assert said(runs.resolve, ModelRef(path="nowhere"), tmp_path, **key) == (
        "ppo.value_model.path: nowhere: expected a directory with config.json, got none"
    )
    assert said(runs.resolve, ModelRef(run="eval"), tmp_path, **key) == (
        "ppo.value_model.run: eval: expected a run that trained a model, got one that left none"
    )
    assert said(runs.resolve, ModelRef(run="none"), tmp_path, **key).startswith("ppo.value_model.run: none: expected")


def test_rows_of_a_run(tmp_path):
    assert runs.find_rows(DataBlock(path="a"), "sft", tmp_path) == DataBlock(path="a")
    block = DataBlock(run="paths", limit=3)
    assert said(runs.find_rows, block, "sft", tmp_path) == (
        f"data.run: paths: expected a finished run in {tmp_path}/runs, got none (finished there: none)"
    )
    folder = make(tmp_path, "paths-0123456789", model=False)
    (folder / "rows.jsonl").write_text("")
    found = runs.find_rows(block, "sft", tmp_path)
    assert (found.run, found.path, found.limit) == (None, f"{folder}/rows.jsonl", 3)
    assert said(runs.find_rows, block, "ppo", tmp_path) == (
        "data.run: paths: expected a run of method paths, got one without rl.jsonl"
    )


def test_pin(tmp_path):
    make(tmp_path, "old-0123456789")
    document = {
        "model": {"run": "sft"},
        "data": {"run": "old"},
        "ppo": {"value_model": {"run": "old"}, "reward": {"model": {"run": "old-0123456789"}}},
        "eval": {"models": [{"name": "sft", "run": "sft"}, {"name": "x", "hub": "y"}]},
    }
    before = json.dumps(document)
    assert runs.pin(document, tmp_path, {"sft": "sft-aaaaaaaaaa"}, "F") == {
        "model": {"run": "sft-aaaaaaaaaa"},
        "data": {"run": "old-0123456789"},
        "ppo": {"value_model": {"run": "old-0123456789"}, "reward": {"model": {"run": "old-0123456789"}}},
        "eval": {"models": [{"name": "sft", "run": "sft-aaaaaaaaaa"}, {"name": "x", "hub": "y"}]},
    }
    assert json.dumps(document) == before


def test_a_stage_goes_before_a_run_of_its_name(tmp_path):
    make(tmp_path, "sft-0123456789")
    assert runs.pin({"run": "sft"}, tmp_path, {"sft": "sft-aaaaaaaaaa"}, "F") == {"run": "sft-aaaaaaaaaa"}


def test_pin_says_all_that_is_missing(tmp_path):
    document = {"model": {"run": "a"}, "eval": {"models": [{"run": "b"}, {"run": 3}]}}
    with pytest.raises(SpecError) as caught:
        runs.pin(document, tmp_path, {}, "F")
    assert [text.partition(": expected")[0] for text in caught.value.problems] == [
        "F: model.run: a",
        "F: eval.models.0.run: b",
    ]


@pytest.mark.parametrize("name", ["", "A", "a b", "a/b", "../a", "-a", "a-", "a" * 35, "ä", "a\n"])
def test_bad_names_make_no_directories(tmp_path, name):
    spec = load.build({"method": "sft", "data": {"task": "ledger"}}, "F")
    assert said(runs.directory, tmp_path, name, spec).startswith("--name: expected at most 34 lower-case letters")


def test_the_directory_of_a_run(tmp_path):
    spec = load.build({"method": "sft", "data": {"task": "ledger"}}, "F")
    assert runs.directory(tmp_path, "a.b-1", spec) == tmp_path / "runs" / f"a.b-1-{load.run_hash(spec)}"


def test_work_that_cannot_be_written(tmp_path):
    (tmp_path / "file").write_text("x")
    runs.check_work(tmp_path / "new" / "deep")
    assert list((tmp_path / "new" / "deep").iterdir()) == []
    for work in (tmp_path / "file", tmp_path / "file" / "below", Path("/proc/nothing")):
        assert said(runs.check_work, work).startswith(f"--work: {work}: expected a directory that can be written, got ")


def test_write_bytes_is_whole_and_leaves_nothing_else(tmp_path):
    path = tmp_path / "a" / "b.json"
    files.write_bytes(path, b"one")
    files.write_bytes(path, b"two")
    assert path.read_bytes() == b"two"
    assert os.listdir(path.parent) == ["b.json"]


def test_an_interrupted_write_leaves_the_old_file(tmp_path, monkeypatch):
    path = tmp_path / "b.json"
    files.write_bytes(path, b"old")

    def fail(*arguments):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(files.os, "fsync", fail)
    with pytest.raises(OSError, match="No space"):
        files.write_bytes(path, b"new")
    assert path.read_bytes() == b"old"
    assert os.listdir(tmp_path) == ["b.json"]


WRITER = """
import sys
from pathlib import Path
from fino1 import files
path, i = Path(sys.argv[1]), 0
while True:
    i += 1
    files.write_bytes(path, (str(i % 10) * 300_000).encode())
    if i == 3: print("ready", flush=True)
"""


def test_a_killed_writer_leaves_a_whole_file(tmp_path):
    path = tmp_path / "file"
    for _ in range(3):
        with subprocess.Popen([sys.executable, "-c", WRITER, str(path)], stdout=subprocess.PIPE) as writer:
            writer.stdout.readline()
            time.sleep(0.02)
            writer.send_signal(signal.SIGKILL)
        content = path.read_bytes()
        assert len(content) == 300_000
        assert len(set(content)) == 1


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"cells": [1]}, "cells: expected a list of texts, one for each cell, got [1]"),
        ({"models": None}, "models: expected a list of texts, one for each cell, got null"),
        ({"tasks": ["t", "u"]}, 'tasks: expected a list of texts, one for each cell, got ["t", "u"]'),
    ],
)
def test_cells_that_a_run_names(tmp_path, changes, said):
    listed = {"cells": ["ab"], "models": ["m"]}
    (tmp_path / "done.json").write_text(json.dumps(listed | {"method": "eval"}))
    assert runs.read_cells(tmp_path) == listed
    (tmp_path / runs.CELLS_FILE).write_text(json.dumps(listed | changes))
    with pytest.raises(SpecError) as caught:
        runs.read_cells(tmp_path)
    assert str(caught.value) == f"{tmp_path}/cells.json: {said}"


def folder_of(path: Path, **files: str) -> Path:
    for name, text in files.items():
        (path / name).parent.mkdir(parents=True, exist_ok=True)
        (path / name).write_text(text)
    return path


def test_publish_replaces_a_directory_whole(tmp_path):
    final = folder_of(tmp_path / "model", old="1")
    files.publish({folder_of(tmp_path / ".model.tmp", new="2", **{"deep/er": "3"}): final})
    assert sorted(os.listdir(tmp_path)) == ["model"]
    assert sorted(os.listdir(final)) == ["deep", "new"]


def test_publish_syncs_files_before_the_rename(tmp_path, monkeypatch):
    happened = []
    fsync, replace = os.fsync, os.replace
    monkeypatch.setattr(files.os, "fsync", lambda fd: (happened.append(os.readlink(f"/proc/self/fd/{fd}")), fsync(fd)))
    monkeypatch.setattr(files.os, "replace", lambda a, b: (happened.append("rename"), replace(a, b)))
    temporary = folder_of(tmp_path / "tmp", a="1", **{"d/b": "2"})
    files.publish({temporary: tmp_path / "final"})
    before = happened[: happened.index("rename")]
    assert {str(temporary / name) for name in ("a", "d", "d/b")} | {str(temporary)} <= set(before)
    assert happened[-1] == str(tmp_path)


def test_the_artefact_s_hash(tmp_path):
    first = files.artefact_hash(folder_of(tmp_path / "a", x="1", **{"d/y": "2"}))
    assert files.artefact_hash(folder_of(tmp_path / "b", **{"d/y": "2"}, x="1")) == first
    others = [
        folder_of(tmp_path / "c", x="1", **{"d/y": "3"}),  # other bytes
        folder_of(tmp_path / "d", x="1", y="2"),  # another place
        folder_of(tmp_path / "e", x="1", **{"d/z": "2"}),  # another name
        folder_of(tmp_path / "f", x="1"),  # fewer
        folder_of(tmp_path / "g", x="2", **{"d/y": "1"}),  # swapped
    ]
    assert len({first, *map(files.artefact_hash, others)}) == 6
    assert first == "48619475c7430845ed870737501960b3a4e112907ff035b97a2e8c1ff7749ea2"


HOLD = """
import sys, time
from pathlib import Path
from fino1 import files
with files.lock(Path(sys.argv[1]), 0):
    print("held", flush=True)
    time.sleep(60)
"""


def test_one_attempt_at_a_time_holds_a_directory_until_its_process_ends(tmp_path, capsys):
    with subprocess.Popen([sys.executable, "-c", HOLD, tmp_path], stdout=subprocess.PIPE, text=True) as other:
        assert other.stdout.readline() == "held\n"
        with pytest.raises(AttemptError, match=f"process {other.pid}, since"), files.lock(tmp_path, 0):
            pass
        threading.Timer(1, other.kill).start()
        with files.lock(tmp_path, 30):
            assert f"waiting for another attempt in {tmp_path}: host" in capsys.readouterr().err
            assert f"process {os.getpid()}, since" in (tmp_path / ".lock").read_text()
