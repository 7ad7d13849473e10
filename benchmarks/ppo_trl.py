"""One update of trl 1.12.0's PPOTrainer, in the environment that benchmarks/ppo.py makes for it.

    python -m benchmarks.ppo_trl SHAPE EPOCHS

Prints a line of JSON. A logits processor makes each response as long as ours; the reward model is a toy, as our rule costs
nothing.
"""

import json
import sys
from typing import Any

import torch
from datasets import Dataset
from tokenizers import Tokenizer, models
from transformers import (
    LlamaConfig,
    LlamaForCausalLM,
    LlamaForSequenceClassification,
    LogitsProcessorList,
    PreTrainedTokenizerFast,
    TrainerCallback,
)
from trl.experimental.ppo import PPOConfig, PPOTrainer

from benchmarks.ppo_shapes import EOS, FOLDER, IS_ON_GPU, MICRO, PAD, SHAPES, Ends, Meter, Shape


def generate_to(lengths: dict[tuple[int, ...], int]) -> Any:
    """Make a `generate` of these lengths."""
    original = LlamaForCausalLM.generate

    def generate(self: Any, input_ids: torch.Tensor, attention_mask: torch.Tensor, **options: Any) -> Any:
        rows = zip(input_ids, attention_mask.bool(), strict=True)
        ends = torch.tensor([lengths[tuple(ids[mask].tolist())] for ids, mask in rows], device=input_ids.device)
        processors = LogitsProcessorList([Ends(ends, input_ids.shape[1])])
        return original(self, input_ids, attention_mask=attention_mask, logits_processor=processors, **options)

    return generate


def trainer(shape: Shape, epochs: int) -> PPOTrainer:
    """Make the trainer of one update."""
    tokens = Tokenizer(models.WordLevel({f"t{i}": i for i in range(shape.vocab_size)}, unk_token="t1"))
    tokenizer = PreTrainedTokenizerFast(tokenizer_object=tokens, eos_token=f"t{EOS}", pad_token=f"t{PAD}")
    tokenizer.padding_side = "left"
    toy = LlamaConfig(
        vocab_size=shape.vocab_size,
        hidden_size=8,
        intermediate_size=8,
        num_hidden_layers=1,
        num_attention_heads=1,
        num_labels=1,
        pad_token_id=PAD,
    )
    return PPOTrainer(
        args=PPOConfig(
            output_dir=str(FOLDER / "trl"),
            per_device_train_batch_size=MICRO,
            gradient_accumulation_steps=shape.prompts // MICRO,
            num_mini_batches=1,
            num_ppo_epochs=epochs,
            total_episodes=shape.prompts * shape.updates,
            local_rollout_forward_batch_size=shape.prompts,
            response_length=shape.response_length,
            temperature=1.0,
            stop_token="eos",
            num_sample_generations=0,
            gradient_checkpointing=False,
            bf16=shape.bf16,
            use_cpu=not IS_ON_GPU,
            save_strategy="no",
            report_to="none",
            disable_tqdm=True,
        ),
        processing_class=tokenizer,
        model=LlamaForCausalLM.from_pretrained(shape.folder("policy")),
        ref_model=LlamaForCausalLM.from_pretrained(shape.folder("policy")),
        value_model=LlamaForSequenceClassification.from_pretrained(shape.folder("value")),
        reward_model=LlamaForSequenceClassification(toy),
        train_dataset=Dataset.from_list([{"input_ids": list(prompt)} for prompt in shape.lengths()]),
        eval_dataset=Dataset.from_list([{"input_ids": [2]}]),
    )


class RestartMeter(TrainerCallback):
    """Begins to measure anew before each update."""

    def __init__(self, meter: Meter, updates: int) -> None:
        self.meter, self.left = meter, updates - 1

    def on_step_end(self, *_: Any, **__: Any) -> None:
        """An update has ended."""
        if self.left:
            self.left -= 1
            self.meter.start()


def main(name: str, epochs: str) -> None:
    """Measure and print."""
    torch.set_num_threads(1)
    shape, meter = SHAPES[name], Meter()
    LlamaForCausalLM.generate = generate_to(shape.lengths())
    made = trainer(shape, int(epochs))
    made.add_callback(RestartMeter(meter, shape.updates))
    meter.start()
    made.train()
    print(json.dumps(meter.stop()))


if __name__ == "__main__":
    main(*sys.argv[1:])
