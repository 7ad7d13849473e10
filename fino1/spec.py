"""What may a user ask for? Every key of a run file, with its default, range and meaning.

One run file is one `method`; it is also the values file of that method's Helm chart (DESIGN C1). Trainer-side keys are
spelled as Transformers 5 and TRL 1 spell them. "Seed" names the README of The-FinAI/Fino1; where its value is unsound for
finance the default here is the replacement of reference fino1.md §7 and the docstring says so.
"""

from typing import Annotated, Any, Literal

from pydantic import BeforeValidator, Field, StrictBool, model_validator

from fino1.fields import (
    Block,
    Count,
    CountOrZero,
    Fold,
    Fraction,
    Name,
    NonNegative,
    Positive,
    RunName,
    Text,
    TwoOrMore,
    integer,
)
from fino1.placement import Placement

Column = Literal["Question", "Complex_CoT", "Response", "Open-ended Verifiable Question", "Ground-True Answer", "label"]
TaskId = Literal[
    "finqa", "xbrl_math", "docmath_simplong", "docmath_complong", "docmath_simpshort", "docmath_compshort", "ledger"
]
Scheduler = Literal["linear", "cosine", "constant", "constant_with_warmup"]

DEFAULT_MODEL = "meta-llama/Llama-3.1-8B-Instruct"
DEFAULT_VALUE_MODEL = "meta-llama/Llama-3.2-3B-Instruct"
DEFAULT_DATA = "TheFinAI/Fino1_Reasoning_Path_FinQA"  # 5,499 rows, CC-BY-4.0
DEFAULT_COLUMNS = {"Question": "Open-ended Verifiable Question"}


class InitBlock(Block):
    """A small Llama with random weights; its tokenizer is trained on the run's own rows."""

    vocab_size: Annotated[int, Field(ge=261), BeforeValidator(integer)] = 512
    """Upper bound of the trained tokenizer's vocabulary, which starts with 256 bytes and 5 special tokens; a value model takes
    the policy's vocabulary instead."""
    hidden_size: Count = 128
    """Width; a multiple of `num_attention_heads`."""
    intermediate_size: Count = 384
    """Width of the feed-forward layers."""
    num_hidden_layers: Count = 3
    """Layers."""
    num_attention_heads: Count = 4
    """Query heads of a layer."""
    num_key_value_heads: Count = 4
    """Key and value heads of a layer; a divisor of the query heads."""
    max_position_embeddings: Count = 1024
    """Longest prompt and response together, in tokens."""
    initializer_range: Positive = 0.02
    """Standard deviation of the random weights."""

    @model_validator(mode="after")
    def _heads(self) -> "InitBlock":
        if self.hidden_size % self.num_attention_heads:
            raise ValueError(
                f"hidden_size: expected a multiple of num_attention_heads={self.num_attention_heads}, "
                f"got {self.hidden_size}"
            )
        if self.hidden_size // self.num_attention_heads % 2:
            raise ValueError(
                f"hidden_size: expected an even number for each of num_attention_heads={self.num_attention_heads}, "
                f"which rotary positions need, got {self.hidden_size}"
            )
        if self.num_attention_heads % self.num_key_value_heads:
            raise ValueError(
                f"num_key_value_heads: expected a divisor of num_attention_heads={self.num_attention_heads}, "
                f"got {self.num_key_value_heads}"
            )
        return self


class ModelRef(Block):
    """Which model? At most one of `hub`, `path`, `run`, `init` (DESIGN C13); none means the block's documented default."""

    hub: Text | None = None
    """Hugging Face hub id."""
    revision: Text | None = None
    """Commit, tag or branch of `hub`."""
    path: Text | None = None
    """Directory in Hugging Face layout."""
    run: RunName | None = None
    """Name of a finished run, or `NAME-HASH` for exactly one."""
    init: InitBlock | None = None
    """Random weights of this size."""

    @model_validator(mode="after")
    def _one(self) -> "ModelRef":
        given = [key for key in ("hub", "path", "run", "init") if getattr(self, key) is not None]
        if len(given) > 1:
            raise ValueError(f"expected one of hub, path, run, init, got {' and '.join(given)}")
        if self.revision is not None and self.hub is None:
            raise ValueError(f"revision: expected none without hub, got {self.revision}")
        return self

    @property
    def is_empty(self) -> bool:
        """Does the block name no model?"""
        return not (self.hub or self.path or self.run or self.init)


