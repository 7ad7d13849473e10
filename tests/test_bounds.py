"""The lower bounds of pyproject.toml, the pins that test them, and the pins of every other test name the same packages."""

import re
import tomllib
from pathlib import Path

import pytest
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name
from packaging.version import Version

ROOT = Path(__file__).parents[1]
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
EXTRAS = ("train", "eval", "k8s", "mlflow", "tensorboard", "wandb", "dev")
LINES = sorted(
    {*PROJECT["dependencies"], *(line for each in EXTRAS for line in PROJECT["optional-dependencies"][each])}
)


def pins(file):
    found = re.findall(r"(?m)^([\w.-]+)==(\S+)", (ROOT / file).read_text())
    return {canonicalize_name(name): Version(version) for name, version in found}


@pytest.mark.parametrize("line", LINES)
def test_the_oldest_environment_has_each_package_at_its_lower_bound(line):
    requirement = Requirement(line)
    (bound,) = requirement.specifier
    assert bound.operator == ">="
    pinned = pins("constraints-oldest.txt")[canonicalize_name(requirement.name)]
    assert pinned == Version(bound.version), "make lock"


@pytest.mark.parametrize("line", LINES)
def test_the_main_environment_has_a_version_that_is_allowed(line):
    requirement = Requirement(line)
    assert pins("constraints.txt")[canonicalize_name(requirement.name)] in requirement.specifier


def test_the_versions_of_the_gpu_machines_are_the_oldest_that_are_tested():
    oldest = pins("constraints-oldest.txt")
    versions = {name: str(oldest[name]) for name in ("torch", "transformers", "accelerate")}
    assert versions == {"torch": "2.11.0", "transformers": "5.17.0", "accelerate": "1.15.0"}
