"""What does one rank hold of a model? Its share, where there are several. (docs/ranks.md)

SFT and the verifier are sharded by DeepSpeed, which the Trainer drives: this module writes its configuration. PPO, whose loop is
ours, is sharded by torch's fully_shard, which does what ZeRO stage 3 does: a layer's weights are whole on a rank while it
computes with them, its gradients and the optimizer's state never. Both leave the arithmetic alone: the numbers are those of
plain data parallelism, up to rounding.
"""

import logging
import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import timedelta
from pathlib import Path
from typing import Any

import torch
from accelerate import PartialState, init_empty_weights
from torch import Tensor, nn
from torch.distributed import checkpoint
from torch.distributed.checkpoint.state_dict import (
    StateDictOptions,
    get_model_state_dict,
    get_state_dict,
    set_state_dict,
)
from torch.distributed.device_mesh import DeviceMesh, init_device_mesh
from torch.distributed.fsdp import MixedPrecisionPolicy, fully_shard
from torch.distributed.tensor import DTensor, distribute_tensor
from transformers import PretrainedConfig, PreTrainedModel
from transformers.initialization import no_init_weights

from fino1.spec.run import RunSpec

PROCESS_GROUP_TIMEOUT = timedelta(minutes=30)


def stage(spec: RunSpec, world_size: int) -> int:
    """ZeRO stage of the run. One rank without offload has nothing to share: 0, plain training, to the same numbers."""
    offload = {spec.launch.offload_optimizer_device, spec.launch.offload_param_device} != {"none"}
    return spec.launch.zero_stage if world_size > 1 or offload else 0


def deepspeed_config(spec: RunSpec, world_size: int) -> dict[str, Any] | None:
    """DeepSpeed's configuration for SFT and the verifier; None where nothing is sharded. The Trainer fills in what is `auto`."""
    number = stage(spec, world_size)
    if number == 0:
        return None
    zero: dict[str, Any] = {"stage": number, "reduce_bucket_size": "auto"}
    if number == 3:
        zero |= {
            "stage3_prefetch_bucket_size": "auto",
            "stage3_param_persistence_threshold": "auto",
            "stage3_gather_16bit_weights_on_model_save": True,  # in 32 bits where bf16 is off
        }
    for part in ("optimizer", "param"):
        device = getattr(spec.launch, f"offload_{part}_device")
        if device != "none":
            zero[f"offload_{part}"] = {"device": device, "pin_memory": True}
    return {
        "zero_optimization": zero,
        "zero_force_ds_cpu_optimizer": False,  # torch's AdamW: DeepSpeed's own is compiled when it is first used
        "bf16": {"enabled": "auto"},
        "data_types": {"grad_accum_dtype": "fp32"},  # else the parts of a global batch are summed in bf16
        "gradient_clipping": "auto",
        "gradient_accumulation_steps": "auto",
        "train_batch_size": "auto",
        "train_micro_batch_size_per_gpu": "auto",
    }


def prepare(use_cpu: bool) -> None:
    """Set DeepSpeed's device in the environment, before anything imports it."""
    os.environ.setdefault("DS_ACCELERATOR", "cpu" if use_cpu else "cuda")
    logging.getLogger("DeepSpeed").setLevel(logging.ERROR)


def join(use_cpu: bool) -> None:
    """Join the ranks to one another for DeepSpeed; the Trainer then finds that done (`use_configured_state`).

    By itself it joins no ranks without GPUs: each would train alone, without an error.
    """
    if use_cpu:
        from deepspeed import ops

        ops.__compatible_ops__["deepspeed_shm_comm"] = False  # an op that is compiled for minutes; gloo does as well
    os.environ["ACCELERATE_USE_DEEPSPEED"] = "true"
    PartialState(backend="gloo" if use_cpu else None, timeout=PROCESS_GROUP_TIMEOUT)


def load_without_weights(
    load: Callable[..., PreTrainedModel], config: PretrainedConfig, device: torch.device
) -> PreTrainedModel:
    """Make the model that `load` makes, its weights on the meta device, its buffers on `device`."""
    with init_empty_weights(include_buffers=False), no_init_weights(), device:
        model = load(config, None, None)
    model.tie_weights()
    return model


