"""How are tokenizer, policy, value model and reward classifier made or loaded, and do they fit together?

What can be known from configs and tokenizers is checked before any weight is read.
"""

import copy
import shutil
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import torch
from tokenizers import Regex, Tokenizer, decoders, models, pre_tokenizers, trainers
from transformers import (
    AutoConfig,
    AutoModelForCausalLM,
    AutoModelForSequenceClassification,
    AutoTokenizer,
    GenerationConfig,
    LlamaConfig,
    PretrainedConfig,
    PreTrainedModel,
    PreTrainedTokenizerBase,
    PreTrainedTokenizerFast,
)

from fino1 import exits, runs
from fino1.errors import SpecError
from fino1.spec.inputs import DEFAULT_MODEL, InitBlock, ModelRef
from fino1.train import outline

CHAT_TEMPLATE = (
    "{% for message in messages %}{{ '<|' + message['role'] + '|>' + message['content'] }}"
    "{% if message['role'] == 'assistant' %}{{ '<|end|>' }}{% endif %}{% endfor %}"
    "{% if add_generation_prompt %}{{ '<|assistant|>' }}{% endif %}"
)
_PIECES = (
    r"## Thinking\n\n|\n\n## Final Response\n\n|(?<!\d)(?:19|20)\d\d(?!\d)|\d"
    r'|(?:{"|"})[A-Za-z {}\[\]":,]*|\[[a-z]+\][A-Za-z ]*|[A-Za-z ?\n]+|.'
)
SPECIAL = ["<|pad|>", "<|end|>", "<|user|>", "<|assistant|>", "<|system|>"]
Source = tuple[str | None, str | None]  # directory or hub id, and revision; (None, None): random weights
_GENERATION = "generation_config.json"
_HEAD = "score."  # of a value model or a verifier
BYTES_PER_PARAMETER = 12  # of a checkpoint in float32: the weights and Adam's two moments


def train_tokenizer(texts: Iterable[str], init: InitBlock) -> PreTrainedTokenizerFast:
    """Train a byte-level BPE tokenizer on the run's own rows.

    Each digit is one token, so that arithmetic can be learnt; a year and a heading are one, and so may a frequent phrase or piece
    of JSON be, so that a small model reads few. It has a chat template of its own, pads with `<|pad|>` and ends with `<|end|>`;
    decoding gives the text back.
    """
    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.Sequence(
        [
            pre_tokenizers.Split(Regex(_PIECES), behavior="isolated"),
            pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False),
        ]
    )
    tokenizer.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=init.vocab_size,
        special_tokens=SPECIAL,
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
        show_progress=False,
    )
    tokenizer.train_from_iterator(texts, trainer)
    return PreTrainedTokenizerFast(
        tokenizer_object=tokenizer,
        pad_token="<|pad|>",
        eos_token="<|end|>",
        chat_template=CHAT_TEMPLATE,
        model_max_length=init.max_position_embeddings,
        clean_up_tokenization_spaces=False,
    )


def load_tokenizer(source: str, revision: str | None, key: str = "model") -> PreTrainedTokenizerBase:
    """Load the tokenizer of a model to train with. Raises SpecError, naming `key`, for one without chat template or end token."""
    tokenizer = read_tokenizer(source, revision, key)
    if tokenizer.chat_template is None:
        raise SpecError(f"{key}: {source}: expected a tokenizer with a chat template, got none")
    if tokenizer.eos_token_id is None:
        raise SpecError(f"{key}: {source}: expected a tokenizer with an end-of-sequence token, got none")
    is_unknown = tokenizer.eos_token_id == tokenizer.unk_token_id and tokenizer.eos_token != tokenizer.unk_token
    if is_unknown or not outline.knows_token(source, tokenizer.eos_token):
        got = f"{tokenizer.eos_token!r}, which is not in its vocabulary"
        raise SpecError(f"{key}: {source}: expected a tokenizer with an end-of-sequence token, got {got}")
    if tokenizer.pad_token is None:
        tokenizer.pad_token = tokenizer.eos_token  # masks never come from comparing with the pad token
    return tokenizer


