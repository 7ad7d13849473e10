"""Can PPO's value model read what the policy writes? Both must have the same vocabulary."""

from collections.abc import Iterator

from fino1.k8s.finding import Finding, missing, note
from fino1.sizes.shapes import Finder
from fino1.spec.inputs import DEFAULT_MODEL, DEFAULT_VALUE_MODEL
from fino1.spec.run import RunSpec

_KEY = "ppo.value_model"


def check_vocabulary(spec: RunSpec, models: Finder) -> Iterator[Finding]:
    """What is wrong with the value model's vocabulary, as far as its size tells; nothing where it has the policy's."""
    if spec.method != "ppo" or spec.ppo.value_model.init:  # one with random weights takes the policy's
        return
    policy = models.find("model", spec.model, DEFAULT_MODEL)
    value = models.find(_KEY, spec.ppo.value_model, DEFAULT_VALUE_MODEL)
    if policy is None or value is None:
        unknown = " and ".join(key for key, found in (("model", policy), (_KEY, value)) if found is None)
        yield note(
            _KEY, f"not checked whether it has the policy's vocabulary: the sizes of {unknown} are not known here"
        )
    elif value.vocab_size != policy.vocab_size:
        its = spec.ppo.value_model
        name = its.hub or its.path or its.run or f"{DEFAULT_VALUE_MODEL} (the default)"
        yield missing(
            _KEY,
            f"{name}: expected the policy's vocabulary of {policy.vocab_size} tokens, got {value.vocab_size}; take a smaller "
            "model of the policy's family",
        )
