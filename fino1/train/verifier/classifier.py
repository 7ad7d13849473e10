"""What does a verifier read, and how does it become token ids? The same when it is trained and when it gives PPO's reward.

The final response and the reference answer, no question (docs/verifier.md).
"""

from collections.abc import Iterable

from transformers import PretrainedConfig, PreTrainedTokenizerBase

from fino1.errors import SpecError
from fino1.tasks.record import FINAL
from fino1.train import model

_INPUT = (
    "<Model Response>\n{response}\n</Model Response>\n\n<Reference Answer>\n{reference}\n</Reference Answer>\n\n"
    'Does the model response agree with the reference answer? Answer "True" or "False".'
)


def text(response: str, reference: float | bool | str) -> str:
    """The verifier's input: the reference answer and the response, of a whole solution only what follows the last heading."""
    return _INPUT.format(response=response.rpartition(FINAL)[2].strip(), reference=reference)


def ids(
    tokenizer: PreTrainedTokenizerBase, texts: Iterable[str], max_length: int, config: PretrainedConfig
) -> tuple[list[list[int]], int]:
    """Token ids of pairs, their end of sequence included, and how many were cut: at the left, which keeps the reference."""
    end = tokenizer.eos_token or ""
    whole = tokenizer([found + end for found in texts], add_special_tokens=False)["input_ids"]
    length = min(max_length, model.context_length(config))
    return [found[-length:] for found in whole], sum(len(found) > length for found in whole)


def load_tokenizer(source: str, revision: str | None, key: str = "model") -> PreTrainedTokenizerBase:
    """The verifier's own tokenizer, not the policy's. Raises SpecError, naming `key`, for one that cannot pad."""
    tokenizer = model.read_tokenizer(source, revision, key)
    if tokenizer.pad_token is None:
        tokenizer.pad_token = tokenizer.eos_token
    if tokenizer.pad_token is None:
        raise SpecError(f"{key}: {source}: expected a tokenizer that can pad, got one without pad or eos token")
    return tokenizer
