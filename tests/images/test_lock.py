"""The locks say what pyproject.toml asks for, at constraints.txt's versions; pip installs them with --no-deps."""

import re
import tomllib
from importlib.metadata import distribution
from pathlib import Path

import pytest
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

from ci.images.lock import BESIDE_VLLM

ROOT = Path(__file__).parents[2]
TRAIN = {"train", "trackers"}
VLLM = "train/requirements-vllm.txt"  # vLLM is not installed here, so that what it needs is not known
LOCKS = {"train/requirements.txt": TRAIN, "train/requirements-cpu.txt": TRAIN, "eval/requirements.txt": {"eval"}}
CUDA = re.compile(r"(nvidia|cuda)-|triton$")  # only torch's CUDA build asks for them


def pins(file):
    """Name to version of `NAME==VERSION` lines."""
    found = re.findall(r"(?m)^([\w.-]+)==([^\s\\]+)", (ROOT / file).read_text())
    return {canonicalize_name(name): version for name, version in found}


def needed(name, extras, found):
    """Which packages does an installed one need? By its own metadata, not by the program that wrote the locks."""
    for line in distribution(name).requires or []:
        requirement = Requirement(line)
        markers = [{"extra": extra} for extra in ("", *extras)]
        if requirement.marker is None or any(map(requirement.marker.evaluate, markers)):
            child = canonicalize_name(requirement.name)
            if (child, frozenset(requirement.extras)) not in found:
                found.add((child, frozenset(requirement.extras)))
                needed(child, requirement.extras, found)
    return {child for child, _ in found if not CUDA.match(child)}


@pytest.mark.parametrize("lock", LOCKS)
def test_versions_are_those_of_the_constraints(lock):
    constraints = pins("constraints.txt")
    locked = {name: version.partition("+")[0] for name, version in pins(f"images/{lock}").items()}
    strangers = locked.keys() - constraints
    assert not {name for name in strangers if not CUDA.match(name)}, "add them to constraints.txt"
    assert {name: locked[name] for name in locked.keys() & constraints} == {
        name: constraints[name] for name in locked.keys() & constraints
    }, "make lock"


@pytest.mark.parametrize("lock", LOCKS)
def test_nothing_that_is_needed_is_missing_and_nothing_else_is_there(lock):
    locked = {name for name in pins(f"images/{lock}") if not CUDA.match(name)}
    assert locked == needed("fino1", LOCKS[lock], set()), "make lock"


@pytest.mark.parametrize("lock", [*LOCKS, VLLM])
def test_every_file_is_pinned_by_hash(lock):
    requirements = re.sub(r"\\\n", " ", (ROOT / "images" / lock).read_text()).splitlines()
    for line in requirements:
        assert line.startswith("#") or re.fullmatch(r"\S+==\S+(\s+--hash=sha256:[0-9a-f]{64})+\s*", line), line


def test_with_vllm_training_has_the_versions_of_the_constraints():
    locked, constraints = pins(f"images/{VLLM}"), pins("constraints.txt")
    assert {name: locked[name] for name in BESIDE_VLLM} == {name: constraints[name] for name in BESIDE_VLLM}
    (wanted,) = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["optional-dependencies"]["vllm"]
    assert locked["vllm"] in Requirement(wanted).specifier
    assert needed("fino1", TRAIN, set()) <= locked.keys(), "make lock"


def test_only_one_of_the_train_locks_has_cuda():
    cuda, cpu = pins("images/train/requirements.txt"), pins("images/train/requirements-cpu.txt")
    assert cpu["torch"] == f"{cuda['torch']}+cpu"
    assert {name for name in cuda.keys() ^ cpu.keys() if not CUDA.match(name)} == set()
    assert "nvidia-nccl-cu13" in cuda and not any(map(CUDA.match, cpu))
