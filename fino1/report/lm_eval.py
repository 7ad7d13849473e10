"""How do cells look in lm-evaluation-harness' sample format? As `lm_eval --output_path DIR --log_samples` writes its own.

    DIR/<model>/results_<date>.json              metrics and settings of a model's tasks
    DIR/<model>/samples_<task>_<date>.jsonl      a line a question and filter

The fields are those of lm_eval 0.4.13 (result_schema.py there). What its loader reads is here, and what no cell knows is left
out: Python environment, tokenizer, times. The date in the names is always the same one, so that equal cells give equal bytes.
"""

import hashlib
import json
import re
import statistics
from collections.abc import Iterator, Mapping, Sequence
from itertools import groupby, product
from typing import Any

from fino1.cells import Cell, Sample

DATE = "1970-01-01T00-00-00"  # cells hold no time; lm_eval takes the file of the latest date, so any of its own goes before
RULE, MODEL = (
    "rule",
    "model",
)  # filters, as lm_eval calls what finds an answer in a completion; `model`: eval.extraction
METRICS = {"exact_match": True, "docmath_compat": True, "unparsed": False, "truncated": False}
"""Metric → whether higher is better. `exact_match` counts as our accuracy does (docs/design.md C8)."""
_NO_ANSWER = "[invalid]"  # as lm_eval's own filters write it
_KEY_DIGITS = 8


def export(cells: Sequence[Cell]) -> Iterator[tuple[str, str]]:
    """Yield the path below DIR and the text of each file; a model's results follow its samples."""
    for model in dict.fromkeys(cell.model for cell in cells):
        mine = [cell for cell in cells if cell.model == model]
        tasks: dict[str, tuple[Cell, list[dict[str, Any]]]] = {}
        folder = _clean_name(model)
        for cell in mine:
            task = _clean_name(cell.task)
            if [each.task for each in mine].count(cell.task) > 1:  # they differ in their settings
                task += f"-{cell.key[:_KEY_DIGITS]}"
            lines = [
                _make_line(i, samples, cell, name)
                for name in _list_filters(cell)
                for i, samples in enumerate(_group(cell.samples))
            ]
            tasks[task] = cell, lines
            yield f"{folder}/samples_{task}_{DATE}.jsonl", "".join(_dump(line) + "\n" for line in lines)
        yield f"{folder}/results_{DATE}.json", _dump(_summarize(model, tasks), indent=2) + "\n"


def _clean_name(name: str) -> str:
    """Write a name as lm_eval does in paths."""
    return re.sub(r"[\"<>:/|\\?*\[\]]+", "__", name)


def _group(samples: Sequence[Sample]) -> Iterator[list[Sample]]:
    return (list(answers) for _, answers in groupby(samples, key=lambda sample: sample.id))


def _list_filters(cell: Cell) -> list[str]:
    return [RULE, MODEL] if "extraction" in cell.settings else [RULE]


def _make_line(number: int, samples: Sequence[Sample], cell: Cell, name: str) -> dict[str, Any]:
    """Make the line of a question from the answers to it, and from what the filter found in them."""
    first = samples[0]
    doc = {"id": first.id, "question": first.question}
    answers = [_find_answer(sample, name) for sample in samples]
    return {
        "doc_id": number,
        "doc": doc,
        "target": str(first.target),
        "arguments": {"gen_args_0": {"arg_0": first.prompt, "arg_1": _list_options(cell)}},
        "resps": [[sample.completion for sample in samples]],
        "filtered_resps": answers if len(answers) == 1 else [answers],
        "filter": name,
        "metrics": list(METRICS),
        "doc_hash": _hash(_dump(doc, indent=2)),
        "prompt_hash": _hash(first.prompt),
        "target_hash": _hash(str(first.target)),
        **{metric: statistics.fmean(_measure(sample, name)[metric] for sample in samples) for metric in METRICS},
    }


def _find_answer(sample: Sample, name: str) -> str:
    found = sample.extracted if name == RULE else (sample.extraction or {}).get("text")
    return _NO_ANSWER if found is None else found


