"""Folders that hold no model that can be trained: one message, and but for two kinds before any weight is read."""

import json
import re
import shutil

import pytest
import torch
from safetensors.torch import load_file, save_file
from transformers import (
    AutoConfig,
    AutoTokenizer,
    BartConfig,
    BertConfig,
    CohereConfig,
    Gemma3Config,
    GraniteConfig,
    LlamaConfig,
    LlamaForCausalLM,
    LlamaForSequenceClassification,
    ModernBertConfig,
    T5Config,
)

from fino1 import weights
from fino1.errors import SpecError
from fino1.spec.inputs import InitBlock
from fino1.train import model, outline
from tests.train.conftest import LLAMA

WEIGHTS, INDEX = "model.safetensors", "model.safetensors.index.json"
POINTER = "version https://git-lfs.github.com/spec/v1\noid sha256:0\nsize 9\n"
PULL = "; run `git lfs pull` in its repository"


@pytest.fixture(scope="module")
def whole(tmp_path_factory):
    """A tiny Llama, with weights."""
    folder = tmp_path_factory.mktemp("model")
    tokenizer = model.train_tokenizer(["how much is 2019 + 1?"] * 5, InitBlock(vocab_size=270))
    tokenizer.save_pretrained(folder)
    config = LlamaConfig(vocab_size=len(tokenizer), pad_token_id=tokenizer.pad_token_id, **LLAMA)
    LlamaForCausalLM(config).save_pretrained(folder)
    return folder


@pytest.fixture
def folder(whole, tmp_path):
    return shutil.copytree(whole, tmp_path / "model")


def load(folder, headed=False):
    """What SFT and PPO do with a folder, up to its weights."""
    key = "ppo.value_model" if headed else "model"
    tokenizer = model.load_tokenizer(str(folder), None, key)
    config = model.load_trained_config(key, str(folder), None, tokenizer, headed)
    return (model.load_value if headed else model.load_policy)(config, str(folder), None)


def refusal(folder, headed=False):
    with pytest.raises(SpecError) as caught:
        load(folder, headed)
    (line,) = caught.value.problems
    return line


def with_keys(folder, name="config.json", **keys):
    path = folder / name
    path.write_text(json.dumps(json.loads(path.read_text()) | keys))


def cut(folder, size):
    path = folder / WEIGHTS
    path.write_bytes(path.read_bytes()[:size])


def sharded(folder):
    (folder / WEIGHTS).rename(folder / "a.safetensors")
    (folder / INDEX).write_text(json.dumps({"weight_map": {"x": "a.safetensors", "y": "b.safetensors"}}))


def pickled(folder, data):
    (folder / WEIGHTS).unlink()
    (folder / "pytorch_model.bin").write_bytes(data)


def in_eight_bits(folder):
    weights = {
        name: each.to(torch.int8) if each.ndim == 2 else each for name, each in load_file(folder / WEIGHTS).items()
    }
    save_file(weights, folder / WEIGHTS, metadata={"format": "pt"})


