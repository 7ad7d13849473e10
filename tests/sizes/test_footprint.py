"""What a rank holds, against hand-computed cases, real modules and optimizers, DeepSpeed, and torch's saved tensors.

Sizes that no test machine holds are computed on fake tensors: shapes and types are real, nothing is allocated.
"""

import dataclasses
import gc
import importlib
import json
import os
import subprocess
import sys
import weakref
from contextlib import nullcontext
from pathlib import Path

import pytest

from fino1.sizes import footprint
from fino1.sizes.footprint import Sharding
from fino1.sizes.shapes import _of_config, known
from fino1.train import attention
from tests.needs import needed

LLAMA = known("meta-llama/Llama-3.1-8B")
SMALL = known("meta-llama/Llama-3.2-3B")
TINY = {
    "hidden_size": 64,
    "intermediate_size": 192,
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
    "vocab_size": 97,
    "max_position_embeddings": 512,
}


def of_config(kind, **keys):
    return _of_config({"model_type": kind, **TINY, **keys})


def sharding(stage=3, ranks=8, bf16=True, by_deepspeed=True):
    return Sharding(stage, ranks, bf16, by_deepspeed)


def test_states_by_hand():
    """1,000 parameters, 8 ranks: a share is 125."""
    assert footprint.states(sharding(3), 1000) == {"weights": 250, "gradients": 500, "optimizer": 1500}
    assert footprint.states(sharding(2), 1000)["weights"] == 2000
    assert footprint.states(sharding(1), 1000)["gradients"] == 6000
    assert footprint.states(sharding(0), 1000) == {
        "weights": 4000,
        "gradients": 4000,
        "optimizer": 8000,
        "buckets": 4000,
    }
    assert footprint.states(sharding(3, by_deepspeed=False), 1000) == {
        "weights": 500,
        "gradients": 500,
        "optimizer": 1000,
    }


def test_a_real_optimizer_holds_sixteen_bytes_for_each_parameter():
    import torch
    import transformers

    model = transformers.AutoModelForCausalLM.from_config(transformers.LlamaConfig(**TINY), dtype=torch.float32)
    optimizer = torch.optim.AdamW(model.parameters())
    model(input_ids=torch.zeros(1, 8, dtype=torch.long)).logits.sum().backward()
    optimizer.step()
    moments = [t for state in optimizer.state.values() for t in state.values() if t.dim()]
    count = sum(p.numel() for p in model.parameters())
    found = footprint.states(sharding(0, ranks=1), count)
    assert found["weights"] == sum(p.nbytes for p in model.parameters())
    assert found["gradients"] == sum(p.grad.nbytes for p in model.parameters())
    assert found["optimizer"] == sum(t.nbytes for t in moments)


@pytest.mark.slow
def test_deepspeed_holds_what_the_formula_says(tmp_path):
    needed(lambda: importlib.import_module("deepspeed"))
    script = Path(__file__).with_name("zero_bytes.py")
    out = tmp_path / "found.json"
    root = str(Path(__file__).parents[2])
    environment = os.environ | {"DS_ACCELERATOR": "cpu", "OMP_NUM_THREADS": "1", "PYTHONPATH": root}
    subprocess.run([sys.executable, script, out], check=True, timeout=600, env=environment)
    for stage, found in json.loads(out.read_text()).items():
        held = footprint.states(sharding(int(stage), ranks=2), 10**6)
        assert found == pytest.approx(sum(held.values()) / 10**6, rel=0.06), stage


def saved_bytes(config, dtype, autocast, checkpointing, rows, row, masked=True):
    """Bytes that a forward pass saves for its backward pass, weights (cast or not) left out.

    Rows have a mask, or lie end to end and attend to themselves.
    """
    import torch
    from transformers import AutoModelForCausalLM

    from fino1.train.ppo.networks import train_without_noise

    model = AutoModelForCausalLM.from_config(config, dtype=dtype).eval()  # as from_pretrained leaves it
    train_without_noise(model)
    assert masked or attention.separate(model)
    if checkpointing:
        model.gradient_checkpointing_enable({"use_reentrant": False})
    weights = {p.shape for p in model.parameters()} | {p.shape[::-1] for p in model.parameters()}
    seen = {}

    def pack(tensor):
        storage = tensor.untyped_storage()
        if tensor.shape not in weights:
            seen[storage.data_ptr()] = storage.nbytes()
            kept.append(tensor)  # an address counts once only while it lives
        return tensor

    kept = []
    ids = torch.zeros(rows, row, dtype=torch.long)
    mask = torch.ones(rows, row, dtype=torch.long)
    mask[0, :3] = 0
    inputs = {"input_ids": ids, "attention_mask": mask}
    if not masked:
        inputs = {"input_ids": ids.view(1, -1), "position_ids": torch.arange(row).repeat(rows)[None]}
    with (
        torch.autograd.graph.saved_tensors_hooks(pack, lambda tensor: tensor),
        torch.autocast("cpu", torch.bfloat16, enabled=autocast),
        nullcontext() if masked else attention.episodes([row] * rows),
    ):
        model.model(**inputs, use_cache=False)
    return sum(seen.values())


