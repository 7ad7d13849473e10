"""Proximal policy optimisation of a language model against a verifier (TRL has none any more).

One update: sample a response to each prompt, score it, compare it with the frozen reference, estimate advantages with the value
model, then take a few clipped steps. Sampling is keyed by (seed, update, prompt) and every rank sees the experience of all, so
that an update is the same on any number of ranks, up to rounding. An update that was interrupted is begun again: all that goes
into it is in the checkpoint before it.
"""

import json
import random
import time
from collections.abc import Sequence
from contextlib import nullcontext
from datetime import timedelta

import torch
import transformers
from accelerate import Accelerator, InitProcessGroupKwargs
from accelerate.utils import gather_object
from torch import Tensor
from transformers import PreTrainedTokenizerBase

from fino1 import runs
from fino1.progress import Metrics, Progress
from fino1.spec import DEFAULT_VALUE_MODEL
from fino1.train import checkpoint, data, model, reward, rl, rollout
from fino1.train.episodes import Batch, Episode, batch, pack
from fino1.train.rank import Run
from fino1.train.sft import agree

PROCESS_GROUP_TIMEOUT = timedelta(minutes=30)


def main(run: Run) -> None:
    """Train the policy, from the newest checkpoint if there is one, and leave `model/`, `value_model/` and `done.json`."""
    started = time.monotonic()
    stop = checkpoint.StopSignal()
    block = run.spec.ppo
    ppo = _Ppo(run, _Inputs(run))
    updates = -(-block.total_episodes // block.global_batch_size)
    resumed = checkpoint.newest(run.checkpoints)
    saved = done = checkpoint.step_of(resumed) if resumed else -1
    if resumed:
        ppo.accelerator.load_state(str(resumed))
    metrics = Metrics(run.directory / "metrics.jsonl", "update", done) if run.is_main else None
    progress = Progress("ppo", updates, max(done, 0), run.is_main, name=run.name)

    def save(update: int) -> None:
        nonlocal saved
        if saved != update:
            saved = update
            checkpoint.save(
                run.checkpoints,
                update,
                block.save_total_limit,
                lambda directory: ppo.accelerator.save_state(str(directory)),
                is_main=run.is_main,
                barrier=ppo.accelerator.wait_for_everyone,
            )

    def stop_if_asked(update: int) -> None:
        if agree(stop.received, run):
            save(update)
            raise checkpoint.Stopped

    def evaluated(update: int) -> dict[str, float]:
        due = update in (0, updates) or update % block.eval_steps == 0
        return ppo.evaluate(update, updates) if due and block.eval_strategy == "steps" else {}

    if done < 0:
        done = 0
        first = evaluated(0)
        if metrics is not None and first:
            metrics.write({"update": 0, "episode": 0, **first})
    for update in range(done, updates):
        numbers = ppo.update(update, updates, lambda finished, update=update: stop_if_asked(update))
        numbers |= evaluated(update + 1)
        if metrics is not None:
            metrics.write({"update": update + 1, "episode": (update + 1) * block.global_batch_size, **numbers})
        progress.update(update + 1, score=numbers["objective/scores"], kl=numbers["objective/kl"])
        if (update + 1) % block.save_steps == 0:
            save(update + 1)
        if update + 1 < updates:
            stop_if_asked(update + 1)
    progress.close()
    ppo.publish()
    if run.is_main:
        run.finish(started, updates=updates, episodes=updates * block.global_batch_size)


class _Inputs:
    """What a run starts from, checked before any weight is read."""

    def __init__(self, run: Run) -> None:
        spec, block = run.spec, run.spec.ppo
        self.rows = data.read(spec.data, "ppo", spec.seed)
        reward.check_targets(spec, self.rows)
        self.policy = model.policy_source(spec.model, run.work)
        self.tokenizer = model.load_tokenizer(*self.policy)
        self.config = model.load_config("model", *self.policy)
        self.value_config, self.value = model.value_config(
            block.value_model, DEFAULT_VALUE_MODEL, run.work, self.tokenizer, self.config
        )
        self.classifier = reward.check(block.reward, run.work)
        budget = min(block.max_prompt_length, model.context_length(self.config) - block.response_length)
        rows, tokenizer = self.rows, self.tokenizer
        self.prompts = [data.fitted_prompt(rows, record, tokenizer, budget, rows.counts) for record in rows.train]
        self.held_out = [data.fitted_prompt(rows, record, tokenizer, budget) for record in rows.evaluation]
        size = model.parameters(self.config) + model.parameters(self.value_config)
        model.check_disk(run.directory, size, block.save_total_limit)
        if run.is_main:
            runs.write_json(run.directory / "data.json", rows.as_dict())


class _Ppo:
    """The models, and what is done with them in one update."""

    def __init__(self, run: Run, inputs: _Inputs) -> None:
        block = run.spec.ppo
        self.run, self.inputs, self.block = run, inputs, block
        self.accelerator = Accelerator(
            cpu=run.use_cpu,
            mixed_precision="bf16" if block.bf16 else "no",
            kwargs_handlers=[InitProcessGroupKwargs(timeout=PROCESS_GROUP_TIMEOUT)],
        )
        assert self.accelerator.num_processes == run.world_size, (self.accelerator.num_processes, run.world_size)
        transformers.set_seed(run.spec.seed)
        self.policy = model.load_policy(inputs.config, *inputs.policy)
        self.value = model.load_value(inputs.value_config, *inputs.value)
        self.reference = model.load_policy(inputs.config, *inputs.policy).requires_grad_(False).eval()
        self.reference.to(self.accelerator.device)
        if block.gradient_checkpointing:
            self.policy.gradient_checkpointing_enable({"use_reentrant": False})
            self.value.gradient_checkpointing_enable({"use_reentrant": False})
        optimizer = torch.optim.AdamW(
            [{"params": self.policy.parameters()}, {"params": self.value.parameters()}],
            betas=(block.adam_beta1, block.adam_beta2),
            eps=block.adam_epsilon,
            weight_decay=block.weight_decay,
        )
        both = model.ActorCritic(self.policy, self.value)
        self.both, self.optimizer = self.accelerator.prepare(both, optimizer)
        self.reward = reward.make(
            run.spec, inputs.classifier, self.accelerator.device, block.local_rollout_forward_batch_size
        )

    def update(self, update: int, updates: int, between: rollout.Between) -> dict[str, float]:
        """Sample, score, learn; return the update's metrics under TRL's names. `between` may raise while sampling."""
        started = time.monotonic()
        self._set_learning_rates(update, updates)
        episodes = self._experience(update, between)
        shuffle = torch.Generator().manual_seed(self.run.spec.seed + update) if self.block.reward.shuffle else None
        known = batch(episodes, self.block, shuffle)
        sums = self._learn(update, episodes, known)
        return {
            "eps": len(episodes) / (time.monotonic() - started),
            **_objectives(known, episodes, self.inputs.tokenizer),
            **sums,
            "lr": self.optimizer.param_groups[0]["lr"],
        }

    def evaluate(self, update: int, updates: int) -> dict[str, float]:
        """Greedy accuracy on the held-out rows (and now and then what the answers look like)."""
        mine = range(self.run.rank, len(self.inputs.held_out), self.run.world_size)
        responses = self._sample([self.inputs.held_out[i] for i in mine], None)
        records = [self.inputs.rows.evaluation[i] for i in mine]
        texts = [self._text(response.tokens) for response in responses]
        judge = reward.scorer(self.run.spec)
        right = [judge(t, r.question, r.target).strict is True for t, r in zip(texts, records, strict=True)]
        found = gather_object(list(zip(mine, texts, right, strict=True)))
        if not found:
            return {}
        times = self.block.num_sample_generations
        if self.run.is_main and times > 0 and update % max(1, updates // times) == 0:
            with (self.run.directory / "generations.jsonl").open("a", encoding="utf-8") as file:
                for i, text, is_right in sorted(found)[:8]:
                    record = self.inputs.rows.evaluation[i]
                    line = {"update": update, "id": record.id, "response": text, "right": is_right}
                    file.write(json.dumps(line, ensure_ascii=False) + "\n")
        return {"eval/accuracy": sum(is_right for *_, is_right in found) / len(found)}

    def publish(self) -> None:
        """Write `value_model/` and `model/` in Hugging Face layout; each appears whole, `model/` last."""
        both = self.accelerator.unwrap_model(self.both)
        state = self.accelerator.get_state_dict(self.both)
        if self.run.is_main:
            for part, folder in ((both.value, "value_model"), (both.policy, "model")):
                prefix = "value." if part is both.value else "policy."
                temporary = self.run.directory / f".{folder}.tmp"
                weights = {k.removeprefix(prefix): v for k, v in state.items() if k.startswith(prefix)}
                part.save_pretrained(temporary, state_dict=weights)
                self.inputs.tokenizer.save_pretrained(temporary)
                runs.publish(temporary, self.run.directory / folder)
        self.accelerator.wait_for_everyone()

    def _experience(self, update: int, between: rollout.Between) -> list[Episode]:
        """The update's episodes, of all ranks, in the order of their prompts."""
        size, rank, world = self.block.global_batch_size, self.run.rank, self.run.world_size
        chosen = _prompts_of(update, size, len(self.inputs.prompts), self.run.spec.seed)
        mine = range(rank, size, world)
        prompts = [self.inputs.prompts[chosen[i]] for i in mine]
        records = [self.inputs.rows.train[chosen[i]] for i in mine]
        draws = [rollout.uniforms(self.run.spec.seed, update, i, self.block.response_length) for i in mine]
        responses = self._sample(prompts, draws, between)
        scores = self.reward([self._text(response.tokens) for response in responses], records)
        episodes = [
            Episode(i, prompt, r.tokens, torch.tensor(r.logprobs), score, r.tokens[-1] in self._stop_tokens)
            for i, prompt, r, score in zip(mine, prompts, responses, scores, strict=True)
        ]
        self._look_back(episodes)
        return sorted(gather_object(episodes), key=lambda episode: episode.index)

    @torch.no_grad()
    def _look_back(self, episodes: list[Episode]) -> None:
        """Fill in the reference's log-probabilities and the values of what was sampled."""
        value = self.accelerator.unwrap_model(self.both).value
        for part in _parts(episodes, self.block.local_rollout_forward_batch_size):
            packed = pack(part, self.accelerator.device, self._one_row)
            with self.accelerator.autocast():
                logprobs, _ = model.policy_logprobs(self.reference, packed, self.block.temperature)
                values = model.values(value, packed)
            lengths = [len(episode.response) for episode in part]
            found = zip(logprobs.cpu().split(lengths), values.cpu().split(lengths), strict=True)
            for episode, (its_logprobs, its_values) in zip(part, found, strict=True):
                episode.ref_logprobs, episode.values = its_logprobs, its_values

    def _learn(self, update: int, episodes: list[Episode], known: Batch) -> dict[str, float]:
        """Take num_ppo_epochs × num_mini_batches clipped steps; return the averages over all tokens of all passes."""
        totals = torch.zeros(len(_STATISTICS) + 1, dtype=torch.float64, device=self.accelerator.device)
        for epoch in range(self.block.num_ppo_epochs):
            order = list(range(len(episodes)))
            random.Random(f"{self.run.spec.seed} {update} {epoch}").shuffle(order)
            for members in _parts(order, len(order) // self.block.num_mini_batches):
                totals += self._step(sorted(members, key=lambda i: -len(episodes[i].response)), episodes, known)
        totals = self.accelerator.reduce(totals, "sum")
        averages = (totals[:-1] / totals[-1]).tolist()
        numbers = dict(zip(_STATISTICS, averages, strict=True))
        numbers["val/ratio_var"] -= numbers["val/ratio"] ** 2
        return numbers

    def _step(self, members: list[int], episodes: list[Episode], known: Batch) -> Tensor:
        """One optimizer step on a mini-batch; return this rank's sums of the statistics over its tokens, and their number."""
        tokens = int(known.mask[members].sum())
        mine = members[self.run.rank :: self.run.world_size]
        micro = list(_parts(mine, self.block.per_device_train_batch_size))
        sums = torch.zeros(len(_STATISTICS) + 1, dtype=torch.float64, device=self.accelerator.device)
        for number, part in enumerate(micro, start=1):
            packed = pack([episodes[i] for i in part], self.accelerator.device, self._one_row)
            old = [
                torch.cat([tensor[i][known.mask[i]] for i in part]).to(self.accelerator.device)
                for tensor in (known.logprobs, known.values, known.advantages, known.returns)
            ]
            final = number == len(micro)
            with self.accelerator.no_sync(self.both) if not final else nullcontext():
                logprobs, entropy, values = self.both(packed, self.block.temperature)
                result = rl.ppo_loss(
                    logprobs,
                    values,
                    *old,
                    tokens=tokens,
                    cliprange=self.block.cliprange,
                    cliprange_value=self.block.cliprange_value,
                    vf_coef=self.block.vf_coef,
                )
                self.accelerator.backward(result.loss * self.run.world_size)  # DDP averages over ranks; this is a sum
            sums += _sums(result, entropy)
        if self.block.max_grad_norm:
            both = self.accelerator.unwrap_model(self.both)
            for part in (both.policy, both.value):
                self.accelerator.clip_grad_norm_(part.parameters(), self.block.max_grad_norm)
        self.optimizer.step()
        self.optimizer.zero_grad()
        return sums

    def _sample(
        self,
        prompts: Sequence[list[int]],
        draws: Sequence | None,
        between: rollout.Between = rollout.go_on,
    ) -> list[rollout.Response]:
        policy = self.accelerator.unwrap_model(self.both).policy
        with self.accelerator.autocast():
            return rollout.sample(
                policy,
                prompts,
                draws,
                response_length=self.block.response_length,
                temperature=self.block.temperature,
                stop_tokens=self._stop_tokens,
                pad_token=self.inputs.tokenizer.pad_token_id,
                batch_size=self.block.local_rollout_forward_batch_size,
                between=between,
            )

    def _set_learning_rates(self, update: int, updates: int) -> None:
        """Set this update's rates: the scheduler's factor of each, and none for the policy while the value model warms up."""
        warmup = round(self.block.warmup_ratio * updates)
        dummy = torch.optim.SGD([torch.zeros(1)], lr=1.0)
        schedule = transformers.get_scheduler(self.block.lr_scheduler_type, dummy, warmup, updates)
        factor = schedule.lr_lambdas[0](update) if hasattr(schedule, "lr_lambdas") else 1.0
        policy, value = self.optimizer.param_groups
        policy["lr"] = 0.0 if update < self.block.value_warmup_updates else factor * self.block.learning_rate
        value["lr"] = factor * (self.block.value_learning_rate or self.block.learning_rate)

    def _text(self, tokens: list[int]) -> str:
        return self.inputs.tokenizer.decode(tokens, skip_special_tokens=True)

    @property
    def _stop_tokens(self) -> list[int]:
        return [self.inputs.tokenizer.eos_token_id] if self.block.stop_token == "eos" else []

    @property
    def _one_row(self) -> bool:
        """Does attention need all episodes in one row? Flash attention tells episodes apart in a single row only."""
        return "flash" in (self.reference.config._attn_implementation or "")


_STATISTICS = (
    "loss/policy_avg",
    "loss/value_avg",
    "policy/approxkl_avg",
    "policy/clipfrac_avg",
    "policy/entropy_avg",
    "val/clipfrac_avg",
    "val/ratio",
    "val/ratio_var",  # the mean of squares, until the mean's square is taken off
)


def _sums(result: rl.PpoLoss, entropy: Tensor) -> Tensor:
    """Sums over tokens in the order of `_STATISTICS`, then the number of tokens."""
    columns = (
        result.policy,
        result.value,
        result.approxkl,
        result.clipped,
        entropy,
        result.value_clipped,
        result.ratio,
        result.ratio**2,
        torch.ones_like(result.ratio),
    )
    return torch.stack([column.double().sum() for column in columns])


def _objectives(known: Batch, episodes: Sequence[Episode], tokenizer: PreTrainedTokenizerBase) -> dict[str, float]:
    """What the update's episodes were worth, per episode."""
    non_score = known.rewards.sum(1).mean() - known.scores.mean()
    return {
        "objective/kl": known.kl.sum(1).mean().item(),
        "objective/entropy": -torch.where(known.mask, known.logprobs, 0).sum(1).mean().item(),
        "objective/non_score_reward": non_score.item(),
        "objective/rlhf_reward": (non_score + known.scores.mean()).item(),
        "objective/scores": known.scores.mean().item(),
        "val/num_eos_tokens": sum(e.response[-1] == tokenizer.eos_token_id for e in episodes),
        "response_length": sum(len(e.response) for e in episodes) / len(episodes),
    }


def _prompts_of(update: int, size: int, count: int, seed: int) -> list[int]:
    """Which prompts does this update take? The next `size` of endless passes, each in an order of its own."""
    places = range(update * size, (update + 1) * size)
    orders = {}
    for turn in {place // count for place in places}:
        orders[turn] = list(range(count))
        random.Random(f"{seed} {turn}").shuffle(orders[turn])
    return [orders[place // count][place % count] for place in places]


def _parts(items: Sequence, size: int) -> list[Sequence]:
    return [items[start : start + size] for start in range(0, len(items), size)]