UNREAD = {  # change of the folder → the message; FOLDER is its path. No weight is read for it.
    "lfs weights": (
        lambda f: (f / WEIGHTS).write_text(POINTER),
        f"FOLDER/{WEIGHTS}: expected weights, got a Git LFS pointer{PULL}",
    ),
    "lfs config": (
        lambda f: (f / "config.json").write_text(POINTER),
        f"FOLDER: expected a tokenizer, got Git LFS pointers (config.json){PULL}",
    ),
    "lfs tokenizer": (
        lambda f: (f / "tokenizer.json").write_text(POINTER),
        f"FOLDER: expected a tokenizer, got Git LFS pointers (tokenizer.json){PULL}",
    ),
    "lfs index": (
        lambda f: (sharded(f), (f / INDEX).write_text(POINTER)),
        f"FOLDER/{INDEX}: expected the map of weights to files, got a Git LFS pointer{PULL}",
    ),
    "empty": (lambda f: cut(f, 0), f"FOLDER/{WEIGHTS}: expected weights, got an empty file"),
    "cut in the header": (
        lambda f: cut(f, 100),
        f"FOLDER/{WEIGHTS}: expected weights, got a file of 100 bytes that is cut off or no safetensors file",
    ),
    "cut in the data": (lambda f: cut(f, -8), f"FOLDER/{WEIGHTS}: expected WHOLE bytes of weights, got CUT"),
    "eight bits": (in_eight_bits, "FOLDER: expected weights of 16 bits or more, got lm_head.weight of I8"),
    "an adapter beside": (
        lambda f: (f / "adapter_config.json").write_text("{}"),
        "FOLDER: expected a whole model, got an adapter (adapter_config.json); merge it into its base model",
    ),
    "a classifier": (
        lambda f: with_keys(f, architectures=["LlamaForSequenceClassification"]),
        "FOLDER: expected a causal language model, got a classifier (LlamaForSequenceClassification)",
    ),
    "an index of numbers": (
        lambda f: (sharded(f), (f / INDEX).write_text('{"weight_map": {"x": 5}}')),
        f"FOLDER: expected 5, which {INDEX} names, got none",
    ),
    "a shard is missing": (sharded, f"FOLDER: expected b.safetensors, which {INDEX} names, got none"),
    "size": (
        lambda f: with_keys(f, hidden_size=64),
        "FOLDER: expected weights of the sizes in config.json, got model.embed_tokens.weight 270×32 for 270×64",
    ),
    "larger tokenizer": (
        lambda f: with_keys(f, vocab_size=100),
        "FOLDER: expected a tokenizer with ids below vocab_size 100 of config.json, got ",
    ),
    "end not in the vocabulary": (  # nor beyond the embedding, where that has rows to spare
        lambda f: (
            with_keys(f, "tokenizer_config.json", eos_token="<nowhere>"),
            LlamaForCausalLM(LlamaConfig(vocab_size=300, **LLAMA)).save_pretrained(f),
        ),
        "FOLDER: expected a tokenizer with an end-of-sequence token, got '<nowhere>', which is not in its vocabulary",
    ),
    "a token beyond the vocabulary": (
        lambda f: with_keys(f, "tokenizer_config.json", pad_token="<more>"),
        "FOLDER: expected a tokenizer with ids below vocab_size 270 of config.json, got '<more>' with 270",
    ),
    "end is unknown": (
        lambda f: with_keys(f, "tokenizer_config.json", eos_token=None),
        "FOLDER: expected a tokenizer with an end-of-sequence token, got none",
    ),
    "no tokenizer": (
        lambda f: (f / "tokenizer.json").write_text("{}"),
        "FOLDER: expected a tokenizer, got KeyError: 'added_tokens'",
    ),
    "heads": (lambda f: with_keys(f, num_attention_heads=3), "FOLDER: expected a tokenizer, got "),
    "unknown kind": (
        lambda f: with_keys(f, model_type="nonesuch"),
        "FOLDER: expected a model, got The checkpoint you are trying",
    ),
    "unknown rope": (
        lambda f: with_keys(f, rope_parameters={"rope_type": "nonesuch"}),
        "FOLDER: expected a causal language model in Transformers, got KeyError: 'nonesuch'",
    ),
} | {
    f"quantised: {method}": (
        lambda f, method=method: with_keys(f, quantization_config={"quant_method": method}),
        f"FOLDER: expected weights that can be trained, got quantised ones ({method}); take the model that they were made of",
    )
    for method in ("awq", "gptq", "bitsandbytes", "fp8", "mxfp4")
}


@pytest.mark.parametrize("name", UNREAD)
def test_before_a_weight_is_read(folder, name, monkeypatch):
    monkeypatch.delattr(model, "_load")
    size = (folder / WEIGHTS).stat().st_size
    change, message = UNREAD[name]
    change(folder)
    message = message.replace("FOLDER", str(folder)).replace("WHOLE", str(size)).replace("CUT", str(size - 8))
    assert refusal(folder).startswith(f"model: {message}")


READ = {
    "lfs pickle": (
        lambda f: pickled(f, POINTER.encode()),
        f"expected weights, got Git LFS pointers (pytorch_model.bin){PULL}",
    ),
    "torn pickle": (
        lambda f: pickled(f, b"PK\x03\x04" + b"0" * 99),
        "expected weights, got RuntimeError: PytorchStreamReader",
    ),
    "a layer is too many": (
        lambda f: with_keys(f, num_hidden_layers=0),
        "expected no more weights than config.json has layers for, got model.layers.0.input_layernorm.weight",
    ),
    "another format": (
        lambda f: (f / WEIGHTS).rename(f / "a.gguf"),
        "expected weights, got GGUF files; take the model that",
    ),
    "a layer is missing": (
        lambda f: with_keys(f, num_hidden_layers=2),
        "expected all weights of its config.json, got none for model.layers.1.input_layernorm.weight and 8 more",
    ),
}


@pytest.mark.parametrize("headed", [False, True])
@pytest.mark.parametrize("name", READ)
def test_when_weights_are_read(folder, name, headed):
    change, message = READ[name]
    change(folder)
    assert refusal(folder, headed).partition(f"{folder}: ")[2].startswith(message)


