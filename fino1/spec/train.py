"""What may a run file say of training? SFT, the verifier, PPO, and how the model is divided over the ranks.

Keys are spelled as Transformers 5 and TRL 1 spell them. "Original" names the commands in the README of The-FinAI/Fino1
(docs/flags.md); where their value is unsound for finance the default here is another one, and the docstring says so.
"""

from typing import Annotated, Any, Literal

from pydantic import BeforeValidator, Field, StrictBool

from fino1.spec.evaluation import BudgetBlock
from fino1.spec.fields import (
    ADDED,
    Block,
    Count,
    CountOrZero,
    Fraction,
    NonNegative,
    Positive,
    TwoOrMore,
    integer,
)
from fino1.spec.inputs import ModelRef
from fino1.spec.paths import JudgeBlock

Scheduler = Literal["linear", "cosine", "constant", "constant_with_warmup"]


class TrainerBlock(Block):
    """Settings of Transformers' Trainer."""

    learning_rate: Positive = 5e-6
    """Peak learning rate of AdamW."""
    per_device_train_batch_size: Count = 2
    """Rows of one forward and backward pass on a rank."""
    global_batch_size: Count = 128
    """Rows an optimizer step sees over all ranks; accumulation follows from it (original: 2 × 8 × 8 GPUs)."""
    gradient_accumulation_steps: Count | None = None
    """Null derives it; a number must agree with `global_batch_size`."""
    num_train_epochs: Positive = 3.0
    """Passes over the rows."""
    max_steps: Count | None = None
    """Optimizer steps; overrides `num_train_epochs`."""
    weight_decay: NonNegative = 0.1
    """AdamW; norms and biases are left out (the original scripts decay Llama's norms: they look for another name)."""
    adam_beta1: Fraction = 0.9
    """AdamW's decay of the first moment."""
    adam_beta2: Fraction = 0.999
    """AdamW's decay of the second moment."""
    adam_epsilon: Positive = 1e-8
    """AdamW's epsilon."""
    max_grad_norm: NonNegative = 1.0
    """Gradients are clipped to this norm; 0 clips nothing."""
    lr_scheduler_type: Scheduler = "cosine"
    """How the learning rate falls after the warm-up."""
    warmup_ratio: Fraction = 0.05
    """Share of all steps over which the learning rate rises."""
    max_length: Count = 8192
    """Tokens a row may have; longer ones lose document text, never the question or the answer."""
    gradient_checkpointing: StrictBool = True
    """Keep one activation a layer and compute the others again: less memory, a third more time."""
    bf16: StrictBool = True
    """Compute in bfloat16."""
    save_steps: Count = 20
    """A full checkpoint every so many steps (original: once an epoch, weights only)."""
    save_total_limit: TwoOrMore = 2
    """Checkpoints kept; two at least, so that one is whole at any moment."""
    logging_steps: Count = 1
    """A line of metrics every so many steps."""
    eval_strategy: Literal["no", "steps"] = "no"
    """`steps`: loss on the held-out rows every `eval_steps`."""
    eval_steps: Count = 20
    """Optimizer steps between evaluations."""
    dataloader_num_workers: CountOrZero = 0
    """Processes that load rows; 0 is the rank itself."""


class SftBlock(TrainerBlock):
    """Supervised fine-tuning with TRL's SFTTrainer."""

    packing: StrictBool = False
    """Pack rows into `max_length` tokens without attention between them (TRL's `bfd`)."""


class VerifierBlock(TrainerBlock):
    """A classifier of two classes that says whether a response agrees with the reference answer; PPO's `reward.model`.

    How the original recipe's was trained is not published; the defaults are this project's. At the end, and every
    `eval_steps` with `eval_strategy: steps`, the held-out pairs are judged, at p > 0.5 and at `ppo.reward.threshold`.
    """

    learning_rate: Positive = 1e-5
    per_device_train_batch_size: Count = 8
    num_train_epochs: Positive = 2.0
    weight_decay: NonNegative = 0.01
    max_length: Count = 4000
    """Tokens of a pair, as `ppo.reward.max_length`; a longer one loses the beginning of the response."""
    eval_strategy: Literal["no", "steps"] = "steps"


