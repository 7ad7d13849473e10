"""Supervised fine-tuning: TRL's SFTTrainer on our rows, with our checkpoints.

Rows come tokenised, with the loss on the completion only; TRL packs, batches and steps. Saving and finding checkpoints is ours
(DESIGN C6), the state in them is the Trainer's own: weights, optimizer, scheduler, every rank's random numbers, data position.
"""

import itertools
import json
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import datasets
import torch
import transformers
from accelerate.utils import DistributedType
from transformers import TrainerCallback, TrainerControl, TrainerState, TrainingArguments
from trl import SFTConfig, SFTTrainer

from fino1 import runs
from fino1.progress import Metrics, Progress
from fino1.spec import InitBlock
from fino1.tasks.record import solution
from fino1.train import checkpoint, data, model, shard
from fino1.train.rank import Run


def main(run: Run) -> None:
    """Fine-tune, from the newest checkpoint if there is one, and leave `model/` and `done.json`."""
    started = time.monotonic()
    stop = checkpoint.StopSignal()
    spec, block = run.spec, run.spec.sft
    rows = data.read(spec.data, "sft", spec.seed)
    source, revision = model.policy_source(spec.model, run.work)
    if source is None:
        assert isinstance(spec.model.init, InitBlock)
        texts = (f"{rows.render(r)}\n{solution(r.cot, r.response)}" for r in rows.train)
        tokenizer = model.train_tokenizer(texts, spec.model.init)
        config = model.init_config(spec.model.init, tokenizer)
    else:
        tokenizer = model.load_tokenizer(source, revision)
        config = model.load_config("model", source, revision)
    length = min(block.max_length, model.context_length(config))
    missing = block.save_total_limit - len(checkpoint.all_valid(run.checkpoints))
    model.check_disk(run.directory, model.parameters(config), missing)
    examples, evaluation = (datasets.Dataset.from_list(part) for part in data.sft_examples(rows, tokenizer, length))
    if run.is_main:
        runs.write_json(run.directory / "data.json", rows.as_dict())

    transformers.set_seed(spec.seed)
    made = model.load_policy(config, None, None) if source is None else None
    arguments = _arguments(run, length, len(evaluation) > 0)  # from here on weights that are read are sharded at once
    trainer = _Trainer(
        run=run,
        model=made or model.load_policy(config, source, revision),
        args=arguments,
        train_dataset=examples,
        eval_dataset=evaluation if block.eval_strategy == "steps" and len(evaluation) else None,
        processing_class=tokenizer,
    )
    ranks, kind = trainer.accelerator.num_processes, trainer.accelerator.distributed_type
    assert ranks == run.world_size, (ranks, run.world_size)
    assert (kind == DistributedType.DEEPSPEED) == (arguments.deepspeed is not None), kind
    resumed = checkpoint.agree_on_newest(run.checkpoints, run.world_size)
    trainer.remove_callback(transformers.PrinterCallback)
    trainer.add_callback(_Watch(run, stop, checkpoint.step_of(resumed) if resumed else 0))
    trainer.train(resume_from_checkpoint=str(resumed) if resumed else None)
    if trainer.state.global_step < trainer.state.max_steps:
        raise checkpoint.Stopped
    _publish(run, trainer, tokenizer)
    if run.is_main:
        run.finish(started, steps=trainer.state.global_step, rows=rows.counts.train)


_SAME = (  # what TRL calls as we do
    "learning_rate",
    "per_device_train_batch_size",
    "num_train_epochs",
    "weight_decay",
    "adam_beta1",
    "adam_beta2",
    "adam_epsilon",
    "max_grad_norm",
    "lr_scheduler_type",
    "packing",
    "gradient_checkpointing",
    "save_steps",
    "logging_steps",
    "eval_steps",
    "dataloader_num_workers",
)


