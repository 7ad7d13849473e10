"""Can this model be trained? By its config, its tokenizer and the headers of its weights, before any weight is read.

What Transformers, tokenizers and torch raise over a folder becomes one message that names the run file's key and the folder.
"""

import contextlib
import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import torch
from tokenizers import Tokenizer
from transformers import PretrainedConfig, PreTrainedModel, PreTrainedTokenizerBase
from transformers.models.auto.modeling_auto import MODEL_FOR_MASKED_LM_MAPPING_NAMES

from fino1 import exits, weights
from fino1.errors import SpecError

_SHOWN = 200  # characters of a library's message
_TRAINED = {"F64", "F32", "F16", "BF16"}  # others are quantised, and their scales would not be applied
_OF_A_LAYER = re.compile(r"\.\d+\..*weight$")
_NOT_THEIRS = (SpecError, MemoryError, torch.OutOfMemoryError)


@contextlib.contextmanager
def refusing(key: str, source: str, expected: str) -> Iterator[None]:
    """Make a SpecError of what a library raises over a model that it cannot load.

    The disk's errors, too little memory, and what torch says where another rank is lost (a RuntimeError) stay as they are.
    """
    try:
        yield
    except _NOT_THEIRS:
        raise
    except Exception as error:
        is_torn = "PytorchStreamReader" in str(error)
        if exits.is_disk_error(error) or isinstance(error, RuntimeError) and not is_torn:
            raise
        raise SpecError(f"{key}: {source}: expected {expected}, got {_describe(error, source)}") from error


def _describe(error: Exception, source: str) -> str:
    """What is wrong with a folder: files that Git LFS has not fetched, else the library's own words, in one line."""
    if Path(source).is_dir():
        pointers = [path.name for path in sorted(Path(source).iterdir()) if path.is_file() and weights.is_pointer(path)]
        if pointers:
            return f"Git LFS pointers ({', '.join(pointers)}); run `git lfs pull` in its repository"
        if any(Path(source).glob("*.gguf")):
            return "GGUF files; take the model that they were made of"
    text = " ".join(str(error).split())
    if not isinstance(error, OSError | ValueError | ImportError):
        text = f"{type(error).__name__}: {text}"
    return text if len(text) <= _SHOWN else text[: _SHOWN - 1] + "…"


def check_kind(key: str, source: str, config: PretrainedConfig) -> None:
    """Raise SpecError for a model that is no decoder of text alone, or whose weights are quantised."""
    kind = config.model_type
    quantised = getattr(config, "quantization_config", None)
    if quantised is not None:
        method = getattr(quantised, "quant_method", None) or dict(quantised).get("quant_method", "unknown")
        got = f"quantised ones ({getattr(method, 'value', method)}); take the model that they were made of"
        raise SpecError(f"{key}: {source}: expected weights that can be trained, got {got}")
    got = ""
    if getattr(config, "is_encoder_decoder", False):
        got = f"an encoder-decoder ({kind})"
    elif config.get_text_config() is not config:
        got = f"one of more than text ({kind}); save its text part as a model of its own"
    elif kind in MODEL_FOR_MASKED_LM_MAPPING_NAMES and not getattr(config, "is_decoder", False):
        got = f"an encoder ({kind})"
    if got:
        raise SpecError(f"{key}: {source}: expected a decoder-only language model of text, got {got}")


def build(kind: Any, key: str, source: str, config: PretrainedConfig) -> PreTrainedModel:
    """Make the model of a config without memory for weights; `kind` is one of Transformers' auto classes.

    Raises SpecError where Transformers has no such class for it, or a value model's head has another name than `score`.
    """
    noun = "causal language model" if "CausalLM" in kind.__name__ else "model with a sequence-classification head"
    wanted = f"a {noun} in Transformers"
    if type(config) not in kind._model_mapping and not hasattr(config, "auto_map"):
        raise SpecError(f"{key}: {source}: expected {wanted}, got {config.model_type}, which has none")
    with refusing(key, source, wanted), torch.device("meta"):
        model = kind.from_config(config)
    if "CausalLM" not in kind.__name__ and not hasattr(model, "score"):
        raise SpecError(f"{key}: {source}: expected {wanted} that is called score, got {config.model_type}'s")
    return model


