"""What do both sides of benchmarks/ppo.py start from? Shapes, models, prompts and lengths; trl's side has no fino1 to import."""

import os
import random
import time
from dataclasses import dataclass
from pathlib import Path

import torch
from transformers import LlamaConfig, LlamaForCausalLM, LlamaForSequenceClassification, LogitsProcessor

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

    def lengths(self) -> dict[tuple[int, ...], int]:
        """Each prompt with the length of its response, the end of sequence counted; the longest is `response_length`."""
        rng = random.Random(self.name)
        found: dict[tuple[int, ...], int] = {}
        while len(found) < self.prompts:
            size = min(200, 20 + int(rng.expovariate(1 / 60)))
            prompt = tuple(rng.randrange(FIRST, self.vocab_size) for _ in range(size))
            found[prompt] = min(self.response_length, 2 + int(rng.expovariate(1 / self.mean)))
        return found | {next(iter(found)): self.response_length}

    def folder(self, part: str) -> Path:
        """Directory of `policy` or `value`, made where it is not there."""
        folder = FOLDER / self.name / part
        if not (folder / "config.json").exists():
            torch.manual_seed(1)
            sizes = {"hidden_size": 192, "num_hidden_layers": 4, "intermediate_size": 512}  # 3.3M with 8,192 tokens
            if part == "policy" or self.hidden_size < 192:
                sizes = {key: getattr(self, key) for key in sizes}
            kind = LlamaForCausalLM if part == "policy" else LlamaForSequenceClassification
            kind(
                LlamaConfig(
                    **sizes,
                    vocab_size=self.vocab_size,
                    num_attention_heads=4,
                    num_key_value_heads=4,
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
        Shape("vocab", prompts=16, vocab_size=128256, hidden_size=128, num_hidden_layers=4, intermediate_size=344),
    )
}


class Ends(LogitsProcessor):
    """Lets each row end at its length, and not before."""

    def __init__(self, lengths: torch.Tensor, prompt: int) -> None:
        self.lengths, self.prompt = lengths, prompt

    def __call__(self, input_ids: torch.Tensor, scores: torch.Tensor) -> torch.Tensor:
        """Leave the end of sequence alone where a row is at its end, and all the rest elsewhere."""
        is_last = (input_ids.shape[1] - self.prompt + 1) >= self.lengths
        scores = scores.clone()
        scores[~is_last, EOS] = -torch.inf
        scores[is_last] = torch.where(torch.arange(scores.shape[1]) == EOS, 0.0, -1e4)
        return scores


class Meter:
    """CPU seconds of this process and MiB that it takes more than at the start, from `start` on."""

    def start(self) -> None:
        """Begin; Linux forgets the peak that was before."""
        Path("/proc/self/clear_refs").write_text("5")
        self.resident, self.seconds = _status("VmRSS"), time.process_time()

    def stop(self) -> dict[str, float]:
        """Return what was used."""
        seconds = time.process_time() - self.seconds
        return {"seconds": seconds, "mib": _status("VmHWM") - self.resident, "load": os.getloadavg()[0]}


def _status(key: str) -> float:
    lines = Path("/proc/self/status").read_text().splitlines()
    return next(int(line.split()[1]) / 1024 for line in lines if line.startswith(key))
