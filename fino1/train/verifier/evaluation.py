"""How do the verifier and the rule judge the held-out pairs, each kind of them? (`evaluation.json`, docs/verifier.md)"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from fino1.intervals import wilson
from fino1.tasks.record import Scorer, judge
from fino1.train.verifier import calibration
from fino1.train.verifier.pairs import Pair


@dataclass(frozen=True)
class Judged:
    """A pair with the verifier's probability that it is right, and the rule's verdict; None where it can give none."""

    pair: Pair
    p: float
    rule: bool | None


def compare(pairs: Sequence[Pair], probabilities: Sequence[float], score: Scorer, threshold: float) -> dict[str, Any]:
    """Compare both on all pairs, on those that the rule reads and does not, and on each kind of pairs made from golds."""
    judged = [
        Judged(pair, p, judge(score, pair.record.response, pair.record).strict)
        for pair, p in zip(pairs, probabilities, strict=True)
    ]
    groups = {"all": judged}
    groups |= {"rule_reads": [each for each in judged if each.rule is not None]}
    groups |= {"rule_cannot_read": [each for each in judged if each.rule is None]}
    report = {name: _count(group, threshold) for name, group in groups.items() if group}
    for field in ("error", "form"):
        kinds = sorted({each.pair.record.fields[field] for each in judged if field in each.pair.record.fields})
        report[f"by_{field}"] = {
            kind: _count([each for each in judged if each.pair.record.fields.get(field) == kind], threshold)
            for kind in kinds
        }
    return report


def _count(group: Sequence[Judged], threshold: float) -> dict[str, Any]:
    """Count the verdicts on a group. `rule_first`: the rule's, and where it gives none the verifier's."""
    figures = calibration.report([each.p for each in group], [each.pair.label for each in group], threshold)
    first = sum((each.p > 0.5 if each.rule is None else each.rule) is each.pair.label for each in group)
    return {
        "n": len(group),
        "verifier": {key: figures[key] for key in ("correct", "accuracy", "interval", "brier", "ece")},
        "rule": {
            "correct": sum(each.rule is each.pair.label for each in group),
            "wrong": sum(each.rule is not None and each.rule is not each.pair.label for each in group),
            "unparsed": sum(each.rule is None for each in group),
        },
        "rule_first": {"correct": first, "accuracy": first / len(group), "interval": list(wilson(first, len(group)))},
    }