class RowsBlock(Block):
    """Where do rows come from? A local JSON, JSONL or Parquet file, a task's own format, or a hub dataset."""

    task: TaskId | None = None
    """Read the rows with this task's reader; null reads C7 rows (`Question`, `Complex_CoT`, `Response` for SFT,
    `Open-ended Verifiable Question`, `Ground-True Answer` for PPO; a verifier's pairs have those of PPO, `Response` and
    perhaps `label`: true, false, or none where the rule shall judge). `ledger` generates its rows."""
    path: Text | None = None
    """Local file, relative to the current directory."""
    hub: Text | None = None
    """Hub dataset id."""
    revision: Text | None = None
    """Commit, tag or branch of `hub`."""
    split: str = "train"
    """Split of the hub dataset."""
    size: Count = 20000
    """`ledger`: rows to generate."""
    fold: Fold | None = None
    """`k/n`: only the k-th of n parts, the first being 1. Rows of one table or page are in one part, wherever they stand."""
    limit: Count | None = None
    """Use the first so many rows, of the part if there is one."""


class DataBlock(RowsBlock):
    """The training rows."""

    columns: dict[Column, Text] = {}
    """C7 name → name in the file, where they differ."""
    slip_rate: Fraction = 0.5
    """`ledger`: share of SFT rows whose reasoning has a slip of method, as paths have that nobody verified; of a verifier's
    wrong pairs, which have a wrong digit otherwise."""
    prompt: Literal["fino1", "paper"] = "fino1"
    """Which wording asks a task's rows; C7 rows bring their own."""
    eval_size: CountOrZero = 200
    """Rows held out for evaluation while training, at most a tenth of all (seed: min(10 %, 200))."""
    exclude: list[RowsBlock] = []
    """Evaluation sets: training rows of the same page or question are left out and counted."""

    @property
    def is_default(self) -> bool:
        """Does the block name no rows? SFT and PPO then read Fino1's published reasoning paths."""
        return self.task is None and self.path is None and self.hub is None

    @property
    def source(self) -> str:
        """The file or hub dataset that is read."""
        return self.path or self.hub or DEFAULT_DATA


class TrainerBlock(Block):
    """What Transformers' Trainer is told."""

    learning_rate: Positive = 5e-6
    """Peak learning rate of AdamW."""
    per_device_train_batch_size: Count = 2
    """Rows of one forward and backward pass on a rank."""
    global_batch_size: Count = 128
    """Rows an optimizer step sees over all ranks; accumulation follows from it (seed: 2 × 8 × 8 GPUs)."""
    gradient_accumulation_steps: Count | None = None
    """Null derives it; a number must agree with `global_batch_size`."""
    num_train_epochs: Positive = 3.0
    """Passes over the rows."""
    max_steps: Count | None = None
    """Optimizer steps; overrides `num_train_epochs`."""
    weight_decay: NonNegative = 0.1
    """AdamW; norms and biases are left out (the seed decays Llama's norms by a wrong name)."""
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
    """A full checkpoint every so many steps (seed: once an epoch, weights only)."""
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

    How the seed's was trained is not published; the defaults are ours. At the end, and every `eval_steps` with
    `eval_strategy: steps`, the held-out pairs are judged, at p > 0.5 and at `ppo.reward.threshold`.
    """

    learning_rate: Positive = 1e-5
    per_device_train_batch_size: Count = 8
    num_train_epochs: Positive = 2.0
    weight_decay: NonNegative = 0.01
    max_length: Count = 4000
    """Tokens of a pair, as `ppo.reward.max_length`; a longer one loses the beginning of the response."""
    eval_strategy: Literal["no", "steps"] = "steps"


class RewardBlock(Block):
    """What is a response worth? 0 malformed, `wrong` well-formed, 1 right."""

    source: Literal["rule", "model"] = "rule"
    """`rule`: the strict verdict (C8). `model`: a sequence classifier reads the response and the reference answer."""
    model: ModelRef = ModelRef()
    """The classifier: one class (its logit is the reward) or two (p of the second against `threshold`)."""
    threshold: Fraction = 0.4
    """Two classes: p above it counts as right (seed: 0.4)."""
    wrong: Fraction = 0.1
    """Reward of a well-formed wrong response (seed: 0.1)."""
    max_length: Count = 4000
    """Tokens of the classifier's input (seed: 4000)."""
    shuffle: StrictBool = False
    """Control experiment: rewards permuted over the batch. PPO must then learn nothing."""