def end_tokens(tokenizer: PreTrainedTokenizerBase, source: str | None, revision: str | None) -> list[int]:
    """Ids of the tokens that end a response: the tokenizer's own, and those that the model's generation config lists.

    A chat model ends its turn with another token than a document (Gemma's `<end_of_turn>`, Llama 3's `<|eot_id|>`).
    """
    listed: list[int] | int | None = None
    if source is not None:
        with outline.refusing("model", source, f"a {_GENERATION} that can be read"):
            try:
                listed = GenerationConfig.from_pretrained(source, revision=revision).eos_token_id
            except OSError as error:
                if exits.is_disk_error(error) or "valid JSON" in str(error):
                    raise  # else there is no such file
    more = listed if isinstance(listed, list) else [] if listed is None else [listed]
    for token in more:
        if not isinstance(token, int):
            raise SpecError(f"model: {source}: expected token ids in eos_token_id of {_GENERATION}, got {token!r}")
    return list(dict.fromkeys([tokenizer.eos_token_id, *more]))


def read_tokenizer(source: str, revision: str | None, key: str) -> PreTrainedTokenizerBase:
    """Load the tokenizer of a model as it is. Raises SpecError, naming `key`, for none, and the disk's own errors."""
    with outline.refusing(key, source, "a tokenizer"):
        return AutoTokenizer.from_pretrained(source, revision=revision)


def load_config(key: str, source: str, revision: str | None) -> PretrainedConfig:
    """Load a model's config. Raises SpecError naming the run file's `key`."""
    with outline.refusing(key, source, "a model"):
        return AutoConfig.from_pretrained(source, revision=revision)


def load_trained_config(
    key: str, source: str, revision: str | None, tokenizer: PreTrainedTokenizerBase, headed: bool = False
) -> PretrainedConfig:
    """Load the config of a model to train; `headed`: with a head of its own (a value model, a verifier).

    Raises SpecError for a model that cannot be trained, and weights in its folder that are not whole or of other sizes.
    """
    config = load_config(key, source, revision)
    outline.check_kind(key, source, config)
    classifiers = [kind for kind in config.architectures or [] if kind.endswith("ForSequenceClassification")]
    if classifiers and not headed:
        raise SpecError(f"{key}: {source}: expected a causal language model, got a classifier ({classifiers[0]})")
    outline.check_vocabulary(key, source, tokenizer, config)
    made = outline.build(AutoModelForSequenceClassification if headed else AutoModelForCausalLM, key, source, config)
    outline.check_shapes(key, source, made, _HEAD if headed else "")
    return config


def init_config(init: InitBlock, tokenizer: PreTrainedTokenizerBase) -> LlamaConfig:
    """Config of a Llama of these sizes with this tokenizer's vocabulary."""
    sizes = init.model_dump(exclude={"vocab_size"})
    return LlamaConfig(
        vocab_size=len(tokenizer),
        bos_token_id=None,
        eos_token_id=tokenizer.eos_token_id,
        pad_token_id=tokenizer.pad_token_id,
        tie_word_embeddings=True,
        **sizes,
    )


def load_policy(config: PretrainedConfig, source: str | None, revision: str | None) -> PreTrainedModel:
    """Load a causal language model in float32 (mixed precision casts where it computes), or make it where `source` is None."""
    drop_router_logits(config)
    if source is None:
        return AutoModelForCausalLM.from_config(config, dtype=torch.float32)
    made = _load(AutoModelForCausalLM, "model", source, revision, config=config, dtype=torch.float32)[0]
    _check_generation(made, source)
    head = made.get_output_embeddings()
    is_tied = head is None or head.weight is made.get_input_embeddings().weight
    if getattr(config.get_text_config(), "tie_word_embeddings", False) and not is_tied:  # Transformers then ties none
        wanted = "tie_word_embeddings: false in config.json, as the weights have a head of their own"
        raise SpecError(f"model: {source}: expected {wanted}, got true")
    return made


def _check_generation(made: PreTrainedModel, source: str) -> None:
    """Make sure that the generation config can be saved with the trained model, as Transformers refuses at the end.

    A temperature without do_sample (Llama 2's) is meant to be used. Raises SpecError for what is wrong besides.
    """
    with outline.refusing("model", source, f"a {_GENERATION} that can be saved"):
        try:
            made.generation_config.validate(strict=True)
        except ValueError:
            made.generation_config.do_sample = True
            made.generation_config.validate(strict=True)


def drop_router_logits(config: PretrainedConfig) -> None:
    """Let a mixture of experts return no router logits. TRL's SFT leaves that on; Transformers then fails with a cache."""
    if getattr(config.get_text_config(), "output_router_logits", False):
        config.get_text_config().output_router_logits = False


def load_value(config: PretrainedConfig, source: str | None, revision: str | None) -> PreTrainedModel:
    """Load a backbone with a head of one number per token."""
    return _load_headed("ppo.value_model", config, source, revision, 1)