class RewardJudge(JudgeBlock):
    """A model behind an API that says whether a response is right (docs/recipe.md)."""

    concurrency: Count = 8
    """Requests under way at once."""
    timeout_s: Positive = 600.0
    """Seconds that it may be silent while it is asked."""
    max_retries: CountOrZero = 5
    """Attempts after the first on 429, 5xx, time-outs and lost connections; then the run ends with a checkpoint, to be tried
    again."""
    budget: BudgetBlock | None = None
    """Tokens and dollars that this run may spend on verdicts; when they are spent, it ends with a checkpoint and exit code 2."""


class RewardBlock(Block):
    """The reward of a response: 0 malformed, `wrong` well-formed but wrong, 1 right."""

    source: Literal["rule", "model", "judge", "mix"] = "rule"
    """`rule`: the strict verdict (docs/scoring.md). `model`: a classifier reads the response and the reference answer. `judge`: a
    model behind an API does. `mix`: the rule, and the judge where the rule gives no verdict."""
    judge: Annotated[RewardJudge | None, ADDED] = None
    """Whom `judge` and `mix` ask; needs `base_url`."""
    judge_weight: Annotated[Fraction, ADDED] = 1.0
    """What the judge's word is worth beside the rule's: a response that it finds right gets `wrong` + this × (1 − `wrong`)."""
    model: ModelRef = ModelRef()
    """The classifier: one class (its logit is the reward) or two (p of the second against `threshold`)."""
    threshold: Fraction = 0.4
    """Two classes: p above it counts as right (original: 0.4)."""
    wrong: Fraction = 0.1
    """Reward of a well-formed wrong response (original: 0.1)."""
    max_length: Count = 4000
    """Tokens of the classifier's input (original: 4000)."""
    shuffle: StrictBool = False
    """Control experiment: rewards permuted over the batch. PPO must then learn nothing."""

    @property
    def asks_judge(self) -> bool:
        """True where a model behind an API gives rewards; one that is named beside another source is not asked."""
        return self.source in ("judge", "mix")


