"""Supervised fine-tuning: TRL's SFTTrainer on our rows, with our checkpoints (trainer.py).

Rows come tokenised, with the loss on the completion only; TRL packs, batches and steps.
"""

import time
from typing import Any

import datasets
import torch
import transformers
from transformers import PreTrainedModel, PreTrainedTokenizerBase
from trl import SFTConfig, SFTTrainer

from fino1 import files, runs
from fino1.spec.inputs import DEFAULT_MODEL
from fino1.tasks.record import solution
from fino1.train import attention, model
from fino1.train.data.chat import Chat
from fino1.train.data.examples import make_sft_examples
from fino1.train.data.rows import read_rows
from fino1.train.head import IGNORED, score_labels_only
from fino1.train.launch.rank import Run
from fino1.train.trainer import AtomicCheckpointTrainer, find_base, publish, train, training_arguments


def main(run: Run) -> None:
    """Fine-tune, from the newest checkpoint if there is one, and leave `model/` and `done.json`."""
    started = time.monotonic()
    spec, block = run.spec, run.spec.sft
    rows = read_rows(runs.find_rows(spec.data, "sft", run.work), "sft", spec.seed)
    texts = (f"{rows.render(r)}\n{solution(r.cot, r.response)}" for r in rows.train)
    base = find_base(run, DEFAULT_MODEL, texts, model.load_tokenizer)
    chat = Chat(base.tokenizer, spec.model.chat_template_kwargs)
    length = min(block.max_length, base.length)
    end_tokens = model.end_tokens(base.tokenizer, base.source, base.revision)
    made = make_sft_examples(rows, chat, length, end_tokens)
    examples, evaluation = (datasets.Dataset.from_list(part) for part in made)
    if run.is_main:
        files.write_json(run.directory / "data.json", rows.as_dict())

    transformers.set_seed(spec.seed)
    fresh = model.load_policy(base.config, None, None) if base.source is None else None
    settings = training_arguments(run, len(evaluation) > 0)  # from here on weights that are read are sharded at once
    policy = fresh or model.load_policy(base.config, base.source, base.revision)
    trainer = make_trainer(run, settings, policy, base.tokenizer, length, examples, evaluation)
    train(run, trainer)
    publish(run, trainer, base.tokenizer)
    if run.is_main:
        run.finish(started, steps=trainer.state.global_step, rows=rows.counts.train)


def make_trainer(
    run: Run,
    settings: dict[str, Any],
    policy: PreTrainedModel,
    tokenizer: PreTrainedTokenizerBase,
    length: int,
    examples: datasets.Dataset,
    evaluation: datasets.Dataset,
) -> AtomicCheckpointTrainer:
    """Make the trainer of tokenised rows, none longer than `length`. Where each can attend to itself they lie end to end."""
    block = run.spec.sft
    if attention.separate(policy) and not block.packing:
        settings, length = settings | {"padding_free": True}, None  # TRL refuses a length there
    return _Trainer(
        run=run,
        model=policy,
        args=SFTConfig(**settings, max_length=length, packing=block.packing),
        train_dataset=examples,
        eval_dataset=evaluation if block.eval_strategy == "steps" and len(evaluation) else None,
        processing_class=tokenizer,
    )


class _Trainer(AtomicCheckpointTrainer, SFTTrainer):
    """SFTTrainer with our checkpoints, its log's sums in them, and the same held-out loss for any number of ranks."""

    def __init__(self, run: Run, **arguments: Any) -> None:
        super().__init__(run, **arguments)
        score_labels_only(self.model)
        if self.eval_dataset is not None:
            parts = self._fill_evaluation() // self.args.per_device_eval_batch_size
            tokens = sum(label != IGNORED for labels in self.eval_dataset["labels"] for label in labels)
            self._tokens_per_part = tokens / parts

    def _fill_evaluation(self) -> int:
        """Fill up the held-out rows (or packs) to whole parts for all ranks; return how many there are then.

        Accelerate would take some twice, and which of them follows from the number of ranks. What is added counts no token.
        """
        missing = -len(self.eval_dataset) % (self.args.per_device_eval_batch_size * self.args.world_size)
        if missing:
            added = self.eval_dataset.select([0] * missing)
            added = added.map(lambda row: {"labels": [IGNORED] * len(row["labels"])}, features=added.features)
            self.eval_dataset = datasets.concatenate_datasets([self.eval_dataset, added])
        return len(self.eval_dataset)

    def prediction_step(self, model: torch.nn.Module, inputs: dict[str, Any], *args: Any, **kwargs: Any) -> tuple:
        """Weigh the loss of a part of an evaluation by its tokens: the Trainer averages over parts, whose tokens differ."""
        tokens = inputs["labels"].ne(IGNORED).sum().item()
        loss, *others = super().prediction_step(model, inputs, *args, **kwargs)
        return loss * (tokens / self._tokens_per_part), *others

    def create_model_card(self, *args: Any, **kwargs: Any) -> None:
        """Write none: a run's directory holds what docs/design.md C13 lists."""

    def _log_state(self) -> dict[str, Any]:
        return {
            **super()._log_state(),
            "tokens": self._total_train_tokens,
            "metrics": dict(self._metrics["train"]),
        }

    def _restore_log_state(self, state: dict[str, Any]) -> None:
        super()._restore_log_state(state)
        self._total_train_tokens = state["tokens"]
        self._metrics["train"].update(state["metrics"])