class Sharding:
    """Divides models over all ranks: by layers, each cut along its weights' first dimension."""

    def __init__(self, device: torch.device, bf16: bool, is_main: bool) -> None:
        self.device, self.is_main = device, is_main
        self.dtype = torch.bfloat16 if bf16 else torch.float32  # of what is computed with; what is learnt is in float32
        self.mesh: DeviceMesh = init_device_mesh(device.type, (torch.distributed.get_world_size(),))

    def load(self, load: Callable[..., PreTrainedModel], config: PretrainedConfig, source: tuple) -> PreTrainedModel:
        """Load a model for `divide`: one rank reads the weights, and the others wait for their shares."""
        return load(config, *source) if self.is_main else load_without_weights(load, config, self.device)

    def divide(self, module: nn.Module) -> None:
        """Leave each rank its share of the weights that the main rank has."""
        weights = {name: weight.detach() for name, weight in module.named_parameters()} if self.is_main else {}
        _assign(module, lambda _, weight: torch.empty_like(weight, device="meta"))
        options: dict[str, Any] = {
            "mesh": self.mesh,
            "reshard_after_forward": True,
            "mp_policy": MixedPrecisionPolicy(param_dtype=self.dtype, reduce_dtype=torch.float32),
        }
        models = [part for part in module.modules() if isinstance(part, PreTrainedModel)]
        layers = {name for model in models for name in model._no_split_modules}
        for part in module.modules():
            if type(part).__name__ in layers:
                fully_shard(part, **options)
        fully_shard(module, **options)

        def share(name: str, weight: DTensor) -> DTensor:
            whole = weights.pop(name) if self.is_main else torch.empty(weight.shape, dtype=weight.dtype)
            return distribute_tensor(whole.to(self.device), self.mesh, weight.placements)

        _assign(module, share)

    @contextmanager
    def gathered(self, module: nn.Module, into: PreTrainedModel) -> Iterator[PreTrainedModel]:
        """Gather the weights of `module`, once, in the precision that is computed with, into the model without weights `into`."""
        weights = dict(module.named_parameters())
        _assign(into, lambda name, _: weights[name].full_tensor().to(self.dtype))
        yield into
        _assign(into, lambda _, weight: torch.empty_like(weight, device="meta"))


def save(directory: Path, module: nn.Module, optimizer: torch.optim.Optimizer) -> None:
    """Write this rank's shares of the weights and of the optimizer's state, AdamW's start where a weight has taken no step."""
    for weight in (weight for group in optimizer.param_groups for weight in group["params"]):
        if not optimizer.state[
            weight
        ]:  # a file has the same entries after any step: none can be loaded but those asked for
            moments = {moment: torch.zeros_like(weight) for moment in ("exp_avg", "exp_avg_sq")}
            optimizer.state[weight] = {"step": torch.zeros((), device=weight.device), **moments}
    weights, state = get_state_dict(module, optimizer)
    checkpoint.save({"model": weights, "optimizer": state}, checkpoint_id=directory)


def load(directory: Path, module: nn.Module, optimizer: torch.optim.Optimizer) -> None:
    """Load this rank's shares of the weights and of the optimizer's state."""
    weights, state = get_state_dict(module, optimizer)
    found = {"model": weights, "optimizer": state}
    checkpoint.load(found, checkpoint_id=directory)
    set_state_dict(module, optimizer, model_state_dict=found["model"], optim_state_dict=found["optimizer"])


def gather(module: nn.Module) -> dict[str, Tensor]:
    """Gather the whole weights, each once, in the main rank's memory; the other ranks get an empty dict."""
    found = get_model_state_dict(module, options=StateDictOptions(full_state_dict=True, cpu_offload=True))
    twice = {name for name, _ in module.named_parameters(remove_duplicate=False)} - dict(
        module.named_parameters()
    ).keys()
    return {name: weight for name, weight in found.items() if name not in twice}


def _assign(module: nn.Module, make: Callable[[str, Tensor], Tensor]) -> None:
    """Replace the module's weights; what was tied stays tied."""
    made = {
        id(weight): nn.Parameter(make(name, weight.detach()), requires_grad=weight.requires_grad)
        for name, weight in module.named_parameters()
    }
    weights = {name: made[id(weight)] for name, weight in module.named_parameters(remove_duplicate=False)}
    module.load_state_dict(weights, strict=False, assign=True)
