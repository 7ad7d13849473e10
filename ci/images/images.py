"""How are the container images built, and pushed?

    python -m ci.images.images [--part train|eval] [--torch cuda|cpu|vllm] [--base debootstrap|published|IMAGE] [--engine E]

builds them and writes an SBOM (CycloneDX 1.6, JSON) of each to out/images/. `build` and `push` are for other scripts.
"""

import argparse
import re
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from ci.images import engine, inputs
from ci.images.engine import Engine
from tests.cluster.tools.cache import ToolError, say

PARTS = ("train", "eval")
REGISTRY = "ghcr.io/fino1"  # as fino1.k8s.objects.pod.image names them
_OUT = inputs.REPOSITORY / "out" / "images"


def name_of(part: str, torch: str) -> str:
    """What is the image called?"""
    suffix = f"-{torch}" if part == "train" and torch != "cuda" else ""
    return f"{REGISTRY}/{part}:{_version()}{suffix}"


def build(part: str, torch: str = "cpu", base: str = "debootstrap", builder: Engine | None = None) -> str:
    """Build the image; its reference in the engine's storage. Only what changed is built again.

    Args:
        part: "train" or "eval".
        torch: "cuda" (as the package index has it), "vllm" (the same, with vLLM) or "cpu" (a wheel that pip's find-links
            have); eval has none.
        base: "published" (the Dockerfile's default), "debootstrap" (made here) or an image that the engine can get.
        builder: the engine; by default the first that works here.

    """
    builder = builder or engine.find()
    reference = name_of(part, torch)
    arguments = [f"--build-arg=VERSION={_version()}", f"--build-arg=REVISION={revision()}"]
    if part == "train" and torch != "cuda":
        arguments.append(f"--build-arg=REQUIREMENTS=requirements-{torch}.txt")
    if part == "train" and torch == "vllm":
        arguments.append("--build-arg=PACKAGES=gcc python3-dev")
    arguments.append(f"--file={inputs.REPOSITORY / 'images' / part / 'Dockerfile'}")
    with builder.alone(), inputs.context(part, torch) as context, inputs.secrets() as secrets:
        if base != "published":
            arguments.append(f"--build-arg=BASE_IMAGE={inputs.debian(builder) if base == 'debootstrap' else base}")
        arguments += secrets
        # The stage before the last gets a name: without one its layers, which the next build wants, would be pruned.
        builder.build(context, f"localhost/fino1/{part}-package:{torch}", "--target=package", *arguments)
        builder.build(context, reference, *arguments)
        builder.prune()
    return reference


def push(reference: str, to: str, builder: Engine) -> str:
    """Push an image to a registry on this machine, `to` being like 127.0.0.1:5000/fino1/train:1; the reference by digest.

    `builder` is podman or buildah: docker has no --digestfile.
    """
    with tempfile.NamedTemporaryFile("r") as file:
        options = ["--quiet", "--tls-verify=false", "--compression-format=zstd", f"--digestfile={file.name}"]
        builder.ask("push", *options, reference, f"docker://{to}")
        digest = file.read().strip()
    return f"{re.sub(':[^:/]+$', '', to)}@{digest}"


def write_sbom(part: str, reference: str, builder: Engine) -> Path:
    """Which file says what is in the image? Written by sbom.py, run by the image's own Python."""
    script = Path(__file__).with_name("sbom.py").read_text()
    file = _OUT / f"{re.sub('[^a-z0-9.-]', '-', reference.removeprefix(f'{REGISTRY}/'))}.cdx.json"
    file.parent.mkdir(parents=True, exist_ok=True)
    arguments = ["-", f"fino1-{part}", _version(), builder.describe(reference)[0]]
    file.write_text(builder.run(reference, "/opt/fino1/bin/python", *arguments, stdin=script) + "\n")
    return file


def _version() -> str:
    text = (inputs.REPOSITORY / "fino1" / "__init__.py").read_text()
    found = re.search(r'^__version__ = "(.+)"$', text, re.MULTILINE)
    assert found, "pyproject.toml reads the version from the same line"
    return found[1]


def revision() -> str:
    """Which commit is the work tree at? With `-dirty` where it is no commit."""
    command = ["git", "-C", inputs.REPOSITORY, "describe", "--always", "--abbrev=40", "--dirty", "--exclude=*"]
    ran = subprocess.run(command, capture_output=True, text=True)
    return ran.stdout.strip() or "unknown"


def main() -> None:
    """Build what was asked for; print name, digest, size and seconds of each."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--part", choices=PARTS, action="append", help="default: both")
    parser.add_argument("--torch", choices=("cuda", "cpu", "vllm"), default="cuda")
    parser.add_argument("--base", default="published")
    parser.add_argument("--engine", choices=engine.ENGINES)
    arguments = parser.parse_args()
    builder = engine.find(arguments.engine)
    for part in arguments.part or PARTS:
        began = time.monotonic()
        say(f"building {name_of(part, arguments.torch)} with {builder.name}")
        reference = build(part, arguments.torch, arguments.base, builder)
        seconds = time.monotonic() - began
        sbom = write_sbom(part, reference, builder)
        print(reference, *builder.describe(reference), f"{seconds:.0f} s", sbom, sep="\t", flush=True)


if __name__ == "__main__":
    try:
        main()
    except ToolError as error:
        sys.exit(f"images: {error}")
