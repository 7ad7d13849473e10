"""What is a response worth? One number per response, from the rule verifier, a classifier or a judge behind an API.

The scale 0, 0.1, 1 is described in docs/recipe.md#ppo-an-update.
"""

from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path

import torch

from fino1 import runs
from fino1.errors import Fino1Error, SpecError
from fino1.spec.ppo import RewardBlock
from fino1.spec.run import RunSpec
from fino1.tasks.programs import answer as programs
from fino1.tasks.record import Record, Scorer, judge, well_formed
from fino1.tasks.scoring import answer
from fino1.train import model
from fino1.train.data.rows import Rows, find_task
from fino1.train.verifier import classifier

Reward = Callable[[Sequence[str], Sequence[Record]], list[float]]
Ask = Callable[[Sequence[tuple[str, Record]]], list[bool | None]]

MALFORMED, RIGHT = 0.0, 1.0
_KEY = "ppo.reward.model"


class Unjudged(Exception):  # noqa: N818, it ends a run that goes on later
    """A judge's verdicts are not all there, on any rank. `error` says why; None: the run was asked to stop."""

    def __init__(self, error: Fino1Error | None) -> None:
        super().__init__(str(error))
        self.error = error


def scorer(spec: RunSpec) -> Scorer:
    """The matcher that judges this run's answers; rows in Fino1's columns, which name no task, get the one all tasks share."""
    if spec.data.task is not None:
        return find_task(spec.data.task, spec.data).score
    return partial(programs.score, answer.score) if spec.data.answer == "program" else answer.score


def check_targets(spec: RunSpec, rows: Rows) -> None:
    """Raise SpecError where the rule cannot judge a row: its reference answer is neither a number nor yes or no."""
    if spec.ppo.reward.source != "rule" or spec.data.task is not None:
        return  # a task's reader has seen to its golds
    bad = [r for r in (*rows.train, *rows.evaluation) if answer.read_target(r.target) is None]
    if bad:
        raise SpecError(
            f"{spec.data.source}:{r.id}: Ground-True Answer: expected a number, yes or no for "
            f"ppo.reward.source: rule, got {r.target!r}"
            for r in bad[:20]
        )


def check(block: RewardBlock, work: Path) -> tuple[str, str | None] | None:
    """Find the classifier that gives the reward: its directory or hub id, and revision; None where there is none.

    Raises SpecError where it is no classifier (its head would be random), or has neither one nor two classes.
    """
    if block.source != "model":
        return None
    source, revision = runs.resolve(block.model, work, key=_KEY)
    config = model.load_config(_KEY, source, revision)
    kinds = config.architectures or []
    if not any(kind.endswith("ForSequenceClassification") for kind in kinds):
        raise SpecError(
            f"ppo.reward.model: {source}: expected a sequence classifier, got {' and '.join(kinds) or 'a config without one'}"
        )
    if config.num_labels not in (1, 2):
        raise SpecError(f"ppo.reward.model: {source}: expected a head of one or two classes, got {config.num_labels}")
    classifier.load_tokenizer(source, revision, _KEY)
    return source, revision


def make(
    spec: RunSpec,
    source: tuple[str, str | None] | None,
    device: torch.device,
    batch_size: int,
    ask: Ask | None = None,
) -> Reward:
    """Build the reward function that maps responses (text) and their records to scores; `ask` is the judge, if there is one."""
    block = spec.ppo.reward
    if source is not None:
        return _classifier_reward(block, *source, device, batch_size)
    score = scorer(spec)
    if ask is not None:
        return _judged_reward(block, score, ask)
    return _program_reward(block, score) if spec.data.answer == "program" else _rule_reward(block, score)


def _rule_reward(block: RewardBlock, score: Scorer) -> Reward:
    def by_rule(texts: Sequence[str], records: Sequence[Record]) -> list[float]:
        return [
            MALFORMED if not well_formed(text) else RIGHT if judge(score, text, record).strict else block.wrong
            for text, record in zip(texts, records, strict=True)
        ]

    return by_rule


def _program_reward(block: RewardBlock, score: Scorer) -> Reward:
    """A program that cannot be run is malformed, one whose value is not right is wrong."""

    def by_value(texts: Sequence[str], records: Sequence[Record]) -> list[float]:
        found = (
            judge(score, text, record).strict if programs.is_formed(text) else None
            for text, record in zip(texts, records, strict=True)
        )
        return [MALFORMED if strict is None else RIGHT if strict else block.wrong for strict in found]

    return by_value


def _judged_reward(block: RewardBlock, score: Scorer, ask: Ask) -> Reward:
    """The judge's word on well-formed responses; with `mix` on those that the rule gives no verdict on."""
    by_judge = block.wrong + block.judge_weight * (RIGHT - block.wrong)

    def judged(texts: Sequence[str], records: Sequence[Record]) -> list[float]:
        scores, unclear = [], []
        for i, (text, record) in enumerate(zip(texts, records, strict=True)):
            is_formed = well_formed(text)
            verdict = judge(score, text, record).strict if is_formed and block.source == "mix" else None
            scores.append(MALFORMED if not is_formed else RIGHT if verdict else block.wrong)
            if is_formed and verdict is None:
                unclear.append(i)
        for i, is_right in zip(unclear, ask([(texts[i], records[i]) for i in unclear]), strict=True):
            scores[i] = by_judge if is_right else block.wrong
        return scores

    return judged


def _classifier_reward(
    block: RewardBlock, source: str, revision: str | None, device: torch.device, batch_size: int
) -> Reward:
    tokenizer = classifier.load_tokenizer(source, revision, _KEY)
    judge = model.load_classifier(source, revision).to(device).eval()
    judge.config.pad_token_id = tokenizer.pad_token_id

    @torch.no_grad()
    def by_classifier(texts: Sequence[str], records: Sequence[Record]) -> list[float]:
        scores: list[float] = []
        for start in range(0, len(texts), batch_size):
            pairs = list(zip(texts[start : start + batch_size], records[start : start + batch_size], strict=True))
            inputs = (classifier.text(text, record.target) for text, record in pairs)
            ids, _ = classifier.ids(tokenizer, inputs, block.max_length, judge.config)
            encoded = tokenizer.pad({"input_ids": ids}, return_tensors="pt").to(device)
            logits = judge(**encoded).logits.float()  # (B, 1 or 2)
            if logits.shape[1] == 1:
                found = logits[:, 0].tolist()
            else:
                found = [RIGHT if p > block.threshold else block.wrong for p in logits.softmax(-1)[:, 1].tolist()]
            scores += [score if well_formed(text) else MALFORMED for score, (text, _) in zip(found, pairs, strict=True)]
        return scores

    return by_classifier