def test_generation_configs(folder):
    tokenizer, path = model.load_tokenizer(str(folder), None), folder / "generation_config.json"
    with_keys(folder, path.name, eos_token_id=[1, 5], temperature=0.9)  # as Llama 2's, which Transformers does not save
    assert model.end_tokens(tokenizer, str(folder), None) == [1, 5]
    load(folder).save_pretrained(folder)
    assert {"temperature": 0.9, "do_sample": True}.items() <= json.loads(path.read_text()).items()
    for text, said in [
        ('{"eos_token_id": "x"}', "expected token ids in eos_token_id of generation_config.json, got 'x'"),
        ("[]", "expected a generation_config.json that can be read, got TypeError: 'list' object"),
        ("{", "expected a generation_config.json that can be read, got It looks like"),
    ]:
        path.write_text(text)
        with pytest.raises(SpecError, match=f"^model: {folder}: {re.escape(said)}"):
            model.end_tokens(tokenizer, str(folder), None)
    path.unlink()
    assert model.end_tokens(tokenizer, str(folder), None) == [1]


def test_a_head_of_its_own_though_tied(folder):
    with_keys(folder, tie_word_embeddings=True)
    assert refusal(folder) == (
        f"model: {folder}: expected tie_word_embeddings: false in config.json, as the weights have a head of their own, got true"
    )


def test_a_head_of_other_classes(folder, tmp_path):
    config = AutoConfig.from_pretrained(folder)
    config.num_labels = 3
    LlamaForSequenceClassification(config).save_pretrained(folder)
    assert refusal(folder, headed=True) == (
        f"ppo.value_model: {folder}: expected weights of the sizes in config.json, got score.weight 3×32 for 1×32"
    )


def test_a_policy_that_is_whole(folder):
    with_keys(folder, "tokenizer_config.json", unk_token="<unused>")  # as Qwen2's class brings one
    made = load(folder, headed=True)
    assert made.score.weight.count_nonzero() == 0
    assert isinstance(load(folder), LlamaForCausalLM)
    AutoTokenizer.from_pretrained(folder).save_pretrained(folder)  # as SFT does, and PPO loads it
    assert "<unused>" in (folder / "tokenizer.json").read_text()
    assert isinstance(load(folder), LlamaForCausalLM)


ENCODER = {
    "vocab_size": 270,
    "hidden_size": 32,
    "num_hidden_layers": 1,
    "num_attention_heads": 2,
    "intermediate_size": 64,
}
TEXT = {
    "text_config": {"vocab_size": 270, "head_dim": 16, **LLAMA},
    "vision_config": {"hidden_size": 32, "num_hidden_layers": 1},
}
NO_TEXT = "a decoder-only language model of text, got"
NO_HEAD = "a model with a sequence-classification head in Transformers, got"
KINDS = [
    (BertConfig(**ENCODER), False, f"{NO_TEXT} an encoder (bert)"),
    (ModernBertConfig(**ENCODER), True, f"{NO_TEXT} an encoder (modernbert)"),
    (T5Config(vocab_size=270), False, f"{NO_TEXT} an encoder-decoder (t5)"),
    (BartConfig(vocab_size=270), True, f"{NO_TEXT} an encoder-decoder (bart)"),
    (
        Gemma3Config(**TEXT),
        False,
        f"{NO_TEXT} one of more than text (gemma3); save its text part as a model of its own",
    ),
    (GraniteConfig(vocab_size=270, **LLAMA), True, f"{NO_HEAD} granite, which has none"),
    (CohereConfig(vocab_size=270, **LLAMA), True, f"{NO_HEAD} cohere, which has none"),
]


@pytest.mark.parametrize(("config", "headed", "message"), KINDS, ids=lambda each: getattr(each, "model_type", None))
def test_kinds_of_model_that_are_not_trained(folder, config, headed, message):
    (folder / WEIGHTS).unlink()
    config.save_pretrained(folder)
    key = "ppo.value_model" if headed else "model"
    assert refusal(folder, headed) == f"{key}: {folder}: expected {message}"


def test_what_is_nobody_s_mistake_stays():
    for error in (
        torch.OutOfMemoryError("x"),
        MemoryError(),
        OSError(28, "full"),
        RuntimeError("Connection closed by peer"),
    ):
        with pytest.raises(type(error)), outline.refusing("model", "nowhere", "weights"):
            raise error


def test_shapes_of_shards(folder):
    shapes = weights.read_headers(folder)
    assert shapes["model.embed_tokens.weight"] == weights.Tensor("F32", [270, 32])
    sharded(folder)
    (folder / "b.safetensors").write_bytes((folder / "a.safetensors").read_bytes())
    assert weights.read_headers(folder) == shapes
    assert weights.read_headers(folder.parent) == {}
