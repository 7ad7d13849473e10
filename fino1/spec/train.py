"""What may a run file say of training? SFT, the verifier, and how a model is divided over the ranks; PPO is in ppo.py.

Keys are spelled as Transformers 5 and TRL 1 spell them. "Original" names the commands in the README of The-FinAI/Fino1
(docs/flags.md); where their value is unsound for finance the default here is another one, and the docstring says so.
"""

from typing import Annotated, Any, Literal

from pydantic import BeforeValidator, Field, StrictBool

from fino1.spec.fields import (
    Block,
    Count,
    CountOrZero,
    Fraction,
    NonNegative,
    Positive,
    TwoOrMore,
    integer,
)

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
