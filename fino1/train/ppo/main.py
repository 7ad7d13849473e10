"""Proximal policy optimisation of a language model against a verifier; TRL 1 has no PPO trainer.

One update: sample a response to each prompt, score it, compare it with the frozen reference, estimate advantages with the value
model, then take a few clipped steps. Sampling is keyed by (seed, update, prompt) and every rank sees the experience of all, so
that an update is the same on any number of ranks, up to rounding. An update that was interrupted is begun again: all that goes
into it is in the checkpoint before it.
"""

import math
import random
import time
from collections.abc import Collection, Sequence
from typing import NoReturn

import torch
from accelerate.utils import gather_object
from torch import Tensor

from fino1.errors import SpecError
from fino1.progress import Metrics, Progress
from fino1.spec.ppo import PpoBlock
from fino1.tasks.record import judge
from fino1.train import checkpoint
from fino1.train.launch.rank import Run
from fino1.train.ppo import reward, rl, rollout, vllm_rollout
from fino1.train.ppo.actors import Actors, Inputs
from fino1.train.ppo.episodes import Batch, Episode, batch, part_of, parts, parts_within
from fino1.train.tracking import Log
from fino1.train.trainer import any_rank


def main(run: Run) -> None:
    """Train the policy, from the newest checkpoint if there is one, and leave `model/`, `value_model/` and `done.json`."""
    started = time.monotonic()
    actors = Actors(run, Inputs(run))
    resumed = checkpoint.agree_on_newest(run.checkpoints, run.world_size)
    done = checkpoint.step_of(resumed) if resumed else -1
    if resumed:
        actors.load(resumed)
    ppo = _Ppo(actors, done)
    metrics = Log(run, "update", done) if run.is_main else None
    progress = Progress("ppo", actors.updates, max(done, 0), run.is_main, name=run.name)

    def log(update: int, numbers: dict[str, float]) -> None:
        if metrics is not None and numbers:
            metrics.write({"update": update, "episode": update * actors.block.global_batch_size, **numbers})

    def save_and_raise(update: int, error: Exception) -> NoReturn:
        if update != done:  # else nothing was learnt since the checkpoint that is there
            actors.save(update)
        if metrics is not None:
            metrics.close()
        raise error

    def stop_if_asked(update: int) -> None:
        if any_rank(actors.stop.received, run):
            save_and_raise(update, checkpoint.Stopped())

    if done < 0:
        log(0, ppo.evaluate_if_due(0))
    for update in range(max(done, 0), actors.updates):
        try:
            numbers = ppo.update(update, lambda _, update=update: stop_if_asked(update))
        except reward.Unjudged as unjudged:  # nothing has been learnt yet of what was to be judged
            save_and_raise(update, unjudged.error or checkpoint.Stopped())
        log(update + 1, numbers | ppo.evaluate_if_due(update + 1))
        progress.update(update + 1, score=numbers["objective/scores"], kl=numbers["objective/kl"])
        if (update + 1) % actors.block.save_steps == 0:
            actors.save(update + 1)
        if update + 1 < actors.updates:
            stop_if_asked(update + 1)
    progress.close()
    if metrics is not None:
        metrics.close()
    actors.publish()
    if run.is_main:
        run.finish(started, updates=actors.updates, episodes=actors.updates * actors.block.global_batch_size)


