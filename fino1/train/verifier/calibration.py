"""How good are a verifier's verdicts, and do its probabilities mean what they say?"""

import math
from collections.abc import Sequence
from typing import Any

from fino1.intervals import wilson

BINS = 10


def report(probabilities: Sequence[float], labels: Sequence[bool], threshold: float) -> dict[str, Any]:
    """Figures on these pairs' probabilities of being right, at 0.5 and at PPO's `threshold`.

    Brier: mean of (p − label)² (Brier 1950). Expected calibration error: mean over pairs of |mean p − share right| of their
    tenth of 0…1 (Naeini et al. 2015).
    """
    pairs = list(zip(probabilities, labels, strict=True))
    bins = reliability(pairs)
    return {
        **at(pairs, 0.5),
        "at_threshold": {"threshold": threshold, **at(pairs, threshold)},
        "brier": math.fsum((p - label) ** 2 for p, label in pairs) / len(pairs),
        "ece": math.fsum(b["n"] * abs(b["mean_p"] - b["right"] / b["n"]) for b in bins if b["n"]) / len(pairs),
        "reliability": bins,
    }


def at(pairs: Sequence[tuple[float, bool]], threshold: float) -> dict[str, Any]:
    """Counts of the verdicts that p > threshold gives, and the accuracy with its 95 % Wilson interval."""
    counts = {
        f"{'true' if said == label else 'false'}_{'right' if said else 'wrong'}": sum(
            (p > threshold) is said and bool(is_right) is label for p, is_right in pairs
        )
        for said in (True, False)
        for label in (True, False)
    }
    correct = counts["true_right"] + counts["true_wrong"]
    return {
        "n": len(pairs),
        "correct": correct,
        "accuracy": correct / len(pairs),
        "interval": list(wilson(correct, len(pairs))),
        "confusion": counts,
    }


def reliability(pairs: Sequence[tuple[float, bool]]) -> list[dict[str, Any]]:
    """For each tenth of p: number of pairs, their mean p (None where there are none), and how many are right."""
    bins: list[list[tuple[float, bool]]] = [[] for _ in range(BINS)]
    for p, label in pairs:
        bins[min(int(p * BINS), BINS - 1)].append((p, label))
    return [
        {
            "from": i / BINS,
            "to": (i + 1) / BINS,
            "n": len(inside),
            "mean_p": math.fsum(p for p, _ in inside) / len(inside) if inside else None,
            "right": sum(bool(label) for _, label in inside),
        }
        for i, inside in enumerate(bins)
    ]