class PpoBlock(Block):
    """Proximal policy optimisation against a verifier: the seed's flags under TRL's names."""

    value_model: ModelRef = ModelRef()
    """Backbone of the value model, same vocabulary as the policy; null means Llama-3.2-3B-Instruct."""
    reward: RewardBlock = RewardBlock()
    total_episodes: Count = 20000
    """Responses sampled in the whole run."""
    per_device_train_batch_size: Count = 1
    """Episodes in one forward and backward pass while optimising."""
    global_batch_size: Count = 128
    """Episodes of one update over all ranks (seed: 1 × 16 × 8 GPUs)."""
    gradient_accumulation_steps: Count | None = None
    """Null derives it; a number must agree with `global_batch_size`."""
    num_mini_batches: Count = 1
    """Optimizer steps of one pass over an update's episodes."""
    num_ppo_epochs: Count = 3
    """Passes over an update's episodes."""
    local_rollout_forward_batch_size: Count = 8
    """Prompts sampled together on one rank, and rows of the reference, value and reward passes."""
    response_length: Count = 1300
    """Most tokens of a response; sampling stops at the end-of-sequence token (the seed's never does)."""
    max_prompt_length: Count = 4096
    """Tokens of a prompt; longer ones lose document text only (seed: 1000, hard-coded, and the question was cut)."""
    temperature: Positive = 0.5
    """Of sampling; the log-probabilities are of the same distribution."""
    stop_token: Literal["eos", "none"] = "eos"
    """`none` samples on to `response_length` (a null would be deleted, as Helm does, and mean `eos`)."""
    missing_eos_penalty: NonNegative = 1.0
    """Taken from the score of a response without end of sequence (seed: none)."""
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
    """Weight of the value loss (HuatuoGPT-o1's paper; the seed's command leaves TRL's 0.1)."""
    gamma: Fraction = 1.0
    """Discount of later rewards."""
    lam: Fraction = 0.95
    """λ of generalised advantage estimation."""
    whiten_rewards: StrictBool = False
    """Scale the rewards of an update to variance 1."""
    gradient_checkpointing: StrictBool = True
    """Applied to the policy and the value model (the seed's flag has no effect)."""
    bf16: StrictBool = True
    """Compute in bfloat16."""
    save_steps: Count = 20
    """A full checkpoint every so many updates."""
    save_total_limit: TwoOrMore = 2
    """Checkpoints kept; two at least."""
    eval_strategy: Literal["no", "steps"] = "steps"
    """`steps`: greedy accuracy on the held-out rows every `eval_steps` updates (the seed's flag has no effect)."""
    eval_steps: Count = 20
    """Updates between evaluations."""
    num_sample_generations: Annotated[int, Field(ge=-1), BeforeValidator(integer)] = 10
    """How often in the whole run some held-out responses are written to `generations.jsonl`; 0 or −1 never."""
    dataloader_num_workers: CountOrZero = 0
    """Threads that tokenise the prompts; 0 is one."""


class LaunchBlock(Block):
    """What of the model does each rank hold, where several train together? (accelerate's and DeepSpeed's names)

    One rank has nothing to share: without offload it is trained plainly whatever the stage, to the same numbers.
    """

    zero_stage: Annotated[int, Field(ge=0, le=3), BeforeValidator(integer)] = 3
    """What is divided over the ranks. 0: nothing (plain data parallelism, 16 bytes per parameter on every GPU); 1: the
    optimizer's state; 2: the gradients too; 3: the weights too (seed: 3). SFT is sharded by DeepSpeed, PPO, which knows 0
    and 3, by torch's fully_shard."""
    offload_optimizer_device: Literal["none", "cpu"] = "none"
    """`cpu`: the optimizer's state lies in the node's memory, 12 bytes per parameter of a rank's share, and AdamW runs there;
    from stage 1 on, SFT only."""
    offload_param_device: Literal["none", "cpu"] = "none"
    """`cpu`: the weights too lie there; stage 3, SFT only."""