@pytest.mark.parametrize("kind", ["Llama", "Qwen2", "Qwen3"])
@pytest.mark.parametrize(("stage", "bf16"), [(0, True), (3, True), (0, False)])
@pytest.mark.parametrize("masked", [True, False])
def test_activations_of_a_layer_are_those_that_torch_saves(kind, stage, bf16, masked):
    import torch
    import transformers

    s = sharding(stage, bf16=bf16)
    dtype = torch.float32 if s.residual == 4 else torch.bfloat16
    found, changes = [], {"num_key_value_heads": 4 if masked else 1}
    for layers in (1, 2):
        config = getattr(transformers, f"{kind}Config")(**TINY | changes | {"num_hidden_layers": layers}, head_dim=16)
        found.append(saved_bytes(config, dtype, stage == 0 and bf16, False, 2, 128, masked))
    shapes = of_config(kind.lower(), head_dim=16, **changes)
    assert footprint.layer_activations(s, shapes, 128 if masked else 0) == (found[1] - found[0]) / 256


@pytest.mark.parametrize(("stage", "bf16"), [(0, True), (3, True), (0, False)])
@pytest.mark.parametrize("checkpointing", [True, False])
def test_all_activations_are_at_most_a_tenth_more_than_torch_saves(stage, bf16, checkpointing):
    import torch
    import transformers

    s = sharding(stage, bf16=bf16)
    dtype = torch.float32 if s.residual == 4 else torch.bfloat16
    config = transformers.LlamaConfig(**TINY | {"num_hidden_layers": 8})
    found = saved_bytes(config, dtype, stage == 0 and bf16, checkpointing, rows=2, row=128)
    shapes = of_config("llama", num_hidden_layers=8)
    found += 2 * 128 * (s.residual * 64 + 128)  # the result and the mask exist too, but are not saved for anything
    assert found <= footprint.saved(s, shapes, 2 * 128, 128, checkpointing) <= 1.1 * found


def _peak_mode():
    import torch
    from torch.utils._python_dispatch import TorchDispatchMode
    from torch.utils._pytree import tree_map_only

    class Peak(TorchDispatchMode):
        """Counts the bytes of all storages that exist at once."""

        def __init__(self):
            super().__init__()
            self.now = self.most = 0
            self.sizes = {}

        def __torch_dispatch__(self, func, types, args=(), kwargs=None):
            out = func(*args, **(kwargs or {}))
            tree_map_only(torch.Tensor, self.add, out)
            return out

        def add(self, tensor):
            storage = tensor.untyped_storage()
            if storage._cdata not in self.sizes:
                self.sizes[storage._cdata] = storage.nbytes()
                self.now += storage.nbytes()
                self.most = max(self.most, self.now)
                weakref.finalize(storage, self.remove, storage._cdata)
            return tensor

        def remove(self, key):
            self.now -= self.sizes.pop(key)

        def start(self):
            """Forget the peak so far; what is there now."""
            self.most = self.now
            return self.now

        def over(self, base):
            """The peak since the start, above `base`."""
            return self.most - base

    return Peak()


@pytest.fixture
def peak():
    from torch._subclasses.fake_tensor import FakeTensorMode

    with FakeTensorMode(allow_non_fake_inputs=True):
        mode = _peak_mode()
        with mode:
            yield mode
    gc.collect()


def config_of(shapes, layers):
    from transformers import LlamaConfig

    return LlamaConfig(
        hidden_size=shapes.hidden_size,
        intermediate_size=shapes.intermediate_size,
        num_hidden_layers=layers,
        num_attention_heads=shapes.num_attention_heads,
        num_key_value_heads=shapes.num_key_value_heads,
        vocab_size=shapes.vocab_size,
        max_position_embeddings=shapes.max_position_embeddings,
        tie_word_embeddings=shapes.tie_word_embeddings,
    )


@pytest.mark.slow
@pytest.mark.parametrize("stage", [0, 3])
@pytest.mark.parametrize("checkpointing", [True, False])
def test_the_peak_of_a_backward_pass(peak, stage, checkpointing):
    """Four layers of Llama-3.1-8B on one row of 8,192 tokens, the loss left out."""
    import torch
    from transformers import AutoModelForCausalLM

    from fino1.train.ppo.networks import train_without_noise

    s, layers, row = sharding(stage, ranks=1), 4, 8192
    shapes = dataclasses.replace(LLAMA, num_hidden_layers=layers)
    dtype = torch.float32 if stage == 0 else torch.bfloat16
    model = AutoModelForCausalLM.from_config(config_of(LLAMA, layers), dtype=dtype).eval()
    train_without_noise(model)
    if checkpointing:
        model.gradient_checkpointing_enable({"use_reentrant": False})
    for parameter in model.parameters():
        parameter.grad = torch.zeros_like(parameter)
    base = peak.start()
    with torch.autocast("cpu", torch.bfloat16, enabled=stage == 0):
        hidden = model.model(input_ids=torch.zeros(1, row, dtype=torch.long), use_cache=False).last_hidden_state
    hidden.sum().backward()
    found = peak.over(base)
    kept = footprint.saved(s, shapes, row, row, checkpointing)
    estimated = kept + footprint.backward(s, shapes, row, row, checkpointing, kept)
    if stage == 0:  # what autocast keeps: all layers, or with checkpointing the one at work
        estimated += 2 * shapes.layer * (1 if checkpointing else layers)
    assert found <= estimated <= 1.12 * found


