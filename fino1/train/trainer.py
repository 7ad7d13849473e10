"""What do the methods share that Transformers' Trainer drives? Settings, order of rows, our checkpoints, and the end.

Saving and finding checkpoints is ours (docs/design.md C6), the state in them is the Trainer's own: weights, optimizer,
scheduler, every rank's random numbers, data position.
"""

import itertools
import json
import math
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
import transformers
from accelerate.utils import DistributedType
from transformers import (
    PretrainedConfig,
    PreTrainedTokenizerBase,
    Trainer,
    TrainerCallback,
    TrainerControl,
    TrainerState,
    TrainingArguments,
)

from fino1.errors import SpecError
from fino1.progress import Progress
from fino1.spec.inputs import InitBlock
from fino1.train import checkpoint, model, shard
from fino1.train.launch.rank import Run
from fino1.train.tracking import Log


@dataclass(frozen=True)
class Base:
    """The model that a run starts from: where its weights come from (None: random ones), its tokenizer and its config."""

    source: str | None
    revision: str | None
    tokenizer: PreTrainedTokenizerBase
    config: PretrainedConfig

    @property
    def length(self) -> int:
        """Tokens that it can read."""
        return model.context_length(self.config)


def find_base(
    run: Run, default: str, texts: Iterable[str], load_tokenizer: Callable[..., PreTrainedTokenizerBase]
) -> Base:
    """Find the model that the run starts from. Random weights get a tokenizer that is trained on `texts`.

    Raises SpecError where the model is none, or the disk has no room for the run's checkpoints.
    """
    ref = run.spec.model
    source, revision = model.own_source(ref, run.work, default)
    if source is None:
        assert isinstance(ref.init, InitBlock)
        tokenizer = model.train_tokenizer(texts, ref.init)
        config: PretrainedConfig = model.init_config(ref.init, tokenizer)
    else:
        tokenizer = load_tokenizer(source, revision)
        config = model.load_trained_config("model", source, revision, tokenizer, headed=run.spec.method == "verifier")
    missing = run.spec.trained.save_total_limit - len(checkpoint.all_valid(run.checkpoints))
    model.check_disk(run.directory, model.parameters(config), missing)
    return Base(source, revision, tokenizer, config)


# transformers 5.17 loads the optimizer of several ranks to accelerate's "cpu:0"; 5.23 to "cpu", all that torch knows.
torch.serialization.register_package(
    11, lambda storage: None, lambda storage, location: storage if location == "cpu:0" else None
)

_SAME_NAMES = (  # keys that Transformers spells as the run file does
    "learning_rate", "per_device_train_batch_size", "num_train_epochs", "weight_decay", "adam_beta1", "adam_beta2",
    "adam_epsilon", "max_grad_norm", "lr_scheduler_type", "gradient_checkpointing", "bf16", "save_steps", "logging_steps",
    "eval_steps", "dataloader_num_workers",
)  # fmt: skip


def training_arguments(run: Run, has_evaluation: bool) -> dict[str, Any]:
    """The run's settings as Transformers' TrainingArguments."""
    block = run.spec.trained
    deepspeed = shard.deepspeed_config(run.spec, run.world_size)
    if deepspeed is not None:
        shard.join(run.use_cpu)
    return {
        **{key: getattr(block, key) for key in _SAME_NAMES},
        "output_dir": str(run.directory),
        "gradient_accumulation_steps": block.global_batch_size // (run.world_size * block.per_device_train_batch_size),
        "max_steps": block.max_steps or -1,
        "warmup_steps": block.warmup_ratio if block.warmup_ratio < 1 else 1.0,
        "eval_strategy": block.eval_strategy if has_evaluation else "no",
        "per_device_eval_batch_size": block.per_device_train_batch_size,
        "seed": run.spec.seed,
        "data_seed": run.spec.seed,
        "deepspeed": deepspeed,
        "accelerator_config": {"use_configured_state": deepspeed is not None},
        "use_cpu": run.use_cpu,
        "ddp_backend": "gloo" if run.use_cpu else None,
        "ddp_find_unused_parameters": False,
        "save_strategy": "steps",
        "disable_tqdm": True,
        "report_to": "none",
        "logging_first_step": True,
        "logging_nan_inf_filter": False,
        "average_tokens_across_devices": True,
    }


def train(run: Run, trainer: Trainer) -> None:
    """Train from the newest checkpoint, if there is one, to the end. Raises Stopped where it was asked to stop."""
    stop = checkpoint.StopSignal()
    ranks, kind = trainer.accelerator.num_processes, trainer.accelerator.distributed_type
    assert ranks == run.world_size, (ranks, run.world_size)
    assert (kind == DistributedType.DEEPSPEED) == (trainer.args.deepspeed is not None), kind
    resumed = checkpoint.agree_on_newest(run.checkpoints, run.world_size)
    trainer.remove_callback(transformers.PrinterCallback)
    trainer.add_callback(_Callback(run, stop, checkpoint.step_of(resumed) if resumed else 0))
    trainer.train(resume_from_checkpoint=str(resumed) if resumed else None)
    if trainer.state.global_step < trainer.state.max_steps:
        raise checkpoint.Stopped


def publish(run: Run, trainer: Trainer, tokenizer: PreTrainedTokenizerBase) -> None:
    """Write `model/` in Hugging Face layout; it appears whole."""
    temporary = run.directory / ".model.tmp"
    model.drop_router_logits(trainer.model.config)
    trainer.save_model(str(temporary))  # gathers sharded weights, so every rank calls it
    if run.is_main:
        (temporary / "training_args.bin").unlink(missing_ok=True)
        tokenizer.save_pretrained(temporary)
        checkpoint.publish_model(temporary, run.directory / "model")
    trainer.accelerator.wait_for_everyone()


