"""Folders that no evaluation can serve, by their small files alone."""

import json

import pytest

from fino1.errors import SpecError
from fino1.evaluate import models
from fino1.spec.evaluation import EvalModel


@pytest.fixture
def folder(tmp_path):
    (tmp_path / "config.json").write_text(json.dumps({"max_position_embeddings": 256}))
    (tmp_path / "model.safetensors").write_bytes((2).to_bytes(8, "little") + b"{}")
    return tmp_path


def find(folder):
    return models.find(EvalModel(name="a", path=str(folder)), folder)


def test_a_model_and_its_context(folder):
    assert find(folder).context_length == 256
    (folder / "config.json").write_text(json.dumps({"text_config": None}))
    assert find(folder).context_length is None


@pytest.mark.parametrize("length", ["long", 0, True, 1.5])
def test_a_context_that_is_no_number(folder, length):
    (folder / "config.json").write_text(json.dumps({"text_config": {"max_position_embeddings": length}}))
    with pytest.raises(SpecError, match=f"expected tokens in max_position_embeddings of config.json, got {length!r}$"):
        find(folder)


def test_an_adapter(folder):
    (folder / "adapter_config.json").touch()
    with pytest.raises(SpecError, match=r"^a: .*: expected a whole model, got an adapter \(adapter_config.json\)"):
        find(folder)