def load_verifier(config: PretrainedConfig, source: str | None, revision: str | None) -> PreTrainedModel:
    """Load a classifier of two classes to train. Raises SpecError where the source is one of another number of classes."""
    kinds = config.architectures or []
    if any(kind.endswith("ForSequenceClassification") for kind in kinds) and config.num_labels != 2:
        raise SpecError(f"model: {source}: expected a head of two classes, or none, got {config.num_labels}")
    return _load_headed("model", config, source, revision, 2)


def _load_headed(
    key: str, config: PretrainedConfig, source: str | None, revision: str | None, labels: int
) -> PreTrainedModel:
    """Load a model with a head of `labels` numbers. A head that the source does not have starts at 0: value 0, or p = 0.5."""
    config = copy.deepcopy(config)
    config.num_labels = labels
    if source is None:
        headed, missing = AutoModelForSequenceClassification.from_config(config, dtype=torch.float32), {"score.weight"}
    else:
        options = {"config": config, "dtype": torch.float32, "but": _HEAD}
        headed, missing = _load(AutoModelForSequenceClassification, key, source, revision, **options)
    if "score.weight" in missing:
        torch.nn.init.zeros_(headed.score.weight)
    return headed


def load_classifier(source: str, revision: str | None) -> PreTrainedModel:
    """Load the reward classifier in the precision it was saved in."""
    return _load(AutoModelForSequenceClassification, "ppo.reward.model", source, revision)[0]


def _load(
    kind: Any, key: str, source: str, revision: str | None, but: str = "", **options: Any
) -> tuple[PreTrainedModel, set[str]]:
    """Load weights; return the model, and the weights that were not there, which must begin with `but`. Raises SpecError."""
    options |= {"output_loading_info": True, "ignore_mismatched_sizes": True}
    with outline.refusing(key, source, "weights"):
        loaded, info = kind.from_pretrained(source, revision=revision, **options)
    outline.check_loaded(key, source, info, but)
    return loaded, info["missing_keys"]


def value_config(
    ref: ModelRef, default: str, work: Path, tokenizer: PreTrainedTokenizerBase, policy: PretrainedConfig
) -> tuple[PretrainedConfig, Source]:
    """Config and source of the value model. Raises SpecError where its vocabulary is not the policy's."""
    if ref.init is not None:
        return init_config(ref.init, tokenizer), (None, None)
    source, revision = runs.resolve(ref, work, default, "ppo.value_model")
    own = read_tokenizer(source, revision, "ppo.value_model")
    config = load_trained_config("ppo.value_model", source, revision, own, headed=True)
    if config.vocab_size != policy.vocab_size:
        raise SpecError(
            f"ppo.value_model: {source}: expected the policy's vocabulary of {policy.vocab_size} tokens, "
            f"got {config.vocab_size}"
        )
    if own.get_vocab() != tokenizer.get_vocab():
        raise SpecError(f"ppo.value_model: {source}: expected the policy's tokenizer, got one with other token ids")
    return config, (source, revision)


def context_length(config: PretrainedConfig) -> int:
    """Tokens that the model can read and write together; 2^31 where its config names no limit."""
    return getattr(config, "max_position_embeddings", None) or 2**31


def parameters(config: PretrainedConfig) -> int:
    """Number of parameters of a causal model of this config, built on the meta device: no memory is taken."""
    with torch.device("meta"):
        return sum(p.numel() for p in AutoModelForCausalLM.from_config(config).parameters())


def check_disk(directory: Path, parameter_count: int, checkpoints: int) -> None:
    """Raise SpecError where the disk has no room for `checkpoints` and the one that is being written."""
    needed = parameter_count * BYTES_PER_PARAMETER * (checkpoints + 1)
    there = directory
    while not there.exists():
        there = there.parent
    free = shutil.disk_usage(there).free
    if free < needed:
        raise SpecError(
            f"--work: {directory}: expected {needed / 2**30:.2f} GiB free for {checkpoints + 1} checkpoints of "
            f"{parameter_count / 1e6:.1f} M parameters, got {free / 2**30:.2f} GiB"
        )


def own_source(ref: ModelRef, work: Path, default: str = DEFAULT_MODEL) -> Source:
    """Directory or hub id, and revision, of the run's own model; (None, None) for random weights."""
    return (None, None) if ref.init is not None else runs.resolve(ref, work, default, "model")
