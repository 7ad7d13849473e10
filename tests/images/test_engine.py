"""Which engine builds, where several are installed and not all of them work?"""

import os

import pytest

from ci.images import engine
from tests.cluster.tools import cache


@pytest.fixture
def programs(tmp_path, monkeypatch):
    """`programs(NAME=CODE, …)`: these are all that PATH has, and each ends with its code."""

    def install(**codes):
        for name, code in codes.items():
            program = tmp_path / name
            program.write_text(f"#!{os.path.realpath('/bin/sh')}\nexit {code}\n")
            program.chmod(0o755)
        monkeypatch.setenv("PATH", str(tmp_path))

    return install


def test_a_docker_without_its_daemon_is_passed_over(programs):
    programs(docker=1, buildah=0)
    assert engine.find().name == "buildah"
    with pytest.raises(cache.ToolError, match="expected one of podman, buildah, docker that works here, got docker"):
        engine.find("docker")


def test_a_docker_that_works_is_taken_but_not_where_only_ours_will_do(programs):
    programs(docker=0)
    assert engine.find().name == "docker"
    with pytest.raises(cache.ToolError, match="expected podman, runc: apt-get install"):
        engine.find(among=engine.OF_OUR_STORAGE)
    programs(docker=0, podman=0)
    assert engine.find().name == "podman"
    assert engine.find(among=engine.OF_OUR_STORAGE).name == "podman"
