"""Which shapes a model has: the table against published counts, configs against real modules."""

import json
from pathlib import Path

import pytest

from fino1.errors import SpecError
from fino1.sizes import shapes as library
from fino1.sizes.shapes import Finder, known
from fino1.spec.inputs import InitBlock, ModelRef

LLAMA = known("meta-llama/Llama-3.1-8B")
NOWHERE = Path("/nowhere")

# safetensors' total on the hub, tied weights once
PUBLISHED = {
    "meta-llama/Llama-3.1-8B": 8_030_261_248,
    "meta-llama/Llama-3.1-70B": 70_553_706_496,
    "meta-llama/Llama-3.2-1B": 1_235_814_400,
    "meta-llama/Llama-3.2-3B": 3_212_749_824,
    "Qwen/Qwen2.5-0.5B": 494_032_768,
    "Qwen/Qwen2.5-1.5B": 1_543_714_304,
    "Qwen/Qwen2.5-3B": 3_085_938_688,
    "Qwen/Qwen2.5-7B": 7_615_616_512,
    "Qwen/Qwen2.5-14B": 14_770_033_664,
    "Qwen/Qwen2.5-32B": 32_763_876_352,
    "Qwen/Qwen2.5-72B": 72_706_203_648,
    "Qwen/Qwen3-0.6B": 596_049_920,
    "Qwen/Qwen3-4B": 4_022_468_096,
    "Qwen/Qwen3-8B": 8_190_735_360,
    "Qwen/Qwen3-14B": 14_768_307_200,
    "HuggingFaceTB/SmolLM2-135M": 134_515_008,
    "HuggingFaceTB/SmolLM2-360M": 361_821_120,
    "HuggingFaceTB/SmolLM2-1.7B": 1_711_376_384,
}


@pytest.fixture(autouse=True)
def _empty_cache(monkeypatch, tmp_path):
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_CACHE", str(tmp_path / "hf/hub"))


def shapes_of(ref, work=NOWHERE):
    return Finder(work).find("model", ref)


@pytest.mark.parametrize("name", PUBLISHED)
def test_published_parameter_counts(name):
    assert known(name).parameters == PUBLISHED[name]


@pytest.mark.parametrize(
    ("name", "same"),
    [
        ("meta-llama/Llama-3.1-8B-Instruct", "meta-llama/Llama-3.1-8B"),
        ("meta-llama/Meta-Llama-3.1-8B-Instruct", "meta-llama/Llama-3.1-8B"),
        ("Qwen/Qwen3-8B-Base", "Qwen/Qwen3-8B"),
        ("Qwen/Qwen3-8B-AWQ", None),
        ("somebody/Llama-3.1-8B-Instruct", None),
    ],
)
def test_hub_ids_of_the_table(name, same):
    assert shapes_of(ModelRef(hub=name)) == (known(same) if same else None)


LLAMA_CONFIG = {
    "model_type": "llama",
    "hidden_size": 4096,
    "num_hidden_layers": 32,
    "num_attention_heads": 32,
    "num_key_value_heads": 8,
    "intermediate_size": 14336,
    "vocab_size": 128256,
    "max_position_embeddings": 131072,
    "tie_word_embeddings": False,
    "torch_dtype": "bfloat16",
}


def write(path, **changes):
    path.mkdir(parents=True, exist_ok=True)
    config = {key: value for key, value in (LLAMA_CONFIG | changes).items() if value is not None}
    (path / "config.json").write_text(json.dumps(config))
    return path


def test_a_folder(tmp_path):
    folder = write(tmp_path / "model")
    assert shapes_of(ModelRef(path=str(folder))) == LLAMA