# A new key must be marked `Annotated[TYPE, ADDED]` (fino1/spec/fields.py), so that the names of existing runs stay:
# docs/development.md, "Add a hyperparameter".
class PpoBlock(Block):
    """Proximal policy optimisation against a verifier: the original recipe's flags under TRL's names."""

    value_model: ModelRef = ModelRef()
    """Backbone of the value model, same vocabulary as the policy; null means Llama-3.2-3B-Instruct."""
    reward: RewardBlock = RewardBlock()
    total_episodes: Count = 20000
    """Responses sampled in the whole run."""
    per_device_train_batch_size: Count = 1
    """Episodes in one forward and backward pass while optimising."""
    global_batch_size: Count = 128
    """Episodes of one update over all ranks (original: 1 × 16 × 8 GPUs)."""
    num_generations: Annotated[Count, ADDED] = 1
    """Responses sampled to each prompt of an update. They stay on one rank and in one mini-batch, and the prompt is computed
    once for all of them."""
    leave_one_out: Annotated[StrictBool, ADDED] = False
    """Take from each score the mean of the others to its prompt (RLOO, arXiv 2402.14740); wants `num_generations` over 1."""
    gradient_accumulation_steps: Count | None = None
    """Null derives it; a number must agree with `global_batch_size`."""
    num_mini_batches: Count = 1
    """Optimizer steps of one pass over an update's episodes."""
    num_ppo_epochs: Count = 3
    """Passes over an update's episodes."""
    per_device_train_tokens: Annotated[Count | None, ADDED] = None
    """Tokens of prompts and responses in one forward and backward pass while optimising; null: as many episodes as
    `per_device_train_batch_size` says. A longer episode has a pass of its own."""
    local_rollout_forward_batch_size: Count = 8
    """Prompts sampled together on one rank, and episodes in one pass of the reference, the value model and the reward
    classifier, where the next two keys are null."""
    per_device_rollout_batch_size: Annotated[Count | None, ADDED] = None
    """Prompts sampled together on one rank."""
    per_device_forward_batch_size: Annotated[Count | None, ADDED] = None
    """Episodes in one pass of the reference, the value model and the reward classifier."""
    response_length: Count = 1300
    """Most tokens of a response; sampling stops at the end-of-sequence token (in the original recipe it never stops)."""
    max_prompt_length: Count = 4096
    """Tokens of a prompt; longer ones lose document text only (original: 1000, hard-coded, and the question was cut)."""
    temperature: Positive = 0.5
    """Temperature of sampling; the log-probabilities are of the same distribution."""
    stop_token: Literal["eos", "none"] = "eos"
    """`none` samples on to `response_length` (a null would be deleted, as Helm does, and mean `eos`)."""
    missing_eos_penalty: NonNegative = 1.0
    """Taken from the score of a response without end of sequence (original: none)."""
    learning_rate: Positive = 5e-7
    """Peak learning rate of the policy."""
    value_learning_rate: Positive | None = None
    """Null: as `learning_rate`."""
    value_warmup_updates: CountOrZero = 0
    """Updates that train the value model alone; its head starts at random."""
    weight_decay: NonNegative = 0.0
    """AdamW's, of all weights."""
    adam_beta1: Fraction = 0.9
    """AdamW's decay of the first moment."""
    adam_beta2: Fraction = 0.999
    """AdamW's decay of the second moment."""
    adam_epsilon: Positive = 1e-8
    """AdamW's epsilon."""
    max_grad_norm: NonNegative = 1.0
    """Clips the policy's and the value model's gradients each by their own norm; 0 clips nothing."""
    lr_scheduler_type: Scheduler = "linear"
    """How the learning rates fall after the warm-up."""
    warmup_ratio: Fraction = 0.05
    """Share of all updates over which the learning rates rise."""
    kl_coef: NonNegative = 0.03
    """Weight of the KL penalty against the reference, per token."""
    kl_estimator: Literal["k1", "k3"] = "k1"
    """`k1`: log-ratio; `k3`: unbiased and never negative (Schulman, 2020)."""
    cliprange: Positive = 0.2
    """The policy ratio is clipped to 1 ± this."""
    cliprange_value: Positive = 0.2
    """New values are clipped to the old ± this."""
    vf_coef: NonNegative = 1.0
    """Weight of the value loss (HuatuoGPT-o1's paper; the original command leaves TRL's 0.1)."""
    gamma: Fraction = 1.0
    """Discount of later rewards."""
    lam: Fraction = 0.95
    """λ of generalised advantage estimation."""
    whiten_rewards: StrictBool = False
    """Scale the rewards of an update to variance 1."""
    gradient_checkpointing: StrictBool = True
    """Applied to the policy and the value model (the original flag has no effect)."""
    bf16: StrictBool = True
    """Compute in bfloat16."""
    save_steps: Count = 20
    """A full checkpoint every so many updates."""
    save_total_limit: TwoOrMore = 2
    """Checkpoints kept; two at least."""
    eval_strategy: Literal["no", "steps"] = "steps"
    """`steps`: greedy accuracy on the held-out rows every `eval_steps` updates (the original flag has no effect)."""
    eval_steps: Count = 20
    """Updates between evaluations."""
    num_sample_generations: Annotated[int, Field(ge=-1), BeforeValidator(integer)] = 10
    """How often in the whole run an evaluation also writes some held-out responses to `generations.jsonl`; 0 or −1 never."""
    dataloader_num_workers: CountOrZero = 0
    """Threads that tokenise the prompts; 0 is one."""

    @property
    def rollout_batch_size(self) -> int:
        """Prompts sampled together on one rank."""
        return self.per_device_rollout_batch_size or self.local_rollout_forward_batch_size

    @property
    def forward_batch_size(self) -> int:
        """Episodes in one pass of the reference, the value model and the reward classifier."""
        return self.per_device_forward_batch_size or self.local_rollout_forward_batch_size