def check_shapes(key: str, source: str, model: PreTrainedModel, but: str = "") -> None:
    """Raise SpecError for a folder whose weights are not whole, or of other sizes than its config gives them.

    Weights that begin with `but` may be of any size. Those that Transformers renames when it loads them are compared then.
    """
    if not Path(source).is_dir():
        return
    try:
        weights.check_no_adapter(Path(source))
        found = weights.read_headers(Path(source))
    except SpecError as error:
        raise SpecError(f"{key}: {problem}" for problem in error.problems) from error
    for name, tensor in found.items():
        if name.endswith("weight") and tensor.dtype not in _TRAINED:
            raise SpecError(f"{key}: {source}: expected weights of 16 bits or more, got {name} of {tensor.dtype}")
    for name, weight in model.state_dict().items():
        size = found[name].shape if name in found else list(weight.shape)
        if size != list(weight.shape) and not (but and name.startswith(but)):
            raise SpecError(
                f"{key}: {source}: expected weights of the sizes in config.json, got {name} {_shape(size)} for "
                f"{_shape(weight.shape)}"
            )


def check_loaded(key: str, source: str, info: dict[str, Any], but: str = "") -> None:
    """Raise SpecError where weights were missing, of another size, or of layers that the config has not.

    By what `from_pretrained` reports; `but` as above.
    """
    surplus = sorted(name for name in info["unexpected_keys"] if _OF_A_LAYER.search(name))
    if surplus:
        raise SpecError(f"{key}: {source}: expected no more weights than config.json has layers for, got {surplus[0]}")
    for name, found, wanted in sorted(info["mismatched_keys"]):
        raise SpecError(
            f"{key}: {source}: expected weights of the sizes in config.json, got {name} {_shape(found)} for {_shape(wanted)}"
        )
    missing = sorted(name for name in info["missing_keys"] if not (but and name.startswith(but)))
    if missing:
        more = f" and {len(missing) - 1} more" if missing[1:] else ""
        raise SpecError(f"{key}: {source}: expected all weights of its config.json, got none for {missing[0]}{more}")


def check_vocabulary(key: str, source: str, tokenizer: PreTrainedTokenizerBase, config: PretrainedConfig) -> None:
    """Raise SpecError for a tokenizer that has ids beyond the model's embedding.

    A token that no file names and no text ends or is padded with does no harm: some of Transformers' classes bring one, such as
    Qwen2's `unk_token`. Saved with the tokenizer it stands in its files, but a vocabulary of bytes never gives it.
    """
    gives_unknown = not tokenizer.is_fast or getattr(tokenizer.backend_tokenizer.model, "unk_token", None) is not None
    used = {tokenizer.bos_token, tokenizer.eos_token, tokenizer.pad_token}
    beyond = ((index, token) for token, index in tokenizer.get_vocab().items() if index >= config.vocab_size)
    for index, token in sorted(beyond, reverse=True):
        is_named = index < tokenizer.vocab_size or Path(source).is_dir() and knows_token(source, token)
        is_never_given = token == tokenizer.unk_token and index >= tokenizer.vocab_size and not gives_unknown
        if token in used or is_named and not is_never_given:
            raise SpecError(
                f"{key}: {source}: expected a tokenizer with ids below vocab_size {config.vocab_size} of config.json, got "
                f"{token!r} with {index}"
            )


def knows_token(source: str, token: str) -> bool:
    """True for a token of the vocabulary in a folder's files, or where there is no such file to ask.

    A loaded tokenizer knows every token that its config names: it adds those that are new, and the model was never shown them.
    """
    whole = Path(source) / "tokenizer.json"
    if not whole.is_file() or Tokenizer.from_file(str(whole)).token_to_id(token) is not None:
        return True
    files = [Path(source) / name for name in ("tokenizer_config.json", "added_tokens.json")]
    about, added = (json.loads(file.read_text(encoding="utf-8")) if file.is_file() else {} for file in files)
    return token in added or any(each["content"] == token for each in about.get("added_tokens_decoder", {}).values())


def _shape(sizes: Any) -> str:
    return "×".join(str(size) for size in sizes) or "scalar"