class PriceBlock(Block):
    """What an endpoint charges, in dollars per million tokens, as providers' price lists state it."""

    input: NonNegative
    """Of the prompt."""
    output: NonNegative
    """Of the answer, with its reasoning."""


class EvalModel(ModelRef):
    """One model of an evaluation: a reference to serve here, or an endpoint that exists."""

    name: Name
    """Name in the leaderboard."""
    base_url: Text | None = None
    """OpenAI-compatible endpoint, ending in `/v1`; null: the model is served in the pod, or here, as `eval.server` says."""
    model_id: Text | None = None
    """What the endpoint calls the model; null: `name`."""
    api_key_env: Text | None = None
    """Environment variable with the key; the key itself is never in a run file."""
    context_length: Count | None = None
    """Tokens the model can read; null: what its config says, or no limit for an endpoint."""
    price: PriceBlock | None = None
    """Needed with `eval.budget.dollars` for a model with `base_url`. No part of a cell's key."""

    @model_validator(mode="after")
    def _source(self) -> "EvalModel":
        if self.init is not None:
            raise ValueError("init: expected none, for a model that is trained already, got one")
        if self.is_empty and not self.base_url:
            raise ValueError("expected one of hub, path, run, base_url, got none")
        return self


class EvalTask(RowsBlock):
    """One benchmark of an evaluation."""

    task: TaskId
    split: str = "test"
    size: Count = 500


class ServerBlock(Block):
    """What serves a model without `base_url`? It runs in the evaluation's pod."""

    engine: Literal["vllm", "transformers"] | None = None
    """Null: vLLM where `gpus_per_node` is not 0, else `transformers serve`."""
    image: Text | None = None
    """Null: the release of vLLM that this package knows, or our training image."""
    args: list[str] = []
    """Further arguments of the server, each an item of its own; part of a cell's key."""


class BudgetBlock(Block):
    """What all answers of the run may take, those on disk from earlier attempts and runs included.

    Every request is held at its worst case before it is sent, so the limit is not passed. On Kubernetes each model is a Job
    with a run of its own, and has the whole budget; each of several shards has an equal part.
    """

    tokens: Count | None = None
    """Prompts and answers together; null: no limit."""
    dollars: Positive | None = None
    """By the models' `price`; null: no limit."""


class EvalBlock(Block):
    """The evaluation: every model answers every task."""

    models: list[EvalModel] = []
    """Which models answer."""
    tasks: list[EvalTask] = []
    """Which benchmarks are asked."""
    prompt: Literal["fino1", "paper"] = "fino1"
    """Wording of the questions: ours, or the paper's structure."""
    max_tokens: Count = 1024
    """Most tokens of an answer (paper: 1,024)."""
    temperature: NonNegative = 0.0
    """0 is greedy."""
    concurrency: Count = 4
    """Requests under way at once."""
    timeout_s: Positive = 600.0
    """Seconds that an endpoint may be silent while it is asked."""
    max_retries: CountOrZero = 5
    """Attempts after the first on 429, 5xx, time-outs and lost connections, with growing pauses."""
    budget: BudgetBlock | None = None
    """Tokens and dollars that may be spent; when they are, the run ends with exit code 2 and goes on once they are raised."""
    shards: Count = 1
    """Pods that share a model's questions; each takes every shards-th."""
    server: ServerBlock = ServerBlock()


