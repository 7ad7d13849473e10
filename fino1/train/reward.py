"""What is a response worth? One number per response, from the rule verifier or from a classifier. (reference fino1.md §1.5)"""

from collections.abc import Callable, Sequence
from pathlib import Path

import torch
from transformers import AutoTokenizer, PreTrainedTokenizerBase

from fino1 import runs
from fino1.errors import SpecError
from fino1.spec import RewardBlock, RunSpec
from fino1.tasks import answer, task
from fino1.tasks.record import FINAL, Record, Scorer, well_formed
from fino1.train import model
from fino1.train.data import Rows

Reward = Callable[[Sequence[str], Sequence[Record]], list[float]]

MALFORMED, RIGHT = 0.0, 1.0
_VERIFIER_INPUT = (
    "<Model Response>\n{response}\n</Model Response>\n\n<Reference Answer>\n{reference}\n</Reference Answer>\n\n"
    'Does the model response agree with the reference answer? Answer "True" or "False".'
)


def scorer(spec: RunSpec) -> Scorer:
    """Which matcher judges this run's answers? C7 rows, which name no task, get the one all tasks share."""
    return answer.score if spec.data.task is None else task(spec.data.task).score


def check_targets(spec: RunSpec, rows: Rows) -> None:
    """Can the rule judge every row? Raises SpecError naming the rows whose gold answer is neither a number nor yes or no."""
    if spec.ppo.reward.source != "rule":
        return
    bad = [r for r in (*rows.train, *rows.evaluation) if answer.read_target(r.target) is None]
    if bad:
        raise SpecError(
            f"{spec.data.path or spec.data.hub}:{r.id}: Ground-True Answer: expected a number, yes or no for "
            f"ppo.reward.source: rule, got {r.target!r}"
            for r in bad[:20]
        )


def check(block: RewardBlock, work: Path) -> tuple[str, str | None] | None:
    """Which classifier gives the reward? None for the rule.

    Raises SpecError where it is no classifier (its head would be random), or has neither one nor two classes.
    """
    if block.source == "rule":
        return None
    source, revision = runs.resolve(block.model, work, key="ppo.reward.model")
    config = model.load_config("ppo.reward.model", source, revision)
    kinds = config.architectures or []
    if not any(kind.endswith("ForSequenceClassification") for kind in kinds):
        raise SpecError(
            f"ppo.reward.model: {source}: expected a sequence classifier, got {' and '.join(kinds) or 'a config without one'}"
        )
    if config.num_labels not in (1, 2):
        raise SpecError(f"ppo.reward.model: {source}: expected a head of one or two classes, got {config.num_labels}")
    _tokenizer(source, revision)
    return source, revision


def _tokenizer(source: str, revision: str | None) -> PreTrainedTokenizerBase:
    """The classifier's own tokenizer, not the policy's."""
    try:
        tokenizer = AutoTokenizer.from_pretrained(
            source, revision=revision, truncation_side="left"
        )  # keeps the reference
    except (OSError, ValueError) as error:
        raise SpecError(f"ppo.reward.model: {source}: expected a tokenizer, got {error}") from error
    if tokenizer.pad_token is None:
        tokenizer.pad_token = tokenizer.eos_token
    if tokenizer.pad_token is None:
        raise SpecError(
            f"ppo.reward.model: {source}: expected a tokenizer that can pad, got one without pad or eos token"
        )
    return tokenizer


def make(spec: RunSpec, classifier: tuple[str, str | None] | None, device: torch.device, batch_size: int) -> Reward:
    """Build the reward function that maps responses (text) and their records to scores."""
    block = spec.ppo.reward
    if classifier is not None:
        return _classifier_reward(block, *classifier, device, batch_size)
    judge = scorer(spec)

    def rule(texts: Sequence[str], records: Sequence[Record]) -> list[float]:
        return [
            MALFORMED
            if not well_formed(text)
            else RIGHT
            if judge(text, record.question, record.target).strict
            else block.wrong
            for text, record in zip(texts, records, strict=True)
        ]

    return rule


def _classifier_reward(
    block: RewardBlock, source: str, revision: str | None, device: torch.device, batch_size: int
) -> Reward:
    tokenizer = _tokenizer(source, revision)
    classifier = model.load_classifier(source, revision).to(device).eval()
    classifier.config.pad_token_id = tokenizer.pad_token_id

    @torch.no_grad()
    def by_classifier(texts: Sequence[str], records: Sequence[Record]) -> list[float]:
        scores: list[float] = []
        for start in range(0, len(texts), batch_size):
            pairs = list(zip(texts[start : start + batch_size], records[start : start + batch_size], strict=True))
            inputs = [
                _VERIFIER_INPUT.format(response=text.rpartition(FINAL)[2].strip(), reference=record.target)
                + (tokenizer.eos_token or "")
                for text, record in pairs
            ]
            encoded = tokenizer(
                inputs,
                padding=True,
                truncation=True,
                max_length=block.max_length,
                add_special_tokens=False,
                return_tensors="pt",
            ).to(device)
            logits = classifier(**encoded).logits.float()  # (B, 1 or 2)
            if logits.shape[1] == 1:
                found = logits[:, 0].tolist()
            else:
                found = [RIGHT if p > block.threshold else block.wrong for p in logits.softmax(-1)[:, 1].tolist()]
            scores += [score if well_formed(text) else MALFORMED for score, (text, _) in zip(found, pairs, strict=True)]
        return scores

    return by_classifier