class LaunchBlock(Block):
    """What each rank holds of the model, where several train together (accelerate's and DeepSpeed's names).

    One rank has nothing to share: without offload it is trained plainly whatever the stage, to the same numbers.
    """

    zero_stage: Annotated[int, Field(ge=0, le=3), BeforeValidator(integer)] = 3
    """What is divided over the ranks. 0: nothing (plain data parallelism, 16 bytes per parameter on every GPU); 1: the
    optimizer's state; 2: the gradients too; 3: the weights too (original: 3). SFT and the verifier are sharded by DeepSpeed,
    PPO, which knows 0 and 3, by torch's fully_shard."""
    offload_optimizer_device: Literal["none", "cpu"] = "none"
    """`cpu`: the optimizer's state lies in the node's memory, 12 bytes per parameter of a rank's share, and AdamW runs there;
    from stage 1 on, not with PPO."""
    offload_param_device: Literal["none", "cpu"] = "none"
    """`cpu`: the weights too lie there; stage 3, not with PPO."""


def reward_complaints(block: RewardBlock) -> list[tuple[str, str]]:
    """Problems of the reward's model or judge, as (path, problem); charts/fino1/templates/_check_reward.tpl has the same."""
    found, classifier, judge = [], block.model, block.judge
    if block.source == "model" and (classifier.is_empty or classifier.init is not None):
        got = "none" if classifier.is_empty else "random weights"
        found.append(("ppo.reward.model", f"expected hub, path or run with source: model, got {got}"))
    if block.asks_judge and judge is None:
        found.append(("ppo.reward.judge", f"expected a model with base_url with source: {block.source}, got none"))
    elif judge is not None and not judge.base_url:
        found.append(("ppo.reward.judge.base_url", "expected one, got none"))
    if judge is not None and judge.budget and judge.budget.dollars is not None and not judge.price:
        found.append(("ppo.reward.judge.price", "expected one with ppo.reward.judge.budget.dollars, got none"))
    return found


def launch_complaints(method: str, block: LaunchBlock, world_size: int) -> list[tuple[str, str]]:
    """Problems of dividing this method's model so, as (path, problem)."""
    found = []
    if method == "ppo" and world_size > 1 and block.zero_stage in (1, 2):
        found.append(
            ("launch.zero_stage", f"expected 0 or 3 with method ppo and several ranks, got {block.zero_stage}")
        )
    for key, least in (("offload_optimizer_device", 1), ("offload_param_device", 3)):
        if getattr(block, key) == "none":
            continue
        if method == "ppo":
            found.append((f"launch.{key}", "expected none with method ppo, got cpu"))
        elif block.zero_stage < least:
            found.append((f"launch.{key}", f"expected none with zero_stage: {block.zero_stage}, got cpu"))
    return found


def batch_complaints(method: str, block: Any, world_size: int) -> list[tuple[str, str]]:
    """Problems of a global batch that does not divide evenly over mini-batches, ranks and passes, as (path, problem).

    charts/fino1/templates/_check_train.tpl has the same check in Helm's language.
    """
    found = []
    mini = getattr(block, "num_mini_batches", 1)
    unit = mini * world_size * block.per_device_train_batch_size
    if block.global_batch_size % unit:
        found.append(
            (
                f"{method}.global_batch_size",
                f"expected a multiple of {unit} ({'num_mini_batches × ' if method == 'ppo' else ''}ranks × "
                f"per_device_train_batch_size), got {block.global_batch_size}",
            )
        )
    elif (steps := block.gradient_accumulation_steps) and steps * unit != block.global_batch_size:
        found.append(
            (
                f"{method}.gradient_accumulation_steps",
                f"expected {block.global_batch_size // unit}, which makes global_batch_size={block.global_batch_size}, "
                f"got {steps}",
            )
        )
    times, most = getattr(block, "num_generations", 1), block.global_batch_size // (mini * world_size)
    if most * mini * world_size == block.global_batch_size and most % times:
        said = f"expected a divisor of {most} (global_batch_size ÷ num_mini_batches ÷ ranks), got {times}"
        found.append((f"{method}.num_generations", said))
    if times == 1 and getattr(block, "leave_one_out", False):
        found.append((f"{method}.leave_one_out", "expected false with num_generations: 1, got true"))
    return found
