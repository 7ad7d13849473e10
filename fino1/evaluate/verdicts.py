"""What does the scorer say of a completion, as it comes and again later? (docs/design.md C8)"""

import dataclasses
import math
from typing import Any

from fino1.cells import Sample
from fino1.tasks.record import Record, Task, judge


def read_verdict(task: Task, record: Record, completion: str) -> dict[str, Any]:
    """Judge a completion; returns the fields of its Sample that follow from the scorer."""
    verdict, other = judge(task.score, completion, record), record.other_gold
    by_other = None
    if other is not None:
        by_other = judge(task.score, completion, dataclasses.replace(record, target=other)).strict
    value = verdict.value
    return {
        "extracted": verdict.extracted,
        "value": value if value is None or math.isfinite(value) else None,  # JSON has no infinity
        "target": record.target,
        "strict": verdict.strict,
        "docmath_compat": verdict.docmath_compat,
        "sign_from_question": verdict.sign_from_question,
        "strict_by_other_gold": by_other,
        "same_program": verdict.same_program,
    }


def judge_extraction(task: Task, record: Record, text: str, finish_reason: str | None) -> dict[str, Any]:
    """Judge what an extractor replied; returns the fields of its Extraction. Of a reply that was cut off nothing is known."""
    if finish_reason == "length":
        return {"strict": None, "docmath_compat": None}
    verdict = judge(task.score, text, record)
    return {"strict": verdict.strict, "docmath_compat": verdict.docmath_compat}


def judge_again(task: Task, record: Record, sample: Sample) -> Sample:
    """Return the sample with the verdicts that the scorer gives now."""
    found = sample.extraction
    if found is not None:
        found = found | judge_extraction(task, record, found["text"], found["finish_reason"])
    return dataclasses.replace(sample, **read_verdict(task, record, sample.completion), extraction=found)
