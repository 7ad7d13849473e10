"""What does PPO start from, which models does it hold, and what does it leave? Their set-up and their passes, no maths."""

from collections.abc import Sequence
from datetime import timedelta

import torch
import transformers
from accelerate import Accelerator, InitProcessGroupKwargs

from fino1 import runs
from fino1.spec import DEFAULT_VALUE_MODEL, PpoBlock
from fino1.train import checkpoint, data, model, reward, rollout
from fino1.train.episodes import Episode, pack, parts
from fino1.train.rank import Run

PROCESS_GROUP_TIMEOUT = timedelta(minutes=30)


class Inputs:
    """What a run starts from, checked before any weight is read."""

    def __init__(self, run: Run) -> None:
        spec, block = run.spec, run.spec.ppo
        self.rows = data.read(spec.data, "ppo", spec.seed)
        reward.check_targets(spec, self.rows)
        self.policy = model.own_source(spec.model, run.work)
        self.tokenizer = model.load_tokenizer(*self.policy)
        self.config = model.load_config("model", *self.policy)
        self.value_config, self.value = model.value_config(
            block.value_model, DEFAULT_VALUE_MODEL, run.work, self.tokenizer, self.config
        )
        self.classifier = reward.check(block.reward, run.work)
        context = min(model.context_length(self.config), model.context_length(self.value_config))
        budget = min(block.max_prompt_length, context - block.response_length)
        self.prompts, self.held_out = data.ppo_prompts(self.rows, self.tokenizer, budget, block.dataloader_num_workers)
        size = model.parameters(self.config) + model.parameters(self.value_config)
        missing = block.save_total_limit - len(checkpoint.all_valid(run.checkpoints))
        model.check_disk(run.directory, size, missing)
        if run.is_main:
            runs.write_json(run.directory / "data.json", self.rows.as_dict())


class Actors:
    """Policy and value model with their optimizer, the frozen reference, and the reward."""

    def __init__(self, run: Run, inputs: Inputs) -> None:
        self.run, self.inputs = run, inputs
        self.block: PpoBlock = run.spec.ppo
        self.accelerator = Accelerator(
            cpu=run.use_cpu,
            mixed_precision="bf16" if self.block.bf16 else "no",
            kwargs_handlers=[InitProcessGroupKwargs(timeout=PROCESS_GROUP_TIMEOUT)],
        )
        assert self.accelerator.num_processes == run.world_size, (self.accelerator.num_processes, run.world_size)
        transformers.set_seed(run.spec.seed)
        policy = model.load_policy(inputs.config, *inputs.policy)
        value = model.load_value(inputs.value_config, *inputs.value)
        self.reference = model.load_policy(inputs.config, *inputs.policy).requires_grad_(False).eval()
        self.reference.to(self.accelerator.device)
        if self.block.gradient_checkpointing:
            policy.gradient_checkpointing_enable({"use_reentrant": False})
            value.gradient_checkpointing_enable({"use_reentrant": False})
        optimizer = torch.optim.AdamW(
            [{"params": policy.parameters()}, {"params": value.parameters()}],
            betas=(self.block.adam_beta1, self.block.adam_beta2),
            eps=self.block.adam_epsilon,
            weight_decay=self.block.weight_decay,
        )
        both = model.ActorCritic(policy, value)
        self.both, self.optimizer = self.accelerator.prepare(both, optimizer)
        self.reward = reward.make(
            run.spec, inputs.classifier, self.accelerator.device, self.block.local_rollout_forward_batch_size
        )

    @property
    def unwrapped(self) -> model.ActorCritic:
        """Policy and value model without what wraps them for training."""
        return self.accelerator.unwrap_model(self.both)

    @property
    def stop_tokens(self) -> list[int]:
        """Which tokens end a response?"""
        return [self.inputs.tokenizer.eos_token_id] if self.block.stop_token == "eos" else []

    @property
    def one_row(self) -> bool:
        """Does attention need all episodes in one row? Flash attention tells episodes apart in a single row only."""
        return "flash" in (self.reference.config._attn_implementation or "")

    def text(self, tokens: list[int]) -> str:
        """What does a response say?"""
        return self.inputs.tokenizer.decode(tokens, skip_special_tokens=True)

    def sample(
        self, prompts: Sequence[list[int]], draws: Sequence | None, between: rollout.Between = rollout.go_on
    ) -> list[rollout.Response]:
        """The policy's response to each prompt (rollout.sample)."""
        with self.accelerator.autocast():
            return rollout.sample(
                self.unwrapped.policy,
                prompts,
                draws,
                response_length=self.block.response_length,
                temperature=self.block.temperature,
                stop_tokens=self.stop_tokens,
                pad_token=self.inputs.tokenizer.pad_token_id,
                batch_size=self.block.local_rollout_forward_batch_size,
                between=between,
            )

    @torch.no_grad()
    def look_back(self, episodes: list[Episode]) -> None:
        """Fill in the reference's log-probabilities and the values of what was sampled."""
        for part in parts(episodes, self.block.local_rollout_forward_batch_size):
            packed = pack(part, self.accelerator.device, self.one_row)
            with self.accelerator.autocast():
                logprobs, _ = model.policy_logprobs(self.reference, packed, self.block.temperature)
                values = model.values(self.unwrapped.value, packed)
            lengths = [len(episode.response) for episode in part]
            found = zip(logprobs.cpu().split(lengths), values.cpu().split(lengths), strict=True)
            for episode, (its_logprobs, its_values) in zip(part, found, strict=True):
                episode.ref_logprobs, episode.values = its_logprobs, its_values

    def set_learning_rates(self, update: int, updates: int) -> None:
        """Set this update's rates: the scheduler's factor of each, and none for the policy while the value model warms up."""
        warmup = round(self.block.warmup_ratio * updates)
        dummy = torch.optim.SGD([torch.zeros(1)], lr=1.0)
        schedule = transformers.get_scheduler(self.block.lr_scheduler_type, dummy, warmup, updates)
        factor = schedule.lr_lambdas[0](update) if hasattr(schedule, "lr_lambdas") else 1.0
        policy, value = self.optimizer.param_groups
        policy["lr"] = 0.0 if update < self.block.value_warmup_updates else factor * self.block.learning_rate
        value["lr"] = factor * (self.block.value_learning_rate or self.block.learning_rate)

    def save(self, update: int) -> None:
        """Write the checkpoint of the state after `update` updates."""
        checkpoint.save(
            self.run.checkpoints,
            update,
            self.block.save_total_limit,
            lambda directory: self.accelerator.save_state(str(directory)),
            world_size=self.run.world_size,
            is_main=self.run.is_main,
            barrier=self.accelerator.wait_for_everyone,
        )

    def publish(self) -> None:
        """Write `value_model/` and `model/` in Hugging Face layout; each appears whole, `model/` last."""
        both = self.unwrapped
        state = self.accelerator.get_state_dict(self.both)
        if self.run.is_main:
            for part, folder in ((both.value, "value_model"), (both.policy, "model")):
                prefix = "value." if part is both.value else "policy."
                temporary = self.run.directory / f".{folder}.tmp"
                weights = {k.removeprefix(prefix): v for k, v in state.items() if k.startswith(prefix)}
                part.save_pretrained(temporary, state_dict=weights)
                self.inputs.tokenizer.save_pretrained(temporary)
                checkpoint.publish_model(temporary, self.run.directory / folder)
        self.accelerator.wait_for_everyone()
