"""What does PPO start from, which models does it hold, and what does it leave? (Passes: networks.py; maths: rl.py)"""

import functools
from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager, nullcontext
from pathlib import Path

import torch
import transformers
from accelerate import Accelerator, InitProcessGroupKwargs
from torch import Tensor
from transformers import PretrainedConfig, PreTrainedModel

from fino1 import files, runs
from fino1.spec.inputs import DEFAULT_VALUE_MODEL
from fino1.spec.ppo import PpoBlock
from fino1.train import attention, checkpoint, head, model, shard
from fino1.train.data.chat import Chat
from fino1.train.data.examples import make_ppo_prompts, prompt_budget
from fino1.train.data.rows import read_rows
from fino1.train.launch.rank import Run
from fino1.train.ppo import networks, reward, rl, rollout, vllm_rollout
from fino1.train.ppo.episodes import Episode, Packed, pack, parts

_SHARDS = "shards"


class Inputs:
    """Rows, prompts, tokenizer and configs of a run, checked before any weight is read. Raises SpecError."""

    def __init__(self, run: Run) -> None:
        spec, block = run.spec, run.spec.ppo
        self.rows = read_rows(runs.find_rows(spec.data, "ppo", run.work), "ppo", spec.seed)
        reward.check_targets(spec, self.rows)
        self.policy = model.own_source(spec.model, run.work)
        self.tokenizer = model.load_tokenizer(*self.policy)
        self.config = model.load_trained_config("model", *self.policy, self.tokenizer)
        head.check_head(self.config, self.policy[0])
        self.end_tokens = model.end_tokens(self.tokenizer, *self.policy)
        self.value_config, self.value = model.value_config(
            block.value_model, DEFAULT_VALUE_MODEL, run.work, self.tokenizer, self.config
        )
        if block.is_sampled_by_vllm:
            vllm_rollout.check()
        self.classifier = reward.check(block.reward, run.work)
        self.judge = None
        if block.reward.asks_judge:
            from fino1.train.ppo.judge import Judge  # its client takes a second, which other runs need not wait

            self.judge = Judge(run, self.rows.render)
        context = min(model.context_length(self.config), model.context_length(self.value_config))
        budget = prompt_budget(block, context)
        chat = Chat(self.tokenizer, spec.model.chat_template_kwargs)
        self.prompts, self.held_out = make_ppo_prompts(self.rows, chat, budget, block.dataloader_num_workers)
        size = model.parameters(self.config) + model.parameters(self.value_config)
        missing = block.save_total_limit - len(checkpoint.all_valid(run.checkpoints))
        model.check_disk(run.directory, size, missing)
        if run.is_main:
            files.write_json(run.directory / "data.json", self.rows.as_dict())