def _measure(sample: Sample, name: str) -> dict[str, bool]:
    by_model = sample.extraction or {"strict": None, "docmath_compat": None}
    strict, docmath_compat = (
        (sample.strict, sample.docmath_compat) if name == RULE else (by_model["strict"], by_model["docmath_compat"])
    )
    return {
        "exact_match": strict is True and not sample.truncated,
        "docmath_compat": docmath_compat is True,
        "unparsed": strict is None,
        "truncated": sample.truncated,
    }


def _list_options(cell: Cell) -> dict[str, Any]:
    """List how the model was asked, under lm_eval's names."""
    temperature = cell.settings.get("temperature", 0)
    limit = {"max_gen_toks": cell.settings["max_tokens"]} if "max_tokens" in cell.settings else {}
    return {"until": [], **limit, "do_sample": temperature > 0, "temperature": temperature}


def _summarize(model: str, tasks: Mapping[str, tuple[Cell, list[dict[str, Any]]]]) -> dict[str, Any]:
    """Make results.json of a model's tasks."""
    first = next(cell for cell, _ in tasks.values())
    sizes = {task: sum(line["filter"] == RULE for line in lines) for task, (_, lines) in tasks.items()}
    return {
        "results": {task: _average(task, lines) for task, (_, lines) in tasks.items()},
        "group_subtasks": {task: [] for task in tasks},
        "configs": {task: _describe(task, cell) for task, (cell, _) in tasks.items()},
        "versions": {task: cell.settings.get("scorer") for task, (cell, _) in tasks.items()},
        "n-shot": dict.fromkeys(tasks, 0),
        "higher_is_better": dict.fromkeys(tasks, METRICS),
        "n-samples": {task: {"original": size, "effective": size} for task, size in sizes.items()},
        "config": {"model": first.settings.get("server"), "model_args": first.settings.get("model", {})},
        "task_hashes": {task: _hash("".join(map(_join_hashes, lines))) for task, (_, lines) in tasks.items()},
        "model_source": first.settings.get("server"),
        "model_name": model,
        "model_name_sanitized": _clean_name(model),
    }


def _average(task: str, lines: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    """Compute each metric's mean over the questions, and its standard error as lm_eval does."""
    names = dict.fromkeys(line["filter"] for line in lines)
    found: dict[str, Any] = {"name": task, "alias": task, "sample_len": len(lines) // len(names)}
    for name, metric in product(names, METRICS):
        values = [line[metric] for line in lines if line["filter"] == name]
        found[f"{metric},{name}"] = statistics.fmean(values)
        error = statistics.stdev(values) / len(values) ** 0.5 if len(values) > 1 else "N/A"
        found[f"{metric}_stderr,{name}"] = error
    return found


def _describe(task: str, cell: Cell) -> dict[str, Any]:
    """Write a cell's settings as a task's configuration; those that lm_eval has no key for are its metadata."""
    return {
        "task": task,
        "output_type": "generate_until",
        "doc_to_text": cell.settings.get("prompt"),
        "num_fewshot": 0,
        "repeats": cell.settings.get("samples", 1),
        "generation_kwargs": _list_options(cell),
        "metric_list": [
            {"metric": metric, "aggregation": "mean", "higher_is_better": higher} for metric, higher in METRICS.items()
        ],
        "filter_list": [{"name": name, "filter": [{"function": "fino1"}]} for name in _list_filters(cell)],
        "metadata": {"version": cell.settings.get("scorer"), "key": cell.key, "settings": cell.settings},
    }


def _join_hashes(line: Mapping[str, str]) -> str:
    return line["doc_hash"] + line["prompt_hash"] + line["target_hash"]


def _dump(value: Any, indent: int | None = None) -> str:
    return json.dumps(value, indent=indent, ensure_ascii=False)


def _hash(text: str) -> str:
    return hashlib.sha256(text.encode("utf-8", "replace")).hexdigest()