@pytest.mark.parametrize("stage", [0, 3])
@pytest.mark.parametrize("shapes", [LLAMA, SMALL], ids=["8B", "3B"])
def test_the_peak_of_a_pass_that_keeps_nothing(peak, stage, shapes):
    import torch
    from transformers import AutoModelForCausalLM

    s, row, layers = sharding(stage), 8192, 3
    dtype = torch.float32 if stage == 0 else torch.bfloat16
    model = AutoModelForCausalLM.from_config(config_of(shapes, layers), dtype=dtype).requires_grad_(False)
    base = peak.start()
    with torch.no_grad(), torch.autocast("cpu", torch.bfloat16, enabled=stage == 0):
        model.model(input_ids=torch.zeros(1, row, dtype=torch.long), use_cache=False)
    found = peak.over(base)
    assert 0.98 * found <= footprint.forward(s, shapes, row, row) <= 1.25 * found


@pytest.mark.parametrize("stage", [0, 3])
@pytest.mark.parametrize("tokens", [1300, 4096, 10400])
@pytest.mark.parametrize("temperature", [0.5, 1.0])
@pytest.mark.parametrize("learning", [True, False])
def test_the_peak_of_ppo_s_log_probabilities(peak, stage, tokens, temperature, learning):
    """token_logprobs and head_loss of fino1.train.ppo.rl with Llama-3.1-8B's head."""
    import torch

    from fino1.train.ppo import rl

    assert rl.CHUNK == footprint.CHUNK
    s = sharding(stage, by_deepspeed=False)
    dtype = torch.float32 if stage == 0 else torch.bfloat16
    head = torch.empty(LLAMA.vocab_size, LLAMA.hidden_size, dtype=dtype, requires_grad=True)
    head.grad = torch.zeros_like(head)
    base = peak.start()
    hidden = torch.empty(tokens, LLAMA.hidden_size, dtype=dtype, requires_grad=True)
    targets = torch.zeros(tokens, dtype=torch.long)

    def logits(h):
        return torch.nn.functional.linear(h, head)

    with torch.autocast("cpu", torch.bfloat16, enabled=stage == 0):
        if learning:
            rl.head_loss(hidden, logits, [head], targets, temperature, lambda logprobs, _: logprobs.sum())[0].backward()
        else:
            rl.token_logprobs(hidden, logits, targets, temperature, with_entropy=False)
    found = peak.over(base)
    assert 0.96 * found <= footprint.chunked_head(s, LLAMA, tokens, temperature, learning) <= 1.2 * found


def test_the_tiles_of_trl_s_fused_head():
    from trl.kernels import chunked_logprob
    from trl.trainer import utils

    assert (chunked_logprob.TOKEN_CHUNK_SIZE, utils._CHUNKED_LOGPROB_CHUNK_SIZE) == footprint.TILE


@pytest.mark.parametrize("stage", [0, 3])
def test_the_cache_holds_keys_and_values_as_wide_as_the_residual_stream(stage):
    import torch
    from transformers import AutoModelForCausalLM, DynamicCache

    config = config_of(of_config("llama"), 2)
    dtype = torch.float32 if stage == 0 else torch.bfloat16
    model = AutoModelForCausalLM.from_config(config, dtype=dtype)
    held = DynamicCache(config=config)
    with torch.no_grad(), torch.autocast("cpu", torch.bfloat16, enabled=stage == 0):
        model(input_ids=torch.zeros(3, 20, dtype=torch.long), past_key_values=held, use_cache=True)
    layer = held.layers[0].keys.nbytes + held.layers[0].values.nbytes
    # all layers, and the one that is being made anew
    assert footprint.cache(sharding(stage), of_config("llama"), 3, 20) == (2 + 1) * layer


def test_ppo_s_step_takes_nothing_besides_its_state():
    import torch

    weights = [torch.nn.Parameter(torch.zeros(1000, 100)) for _ in range(20)]
    for weight in weights:
        weight.grad = torch.zeros_like(weight)
    optimizer = torch.optim.AdamW(weights, fused=True)  # as fino1.train.ppo.actors makes it
    optimizer.step()
    with _peak_mode() as mode:
        optimizer.step()
        found = mode.over(0)
    assert footprint.step(sharding(0, by_deepspeed=False), 2_000_000) == 0 and found < 1000
