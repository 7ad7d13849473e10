import json
import subprocess
import sys
from pathlib import Path

import pytest

from fino1 import hub
from fino1.errors import SpecError
from fino1.evaluate import counter
from fino1.evaluate.counter import _load_tokenizers, _load_transformers

SMOLLM2 = Path(__file__).parents[2] / "out/models/smollm2-135m"
TEXTS = ["", "sales 12 34", "a\n\n  b\tc", "<|im_start|>system\n", "价格 € 5 ½", "<eos>" * 3]
TEMPLATES = {
    "tokens": "{{ bos_token }}{% for m in messages %}\n  {% if m.role == 'user' %}\n{{ m.content | trim }}\n"
    "  {% endif %}{% endfor %}{{ eos_token }}",
    "generation": "{% for m in messages %}{% generation %}{{ m.content }}{% endgeneration %}{% break %}{% endfor %}",
    "context": "{% if tools is none and add_generation_prompt %}{{ {'a': '<é>'} | tojson }}{% endif %}"
    "{{ messages[0].content }}",
    "variables": "{{ messages[0].content }}{% if thinking is defined and not thinking %}<think></think>{% endif %}",
    "date": "{{ strftime_now('%Y') }}{{ messages[0].content }}",
}


def same(model, **variables):
    ours, theirs = _load_tokenizers((str(model), None), variables), _load_transformers((str(model), None), variables)
    assert [ours(text) for text in TEXTS] == [theirs(text) for text in TEXTS]


@pytest.mark.parametrize("template", TEMPLATES)
def test_it_counts_as_transformers_does(folder, template):
    (folder / "chat_template.jinja").write_text(TEMPLATES[template])
    same(folder)
    if template == "variables":
        same(folder, thinking=False)
        counts = [counter.make_counter((str(folder), None), {"thinking": thinking})("a") for thinking in (True, False)]
        assert counts[0] < counts[1]


@pytest.mark.skipif(not SMOLLM2.is_dir(), reason="make demo converts the model")
def test_it_counts_smollm2_as_transformers_does():
    same(SMOLLM2)


def test_templates_in_the_tokenizers_config(folder):
    (folder / "chat_template.jinja").unlink()
    path = folder / "tokenizer_config.json"
    named = [{"name": "rag", "template": "x"}, {"name": "default", "template": "{{ messages[0].content }}!"}]
    path.write_text(json.dumps(json.loads(path.read_text()) | {"chat_template": named}))
    assert counter.make_counter((str(folder), None))("abc") == 4
    same(folder)
    path.write_text(json.dumps(json.loads(path.read_text()) | {"chat_template": named[:1]}))
    with pytest.raises(SpecError, match="expected a chat template named default, got rag"):
        counter.make_counter((str(folder), None))


def test_a_tokenizer_that_would_cut_or_fill_does_neither(folder):
    path = folder / "tokenizer.json"
    inner = json.loads(path.read_text())
    inner["truncation"] = {"max_length": 2, "strategy": "LongestFirst", "direction": "Right", "stride": 0}
    path.write_text(json.dumps(inner))
    assert counter.make_counter((str(folder), None))("abcdef") == 7


@pytest.mark.parametrize(
    ("file", "content", "problem"),
    [
        ("chat_template.jinja", "{{ raise_exception('two system prompts') }}", "for one user message, got two system"),
        ("chat_template.jinja", "{% if %}", "expected a chat template, got"),
        ("chat_template.jinja", "{{ 1 / 0 }}", "for one user message, got division by zero"),
        ("chat_template.jinja", "", "expected a tokenizer with a chat template, got none"),
        ("chat_template.jinja", "{{ ''.__class__.__mro__ }}", "for one user message, got access to attribute"),
        ("tokenizer.json", "{}", "tokenizer.json: expected a tokenizer, got"),
        ("tokenizer_config.json", "{", "tokenizer_config.json: expected JSON, got"),
        ("tokenizer_config.json", "[]", "tokenizer_config.json: expected a map of keys"),
    ],
)
def test_mistakes(folder, file, content, problem):
    (folder / file).write_text(content)
    with pytest.raises(SpecError, match=problem):
        counter.make_counter((str(folder), None))("a")


def test_other_formats_need_transformers(folder, monkeypatch):
    (folder / "tokenizer.json").unlink()
    assert counter.choose_way((str(folder), None)) == "transformers"
    monkeypatch.setitem(sys.modules, "transformers", None)
    assert counter.choose_way((str(folder), None)) == "estimate"
    assert counter.make_counter((str(folder), None))("x" * 30) == 11


@pytest.fixture
def cached(tmp_path, monkeypatch):
    """A hub's cache, offline, with one model that has a config and nothing else."""
    from huggingface_hub import constants

    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", True)
    monkeypatch.setattr(constants, "HF_HUB_CACHE", str(tmp_path / "hub"))
    model = tmp_path / "hub" / "models--some--model"
    commit = "0" * 40
    (model / "refs").mkdir(parents=True)
    (model / "refs" / "main").write_text(commit)
    (model / "snapshots" / commit).mkdir(parents=True)
    (model / "snapshots" / commit / "config.json").write_text('{"max_position_embeddings": 77}')
    return model


@pytest.mark.parametrize("revision", [None, "0" * 40])
def test_offline_a_model_has_what_is_in_the_cache(cached, revision):
    assert hub.read(("some/model", revision), "config.json") == {"max_position_embeddings": 77}
    assert hub.read(("some/model", revision), "generation_config.json") == {}
    assert hub.find(("some/model", revision), "tokenizer.json") is None


@pytest.mark.parametrize("model", [("some/other", None), ("some/model", "1" * 40), ("some//model", None)])
@pytest.mark.parametrize("name", ["config.json", "tokenizer.json"])
def test_offline_a_model_that_is_not_in_the_cache_is_a_mistake(cached, model, name):
    with pytest.raises(SpecError, match=f"{model[0]}: expected a model on the hub, got"):
        hub.find(model, name)


def test_evaluating_imports_neither_torch_nor_transformers():
    script = (
        "import sys, fino1.evaluate.main; sys.exit(len({'torch', 'transformers', 'tokenizers'} & set(sys.modules)))"
    )
    assert subprocess.run([sys.executable, "-c", script]).returncode == 0
