"""Does what `fetch` packs in the pod come out here as it was, and nowhere else, whatever the pod sends?"""

import io
import json
import os
import subprocess
import sys
import tarfile
from pathlib import Path

import pytest

from fino1.errors import ClusterError, SpecError
from fino1.k8s.cluster import pack
from fino1.k8s.cluster.unpack import unpack

RUN, KEY = "sft-0123456789", "c" * 64


def archive(*members, **types):
    """A tar of (name, content)."""
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w") as tar:
        for name, content in members:
            member = tarfile.TarInfo(name)
            member.size = len(content)
            for key, value in types.items():
                setattr(member, key, value)
            tar.addfile(member, io.BytesIO(content))
    return buffer.getvalue()


def chunks(data, size=1000):
    return (data[at : at + size] for at in range(0, len(data), size))


def files(folder):
    return {p.relative_to(folder).as_posix(): p.read_bytes() for p in folder.rglob("*") if p.is_file()}


def packed(volume, what="results", *directories):
    command = [sys.executable, "-c", Path(pack.__file__).read_text(), str(volume), what]
    return subprocess.run(command, capture_output=True, input=json.dumps(directories or [RUN]).encode() + b"\n")


@pytest.fixture
def volume(tmp_path):
    there = {
        f"runs/{RUN}/done.json": b'{"cells": ["' + KEY.encode() + b'", "../.."]}',
        f"runs/{RUN}/metrics.jsonl": b"{}\n" * 5000,
        f"runs/{RUN}/model/a name with spaces \xc3\xa9.bin".encode().decode(): os.urandom(300_000),
        f"runs/{RUN}/model/checkpoints/kept": b"only the folder at the top stays behind",
        f"runs/{RUN}/checkpoints/step-00000020/w": b"w",
        f"runs/{RUN}/.model.tmp/half": b"half",
        f"runs/{RUN}/.done.json.123.tmp": b"half",
        f"runs/{RUN}/empty": b"",
        f"cells/{KEY}/cell.json": b"{}",
        "cells/other/cell.json": b"{}",
    }
    for name, content in there.items():
        path = tmp_path / "volume" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(content)
    (tmp_path / "volume/runs" / RUN / "link").symlink_to("/etc/passwd")
    return tmp_path / "volume"


@pytest.mark.parametrize("what", ["results", "all"])
def test_there_and_back(volume, tmp_path, what):
    ran = packed(volume, what)
    assert ran.returncode == 0 and ran.stderr == b""
    came = unpack(chunks(ran.stdout), tmp_path / "here", RUN)
    kept = {
        name: content
        for name, content in files(volume).items()
        if "/." not in name and "other" not in name and "link" not in name
        if what == "all" or f"{RUN}/checkpoints" not in name
    }
    assert files(tmp_path / "here") == kept
    assert came.files == len(kept) and came.size == sum(map(len, kept.values()))
    assert [path.name for path in came.directories] == [KEY, RUN]  # what names the cells comes after them


def test_a_directory_that_is_not_there(volume):
    ran = packed(volume, "results", "sft-ffffffffff")
    assert ran.returncode == 2 and ran.stdout == b""
    assert b"runs/sft-ffffffffff: expected the run's directory, got none" in ran.stderr


def test_runs_that_share_a_cell_and_one_that_has_not_begun(volume, tmp_path):
    runs = RUN, "eval-ffffffffff", "eval-0123456789"
    (volume / "runs" / runs[2]).mkdir()
    (volume / "runs" / runs[2] / "cells.json").write_text(f'{{"cells": ["{KEY}"]}}')
    ran = packed(volume, "results", *runs)
    assert ran.returncode == 0 and ran.stderr == b""
    came = unpack(chunks(ran.stdout), tmp_path / "here", *runs)
    assert came.runs == [RUN, runs[2]] and [path.name for path in came.directories] == [KEY, *came.runs]


@pytest.mark.parametrize(
    "name",
    [
        "../evil",
        f"runs/{RUN}/../../evil",
        "/etc/evil",
        "runs/other-0123456789/evil",
        f"runs/{RUN}",
        "evil",
        "cells/evil",
        "cells/../runs/evil",
        f"runs/{RUN}\\evil/x",
        f"runs/./{RUN}/../{RUN}/x",
    ],
)
def test_paths_that_lead_elsewhere(tmp_path, name):
    with pytest.raises(ClusterError, match="expected files of this run or of cells"):
        unpack([archive((f"runs/{RUN}/fine", b"x"), (name, b"x"))], tmp_path / "here", RUN)
    assert files(tmp_path) == {}


@pytest.mark.parametrize("kind", [tarfile.SYMTYPE, tarfile.LNKTYPE, tarfile.FIFOTYPE, tarfile.CHRTYPE])
def test_what_is_no_file(tmp_path, kind):
    with pytest.raises(ClusterError, match="expected files of this run"):
        unpack([archive((f"runs/{RUN}/link", b""), type=kind, linkname="/etc/passwd")], tmp_path / "here", RUN)
    assert files(tmp_path) == {}


@pytest.mark.parametrize("names", [("a", "a"), ("a", "a/b"), ("a/b", "a")])
def test_files_in_each_other_s_way(tmp_path, names):
    with pytest.raises(ClusterError, match="expected a tar archive of it"):
        unpack([archive(*((f"runs/{RUN}/{name}", b"x") for name in names))], tmp_path / "here", RUN)
    assert files(tmp_path) == {}


@pytest.mark.parametrize("cut", [0, 700, 2000])
def test_a_stream_that_ends_early(tmp_path, cut):
    whole = archive((f"runs/{RUN}/weights", b"x" * 3000))
    with pytest.raises(ClusterError, match="expected a tar archive of it"):
        unpack([whole[:cut]], tmp_path / "here", RUN)
    assert files(tmp_path) == {}


def test_a_command_that_fails_after_all_has_come(tmp_path):
    def sent():
        yield archive((f"runs/{RUN}/weights", b"x"))
        raise ClusterError("the command failed")

    with pytest.raises(ClusterError, match="the command failed"):
        unpack(sent(), tmp_path / "here", RUN)
    assert files(tmp_path) == {}


def test_an_older_copy_is_replaced_as_a_whole(tmp_path):
    unpack([archive((f"runs/{RUN}/old", b"x"))], tmp_path, RUN)
    unpack([archive((f"runs/{RUN}/new", b"x"))], tmp_path, RUN)
    assert files(tmp_path) == {f"runs/{RUN}/new": b"x"}


def test_checkpoints_here_are_not_lost(tmp_path):
    unpack([archive((f"runs/{RUN}/checkpoints/step-00000020/w", b"x"))], tmp_path, RUN)
    with pytest.raises(SpecError, match="expected none with checkpoints, which would be lost"):
        unpack([archive((f"runs/{RUN}/new", b"x"))], tmp_path, RUN)
    assert files(tmp_path) == {f"runs/{RUN}/checkpoints/step-00000020/w": b"x"}
