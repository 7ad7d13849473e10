"""How accurate is a model where another one reads the final results in its answers? (docs/endpoints.md#extraction-by-a-model)"""

from typing import Any

from fino1.cells import Cell, Sample
from fino1.intervals import bootstrap

LEGEND = (
    "By extraction: another model named the final result of each answer, and the scorer judged that; truncated answers are "
    "not right. By extraction, DocMath-compatible: the same by the rules of the public DocMath-Eval evaluator, truncated answers "
    "included, which is how that evaluator counts."
)
HEADINGS = {"extracted": "By extraction", "extracted_docmath_compat": "By extraction, DocMath-compatible"}


def is_accepted(sample: Sample) -> bool:
    """True if the extracted result is right by DocMath-Eval's rules."""
    return (sample.extraction or {}).get("docmath_compat") is True


def summarize(cell: Cell) -> dict[str, Any]:
    """Return what a row of the leaderboard has of a cell with extractions; shares are fractions, with their intervals."""
    k, questions = cell.samples_per_question, list(cell.answers.values())
    found: dict[str, Any] = {}
    for name, count in zip(HEADINGS, (lambda sample: sample.right_by_extraction, is_accepted), strict=True):
        counts = [sum(map(count, answers)) for answers in questions]
        low, high = bootstrap(counts, k)
        found |= {name: sum(counts) / (k * len(counts)), f"{name}_low": low, f"{name}_high": high}
    unparsed = sum(sample.extraction is None or sample.extraction["strict"] is None for sample in cell.samples)
    return found | {"extracted_unparsed": unparsed}