def _arguments(run: Run, length: int, has_evaluation: bool) -> SFTConfig:
    """Which TRL settings say what the spec says?"""
    block = run.spec.sft
    deepspeed = shard.deepspeed_config(run.spec, run.world_size)
    if deepspeed is not None:
        shard.join(run.use_cpu)
    accumulation = block.global_batch_size // (run.world_size * block.per_device_train_batch_size)
    return SFTConfig(
        output_dir=str(run.directory),
        **{key: getattr(block, key) for key in _SAME},
        gradient_accumulation_steps=accumulation,
        max_steps=block.max_steps or -1,
        warmup_steps=block.warmup_ratio if block.warmup_ratio < 1 else 1.0,
        max_length=length,
        bf16=block.bf16,
        eval_strategy=block.eval_strategy if has_evaluation else "no",
        per_device_eval_batch_size=block.per_device_train_batch_size,
        seed=run.spec.seed,
        data_seed=run.spec.seed,
        deepspeed=deepspeed,
        accelerator_config={"use_configured_state": deepspeed is not None},
        use_cpu=run.use_cpu,
        ddp_backend="gloo" if run.use_cpu else None,
        ddp_find_unused_parameters=False,
        save_strategy="steps",
        disable_tqdm=True,
        report_to="none",
        logging_first_step=True,
        average_tokens_across_devices=True,
    )


