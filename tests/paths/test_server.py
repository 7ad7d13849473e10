"""A writer without `base_url`, which a server in the same pod serves (`fino1 paths --server`)."""

import os

import pytest

from fino1 import __main__ as entry
from fino1 import runs
from fino1.errors import SpecError
from fino1.paths.main import main
from tests.evaluate.conftest import folder  # noqa: F401, a fixture
from tests.paths.conftest import spec_of

N = 2


@pytest.fixture
def spec(writer, folder):  # noqa: F811
    """A run whose writer is a folder of this machine."""
    model = {"base_url": None, "model_id": None, "path": str(folder), "context_length": 8000}
    return lambda **server: spec_of(writer, N, writer=model, server=server)


def test_the_server_is_asked_and_a_call_is_its_engines(writer, spec, tmp_path):
    assert main(spec(), "paths", tmp_path, writer.base_url) == 0
    assert {body["model"] for body in writer.bodies} == {"m"}
    assert set(writer.asked.values()) == {1} and writer.asked.total() == 3 * N
    assert main(spec(engine="vllm", image="a/b:1"), "paths", tmp_path, writer.base_url) == 0
    assert writer.asked.total() == 3 * N
    assert main(spec(args=["--dtype=float32"]), "paths", tmp_path, writer.base_url) == 0
    assert writer.asked.total() == 6 * N
    writer.models = [{"id": ".", "object": "model", "owned_by": "transformers"}]
    assert main(spec(), "paths", tmp_path, writer.base_url) == 0
    assert writer.asked.total() == 9 * N


def test_vllm_that_is_not_installed(spec, tmp_path):
    with pytest.raises(
        SpecError, match=r"paths.server.engine: expected vllm to be installed, or transformers, got no vllm"
    ):
        main(spec(engine="vllm"), "paths", tmp_path)


def test_its_folder_is_linked(spec, tmp_path, folder, capsys):  # noqa: F811
    runs.write_config(tmp_path / "config.json", spec(engine="vllm"))
    arguments = ["--config", str(tmp_path / "config.json"), "--work", str(tmp_path)]
    assert entry.main(["link", *arguments, "--to", str(tmp_path / "to" / "model")]) == 0
    assert os.readlink(tmp_path / "to" / "model") == str(folder)
    assert entry.main(["serve", *arguments]) == 2
    assert "paths.server.engine: expected transformers for `fino1 serve`, got vllm" in capsys.readouterr().err
