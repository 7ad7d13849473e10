"""The verifier: a classifier of two classes on (response, reference answer) pairs, which PPO takes for its reward.

Transformers' Trainer, with our checkpoints (trainer.py). What it reads is what PPO shows it (classifier.py).
"""

import dataclasses
import json
import time
from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
import transformers
from datasets import Dataset
from torch import Tensor
from transformers import EvalPrediction, TrainerCallback, TrainerControl, TrainerState, TrainingArguments

from fino1 import files
from fino1.spec.inputs import DEFAULT_VALUE_MODEL
from fino1.train import model
from fino1.train.launch.rank import Run
from fino1.train.ppo import reward
from fino1.train.trainer import AtomicCheckpointTrainer, Base, find_base, publish, train, training_arguments
from fino1.train.verifier import calibration, classifier, evaluation, pairs


def main(run: Run) -> None:
    """Train, from the newest checkpoint if there is one, and leave `model/` and `done.json` with the held-out figures."""
    started = time.monotonic()
    spec = run.spec
    found = pairs.read(spec)
    base = find_base(run, DEFAULT_VALUE_MODEL, (pair.text for pair in found.train), classifier.load_tokenizer)
    base.config.pad_token_id = base.tokenizer.pad_token_id
    examples, found.counts.cut = _examples(found.train, base, spec.verifier.max_length)
    held_out, _ = _examples(found.evaluation, base, spec.verifier.max_length)
    if run.is_main:
        counts = dataclasses.asdict(found.counts)
        files.write_json(run.directory / "data.json", counts)
        print(json.dumps({"event": "data", "stage": spec.method, "name": run.name, **counts}), flush=True)

    transformers.set_seed(spec.seed)
    threshold = spec.ppo.reward.threshold
    trainer = AtomicCheckpointTrainer(
        run=run,
        model=model.load_verifier(base.config, base.source, base.revision),
        args=TrainingArguments(**training_arguments(run, len(held_out) > 0)),
        train_dataset=examples,
        eval_dataset=held_out if len(held_out) else None,
        processing_class=base.tokenizer,
        compute_loss_func=_loss,
        compute_metrics=lambda prediction: _figures(prediction, threshold),
    )
    if len(held_out):
        trainer.add_callback(_JudgeLast())
    train(run, trainer)
    report = _report(run, trainer, held_out, found) if len(held_out) else None
    publish(run, trainer, base.tokenizer)
    if run.is_main:
        run.finish(started, steps=trainer.state.global_step, rows=found.counts.train, held_out=report)


def _examples(of: Sequence[pairs.Pair], base: Base, max_length: int) -> tuple[Dataset, int]:
    ids, cut = classifier.ids(base.tokenizer, (pair.text for pair in of), max_length, base.config)
    return Dataset.from_dict({"input_ids": ids, "labels": [int(pair.label) for pair in of]}), cut


def _loss(output: Any, labels: Tensor, num_items_in_batch: Tensor | int | None = None) -> Tensor:
    """Cross entropy, summed over the pairs of a part and divided by those of the whole batch.

    The model's own is the mean of each part, which the Trainer would not divide by the number of parts.
    """
    total = torch.nn.functional.cross_entropy(output.logits.float(), labels, reduction="sum")
    return total / (len(labels) if num_items_in_batch is None else num_items_in_batch)


class _JudgeLast(TrainerCallback):
    """Judges the held-out pairs after the last step too, before its checkpoint: the line is in metrics.jsonl once."""

    def on_step_end(self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **kwargs: Any) -> None:
        """Ask for an evaluation after the last step."""
        if state.global_step >= state.max_steps:
            control.should_evaluate = True


def _figures(prediction: EvalPrediction, threshold: float) -> dict[str, float]:
    """The figures of metrics.jsonl."""
    report = calibration.report(_probabilities(prediction.predictions), _labels(prediction.label_ids), threshold)
    return {
        "accuracy": report["accuracy"],
        "accuracy_at_threshold": report["at_threshold"]["accuracy"],
        "brier": report["brier"],
        "ece": report["ece"],
    }


def _report(run: Run, trainer: AtomicCheckpointTrainer, held_out: Dataset, found: pairs.Pairs) -> dict[str, Any]:
    """Return the figures of done.json; accuracy also on the pairs whose very text, question apart, is no training pair's.

    Writes evaluation.json, which has the rule's verdicts beside the verifier's.
    """
    threshold = run.spec.ppo.reward.threshold
    probabilities = _probabilities(trainer.predict(held_out).predictions)
    if run.is_main:
        compared = evaluation.compare(found.evaluation, probabilities, reward.scorer(run.spec), threshold)
        files.write_json(run.directory / "evaluation.json", compared)
    judged = list(zip(probabilities, (pair.label for pair in found.evaluation), strict=True))
    known = {pair.text for pair in found.train}
    new = [each for each, pair in zip(judged, found.evaluation, strict=True) if pair.text not in known]
    report = calibration.report(probabilities, [label for _, label in judged], threshold)
    return {**report, "new_texts": calibration.at(new, 0.5) if new else None}


def _probabilities(logits: np.ndarray) -> list[float]:
    """Probabilities of the second class, as PPO takes them."""
    return torch.from_numpy(logits).float().softmax(-1)[:, 1].tolist()


def _labels(ids: np.ndarray) -> list[bool]:
    return [bool(label) for label in ids]
