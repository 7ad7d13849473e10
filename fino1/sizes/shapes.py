"""Which shapes has a model? By its config.json, the run file of the run that trains it, or shapes.json; no weights are read."""

import functools
import json
import re
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from fino1 import runs
from fino1.errors import SpecError
from fino1.spec import recipe
from fino1.spec.inputs import DEFAULT_MODEL, DEFAULT_VALUE_MODEL, InitBlock, ModelRef
from fino1.spec.placement import GpuBlock

_KINDS = ("llama", "mistral", "qwen2", "qwen3")  # model_type of config.json that the formulas hold for
Visited = tuple[
    Path | None, str
]  # a run file and the name that its run was looked up by: of a recipe two runs may have one file
_REQUIRED = (
    *("hidden_size", "num_hidden_layers", "num_attention_heads", "intermediate_size"),
    *("vocab_size", "max_position_embeddings"),
)
_MIG = re.compile(r"mig-\d+g\.(\d+)gb", re.IGNORECASE)


@dataclass(frozen=True)
class Architecture:
    """A dense decoder of the Llama family: what its size in memory follows from. Keys as in config.json."""

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
    """Bytes of a weight as it was saved."""
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
        """Parameters without the language head: a value model or classifier adds one or two rows to these."""
        return self.embedding + self.num_hidden_layers * self.layer + self.hidden_size

    @property
    def parameters(self) -> int:
        """Parameters of the language model."""
        return self.backbone + (0 if self.tie_word_embeddings else self.embedding)


@functools.cache
def _table() -> dict[str, Any]:
    return json.loads(Path(__file__).with_name("shapes.json").read_text(encoding="utf-8"))


def known(name: str) -> Architecture | None:
    """The shapes of a hub id in shapes.json; instruction tuning changes none. None where it is not in there."""
    for ending in ("-Instruct-2507", "-Instruct", "-Base"):
        name = name.removesuffix(ending)
    config = _table()["models"].get(name.replace("meta-llama/Meta-Llama-", "meta-llama/Llama-"))
    return known(config) if isinstance(config, str) else _of_config(config) if config else None


def gpu_memory(gpu: GpuBlock) -> int | None:
    """Bytes of the GPU that a run asks for; of a MIG slice about 0.95 of its name's. None where it is not known."""
    mig = _MIG.search(gpu.resource) or _MIG.search(gpu.product or "")
    if mig:
        return int(mig[1]) * 2**30 * 95 // 100
    mib = _table()["gpu_mib"].get((gpu.product or "").removesuffix("-SHARED"))
    return mib * 2**20 if mib else None


class Finder:
    """Looks up the shapes of the models that a run file names. `planned` is that file, `work` where finished runs lie.

    `unknown` has a sentence for each model not found, `assumed` one for each run that is not in `work`, the size of whose model
    is taken from its run file.
    """

    def __init__(self, work: Path, planned: Path | None = None) -> None:
        self.work, self.planned = work, planned
        self.unknown: list[str] = []
        self.assumed: list[str] = []

    def find(self, key: str, ref: ModelRef, default: str | None = None) -> Architecture | None:
        """The shapes of the model at `key`, or of the hub id `default` where it names none; None, and `unknown`, if not known.

        Raises SpecError for a config.json that cannot be read.
        """
        shapes = self._look_up(ref, default, ((self.planned, ""),))
        if shapes is None:
            name = ref.hub or ref.path or ref.run or default
            hint = f"give {key}.path, a folder with its config.json, or fetch the model to Hugging Face's cache"
            sentence = f"{key}: {name}: sizes not known here; {hint}"
            self.unknown += [sentence] if sentence not in self.unknown else []
        return shapes

    def _look_up(self, ref: ModelRef, default: str | None, visited: tuple[Visited, ...]) -> Architecture | None:
        from huggingface_hub import try_to_load_from_cache

        if ref.init:
            return of_init(ref.init)
        try:
            place, revision = runs.resolve(ref, self.work, default)
        except SpecError:  # a path in a pod is not here
            return self._look_in_run_file(ref.run, visited) if ref.run else None
        if ref.path or ref.run:
            return read_config(Path(place) / "config.json")
        cached = try_to_load_from_cache(place, "config.json", revision=revision)
        return read_config(Path(cached)) if isinstance(cached, str) else known(place)

    def _look_in_run_file(self, name: str, visited: tuple[Visited, ...]) -> Architecture | None:
        """The shapes of what the run `name` will train. None too where the way there comes back to a run in `visited`."""
        found = recipe.find_named(re.sub(r"-[0-9a-f]{10}$", "", name), visited[-1][0])
        if found is None or (found[0], name) in visited or not found[1].trains:
            return None
        path, spec = found
        default = DEFAULT_VALUE_MODEL if spec.method == "verifier" else DEFAULT_MODEL
        shapes = self._look_up(spec.model, default, (*visited, (path, name)))
        if shapes is None:
            return None
        sentence = f"run {name} is not in {self.work}/runs; its model's size is taken from {path.name}"
        self.assumed += [sentence] if sentence not in self.assumed else []
        is_half = spec.method != "ppo" and spec.world_size > 1 and spec.launch.zero_stage and spec.trained.bf16
        return replace(shapes, dtype_bytes=2 if is_half else 4)  # DeepSpeed saves what it computes with


def of_init(init: InitBlock, vocab_size: int | None = None) -> Architecture:
    """The shapes of a model that starts at random. A value model has the policy's `vocab_size`."""
    own = {"model_type": "llama", "vocab_size": vocab_size or init.vocab_size, "tie_word_embeddings": True}
    return _of_config({**init.model_dump(), **own})


def read_config(path: Path) -> Architecture | None:
    """The shapes that a config.json states; None for another family, or quantised weights.

    Raises SpecError where it is no JSON map or a size is missing.
    """
    try:
        config = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise SpecError(f"{path}: expected a JSON document, got {error}") from error
    if not isinstance(config, dict):
        raise SpecError(f"{path}: expected a map of keys, got {config!r}")
    if config.get("model_type") not in _KINDS or config.get("quantization_config"):
        return None
    bad = [key for key in _REQUIRED if not isinstance(config.get(key), int) or config[key] < 1]
    if bad:
        raise SpecError(f"{path}: {key}: expected a positive integer, got {config.get(key)!r}" for key in bad)
    return _of_config(config)


def _of_config(config: dict[str, Any]) -> Architecture:
    kind, heads, hidden = config["model_type"], config["num_attention_heads"], config["hidden_size"]
    kv_heads = config.get("num_key_value_heads") or heads
    head = config.get("head_dim") or (128 if kind == "qwen3" else hidden // heads)
    has_bias = bool(config.get("attention_bias")) and kind in ("llama", "qwen3")
    biases = (heads + 2 * kv_heads) * head if kind == "qwen2" or has_bias else 0
    biases += hidden if has_bias else 0
    biases += 2 * config["intermediate_size"] + hidden if config.get("mlp_bias") and kind == "llama" else 0
    biases += 2 * head if kind == "qwen3" else 0
    is_half = str(config.get("dtype") or config.get("torch_dtype")).endswith("float16")
    return Architecture(
        **{key: config[key] for key in _REQUIRED},
        num_key_value_heads=kv_heads,
        tie_word_embeddings=bool(config.get("tie_word_embeddings", False)),
        head_dim=head,
        dtype_bytes=2 if is_half else 4,
        biases=biases,
        qk_norm=kind == "qwen3",
    )
