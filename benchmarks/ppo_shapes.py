"""What do both sides of benchmarks/ppo.py start from? Shapes, models, prompts and lengths; trl's side has no fino1 to import."""

import os
import random
import time
from dataclasses import dataclass
from pathlib import Path

import torch
from transformers import (
    LlamaConfig,
    LlamaForCausalLM,
    LlamaForSequenceClassification,
    LogitsProcessor,
    PreTrainedModel,
)

FOLDER = Path("out/bench-ppo")
EOS, PAD, FIRST = 0, 1, 2  # prompts and drawn tokens are FIRST or above
MICRO = 4


@dataclass(frozen=True)
class Shape:
    """One case: so many prompts, responses of at most `response_length` tokens, a policy and a value model."""

    name: str
    prompts: int = 32
    response_length: int = 128
    mean: int = 40
    vocab_size: int = 8192
    hidden_size: int = 256
    num_hidden_layers: int = 6
    intermediate_size: int = 688
    num_attention_heads: int = 4
    value_sizes: tuple[int, int, int] = (192, 4, 512)  # hidden, layers, intermediate: 3.3M with 8,192 tokens
    bf16: bool = False
    mean_prompt: int = 60
    pass_tokens: int = 1024
    gradient_checkpointing: bool = False
    updates: int = 1  # the last one is measured

    def lengths(self) -> dict[tuple[int, ...], int]:
        """Each prompt with the length of its response, the end of sequence counted; the longest is `response_length`."""
        rng = random.Random(self.name)
        found: dict[tuple[int, ...], int] = {}
        while len(found) < self.prompts:
            size = min(200, 20 + int(rng.expovariate(1 / self.mean_prompt)))
            prompt = tuple(rng.randrange(FIRST, self.vocab_size) for _ in range(size))
            found[prompt] = min(self.response_length, 2 + int(rng.expovariate(1 / self.mean)))
        return found | {next(iter(found)): self.response_length}

    def folder(self, part: str) -> Path:
        """Directory of `policy` or `value`, made where it is not there."""
        folder = FOLDER / self.name / part
        if not (folder / "config.json").exists():
            torch.manual_seed(1)
            names = ("hidden_size", "num_hidden_layers", "intermediate_size")
            sizes = dict(zip(names, self.value_sizes, strict=True))
            if part == "policy":
                sizes = {name: getattr(self, name) for name in names}
            kind = LlamaForCausalLM if part == "policy" else LlamaForSequenceClassification
            kind(
                LlamaConfig(
                    **sizes,
                    vocab_size=self.vocab_size,
                    num_attention_heads=self.num_attention_heads,
                    num_key_value_heads=self.num_attention_heads,
                    max_position_embeddings=2048,
                    bos_token_id=None,
                    eos_token_id=EOS,
                    pad_token_id=PAD,
                    num_labels=1,
                )
            ).save_pretrained(folder)
        return folder


SHAPES = {
    shape.name: shape
    for shape in (
        Shape("base"),
        Shape("long", prompts=8, response_length=1024, mean=500),
        Shape(
            "vocab",
            prompts=16,
            vocab_size=128256,
            hidden_size=128,
            num_hidden_layers=4,
            intermediate_size=344,
            value_sizes=(128, 4, 344),
            pass_tokens=2048,  # each pass makes the gradient of a whole embedding
        ),
        Shape(
            "1b",
            prompts=64,
            response_length=256,
            mean=100,
            vocab_size=32000,
            hidden_size=2048,
            num_hidden_layers=16,
            intermediate_size=8192,
            num_attention_heads=32,
            value_sizes=(1024, 8, 4096),
            bf16=True,
            updates=2,
        ),
        Shape("toy", 8, 16, 8, 512, 64, 2, 128, 2, (64, 1, 128), updates=2),
    )
}
IS_ON_GPU = torch.cuda.is_available()


def count_operations(model: PreTrainedModel, tokens: int, scored: int) -> int:
    """Floating-point operations of a forward and a backward pass, attention's products left out: six a weight and token.

    `scored` tokens meet the head; embeddings are looked up.
    """
    head = model.score if hasattr(model, "score") else model.lm_head
    body = sum(weight.numel() for weight in model.base_model.parameters()) - model.get_input_embeddings().weight.numel()
    return 6 * (body * tokens + head.weight.numel() * scored)


class Ends(LogitsProcessor):
    """Lets each row end at its length, and not before."""

    def __init__(self, lengths: torch.Tensor, prompt: int) -> None:
        self.lengths, self.prompt = lengths, prompt

    def __call__(self, input_ids: torch.Tensor, scores: torch.Tensor) -> torch.Tensor:
        """Leave the end of sequence alone where a row is at its end, and all the rest elsewhere."""
        is_last = (input_ids.shape[1] - self.prompt + 1) >= self.lengths
        scores = scores.clone()
        scores[~is_last, EOS] = -torch.inf
        scores[is_last] = torch.where(torch.arange(scores.shape[1], device=scores.device) == EOS, 0.0, -1e4)
        return scores


def clock() -> float:
    """Seconds: of this process's CPU time; on a GPU of the wall's, once all that was asked of it is done."""
    if not IS_ON_GPU:
        return time.process_time()
    torch.cuda.synchronize()
    return time.perf_counter()


class Meter:
    """Seconds of `clock` and MiB, of this process or of the GPU, that it takes more than at the start, from `start` on."""

    def start(self) -> None:
        """Begin; the peak that was before is forgotten."""
        if IS_ON_GPU:
            torch.cuda.reset_peak_memory_stats()
        else:
            Path("/proc/self/clear_refs").write_text("5")
        self.held, self.seconds = held_mib(), clock()

    def stop(self) -> dict[str, float]:
        """Return what was used."""
        seconds, peak = clock() - self.seconds, peak_mib()
        return {"seconds": seconds, "mib": peak - self.held, "peak_mib": peak, "load": os.getloadavg()[0]}


def held_mib() -> float:
    """MiB of the GPU's tensors, or of this process."""
    return torch.cuda.memory_allocated() / 2**20 if IS_ON_GPU else _status("VmRSS")


def peak_mib() -> float:
    """The most MiB since the meter was started."""
    return torch.cuda.max_memory_allocated() / 2**20 if IS_ON_GPU else _status("VmHWM")


def _status(key: str) -> float:
    lines = Path("/proc/self/status").read_text().splitlines()
    return next(int(line.split()[1]) / 1024 for line in lines if line.startswith(key))
