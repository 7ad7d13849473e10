"""Which shapes has a model? From its config.json, in a folder or in Hugging Face's cache, or from the table below; no weights."""

import json
import os
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from fino1 import runs
from fino1.errors import SpecError
from fino1.spec.inputs import InitBlock, ModelRef


@dataclass(frozen=True)
class Architecture:
    """A dense decoder of the Llama family: what its size in memory follows from."""

    hidden_size: int
    num_hidden_layers: int
    num_attention_heads: int
    num_key_value_heads: int
    intermediate_size: int
    vocab_size: int
    tie_word_embeddings: bool
    max_position_embeddings: int
    head_dim: int
    dtype_bytes: int = 2
    """Of a weight as it was saved."""
    biases: int = 0
    """Further parameters of a layer: biases, and the norms of queries and keys."""
    qk_norm: bool = False

    @property
    def queries(self) -> int:
        """Width of all query heads together."""
        return self.num_attention_heads * self.head_dim

    @property
    def keys(self) -> int:
        """Width of all key heads together; values have the same."""
        return self.num_key_value_heads * self.head_dim

    @property
    def layer(self) -> int:
        """Parameters of one layer: attention, MLP, two norms, biases."""
        attention = 2 * self.hidden_size * (self.queries + self.keys)
        return attention + 3 * self.hidden_size * self.intermediate_size + 2 * self.hidden_size + self.biases

    @property
    def embedding(self) -> int:
        """Parameters of the token embedding; the head has as many, or the same ones where they are tied."""
        return self.vocab_size * self.hidden_size

    @property
    def backbone(self) -> int:
        """Parameters without a head of its own: what a value model or a classifier has, but for its one or two rows."""
        return self.embedding + self.num_hidden_layers * self.layer + self.hidden_size

    @property
    def parameters(self) -> int:
        """Parameters of the language model."""
        return self.backbone + (0 if self.tie_word_embeddings else self.embedding)


