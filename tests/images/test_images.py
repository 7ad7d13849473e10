"""The images as they are built here (torch for the CPU, on a base by debootstrap): what they hold, and what they must not."""

import json
import os
import re
import signal
import subprocess
import sys
from contextlib import contextmanager
from pathlib import Path

import pytest

from ci.images import engine, images, inputs
from fino1 import __version__, exits
from fino1.k8s.objects import pod
from tests.cluster.tools import cache
from tests.images.test_lock import CUDA, pins

pytestmark = [pytest.mark.e2e, pytest.mark.slow, pytest.mark.timeout(3600)]
CYCLONEDX = "11.12.0"
MEGABYTES = {"train": 1700, "eval": 700}
LOCK = {"train": "train/requirements-cpu.txt", "eval": "eval/requirements.txt"}
IMPORTS = {
    "train": "fino1.train.sft, fino1.train.ppo.main, fino1.evaluate.serve, deepspeed, numpy.testing, pandas, sympy, trl",
    "eval": "fino1.evaluate.main, fino1.evaluate.link, datasets, numpy.testing, openai, pandas, pyarrow.parquet",
}
CACHES = ("root/.cache", "run/secrets", "var/cache/apt", "var/lib/apt/lists", "var/log", "tmp", "var/tmp")


@pytest.fixture(scope="module")
def podman():
    return engine.find("podman")


@pytest.fixture(scope="module", params=images.PARTS)
def part(request):
    return request.param


@pytest.fixture(scope="module")
def image(part, podman):
    """The image of this work tree: where it is a commit whose image is there (`make node-up` built it), that one."""
    there, revision = images.name_of(part, "cpu"), images.revision()
    if there in podman.ask("images", "--format={{.Repository}}:{{.Tag}}").split() and not revision.endswith("-dirty"):
        labels = inspect(podman, there)["Config"]["Labels"]
        if labels["org.opencontainers.image.revision"] == revision:
            return there
    return images.build(part, "cpu", "debootstrap", podman)


@contextmanager
def mounted(podman, image):
    """The folder with the image's files."""
    folder = Path(podman.ask("image", "mount", image))
    try:
        yield folder
    finally:
        podman.ask("image", "unmount", image)


def inspect(podman, image):
    return json.loads(podman.ask("image", "inspect", image))[0]


def run(podman, image, *arguments, work="/nowhere", entrypoint="fino1"):
    """What a pod would see: no root, no capabilities, no network, nothing writable but what is mounted."""
    hardened = ["--read-only", "--read-only-tmpfs=false", "--cap-drop=all", "--security-opt=no-new-privileges"]
    options = ["--rm", "--network=none", f"--user={pod.USER}:{pod.USER}", "--tmpfs=/tmp", f"--entrypoint={entrypoint}"]
    volumes = [f"--volume={work}:/work"] if work != "/nowhere" else []
    command = [*podman.command, "run", *hardened, *options, *volumes, image, *arguments]
    return subprocess.run(command, env=podman.environment, capture_output=True, text=True)


def test_size(podman, image, part):
    assert inspect(podman, image)["Size"] / 1e6 <= MEGABYTES[part]


def test_user_entry_and_labels(podman, image, part):
    config = inspect(podman, image)["Config"]
    assert (config["User"], config["Entrypoint"]) == (f"{pod.USER}:{pod.USER}", ["tini", "--", "fino1"])
    prefix = "org.opencontainers.image."
    labels = {key.removeprefix(prefix): value for key, value in config["Labels"].items() if key.startswith(prefix)}
    assert labels.keys() == {"title", "description", "licenses", "version", "revision"}
    assert (labels["title"], labels["version"], labels["licenses"]) == (f"fino1 {part}", __version__, "Apache-2.0")
    assert len(labels["revision"].removesuffix("-dirty")) == 40


def test_doctor_finds_nothing_missing_on_a_read_only_root(podman, image, part, tmp_path):
    os.chown(tmp_path, pod.USER, pod.USER)
    ran = run(podman, image, "doctor", "--work", "/work", "--part", {"eval": "evaluate"}.get(part, part), work=tmp_path)
    assert ran.returncode == exits.DONE, ran.stdout + ran.stderr
    assert f"fino1 {__version__}, Python 3.11" in ran.stdout
    assert "/work: can be written" in ran.stdout and "nothing is missing" in ran.stdout
    assert ("torch 2" in ran.stdout) == (part == "train")


def test_doctor_says_what_is_missing(podman, image, part):
    ran = run(podman, image, "doctor", "--work", "/work", "--gpus", "1", "--part", {"eval": "evaluate"}.get(part, part))
    assert ran.returncode == exits.BUG
    assert "missing: write access to /work" in ran.stdout and "missing: 1 GPUs" in ran.stdout


def test_what_a_pod_runs_can_be_imported(podman, image, part):
    ran = run(podman, image, "-c", f"import {IMPORTS[part]}", entrypoint="python")
    assert ran.returncode == 0, ran.stderr