def test_the_cache_goes_before_the_table_and_knows_what_is_not_in_it(tmp_path):
    for name, layers in (("meta-llama--Llama-3.1-8B", 3), ("some--body", 5)):
        repository = tmp_path / "hf" / "hub" / f"models--{name}"
        write(repository / "snapshots" / "abc", num_hidden_layers=layers)
        (repository / "refs").mkdir()
        (repository / "refs" / "main").write_text("abc")
    assert shapes_of(ModelRef(hub="meta-llama/Llama-3.1-8B")).num_hidden_layers == 3
    assert shapes_of(ModelRef(hub="some/body")).num_hidden_layers == 5
    assert shapes_of(ModelRef(hub="some/body", revision="abc")).num_hidden_layers == 5
    assert shapes_of(ModelRef(hub="some/body", revision="def")) is None


def test_a_finished_run(tmp_path):
    folder = tmp_path / "runs" / "sft-0123456789"
    write(folder / "model", num_hidden_layers=2)
    assert shapes_of(ModelRef(run="sft"), tmp_path) == LLAMA  # of its run file, until it has finished
    (folder / "done.json").write_text("{}")
    assert shapes_of(ModelRef(run="sft"), tmp_path).num_hidden_layers == 2


@pytest.mark.parametrize(
    "changes", [{"model_type": "mixtral"}, {"model_type": None}, {"quantization_config": {"bits": 4}}]
)
def test_other_families_are_not_known(tmp_path, changes):
    folder = write(tmp_path / "model", **changes)
    assert shapes_of(ModelRef(path=str(folder))) is None


def test_a_config_without_sizes(tmp_path):
    folder = write(tmp_path / "model", hidden_size=None, vocab_size="many")
    with pytest.raises(SpecError) as caught:
        shapes_of(ModelRef(path=str(folder)))
    assert caught.value.problems == [
        f"{folder}/config.json: hidden_size: expected a positive integer, got None",
        f"{folder}/config.json: vocab_size: expected a positive integer, got 'many'",
    ]


@pytest.mark.parametrize("text", ["{", "[]"])
def test_a_config_that_is_none(tmp_path, text):
    (tmp_path / "config.json").write_text(text)
    with pytest.raises(SpecError, match="config.json: expected a"):
        shapes_of(ModelRef(path=str(tmp_path)))


TINY = {
    "hidden_size": 64,
    "intermediate_size": 192,
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
    "vocab_size": 97,
    "max_position_embeddings": 512,
}


@pytest.mark.parametrize(
    ("kind", "extra"),
    [
        ("Llama", {}),
        ("Llama", {"tie_word_embeddings": True}),
        ("Llama", {"attention_bias": True, "mlp_bias": True}),
        ("Llama", {"head_dim": 32}),
        ("Mistral", {}),
        ("Qwen2", {}),
        ("Qwen3", {}),
        ("Qwen3", {"head_dim": 32, "attention_bias": True, "tie_word_embeddings": True}),
    ],
)
def test_counts_of_real_modules(tmp_path, kind, extra):
    import torch
    import transformers

    config = getattr(transformers, f"{kind}Config")(**TINY, **extra)
    config.save_pretrained(tmp_path)
    shapes = library.read_config(tmp_path / "config.json")
    with torch.device("meta"):
        model = transformers.AutoModelForCausalLM.from_config(config)
        value = transformers.AutoModelForSequenceClassification.from_config(config)
    assert shapes.parameters == sum(p.numel() for p in model.parameters())
    labels = config.num_labels
    assert shapes.backbone + labels * shapes.hidden_size == sum(p.numel() for p in value.parameters())
    assert shapes.layer == sum(p.numel() for p in model.model.layers[0].parameters())


def test_the_default_init_block():
    from fino1.train.model import init_config

    class Tokenizer:
        eos_token_id = pad_token_id = 0

        def __len__(self):
            return 512

    import torch
    import transformers

    with torch.device("meta"):
        model = transformers.AutoModelForCausalLM.from_config(init_config(InitBlock(), Tokenizer()))
    assert library.of_init(InitBlock()).parameters == sum(p.numel() for p in model.parameters())