class _Ppo:
    """The steps of one update, and the evaluation between updates."""

    def __init__(self, actors: Actors, resumed_at: int) -> None:
        self.actors = actors
        self.run, self.inputs, self.block = actors.run, actors.inputs, actors.block
        self.accelerator = actors.accelerator
        path = self.run.directory / "generations.jsonl"
        self.generations = Metrics(path, "update", resumed_at) if self.run.is_main else None

    def update(self, update: int, between: rollout.Between) -> dict[str, float]:
        """Sample, score, learn; return the update's metrics under TRL's names. `between` may raise while sampling."""
        started = time.monotonic()
        self.actors.set_learning_rates(update)
        episodes = self._experience(update, between)
        mismatch = vllm_rollout.compare(episodes, self.block) if self.block.is_sampled_by_vllm else {}
        shuffle = torch.Generator().manual_seed(self.run.spec.seed + update) if self.block.reward.shuffle else None
        experience = batch(episodes, self.block, shuffle)
        sums = self._learn(update, episodes, experience)
        return {
            "eps": len(episodes) / (time.monotonic() - started),
            **_objectives(experience, episodes, self.inputs.end_tokens, self.block.kl_coef),
            **mismatch,
            **sums,
            **(self.inputs.judge.numbers if self.inputs.judge else {}),
            "lr": self.actors.optimizer.param_groups[0]["lr"],
        }

    def evaluate_if_due(self, update: int) -> dict[str, float]:
        """Evaluate before the first update, every `eval_steps`, and after the last; else return nothing."""
        is_due = update in (0, self.actors.updates) or update % self.block.eval_steps == 0
        return self.evaluate(update) if is_due and self.block.eval_strategy == "steps" else {}

    def evaluate(self, update: int) -> dict[str, float]:
        """Greedy accuracy on the held-out rows; some answers go to generations.jsonl (`writes_answers`)."""
        mine = range(self.run.rank, len(self.inputs.held_out), self.run.world_size)
        responses = self.actors.sample([self.inputs.held_out[i] for i in mine], None)
        records = [self.inputs.rows.evaluation[i] for i in mine]
        texts = [self.actors.decode(response.tokens) for response in responses]
        score = reward.scorer(self.run.spec)
        right = [judge(score, t, r).strict is True for t, r in zip(texts, records, strict=True)]
        found = gather_object(list(zip(mine, texts, right, strict=True)))
        if not found:
            return {}
        if self.generations is not None and writes_answers(update, self.actors.updates, self.block):
            for i, text, is_right in sorted(found)[:8]:
                record = self.inputs.rows.evaluation[i]
                self.generations.write({"update": update, "id": record.id, "response": text, "right": is_right})
        return {"eval/accuracy": sum(is_right for *_, is_right in found) / len(found)}

    def _experience(self, update: int, between: rollout.Between) -> list[Episode]:
        """Sample and score the update's episodes; return those of all ranks, in the order of their prompts."""
        size, rank, world = self.block.global_batch_size, self.run.rank, self.run.world_size
        times = self.block.num_generations
        chosen = rollout.choose_prompts(update, size // times, len(self.inputs.prompts), self.run.spec.seed)
        mine = [i for i in range(size) if i // times % world == rank]
        prompts = [self.inputs.prompts[chosen[i // times]] for i in mine]
        records = [self.inputs.rows.train[chosen[i // times]] for i in mine]
        responses = self.actors.sample(prompts, [(self.run.spec.seed, update, i) for i in mine], between)
        scores = self.actors.reward([self.actors.decode(response.tokens) for response in responses], records)
        episodes = [
            Episode(i, prompt, r.tokens, torch.tensor(r.logprobs), score, r.tokens[-1] in self.actors.stop_tokens)
            for i, prompt, r, score in zip(mine, prompts, responses, scores, strict=True)
        ]
        self.actors.look_back(episodes)
        return sorted(gather_object(episodes), key=lambda episode: episode.index)

    def _learn(self, update: int, episodes: list[Episode], experience: Batch) -> dict[str, float]:
        """Take num_ppo_epochs × num_mini_batches clipped steps; return the averages over all tokens of all passes.

        Raises SpecError for a loss that is not finite: the weights are lost then.
        """
        totals = torch.zeros(len(_STATISTICS) + 1, dtype=torch.float64, device=self.accelerator.device)
        for epoch in range(self.block.num_ppo_epochs):
            order = parts(range(len(episodes)), self.block.num_generations)  # the episodes of each prompt
            random.Random(f"{self.run.spec.seed} {update} {epoch}").shuffle(order)
            for number, groups in enumerate(parts(order, len(order) // self.block.num_mini_batches)):
                sums = self._step(groups, episodes, experience, not self.actors.is_value_warmup(update))
                if epoch == number == 0:
                    members = [i for group in groups for i in group]
                    sampled = experience.logprobs[members][experience.mask[members]].mean().item()
                    self._check_policy(self.accelerator.reduce(sums, "sum"), sampled)
                totals += sums
        totals = self.accelerator.reduce(totals, "sum")
        averages = (totals[:-1] / totals[-1]).tolist()
        numbers = dict(zip(_STATISTICS, averages, strict=True))
        for name, value in numbers.items():
            if name.startswith("loss/") and not math.isfinite(value):
                said = f"expected a finite {name}, got {value} in update {update + 1}"
                raise SpecError(
                    f"ppo: {said}; lower the learning rates, or check the weights of policy and value model"
                )
        numbers["val/ratio_var"] -= numbers["val/ratio"] ** 2
        return numbers

    def _check_policy(self, sums: Tensor, sampled: float) -> None:
        """Raise SpecError where the policy does not give its own fresh samples the log-probabilities they were drawn with.

        `sums` are those of the first pass over them, before any step, `sampled` is the mean they were drawn with. PPO's ratio
        is 1 then but for rounding; a model that is not would be trained on another distribution than it samples from.
        """
        found = dict(zip(_STATISTICS, (sums[:-1] / sums[-1]).tolist(), strict=True))
        gap, bound = math.sqrt(2 * found["policy/approxkl_avg"]), rl.LARGEST_GAP[self.block.bf16]
        if not gap <= bound:
            raise SpecError(
                "model: expected a policy that computes the log-probabilities of its samples as they were drawn with, "
                f"{sampled:.4f} a token, to within {bound}; got {found['policy/logprobs_avg']:.4f}, {gap:.4f} apart (root "
                "mean square)"
            )

    def _step(
        self, groups: Sequence[Sequence[int]], episodes: list[Episode], experience: Batch, with_policy_gradient: bool
    ) -> Tensor:
        """One optimizer step on a mini-batch; return this rank's sums of the statistics over its tokens, and their number."""
        tokens = int(experience.mask[[i for group in groups for i in group]].sum())
        sums = torch.zeros(len(_STATISTICS) + 1, dtype=torch.float64, device=self.accelerator.device)
        for part in self._passes(groups, episodes):
            packed = self.actors.pack([episodes[i] for i in part])
            old = [
                torch.cat([tensor[i][experience.mask[i]] for i in part]).to(self.accelerator.device)
                for tensor in (experience.logprobs, experience.values, experience.advantages, experience.returns)
            ]
            loss = self._policy_loss(old[0], old[2], tokens) if with_policy_gradient else None
            policy_loss, logprobs, entropy = self.actors.score(packed, loss)
            if policy_loss is not None:
                self.actors.backward(policy_loss)
            result = rl.ppo_loss(
                logprobs,
                self.actors.values(packed),
                *old,
                tokens=tokens,
                cliprange=self.block.cliprange,
                cliprange_value=self.block.cliprange_value,
                vf_coef=self.block.vf_coef,
            )
            self.actors.backward(result.value_loss)
            sums += _sums(result, entropy, logprobs)
        self.actors.step(with_policy_gradient)
        return sums

    def _passes(self, groups: Sequence[Sequence[int]], episodes: Sequence[Episode]) -> list[list[int]]:
        """Episodes of a mini-batch that are this rank's, by index, in parts of one forward and backward pass."""
        groups = sorted(groups, key=lambda group: -sum(len(episodes[i].response) for i in group))
        shares = [groups[rank :: self.run.world_size] for rank in range(self.run.world_size)]
        mine, budget = shares[self.run.rank], self.block.per_device_train_tokens
        if budget is None:
            size = max(1, self.block.per_device_train_batch_size // self.block.num_generations)
            return [[i for group in part for i in group] for part in parts(mine, size)]
        lengths = [[sum(part_of([episodes[i] for i in group])) for group in share] for share in shares]
        return [[i for k in part for i in mine[k]] for part in parts_within(lengths, self.run.rank, budget)]

    def _policy_loss(self, old_logprobs: Tensor, advantages: Tensor, tokens: int) -> rl.LossPart:
        """Make the function from new log-probabilities to their part of the mini-batch's policy loss."""

        def loss(logprobs: Tensor, place: slice) -> Tensor:
            return rl.policy_loss(logprobs, old_logprobs[place], advantages[place], self.block.cliprange).sum() / tokens

        return loss


_STATISTICS = (
    "loss/policy_avg",
    "loss/value_avg",
    "policy/approxkl_avg",
    "policy/clipfrac_avg",
    "policy/entropy_avg",
    "policy/logprobs_avg",
    "val/clipfrac_avg",
    "val/ratio",
    "val/ratio_var",  # the mean of squares, until the mean's square is taken off
)


def _sums(result: rl.PpoLoss, entropy: Tensor, logprobs: Tensor) -> Tensor:
    """Sums over tokens in the order of `_STATISTICS`, then the number of tokens."""
    columns = (
        result.policy,
        result.value,
        result.approxkl,
        result.clipped,
        entropy,
        logprobs.detach(),
        result.value_clipped,
        result.ratio,
        result.ratio**2,
        torch.ones_like(result.ratio),
    )
    return torch.stack([column.double().sum() for column in columns])


def _objectives(
    experience: Batch, episodes: Sequence[Episode], end_tokens: Collection[int], kl_coef: float
) -> dict[str, float]:
    """Means of the update's episodes: KL, entropy, reward before it is whitened, score, length; and how many ended."""
    non_score = -kl_coef * experience.kl.sum(1).mean()
    return {
        "objective/kl": experience.kl.sum(1).mean().item(),
        "objective/entropy": -torch.where(experience.mask, experience.logprobs, 0).sum(1).mean().item(),
        "objective/non_score_reward": non_score.item(),
        "objective/rlhf_reward": (non_score + experience.scores.mean()).item(),
        "objective/scores": experience.scores.mean().item(),
        "val/num_eos_tokens": sum(e.response[-1] in end_tokens for e in episodes),
        "response_length": sum(len(e.response) for e in episodes) / len(episodes),
    }


def writes_answers(update: int, updates: int, block: PpoBlock) -> bool:
    """Whether the evaluation after `update` updates writes answers: the first of the run, and each that is the first after
    another of `num_sample_generations` equal parts of it.
    """
    times, before = block.num_sample_generations, (update - 1) // block.eval_steps * block.eval_steps
    return times > 0 and (update == 0 or update * times // updates > before * times // updates)
