"""What do several answers to each question say of a model: avg@k, maj@k, pass@k? (docs/run.md)"""

from collections import Counter
from collections.abc import Sequence
from typing import Any

from fino1.cells import Cell, Sample
from fino1.intervals import bootstrap, wilson

LEGEND = (
    "With k answers to each question, k / n and the counts are of all answers. avg@k: the share of them that is right. maj@k: "
    "the share of questions whose most frequent answer is right; of equally frequent ones the earliest counts; unparsed and "
    "truncated answers have no vote. pass@k: the share of questions with a right answer. Intervals: 95 %, over questions, not "
    "answers: of avg@k by a bootstrap that draws questions, of maj@k and pass@k Wilson's. Of two models, a question counts for "
    "the one that is right on it more often; p: exact two-sided test that flips the signs of the questions' differences."
)


def count_right(cell: Cell) -> dict[tuple[str, str, str], int]:
    """Return the number of right answers to each question, by Sample.question_key."""
    return {key: sum(sample.right for sample in answers) for key, answers in cell.answers.items()}


def summarize(cell: Cell) -> dict[str, Any]:
    """Return what a row of the leaderboard has of a cell with several answers to each question; shares are fractions."""
    k, questions = cell.samples_per_question, list(cell.answers.values())
    n, counts = len(questions), list(count_right(cell).values())
    low, high = bootstrap(counts, k)
    maj, passed = sum(map(is_majority_right, questions)), sum(count > 0 for count in counts)
    maj_low, maj_high = wilson(maj, n)
    pass_low, pass_high = wilson(passed, n)
    return {
        "low": low,
        "high": high,
        "samples": k,
        "questions": n,
        "maj": maj / n,
        "maj_low": maj_low,
        "maj_high": maj_high,
        "pass": passed / n,
        "pass_low": pass_low,
        "pass_high": pass_high,
    }


def is_majority_right(answers: Sequence[Sample]) -> bool:
    """True if the most frequent answer is right: by the verdict on the first answer that says so."""
    votes = Counter(sample.same_as for sample in answers if sample.same_as is not None)
    if not votes:
        return False
    most = max(votes.values())
    first = min(number for number, count in votes.items() if count == most)
    return next(sample.right for sample in answers if sample.number == first)