class Actors:
    """Policy and value model with their optimizer, the frozen reference, and the reward."""

    def __init__(self, run: Run, inputs: Inputs) -> None:
        self.run, self.inputs = run, inputs
        self.block: PpoBlock = run.spec.ppo
        self._saved_at: int | None = None
        self.updates = -(-self.block.total_episodes // self.block.global_batch_size)
        self.schedule = rl.schedule(
            self.block.lr_scheduler_type, round(self.block.warmup_ratio * self.updates), self.updates
        )
        self.accelerator = Accelerator(
            cpu=run.use_cpu,
            mixed_precision="bf16" if self.block.bf16 else "no",
            kwargs_handlers=[InitProcessGroupKwargs(timeout=shard.PROCESS_GROUP_TIMEOUT)],
        )
        assert self.accelerator.num_processes == run.world_size, (self.accelerator.num_processes, run.world_size)
        transformers.set_seed(run.spec.seed)
        device = self.accelerator.device
        self.sharding = None
        if shard.stage(run.spec, run.world_size):
            self.sharding = shard.Sharding(device, self.block.bf16, run.is_main)
            self.sampler = shard.load_without_weights(model.load_policy, inputs.config, device).eval()
            attention.separate(self.sampler)
        both = networks.ActorCritic(
            self._load(model.load_policy, inputs.config, inputs.policy),
            self._load(model.load_value, inputs.value_config, inputs.value),
        )
        # flash attention too tells episodes apart in a single row only
        self.is_separate = all([attention.separate(part) for part in (both.policy, both.value)])
        self.needs_one_row = self.is_separate or "flash" in (both.policy.config._attn_implementation or "")
        for part in (both.policy, both.value):
            networks.train_without_noise(part)
            if self.block.gradient_checkpointing:
                part.gradient_checkpointing_enable({"use_reentrant": False})
        self._place(both)
        reference = self._load(model.load_policy, inputs.config, inputs.policy)
        self.reference = networks.Reference(reference, self.block.bf16, self.sharding is not None)
        attention.separate(self.reference.policy)
        self._place(self.reference)
        self.both, self.optimizer = both, self._make_optimizer(both)
        if self.sharding is None:
            # without DDP: `step` adds up the gradients
            self.both = self.accelerator.prepare_model(both, evaluation_mode=True)
            self.optimizer = self.accelerator.prepare_optimizer(self.optimizer)
        self.engine = self._make_engine() if self.block.is_sampled_by_vllm else None
        self.stop = checkpoint.StopSignal()
        ask = inputs.judge and functools.partial(inputs.judge, self.stop.event)
        size = self.block.forward_batch_size
        self.reward = reward.make(run.spec, inputs.classifier, device, size, ask)

    def _make_engine(self) -> vllm_rollout.Engine:
        prompts = self.inputs.prompts + self.inputs.held_out
        length = max(map(len, prompts)) + self.block.response_length
        dtype = torch.bfloat16 if self.block.bf16 else torch.float32
        return vllm_rollout.Engine(self.inputs.policy, self.block.rollout, dtype, length, self.run.spec.seed)

    def _make_optimizer(self, both: networks.ActorCritic) -> torch.optim.AdamW:
        self.peaks = (self.block.learning_rate, self.block.value_learning_rate or self.block.learning_rate)
        return torch.optim.AdamW(
            [
                {"params": part.parameters(), "lr": peak}
                for part, peak in zip((both.policy, both.value), self.peaks, strict=True)
            ],
            betas=(self.block.adam_beta1, self.block.adam_beta2),
            eps=self.block.adam_epsilon,
            weight_decay=self.block.weight_decay,
            fused=True,  # no tensor besides its state
        )

    def _load(
        self, load: Callable[..., PreTrainedModel], config: PretrainedConfig, source: model.Source
    ) -> PreTrainedModel:
        return load(config, *source) if self.sharding is None else self.sharding.load(load, config, source)

    def _place(self, module: torch.nn.Module) -> None:
        if self.sharding is not None:
            self.sharding.divide(module)
            return
        module.to(self.accelerator.device)
        if self.run.world_size > 1:  # all begin with the same, also where a node has another copy of a model
            for weight in module.parameters():
                torch.distributed.broadcast(weight.data, 0)

    @property
    def stop_tokens(self) -> list[int]:
        """Ids of the tokens that end a response; none where it is sampled on to `response_length`."""
        return self.inputs.end_tokens if self.block.stop_token == "eos" else []

    def decode(self, tokens: list[int]) -> str:
        """The text of a response."""
        return self.inputs.tokenizer.decode(tokens, skip_special_tokens=True)

    def sample(
        self,
        prompts: Sequence[list[int]],
        keys: Sequence[rollout.Key] | None,
        between: rollout.Between = rollout.ignore,
    ) -> list[rollout.Response]:
        """Sample a response to each prompt, greedily without keys; a policy that is sharded is gathered once for all of them."""
        policy = self.both.policy
        gathered = nullcontext(policy) if self.sharding is None else self.sharding.gathered(policy, self.sampler)
        settings = {
            "response_length": self.block.response_length,
            "temperature": self.block.temperature,
            "stop_tokens": self.stop_tokens,
            "batch_size": self.block.rollout_batch_size,
            "between": between,
        }
        with gathered as whole, self.accelerator.autocast():
            if self.engine is None:
                draws = keys and [rollout.uniforms(key, self.block.response_length) for key in keys]
                return rollout.sample(whole, prompts, draws, pad_token=self.inputs.tokenizer.pad_token_id, **settings)
            self.engine.hand_over(whole.named_parameters())
        return self.engine.sample(prompts, keys, **settings)

    @torch.no_grad()
    def look_back(self, episodes: list[Episode]) -> None:
        """Fill in the reference's log-probabilities and values of what was sampled, and the policy's own if vLLM sampled it."""
        for part in parts(episodes, self.block.forward_batch_size):
            packed = self.pack(part)
            lengths = [len(episode.response) for episode in part]
            with self.accelerator.autocast():
                reference = self.reference(packed, self.block.temperature).cpu().split(lengths)
                values = self.both(packed)
                if self.engine is not None:
                    _, own, _ = self.both(packed, self.block.temperature)
                    for episode, logprobs in zip(part, own.cpu().split(lengths), strict=True):
                        episode.sampled_logprobs, episode.logprobs = episode.logprobs, logprobs
            for episode, logprobs, its in zip(part, reference, values.cpu().split(lengths), strict=True):
                episode.ref_logprobs, episode.values = logprobs, its

    def pack(self, episodes: Sequence[Episode]) -> Packed:
        """Lay episodes out for a pass, and the prompt of several of them once where each can attend to itself."""
        return pack(episodes, self.accelerator.device, self.needs_one_row, self.is_separate)

    def set_learning_rates(self, update: int) -> None:
        """Move both rates to the update's factor of their peaks; the policy's is 0 while the value model warms up."""
        factor = self.schedule(update)
        policy, value = self.optimizer.param_groups
        policy["lr"] = 0.0 if self.is_value_warmup(update) else factor * self.peaks[0]
        value["lr"] = factor * self.peaks[1]

    def is_value_warmup(self, update: int) -> bool:
        """True while only the value model learns."""
        return update < self.block.value_warmup_updates

    def score(self, packed: Packed, loss: rl.LossPart | None) -> tuple[Tensor | None, Tensor, Tensor]:
        """The policy's loss with gradients, None without `loss`, and log-probabilities and entropies (N,) without."""
        with self._autocast():
            return self.both(packed, self.block.temperature, loss)

    def values(self, packed: Packed) -> Tensor:
        """Values (N,) with gradients."""
        with self._autocast():
            return self.both(packed)

    def _autocast(self) -> AbstractContextManager:
        # without sharding `prepare_model` has put it into the module
        return nullcontext() if self.sharding is None else self.accelerator.autocast()

    def backward(self, loss: Tensor) -> None:
        """Add to the gradients those of this rank's part of a loss that is summed over ranks, where they are averaged."""
        self.accelerator.backward(loss * self.run.world_size)

    def step(self, with_policy_gradient: bool) -> None:
        """Clip the gradients and take an optimizer step. What has no gradient keeps its weights and Adam's moments."""
        if self.sharding is None and self.run.world_size > 1:  # shards are averaged in each backward pass, for memory
            learning = self.both if with_policy_gradient else self.both.value
            for weight in learning.parameters():
                found = torch.zeros_like(weight) if weight.grad is None else weight.grad  # as many sums on every rank
                weight.grad = self.accelerator.reduce(found, "mean")
        if self.block.max_grad_norm:
            for part in (self.both.policy, self.both.value):
                self.accelerator.clip_grad_norm_(part.parameters(), self.block.max_grad_norm)
        self.optimizer.step()
        self.optimizer.zero_grad()

    def save(self, update: int) -> None:
        """Write the checkpoint of the state after `update` updates, unless the newest one is of it."""
        if update == self._saved_at:
            return

        def write(directory: Path) -> None:
            self.accelerator.save_state(str(directory))
            if self.sharding is not None:
                shard.save(directory / _SHARDS, self.both, self.optimizer)

        checkpoint.save(
            self.run.checkpoints,
            update,
            self.block.save_total_limit,
            write,
            world_size=self.run.world_size,
            is_main=self.run.is_main,
            barrier=self.accelerator.wait_for_everyone,
        )
        self._saved_at = update

    def load(self, directory: Path) -> None:
        """Load a checkpoint."""
        self._saved_at = checkpoint.step_of(directory)
        self.accelerator.load_state(str(directory))
        if self.sharding is not None:
            shard.load(directory / _SHARDS, self.both, self.optimizer)

    def publish(self) -> None:
        """Write `value_model/` and `model/` in Hugging Face layout; each appears whole, `model/` last."""
        both = self.both
        state = self.accelerator.get_state_dict(self.both) if self.sharding is None else shard.gather(both)
        if self.run.is_main:
            for part, folder in ((both.value, "value_model"), (both.policy, "model")):
                prefix = "value." if part is both.value else "policy."
                temporary = self.run.directory / f".{folder}.tmp"
                weights = {k.removeprefix(prefix): v for k, v in state.items() if k.startswith(prefix)}
                part.save_pretrained(temporary, state_dict=weights)
                self.inputs.tokenizer.save_pretrained(temporary)
                checkpoint.publish_model(temporary, self.run.directory / folder)
        self.accelerator.wait_for_everyone()
