"""Which (response, reference answer) pairs does a verifier learn from, and which of them are right?

(docs/design.md C7, docs/verifier.md)

A row's own label wins; where it has none the rule matcher judges, and what that cannot judge is left out and counted. Of a
benchmark's rows the pairs are made from the golds. As many right pairs as wrong ones are kept, on either side; no question, and
of a benchmark no table, is on both. What became of the rows goes to data.json.
"""

import hashlib
import random
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import NamedTuple

from fino1.errors import SpecError
from fino1.spec.run import RunSpec
from fino1.tasks import goldpairs, ledger
from fino1.tasks.overlap import leave_out, words_of
from fino1.tasks.record import Record, judge
from fino1.train.data import rows
from fino1.train.ppo import reward
from fino1.train.verifier import classifier


class Pair(NamedTuple):
    """One response with its question and reference answer, and whether it is right."""

    record: Record
    label: bool

    @property
    def text(self) -> str:
        """What the verifier reads of it."""
        return classifier.text(self.record.response, self.record.target)


@dataclass
class Counts:
    """What became of the rows."""

    read: int = 0
    left_out: int = 0
    """A benchmark's questions whose answer is neither a number nor yes or no; not in `read`."""
    by_rule: int = 0
    """Judged by the rule: they have no label."""
    unjudged: int = 0
    """Left out: no label, and the rule cannot tell."""
    excluded: int = 0
    surplus: int = 0
    """Left out for the balance, of the more frequent class."""
    train: int = 0
    evaluation: int = 0
    cut: int = 0


@dataclass(frozen=True)
class Pairs:
    """Training and held-out pairs of a run."""

    train: list[Pair]
    evaluation: list[Pair]
    counts: Counts = field(default_factory=Counts)


def read(spec: RunSpec) -> Pairs:
    """Read the pairs that a run trains on and holds out. Raises SpecError for bad rows, or where one class is empty."""
    block, counts = spec.data, Counts()
    if block.is_generated:
        sides = _generated(spec)
        counts.read = len(sides[0])
    else:
        records = rows.read_file(block, "verifier")
        excluded = [r for other in block.exclude for r in rows.read_evaluation_set(other, spec.seed)]
        kept = leave_out(block.task, records, excluded)
        counts.read, counts.left_out, counts.excluded = len(records), records.left_out, len(records) - len(kept)
        sides = _from_golds(spec, kept, counts) if block.task else _split(_judged(spec, kept, counts), block.eval_size)
    train, evaluation = (_balanced(side, spec.seed) for side in sides)
    counts.surplus = sum(map(len, sides)) - len(train) - len(evaluation)
    if not train:
        right = sum(pair.label for pair in sides[0])
        raise SpecError(
            f"data: {block.source}: expected right and wrong responses to train on, got {right} right and "
            f"{len(sides[0]) - right} wrong of {counts.read} read, {counts.unjudged} without a verdict"
        )
    counts.train, counts.evaluation = len(train), len(evaluation)
    return Pairs(train, evaluation, counts)


def _generated(spec: RunSpec) -> tuple[list[Pair], list[Pair]]:
    block = spec.data
    made = [
        [Pair(*each) for each in ledger.generate_pairs(split, n, spec.seed, block.slip_rate)]
        for split, n in (("ppo", block.size), ("validation", block.eval_size))
    ]
    train, evaluation = made[0][: block.limit], made[1]
    records = [pair.record for pair in train]
    for held_out in (
        [pair.record for pair in evaluation],
        *(rows.read_evaluation_set(other, spec.seed) for other in block.exclude),
    ):
        ledger.check_held_out(records, held_out)
    return train, evaluation


def _from_golds(spec: RunSpec, records: list[Record], counts: Counts) -> tuple[list[Pair], list[Pair]]:
    """Make the pairs of a benchmark's rows. Of a tenth of these, whole tables, `eval_size` pairs are held out, drawn by seed."""
    block, score = spec.data, reward.scorer(spec)
    held_in, held_out = rows.hold_out(records, len(records) if block.eval_size else 0, spec.seed)
    train = leave_out(block.task, held_in, held_out)
    counts.excluded += len(held_in) - len(train)
    sides = [
        [Pair(*each) for record in side for each in goldpairs.make_pairs(record, score, spec.seed)]
        for side in (train, held_out)
    ]
    rng = random.Random(f"held out {spec.seed}")
    return sides[0], rng.sample(sides[1], min(block.eval_size, len(sides[1])))


def _judged(spec: RunSpec, records: Sequence[Record], counts: Counts) -> list[Pair]:
    score = reward.scorer(spec)
    pairs = []
    for record in records:
        if label := record.fields.get("label"):
            pairs.append(Pair(record, label == "true"))
            continue
        verdict = judge(score, record.response, record).strict
        if verdict is None:
            counts.unjudged += 1
        else:
            counts.by_rule += 1
            pairs.append(Pair(record, verdict))
    return pairs


def _split(pairs: Sequence[Pair], eval_size: int) -> tuple[list[Pair], list[Pair]]:
    """Hold out about `eval_size` pairs, at most a tenth, by a hash of the question: all pairs of a question are on one side."""
    held = min(eval_size, len(pairs) // 10)
    questions: dict[str, int] = {}
    for pair in pairs:
        key = _key(pair)
        questions[key] = questions.get(key, 0) + 1
    chosen: set[str] = set()
    for key in sorted(questions):
        if questions[key] <= held:
            held -= questions[key]
            chosen.add(key)
    return [p for p in pairs if _key(p) not in chosen], [p for p in pairs if _key(p) in chosen]


def _key(pair: Pair) -> str:
    """Hash of the question with its document, in whatever spelling: a short question is asked of many."""
    record = pair.record
    document = " ".join((*record.before, *record.table, *record.after))
    return hashlib.sha256(words_of(f"{document} {record.question}").encode()).hexdigest()


def _balanced(pairs: Sequence[Pair], seed: int) -> list[Pair]:
    """Leave as many right pairs as wrong ones, chosen by `seed`, in the order they had."""
    places: tuple[list[int], list[int]] = ([], [])
    for i, pair in enumerate(pairs):
        places[pair.label].append(i)
    size = min(map(len, places))
    rng = random.Random(f"balance {seed}")
    return [pairs[i] for i in sorted(i for each in places for i in rng.sample(each, size))]