def test_neither_caches_nor_tools_of_the_build_are_left(podman, image):
    with mounted(podman, image) as root:
        assert not [*root.glob("opt/fino1/lib/python*/site-packages/pip*"), *root.glob("usr/bin/pip*")]
        assert not [*root.glob("usr/bin/*gcc*"), *root.glob("build*"), *root.rglob("*.whl")]
        full = [folder for folder in CACHES for path in root.glob(folder) if path.is_dir() and any(path.iterdir())]
        assert full == []


def test_the_machines_package_configuration_leaves_no_trace(podman, tmp_path, monkeypatch):
    """Built without the layers that stand: what the build is told is marked, and the mark is nowhere in the image.

    Of what is locked with one package: all come by the same command, and take two minutes.
    """
    mark = "mark-7d1f0c.invalid"
    (tmp_path / "apt.conf").write_text(f'Acquire::http::Proxy::{mark} "DIRECT";\n')
    (tmp_path / "ca").write_text(Path(inputs.certificates() or os.devnull).read_text() + f"\n# {mark}\n")
    monkeypatch.setenv("APT_CONFIG", str(tmp_path / "apt.conf"))
    monkeypatch.setenv("PIP_CERT", str(tmp_path / "ca"))
    monkeypatch.setenv("PIP_TRUSTED_HOST", mark)
    image, base = "localhost/fino1/eval:marked", inputs.debian(podman)
    with podman.alone(), inputs.context("eval", "cpu") as context, inputs.secrets() as secrets:
        for secret in secrets:
            assert mark in Path(secret.partition("src=")[2]).read_text()
        locked = context / "requirements.txt"
        locked.write_text(re.search(r"^idna==(?:.*\\\n)+.*\n", locked.read_text(), re.MULTILINE)[0])
        dockerfile = inputs.REPOSITORY / "images" / "eval" / "Dockerfile"
        podman.build(context, image, "--no-cache", f"--file={dockerfile}", f"--build-arg=BASE_IMAGE={base}", *secrets)
    try:
        assert mark not in podman.ask("image", "history", "--no-trunc", "--format=json", image)
        assert mark not in podman.ask("image", "inspect", image)
        with mounted(podman, image) as root:
            files = [path for path in root.rglob("*") if path.is_file() and not path.is_symlink()]
            assert len(files) > 1000
            assert [path for path in files if mark.encode() in path.read_bytes()] == []
    finally:
        with podman.alone():
            podman.ask("rmi", "--force", image)
            podman.prune()


def test_a_container_ends_when_it_is_told_to_while_python_starts(podman, image, tmp_path):
    tmp_path.chmod(0o755)  # the container's user is another
    (tmp_path / "sitecustomize.py").write_text("import sys, time\nprint('here', flush=True)\ntime.sleep(60)\n")
    options = ["--rm", "--network=none", f"--volume={tmp_path}:/slow:ro", "--env=PYTHONPATH=/slow", "--name=fino1-slow"]
    command = [*podman.command, "run", *options, image, "doctor"]
    with subprocess.Popen(command, env=podman.environment, stdout=subprocess.PIPE, text=True) as container:
        assert container.stdout.readline() == "here\n"
        podman.ask("kill", "--signal=TERM", "fino1-slow")
        assert container.wait(20) == exits.of_signal(signal.SIGTERM)


def test_a_second_build_changes_nothing(podman, image, part):
    before = podman.describe(image)
    assert images.build(part, "cpu", "debootstrap", podman) == image
    assert podman.describe(image) == before
    assert podman.ask("ps", "--all", "--quiet") == ""
    assert podman.ask("images", "--filter=dangling=true", "--quiet") == ""


@pytest.fixture(scope="module")
def validator():
    """A Python that has CycloneDX's schemas."""

    def make(keep):
        subprocess.run([sys.executable, "-m", "venv", keep / "venv"], check=True)
        package = f"cyclonedx-python-lib[json-validation]=={CYCLONEDX}"
        subprocess.run([keep / "venv/bin/python", "-m", "pip", "install", "--quiet", package], check=True)

    return cache.entry(f"cyclonedx-{CYCLONEDX}", make) / "venv" / "bin" / "python"


VALIDATE = """
import sys
from cyclonedx.schema import SchemaVersion
from cyclonedx.validation.json import JsonStrictValidator
fault = JsonStrictValidator(SchemaVersion.V1_6).validate_str(sys.stdin.read())
sys.exit(repr(fault) if fault else 0)
"""


def test_the_sbom_is_valid_and_names_what_was_locked(podman, image, part, validator):
    text = images.write_sbom(part, image, podman).read_text()
    ran = subprocess.run([validator, "-c", VALIDATE], input=text, capture_output=True, text=True)
    assert ran.returncode == 0, ran.stderr
    found = {"deb": {}, "pypi": {}}
    for component in json.loads(text)["components"]:
        kind = component["purl"].removeprefix("pkg:").partition("/")[0]
        found[kind][component["purl"].rpartition("@")[0].rpartition("/")[2]] = component["version"]
    assert found["pypi"] == pins(f"images/{LOCK[part]}") | {"fino1": __version__}
    assert not any(map(CUDA.match, found["pypi"])) and {"libc6", "python3.11-minimal"} <= found["deb"].keys()