class _Order(torch.utils.data.Sampler[int]):
    """Orders each epoch's rows anew, filled up from the start of the order to whole global batches.

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


class AtomicCheckpointTrainer(Trainer):
    """A Trainer whose checkpoints appear whole under our names, and whose order of rows is the same for any number of ranks.

    Used as it is, or as a mixin of one of TRL's trainers.
    """

    def __init__(self, run: Run, **arguments: Any) -> None:
        self._run, self._folder = run, ""
        super().__init__(**arguments)

    def _get_train_sampler(self, train_dataset: Any = None) -> _Order:
        spec = self._run.spec
        self._order = _Order(len(train_dataset or self.train_dataset), spec.trained.global_batch_size, spec.seed)
        return self._order

    def get_train_dataloader(self) -> torch.utils.data.DataLoader:
        """Return whole batches only: `_Order` has filled up the last.

        Accelerate counts the rows that were there before, takes what is over for a part of a batch, and leaves ranks out of
        what is gathered there (TRL's `num_tokens`).
        """
        loader = super().get_train_dataloader()
        loader._drop_last = True
        return loader

    def _get_output_dir(self, trial: Any) -> str:
        return self._folder

    def _run_epoch(self, **arguments: Any) -> None:
        """Train an epoch, or what a checkpoint leaves of it; of one written after the last step, nothing."""
        resumed = arguments["resume_from_checkpoint"]
        if resumed and arguments["epoch"] == arguments["epochs_trained"]:
            self._restore_log_state(json.loads((Path(resumed) / f"log_{self._run.rank}.json").read_text()))
        self._order.epoch = arguments["epoch"]  # not through the wrappers that a resume lays around it
        if self.state.global_step < self.state.max_steps:
            super()._run_epoch(**arguments)
        else:
            self.control.should_training_stop = True

    def save_model(self, output_dir: str | None = None, _internal_call: bool = False) -> None:
        """Save the weights for others to read. A checkpoint of shards has each rank's own, and needs no others."""
        if not (_internal_call and self.is_deepspeed_enabled):
            super().save_model(output_dir, _internal_call)

    def _save_checkpoint(self, model: torch.nn.Module, trial: Any) -> None:
        def write(directory: Path) -> None:
            # The Trainer writes `checkpoint-N` below the directory it asks for; its contents belong in ours.
            self._folder = str(directory)
            super(AtomicCheckpointTrainer, self)._save_checkpoint(model, trial)
            (directory / f"log_{run.rank}.json").write_text(json.dumps(self._log_state()))
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
            run.spec.trained.save_total_limit,
            write,
            world_size=run.world_size,
            is_main=run.is_main,
            barrier=self.accelerator.wait_for_everyone,
        )

    def _log_state(self) -> dict[str, Any]:
        """What was summed up since the last line of the log, which the Trainer leaves out of a checkpoint."""
        return {"loss": self._tr_loss.item(), "logged_at": self._globalstep_last_logged}

    def _restore_log_state(self, state: dict[str, Any]) -> None:
        self._tr_loss += state["loss"]
        self._globalstep_last_logged = state["logged_at"]


_TIMINGS = ("_runtime", "_per_second")  # an evaluation's speed: no run repeats it


class _Callback(TrainerCallback):
    """Shows progress, writes metrics, and on SIGTERM stops after a checkpoint that all ranks agree on."""

    def __init__(self, run: Run, stop: checkpoint.StopSignal, resumed_at: int) -> None:
        self._run, self._stop, self._resumed_at = run, stop, resumed_at
        self._progress: Progress | None = None
        self._metrics = Log(run, "step", resumed_at) if run.is_main else None

    def on_train_begin(
        self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **kwargs: Any
    ) -> None:
        """Show progress from here on."""
        self._progress = Progress(
            self._run.spec.method, state.max_steps, state.global_step, self._run.is_main, name=self._run.name
        )

    def on_step_end(self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **kwargs: Any) -> None:
        """Stop where any rank was asked to, at the same step on all of them."""
        if any_rank(self._stop.received, self._run) and state.global_step < state.max_steps:
            control.should_save = control.should_training_stop = True

    def on_log(
        self, args: TrainingArguments, state: TrainerState, control: TrainerControl, logs: dict, **kwargs: Any
    ) -> None:
        """Append a line to the metrics. Raises SpecError for a loss that is not finite: the weights are lost, on every rank."""
        if not math.isfinite(loss := float(logs.get("loss", 0))):
            said = f"expected a finite loss, got {loss} at step {state.global_step}; lower learning_rate, or check the weights"
            raise SpecError(f"{self._run.spec.method}: {said}")
        if self._metrics is None or "train_runtime" in logs:
            return
        numbers = {key.replace("eval_", "eval/"): value for key, value in logs.items() if not key.endswith(_TIMINGS)}
        self._metrics.write({"step": state.global_step, **numbers})
        if self._progress is not None and "loss" in logs:
            self._progress.update(state.global_step, loss=loss)

    def on_train_end(
        self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **kwargs: Any
    ) -> None:
        """Close progress and metrics; a run that is stopped comes here too."""
        if self._progress is not None:
            self._progress.close()
        if self._metrics is not None:
            self._metrics.close()


def any_rank(flag: bool, run: Run) -> bool:
    """True on every rank where `flag` is True on any: one small all-reduce."""
    if run.world_size == 1:
        return flag
    device = "cpu" if run.use_cpu else f"cuda:{torch.cuda.current_device()}"
    flags = torch.tensor([int(flag)], device=device)
    torch.distributed.all_reduce(flags, op=torch.distributed.ReduceOp.MAX)
    return bool(flags.item())
