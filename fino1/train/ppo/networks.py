"""What do policy and value model compute in PPO? Passes over packed episodes, with and without gradients."""

from contextlib import nullcontext

import torch
from torch import Tensor, nn
from transformers import PreTrainedModel

from fino1.train import attention
from fino1.train.head import logits_of
from fino1.train.ppo import rl
from fino1.train.ppo.episodes import Packed


class ActorCritic(nn.Module):
    """Policy and value model as one module, so that fully_shard and one optimizer hold both."""

    def __init__(self, policy: PreTrainedModel, value: PreTrainedModel) -> None:
        super().__init__()
        self.policy = policy
        self.value = value

    def forward(
        self, packed: Packed, temperature: float | None = None, loss: rl.LossPart | None = None
    ) -> Tensor | tuple[Tensor | None, Tensor, Tensor]:
        """The values (N,) of packed episodes; with a temperature the policy's loss, log-probabilities and entropies (N,).

        Without `loss` the policy has no gradients, and its loss is None. A pass is of one model, so that what it keeps for its
        backward pass is gone before the other's begins.
        """
        if temperature is None:
            return values(self.value, packed).clone()  # fully_shard hooks outputs that are no views
        if loss is None:
            return None, *policy_logprobs(self.policy, packed, temperature)
        return policy_loss(self.policy, packed, temperature, loss)


class Reference(nn.Module):
    """The frozen policy, wrapped so that what shards it sees its forward pass.

    With `bf16` it holds in bf16 what is computed with in bf16, and computes the same: all weights where they are sharded, else
    those that autocast casts, of linear layers that are not the embedding as well.
    """

    def __init__(self, policy: PreTrainedModel, bf16: bool, is_sharded: bool) -> None:
        super().__init__()
        self.policy = policy.requires_grad_(False).eval()
        embedding = policy.get_input_embeddings().weight
        linear = [m for m in policy.modules() if isinstance(m, nn.Linear) and m.weight is not embedding]
        for module in ([policy] if is_sharded else linear) if bf16 else ():
            for weight in module.parameters():
                weight.data = weight.data.bfloat16()

    def forward(self, packed: Packed, temperature: float) -> Tensor:
        """Log-probabilities (N,) of packed episodes."""
        return policy_logprobs(self.policy, packed, temperature, with_entropy=False)[0]


def train_without_noise(model: PreTrainedModel) -> None:
    """Put a model into train mode with no dropout and no jitter.

    Transformers checkpoints activations in train mode only, and `from_pretrained` leaves a model in eval mode. What is random
    in a forward pass goes: the log-probabilities of PPO's ratio would differ from those that were sampled with.
    """
    for module in model.train().modules():
        if isinstance(module, nn.modules.dropout._DropoutNd):
            module.p = 0.0
        for name, value in vars(module).items():
            if isinstance(value, float) and ("drop" in name or "jitter" in name):
                setattr(module, name, 0.0)


@torch.no_grad()
def policy_logprobs(
    policy: PreTrainedModel, packed: Packed, temperature: float, with_entropy: bool = True
) -> tuple[Tensor, Tensor | None]:
    """Log-probabilities and entropies (N,) of the packed response tokens; only their positions meet the head."""
    return rl.token_logprobs(_hidden(policy, packed), logits_of(policy), packed.targets, temperature, with_entropy)


def policy_loss(
    policy: PreTrainedModel, packed: Packed, temperature: float, loss: rl.LossPart
) -> tuple[Tensor, Tensor, Tensor]:
    """The sum of `loss` over the packed response tokens with its gradients, log-probabilities and entropies (N,) without."""
    weights = list(policy.get_output_embeddings().parameters())
    return rl.head_loss(_hidden(policy, packed), logits_of(policy), weights, packed.targets, temperature, loss)


def values(model: PreTrainedModel, packed: Packed) -> Tensor:
    """Values (N,) of the states in which the packed response tokens were chosen."""
    return model.score(_hidden(model, packed)).squeeze(-1).float()


def _hidden(model: PreTrainedModel, packed: Packed) -> Tensor:
    """The last hidden states (N, H) from which the response tokens are predicted."""
    with attention.episodes(packed.lengths) if packed.lengths else nullcontext():
        output = model.base_model(input_ids=packed.ids, position_ids=packed.positions, use_cache=False)
    return output.last_hidden_state.flatten(0, 1)[packed.index]