class RunSpec(Placement):
    """One run: what a run file says, complete with its defaults."""

    method: Literal["sft", "verifier", "ppo", "eval"]
    """What the run does."""
    seed: Annotated[int, Field(ge=0, lt=2**32), BeforeValidator(integer)] = 42
    """Of every random number."""
    model: ModelRef = ModelRef()
    """Where SFT or the verifier starts, or PPO's policy; null means Llama-3.1-8B-Instruct, for the verifier
    Llama-3.2-3B-Instruct."""
    data: DataBlock = DataBlock()
    """Null rows mean TheFinAI/Fino1_Reasoning_Path_FinQA for SFT and PPO."""
    sft: SftBlock = SftBlock()
    verifier: VerifierBlock = VerifierBlock()
    ppo: PpoBlock = PpoBlock()
    eval: EvalBlock = EvalBlock()
    launch: LaunchBlock = LaunchBlock()

    @property
    def trained(self) -> TrainerBlock | PpoBlock:
        """Settings of the method, which is one that trains."""
        return getattr(self, self.method)

    def complaints(self, world_size: int) -> list[tuple[str, str]]:
        """What do single fields not show? Pairs of (path, problem); the batch arithmetic and what a method needs."""
        found = self.placement_complaints()
        if self.method == "eval":
            if self.report_to:
                found.append(("report_to", f"expected none with method eval, got {', '.join(self.report_to)}"))
            return found + _evaluation(self.eval)
        found += _batches(self.method, self.trained, world_size)
        if self.method == "verifier" or not self.data.is_default:
            found += _rows("data", self.data)
        found += _launch(self.method, self.launch, world_size)
        for i, block in enumerate(self.data.exclude):
            found += _rows(f"data.exclude.{i}", block)
        if self.method == "ppo":
            if self.model.init is not None:
                found.append(("model.init", "expected a trained policy (hub, path or run), got random weights"))
            classifier = self.ppo.reward.model
            if self.ppo.reward.source == "model" and (classifier.is_empty or classifier.init is not None):
                got = "none" if classifier.is_empty else "random weights"
                found.append(("ppo.reward.model", f"expected hub, path or run with source: model, got {got}"))
        return found


def _rows(path: str, block: RowsBlock) -> list[tuple[str, str]]:
    """Do training rows, or those to leave out, come from one place that can be read?"""
    if block.path and block.hub:
        return [(path, "expected one of path, hub, got both")]
    if block.hub and block.task is not None:
        return [(f"{path}.hub", f"expected C7 rows, or a path with task: {block.task}, got {block.hub}")]
    if block.task != "ledger" and not (block.path or block.hub):
        return [(path, "expected path or hub, or task: ledger, got none")]
    return _fold(path, block)


def _fold(path: str, block: RowsBlock) -> list[tuple[str, str]]:
    """Is there such a part of the rows?"""
    if block.fold is None:
        return []
    part, parts = block.fold.split("/")
    if int(part) > int(parts):
        return [(f"{path}.fold", f"expected a part from 1/{parts} to {parts}/{parts}, got {block.fold}")]
    if not (block.path or block.hub):
        return [(f"{path}.fold", f"expected none for rows that are generated, got {block.fold}")]
    return []


def _launch(method: str, block: LaunchBlock, world_size: int) -> list[tuple[str, str]]:
    """Can this method's model be divided so?"""
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


def _evaluation(block: EvalBlock) -> list[tuple[str, str]]:
    """Has the evaluation models and tasks, with names of their own and rows?"""
    found = [
        (f"eval.{key}", "expected at least one, got none") for key in ("models", "tasks") if not getattr(block, key)
    ]
    for i, task in enumerate(block.tasks):
        if task.path and task.hub:
            found.append((f"eval.tasks.{i}", "expected one of path, hub, got both"))
        if task.task != "ledger" and not (task.path or task.hub):
            found.append((f"eval.tasks.{i}", f"expected path or hub for task {task.task}, got none"))
        found += _fold(f"eval.tasks.{i}", task)
    if block.budget and block.budget.dollars is not None:
        found += [
            (f"eval.models.{i}.price", "expected one with eval.budget.dollars, got none")
            for i, model in enumerate(block.models)
            if model.base_url and not model.price
        ]
    names = [model.name for model in block.models]
    return found + [
        ("eval.models", f"expected different names, got {name} twice")
        for name in sorted({n for n in names if names.count(n) > 1})
    ]


def _batches(method: str, block: Any, world_size: int) -> list[tuple[str, str]]:
    """Does the global batch divide evenly over mini-batches, ranks and passes?"""
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
    return found
