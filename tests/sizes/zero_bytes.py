"""Two ranks of test_footprint.py: bytes per parameter that a rank really holds, stage by stage."""

import gc
import json
import sys

import deepspeed
import deepspeed.runtime.zero.muon.muon_optimizer  # torch's compiler with it, once for both
import torch
from transformers import AutoModelForCausalLM, LlamaConfig

from fino1.train.launch.launch import Node
from fino1.train.launch.ranks import Ranks, first_code


def config(stage):
    zero = {"stage": stage, "reduce_bucket_size": 128 * 128}
    if stage == 3:
        zero |= {"stage3_prefetch_bucket_size": 128 * 128, "stage3_param_persistence_threshold": 0}
    return {
        "train_batch_size": 4,
        "train_micro_batch_size_per_gpu": 1,
        "gradient_accumulation_steps": 2,
        "zero_optimization": zero,
        "bf16": {"enabled": True},
        "data_types": {"grad_accum_dtype": "fp32"},
        "zero_allow_untested_optimizer": True,
    }


def storages():
    """All there are, by address. Whoever keeps them keeps their addresses from being given to others."""
    gc.collect()
    tensors = [x for x in gc.get_objects() if isinstance(x, torch.Tensor)]
    tensors += [x.grad for x in tensors if x.is_leaf and x.grad is not None]
    return {t.untyped_storage().data_ptr(): t.untyped_storage() for t in tensors}


def held(stage):
    before = storages()
    sizes = {"hidden_size": 128, "intermediate_size": 512, "num_hidden_layers": 4, "vocab_size": 1024}
    model = AutoModelForCausalLM.from_config(LlamaConfig(num_attention_heads=4, **sizes), dtype=torch.float32)
    parameters = sum(p.numel() for p in model.parameters())
    engine, *_ = deepspeed.initialize(
        model=model, optimizer=torch.optim.AdamW(model.parameters()), config=config(stage)
    )
    ids = torch.zeros(1, 16, dtype=torch.long)
    most = 0
    for _ in range(4):  # two optimizer steps of two passes each
        engine.backward(engine(input_ids=ids, labels=ids).loss)
        now = storages()
        most = max(most, sum(storage.nbytes() for key, storage in now.items() if key not in before))
        engine.step()
    return most / parameters


def measure(_):
    """Be one of two ranks; the first writes what it found."""
    deepspeed.ops.__compatible_ops__["deepspeed_shm_comm"] = False  # compiled where it never was; gloo does as well
    torch.distributed.init_process_group("gloo")
    found = {stage: held(stage) for stage in (1, 2, 3)}
    if torch.distributed.get_rank() == 0:
        with open(sys.argv[1], "w", encoding="utf-8") as file:
            json.dump(found, file)
    torch.distributed.destroy_process_group()
    return 0


if __name__ == "__main__":
    gc.freeze()  # what the modules hold is no tensor of ours, and there is much of it to look through
    ranks, node = Ranks(2, measure), Node(0, 1, 2, "localhost", 0)
    store = torch.distributed.TCPStore("localhost", 0, is_master=True, wait_for_workers=False)
    ranks.run(lambda local: node.variables(local, store.port))
    sys.exit(first_code(ranks.ended, 0))