def _llama(*sizes: int, vocab: int = 128256, tied: bool = False, context: int = 131072) -> Architecture:
    hidden, layers, heads, kv_heads, intermediate = sizes
    return Architecture(hidden, layers, heads, kv_heads, intermediate, vocab, tied, context, hidden // heads)


def _qwen2(*sizes: int, vocab: int = 152064, tied: bool = False) -> Architecture:
    hidden, layers, heads, kv_heads, intermediate = sizes
    head = hidden // heads
    biases = (heads + 2 * kv_heads) * head
    return Architecture(hidden, layers, heads, kv_heads, intermediate, vocab, tied, 32768, head, 2, biases)


def _qwen3(*sizes: int, tied: bool = False) -> Architecture:
    hidden, layers, heads, kv_heads, intermediate = sizes
    return Architecture(hidden, layers, heads, kv_heads, intermediate, 151936, tied, 40960, 128, 2, 2 * 128, True)


# Hub id without -Instruct or -Base → (hidden size, layers, heads, key-value heads, intermediate size) of its config.json.
KNOWN = {
    "meta-llama/Llama-3.1-8B": _llama(4096, 32, 32, 8, 14336),
    "meta-llama/Llama-3.1-70B": _llama(8192, 80, 64, 8, 28672),
    "meta-llama/Llama-3.3-70B": _llama(8192, 80, 64, 8, 28672),
    "meta-llama/Llama-3.2-1B": _llama(2048, 16, 32, 8, 8192, tied=True),
    "meta-llama/Llama-3.2-3B": _llama(3072, 28, 24, 8, 8192, tied=True),
    "Qwen/Qwen2.5-0.5B": _qwen2(896, 24, 14, 2, 4864, vocab=151936, tied=True),
    "Qwen/Qwen2.5-1.5B": _qwen2(1536, 28, 12, 2, 8960, vocab=151936, tied=True),
    "Qwen/Qwen2.5-3B": _qwen2(2048, 36, 16, 2, 11008, vocab=151936, tied=True),
    "Qwen/Qwen2.5-7B": _qwen2(3584, 28, 28, 4, 18944),
    "Qwen/Qwen2.5-14B": _qwen2(5120, 48, 40, 8, 13824),
    "Qwen/Qwen2.5-32B": _qwen2(5120, 64, 40, 8, 27648),
    "Qwen/Qwen2.5-72B": _qwen2(8192, 80, 64, 8, 29568),
    "Qwen/Qwen3-0.6B": _qwen3(1024, 28, 16, 8, 3072, tied=True),
    "Qwen/Qwen3-1.7B": _qwen3(2048, 28, 16, 8, 6144, tied=True),
    "Qwen/Qwen3-4B": _qwen3(2560, 36, 32, 8, 9728, tied=True),
    "Qwen/Qwen3-8B": _qwen3(4096, 36, 32, 8, 12288),
    "Qwen/Qwen3-14B": _qwen3(5120, 40, 40, 8, 17408),
    "Qwen/Qwen3-32B": _qwen3(5120, 64, 64, 8, 25600),
    "HuggingFaceTB/SmolLM2-135M": _llama(576, 30, 9, 3, 1536, vocab=49152, tied=True, context=8192),
    "HuggingFaceTB/SmolLM2-360M": _llama(960, 32, 15, 5, 2560, vocab=49152, tied=True, context=8192),
    "HuggingFaceTB/SmolLM2-1.7B": _llama(2048, 24, 32, 32, 8192, vocab=49152, tied=True, context=8192),
}
KNOWN |= {  # trained from these: the same shapes, some with another context
    "meta-llama/Llama-3-8B": _llama(4096, 32, 32, 8, 14336, context=8192),
    "meta-llama/Llama-3-70B": _llama(8192, 80, 64, 8, 28672, context=8192),
    "TheFinAI/Fino1-8B": KNOWN["meta-llama/Llama-3.1-8B"],
    "deepseek-ai/DeepSeek-R1-Distill-Llama-8B": KNOWN["meta-llama/Llama-3.1-8B"],
    "deepseek-ai/DeepSeek-R1-Distill-Llama-70B": KNOWN["meta-llama/Llama-3.3-70B"],
    "deepseek-ai/DeepSeek-R1-Distill-Qwen-14B": KNOWN["Qwen/Qwen2.5-14B"],
    "deepseek-ai/DeepSeek-R1-Distill-Qwen-32B": KNOWN["Qwen/Qwen2.5-32B"],
    "Qwen/Qwen2.5-Math-72B": KNOWN["Qwen/Qwen2.5-72B"],
}
KINDS = ("llama", "mistral", "qwen2", "qwen3")  # model_type of config.json that the formulas hold for
_REQUIRED = (
    "hidden_size",
    "num_hidden_layers",
    "num_attention_heads",
    "intermediate_size",
    "vocab_size",
    "max_position_embeddings",
)


def architecture(ref: ModelRef, work: Path, default: str | None = None) -> Architecture | None:
    """Which shapes has the model that a run file names, or the hub id `default` where it names none?

    None where that cannot be known here: a run that has not finished in `work`, a hub id that is neither in the cache nor
    in `KNOWN`, an architecture of another family. Raises SpecError for a folder whose config.json cannot be read.
    """
    if ref.init is not None:
        return of_init(ref.init)
    if ref.path is not None or ref.run is not None:
        try:
            folder, _ = runs.resolve(ref, work)
        except SpecError:
            return None  # a pod's path, or a run that lies on the cluster's volume
        return read_config(Path(folder) / "config.json")
    name = ref.hub or default
    if name is None:
        return None
    cached = _cached(name, ref.revision)
    return read_config(cached) if cached else KNOWN.get(_family(name))


def of_init(init: InitBlock, vocab_size: int | None = None) -> Architecture:
    """Which shapes has a model that starts at random? Its vocabulary is at most the block's, a value model's the policy's."""
    return Architecture(
        init.hidden_size,
        init.num_hidden_layers,
        init.num_attention_heads,
        init.num_key_value_heads,
        init.intermediate_size,
        vocab_size or init.vocab_size,
        True,
        init.max_position_embeddings,
        init.hidden_size // init.num_attention_heads,
        dtype_bytes=4,
    )


def read_config(path: Path) -> Architecture | None:
    """Which shapes does a config.json state? None for another family, or quantised weights.

    Raises SpecError where it is no JSON map or a size is missing.
    """
    try:
        config = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise SpecError(f"{path}: expected a JSON document, got {error}") from error
    if not isinstance(config, dict):
        raise SpecError(f"{path}: expected a map of keys, got {config!r}")
    kind = config.get("model_type")
    if kind not in KINDS or config.get("quantization_config"):
        return None
    bad = [key for key in _REQUIRED if not isinstance(config.get(key), int) or config[key] < 1]
    if bad:
        raise SpecError(f"{path}: {key}: expected a positive integer, got {config.get(key)!r}" for key in bad)
    return _of_config(kind, config)


def _of_config(kind: str, config: dict[str, Any]) -> Architecture:
    heads = config["num_attention_heads"]
    hidden, kv_heads = config["hidden_size"], config.get("num_key_value_heads") or heads
    head = config.get("head_dim") or (128 if kind == "qwen3" else config["hidden_size"] // heads)
    has_bias = bool(config.get("attention_bias")) and kind in ("llama", "qwen3")
    biases = (heads + 2 * kv_heads) * head if kind == "qwen2" or has_bias else 0
    biases += hidden if has_bias else 0
    biases += 2 * config["intermediate_size"] + hidden if config.get("mlp_bias") and kind == "llama" else 0
    biases += 2 * head if kind == "qwen3" else 0
    return Architecture(
        hidden,
        config["num_hidden_layers"],
        heads,
        kv_heads,
        config["intermediate_size"],
        config["vocab_size"],
        bool(config.get("tie_word_embeddings", False)),
        config["max_position_embeddings"],
        head,
        dtype_bytes=2 if str(config.get("dtype") or config.get("torch_dtype")).endswith("float16") else 4,
        biases=biases,
        qk_norm=kind == "qwen3",
    )


def _cached(name: str, revision: str | None) -> Path | None:
    """Where in Hugging Face's cache is this model's config.json, if it is there?"""
    home = Path(os.environ.get("HF_HOME") or "~/.cache/huggingface")
    hub = Path(os.environ.get("HF_HUB_CACHE") or home / "hub").expanduser()
    repository = hub / f"models--{name.replace('/', '--')}"
    reference = repository / "refs" / (revision or "main")
    commit = reference.read_text().strip() if reference.is_file() else revision
    found = repository / "snapshots" / commit / "config.json" if commit else None
    return found if found and found.is_file() else None


def _family(name: str) -> str:
    """Under which name does the table hold a hub id? Instruction tuning changes no shape."""
    for ending in ("-Instruct-2507", "-Instruct", "-Base"):
        name = name.removesuffix(ending)
    return name.replace("meta-llama/Meta-Llama-", "meta-llama/Llama-")
