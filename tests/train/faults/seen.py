"""What did each rank compute? Lines in SEEN_DIR/RANK.jsonl, written in the ranks as they compute it (sitecustomize imports this).

`rows`: the rows of one part of an SFT step; `norm`: of a gradient, before clipping; `batch`: an update's experience; `saved`:
bytes that a PPO pass keeps for its backward pass.
"""

import json
import os
from pathlib import Path


def _write(**line) -> None:
    with (Path(os.environ["SEEN_DIR"]) / f"{os.environ['RANK']}.jsonl").open("a") as file:
        file.write(json.dumps(line) + "\n")


def _see_rows(module) -> None:
    original = module.Trainer.training_step

    def training_step(self, model, inputs, *args, **kwargs):
        counted = inputs["labels"].ne(-100)
        rows = [ids[mask].tolist() for ids, mask in zip(inputs["input_ids"], counted, strict=True)]
        positions = inputs.get("position_ids")
        starts = None if positions is None else positions.eq(0).sum().item()
        _write(step=self.state.global_step, rows=rows, starts=starts)
        return original(self, model, inputs, *args, **kwargs)

    module.Trainer.training_step = training_step


def _see_norms(module) -> None:
    original = module.Accelerator.clip_grad_norm_

    def clip_grad_norm_(self, *args, **kwargs):
        norm = original(self, *args, **kwargs)
        if norm is not None:  # DeepSpeed clips by itself
            _write(norm=float(norm.full_tensor() if hasattr(norm, "full_tensor") else norm))
        return norm

    module.Accelerator.clip_grad_norm_ = clip_grad_norm_


def _see_batches(module) -> None:
    original = module.batch

    def batch(episodes, *args, **kwargs):
        known = original(episodes, *args, **kwargs)
        tensors = {name: getattr(known, name).tolist() for name in known.__dataclass_fields__ if name != "mask"}
        _write(responses=[episode.response for episode in episodes], **tensors)
        return known

    module.batch = batch


def _see_saved(module) -> None:
    import torch

    original = module.ActorCritic.forward

    def forward(self, packed, temperature=None, *args, **kwargs):
        saved = {}

        def pack(tensor):
            saved[tensor.data_ptr()] = tensor.nbytes
            return tensor

        weights = {weight.data_ptr() for weight in self.parameters()}
        with torch.autograd.graph.saved_tensors_hooks(pack, lambda tensor: tensor):
            result = original(self, packed, temperature, *args, **kwargs)
        if saved:  # a pass with gradients
            size = sum(size for place, size in saved.items() if place not in weights)
            _write(saved=size / packed.ids.numel(), part="value" if temperature is None else "policy")
        return result

    module.ActorCritic.forward = forward


CHANGES = {
    "transformers.trainer": _see_rows,
    "accelerate.accelerator": _see_norms,
    "fino1.train.ppo.main": _see_batches,
    "fino1.train.ppo.networks": _see_saved,
}