class _Order(torch.utils.data.Sampler[int]):
    """Every epoch's rows in an order of its own, filled up from its start to whole global batches.

    Any number of ranks then takes the same steps with the same rows; the Trainer fills up each rank's share by itself.
    """

    def __init__(self, rows: int, global_batch_size: int, seed: int) -> None:
        self.rows, self.seed, self.epoch = rows, seed, 0
        self.length = -(-rows // global_batch_size) * global_batch_size

    def __len__(self) -> int:
        return self.length

    def __iter__(self) -> Iterator[int]:
        order = torch.randperm(self.rows, generator=torch.Generator().manual_seed(self.seed + self.epoch)).tolist()
        return itertools.islice(itertools.cycle(order), self.length)


class _Trainer(SFTTrainer):
    """SFTTrainer whose checkpoints appear whole under our names, and whose order of rows any number of ranks shares."""

    def __init__(self, run: Run, **arguments: Any) -> None:
        self._run, self._folder = run, ""
        super().__init__(**arguments)

    def _get_train_sampler(self, train_dataset: datasets.Dataset | None = None) -> _Order:
        spec = self._run.spec
        self._order = _Order(len(train_dataset or self.train_dataset), spec.sft.global_batch_size, spec.seed)
        return self._order

    def _get_output_dir(self, trial: Any) -> str:
        return self._folder

    def _run_epoch(self, **arguments: Any) -> None:
        """Train an epoch, or what a checkpoint leaves of it; of one written after the last step, nothing."""
        resumed = arguments["resume_from_checkpoint"]
        if resumed and arguments["epoch"] == arguments["epochs_trained"]:
            self._go_on_logging(Path(resumed))
        self._order.epoch = arguments["epoch"]  # not through the wrappers that a resume lays around it
        if self.state.global_step < self.state.max_steps:
            super()._run_epoch(**arguments)
        else:
            self.control.should_training_stop = True

    def create_model_card(self, *args: Any, **kwargs: Any) -> None:
        """Leave the run's directory to what DESIGN C13 puts there."""

    def save_model(self, output_dir: str | None = None, _internal_call: bool = False) -> None:
        """Save the weights for others to read. A checkpoint of shards has each rank's own, and needs no others."""
        if not (_internal_call and self.is_deepspeed_enabled):
            super().save_model(output_dir, _internal_call)

    def _save_checkpoint(self, model: torch.nn.Module, trial: Any) -> None:
        def write(directory: Path) -> None:
            # The Trainer writes `checkpoint-N` below the directory it asks for; its contents belong in ours.
            self._folder = str(directory)
            super(_Trainer, self)._save_checkpoint(model, trial)
            self._keep_log(directory)
            self.accelerator.wait_for_everyone()
            if run.is_main:
                inner = directory / f"checkpoint-{self.state.global_step}"
                for path in inner.iterdir():
                    path.rename(directory / path.name)
                inner.rmdir()

        run = self._run
        checkpoint.save(
            run.checkpoints,
            self.state.global_step,
            run.spec.sft.save_total_limit,
            write,
            world_size=run.world_size,
            is_main=run.is_main,
            barrier=self.accelerator.wait_for_everyone,
        )

    def _keep_log(self, directory: Path) -> None:
        """What has been counted since the last line of the log, which the Trainer forgets in a checkpoint."""
        counted = {
            "loss": self._tr_loss.item(),
            "logged_at": self._globalstep_last_logged,
            "tokens": self._total_train_tokens,
            "metrics": dict(self._metrics["train"]),
        }
        (directory / f"log_{self._run.rank}.json").write_text(json.dumps(counted))

    def _go_on_logging(self, directory: Path) -> None:
        counted = json.loads((directory / f"log_{self._run.rank}.json").read_text())
        self._tr_loss += counted["loss"]
        self._globalstep_last_logged = counted["logged_at"]
        self._total_train_tokens = counted["tokens"]
        self._metrics["train"].update(counted["metrics"])


class _Watch(TrainerCallback):
    """Progress, metrics, and the end on SIGTERM after a checkpoint that all ranks agree on."""

    def __init__(self, run: Run, stop: checkpoint.StopSignal, resumed_at: int) -> None:
        self._run, self._stop, self._resumed_at = run, stop, resumed_at
        self._progress: Progress | None = None
        self._metrics = Metrics(run.directory / "metrics.jsonl", "step", resumed_at) if run.is_main else None

    def on_train_begin(
        self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **kwargs: Any
    ) -> None:
        """Open the bar."""
        self._progress = Progress("sft", state.max_steps, state.global_step, self._run.is_main, name=self._run.name)

    def on_step_end(self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **kwargs: Any) -> None:
        """Stop where any rank was asked to, at the same step on all of them."""
        if agree(self._stop.received, self._run) and state.global_step < state.max_steps:
            control.should_save = control.should_training_stop = True

    def on_log(
        self, args: TrainingArguments, state: TrainerState, control: TrainerControl, logs: dict, **kwargs: Any
    ) -> None:
        """Append a line to metrics.jsonl."""
        if self._metrics is None or "train_runtime" in logs:
            return
        self._metrics.write({"step": state.global_step, **logs})
        if self._progress is not None and "loss" in logs:
            self._progress.update(state.global_step, loss=float(logs["loss"]))

    def on_train_end(
        self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **kwargs: Any
    ) -> None:
        """Close the bar."""
        if self._progress is not None:
            self._progress.close()


def agree(asked: bool, run: Run) -> bool:
    """Was any rank asked? One small all-reduce, so that all ranks take the same way."""
    if run.world_size == 1:
        return asked
    device = "cpu" if run.use_cpu else f"cuda:{torch.cuda.current_device()}"
    flag = torch.tensor([int(asked)], device=device)
    torch.distributed.all_reduce(flag, op=torch.distributed.ReduceOp.MAX)
    return bool(flag.item())


def _publish(run: Run, trainer: SFTTrainer, tokenizer: transformers.PreTrainedTokenizerBase) -> None:
    """Write `model/` in Hugging Face layout; it appears whole."""
    temporary = run.directory / ".model.tmp"
    trainer.save_model(str(temporary))  # gathers sharded weights, so every rank calls it
    if run.is_main:
        (temporary / "training_args.bin").unlink(missing_ok=True)
        tokenizer.save_pretrained(temporary)
        checkpoint.publish_model(temporary, run.directory / "model")
    trainer.accelerator.wait_for_everyone()
