"""What may a run file say of PPO? Rewards, sampling and learning (names and "original" as in train.py)."""

from typing import Annotated, Literal

from pydantic import BeforeValidator, Field, StrictBool

from fino1.spec.evaluation import BudgetBlock
from fino1.spec.fields import ADDED, Block, Count, CountOrZero, Fraction, NonNegative, Positive, TwoOrMore, integer
from fino1.spec.inputs import ModelRef
from fino1.spec.paths import JudgeBlock
from fino1.spec.train import Scheduler


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


class RolloutBlock(Block):
    """What samples PPO's responses."""

    engine: Literal["transformers", "vllm"] = "transformers"
    """`transformers`: the policy itself. `vllm`: a vLLM in each rank's process, which gets the weights anew for each update."""
    gpu_memory_utilization: Fraction = 0.3
    """Share of a GPU's memory that vLLM takes while it samples; on a CPU, each rank's of the machine's."""
    importance_sampling_cap: Positive = 2.0
    """A token's loss is weighed by π/π_vLLM, at most by this (truncated importance sampling)."""


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
    rollout: Annotated[RolloutBlock | None, ADDED] = None
    """What samples; null means the policy itself."""
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
    def is_sampled_by_vllm(self) -> bool:
        """True where the policy does not sample for itself."""
        return self.rollout is not None and self.rollout.engine == "vllm"

    @property
    def forward_batch_size(self) -> int:
        """Episodes in one pass of the reference, the value model and the reward classifier."""
        return self.per_device_forward_batch_size or self.local_rollout_forward_batch_size


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
