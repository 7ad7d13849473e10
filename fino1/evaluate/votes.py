"""Which answers to a question are the same, so that the most frequent one can be told? (maj@k, docs/run.md)"""

from collections.abc import Mapping
from dataclasses import replace
from itertools import groupby

from fino1.cells import Sample
from fino1.evaluate.samples import Key
from fino1.tasks.record import Record, Task, judge


def mark_equal(task: Task, records: Mapping[str, Record], found: Mapping[Key, Sample]) -> dict[Key, Sample]:
    """Note in each answer the number of the first one to the same question that it equals, itself if none before; same order.

    An answer equals an earlier one where the scorer would call it right if that one's value were the gold. The gold itself has no
    say. A choice is compared by its letter. An answer that is unparsed or truncated equals none and has no vote.
    """
    ordered = [found[key] for key in sorted(found)]
    marked = {
        sample.key: sample
        for question, samples in groupby(ordered, key=lambda sample: sample.id)
        for sample in _mark(task, records[question], list(samples))
    }
    return {key: marked[key] for key in found}


def _mark(task: Task, record: Record, samples: list[Sample]) -> list[Sample]:
    firsts: list[Sample] = []  # one for each answer that differs from all before it
    known: dict[float | bool | str, int] = {}
    marked = []
    for sample in samples:
        first = None
        answer = _read_answer(sample)
        if answer is not None and not sample.truncated:
            if answer not in known:
                known[answer] = next(
                    (each.number for each in firsts if _is_same(task, record, sample, each)), sample.number
                )
            first = known[answer]
            firsts += [sample] if first == sample.number else []
        marked.append(replace(sample, same_as=first))
    return marked


def _is_same(task: Task, record: Record, sample: Sample, earlier: Sample) -> bool:
    as_gold = replace(record, target=_read_answer(earlier), other_gold=None)
    return judge(task.score, sample.completion, as_gold).strict is True


def _read_answer(sample: Sample) -> float | bool | str | None:
    """Return what was read out of an answer: a number, a truth value, the letter of a choice, or None."""
    return sample.extracted if sample.value is None else sample.value
