"""Verb `rows`: finished searches and row files become a data set (docs/rows.md).

The same inputs and options give the same bytes, in whatever order the inputs are named.
"""

import argparse
from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from fino1 import exits
from fino1.errors import SpecError
from fino1.rows import card, contamination, duplicates, filters, options, output, push, read, split
from fino1.rows.contamination import EvaluationSet, Match
from fino1.rows.filters import Limits, Solved
from fino1.rows.row import Row
from fino1.rows.split import Parts
from fino1.tasks.ngrams import compare


def main(arguments: argparse.Namespace) -> int:
    """Read, filter, split, write, and where asked upload. Raises SpecError for what the user must mend."""
    if arguments.public and arguments.push is None:
        raise SpecError("--public: expected --push ORG/NAME with it, got none")
    if arguments.push is not None:
        push.check_name(arguments.push)
    output.check_directory(arguments.output)
    if inside := [path for path in arguments.input if path.resolve().parent == arguments.output.resolve()]:
        raise SpecError(
            f"--output: {arguments.output}: expected another directory than that of {inside[0]}, got the same"
        )
    rows, sources = read.read_all(arguments.input)
    sets = contamination.read_sets(arguments.exclude)
    licenses = options.read_licenses(arguments.license, sorted({row.task for row in rows}))
    solved = Solved(arguments.solved_by) if arguments.solved_by else None
    kept, matches, counts = _filter(rows, arguments, sets, solved)
    parts = split.split(kept, arguments.rl_share)
    lines = output.list_lines(parts)
    counts |= {"unused": len(parts.unused)} | {name: len(lines[name]) for name in output.CONFIGS}
    if not (parts.sft or parts.ppo):
        raise SpecError(f"expected rows that the filters leave, got none of {len(rows)}: {_show(counts)}")
    summary = {
        "counts": counts,
        "tasks": _count_tasks(parts),
        "options": {name: getattr(arguments, name) for name in _OPTIONS} | _name_tokenizer(arguments.tokenizer),
        "sources": [source.to_dict() for source in sources],
        "evaluation_sets": [{"name": each.name, "rows": len(each.records), **each.identity} for each in sets],
        "solved_by": solved and solved.model,
        "cells": solved.keys if solved else [],
    }
    text = card.write(summary, licenses)
    found = output.encode(lines, [match.to_dict() for match in matches], summary, text)
    is_new = output.write(arguments.output, found, arguments.overwrite)
    print(f"rows: {arguments.output}{'' if is_new else ' (unchanged)'}: {_show(counts)}")
    if arguments.push:
        print(f"rows: {push.push(arguments.output, arguments.push, arguments.public)}")
    return exits.DONE


_OPTIONS = ("ngram_share", "similarity", "max_length", "max_response", "min_response", "rl_share")


def _filter(
    rows: Sequence[Row], arguments: argparse.Namespace, sets: Sequence[EvaluationSet], solved: Solved | None
) -> tuple[list[Row], list[Match], dict[str, Any]]:
    """Leave rows out, step by step. Duplicates go after what is evaluated: the one that stays may not name its page."""
    well_formed = [row for row in rows if filters.is_well_formed(row)]
    limits = Limits(
        filters.load_measure(arguments.tokenizer),
        arguments.max_length,
        arguments.max_response,
        arguments.min_response,
    )
    faults = {row: limits.find_fault(row) for row in well_formed}
    short = [row for row in well_formed if faults[row] is None]
    evaluated = contamination.find_matches(short, sets, arguments.ngram_share)
    left = _drop(short, [match.row for match in evaluated])
    repeated = duplicates.find_repeated(left)
    left = _drop(left, repeated)
    similar = duplicates.find_similar(left, arguments.similarity)
    left = _drop(left, similar)
    verdicts = {row: solved.find(row) for row in left} if solved else {}
    if solved and left and all(verdict is None for verdict in verdicts.values()):
        raise SpecError(f"--solved-by: {arguments.solved_by}: expected answers to these questions, got none")
    kept = [row for row in left if not verdicts.get(row)]
    lengths = Counter(faults.values())
    counts = {
        "read": len(rows),
        "malformed": len(rows) - len(well_formed),
        **{name: lengths[name] for name in ("too_long", "response_too_long", "response_too_short")},
        "evaluated": dict(sorted(Counter(match.kind for match in evaluated).items())),
        "repeated": len(repeated),
        "near_duplicates": len(similar),
        "solved": len(left) - len(kept),
        "not_asked": sum(verdict is None for verdict in verdicts.values()),
    }
    alike = [_match_similar(row, other) for row, other in similar.items()]
    return filters.drop_long_pairs(kept, limits), [*evaluated, *alike], counts


def _name_tokenizer(tokenizer: str | None) -> dict[str, str | None]:
    """Name the tokenizer: nothing of where on this machine it lies."""
    return {"tokenizer": Path(tokenizer).name if tokenizer and Path(tokenizer).is_dir() else tokenizer}


def _drop(rows: Sequence[Row], others: Sequence[Row] | dict[Row, Row]) -> list[Row]:
    left_out = set(others)
    return [row for row in rows if row not in left_out]


def _match_similar(row: Row, other: Row) -> Match:
    return Match(row, "near duplicate", other.source, other.as_record(), compare(row.document, other.document))


def _count_tasks(parts: Parts) -> dict[str, dict[str, int]]:
    counted = {name: Counter(row.task for row in rows) for name, rows in (("sft", parts.sft), ("rl", parts.ppo))}
    tasks = sorted(set().union(*counted.values()))
    return {task: {name: counts[task] for name, counts in counted.items()} for task in tasks}


def _show(counts: dict[str, Any]) -> str:
    flat = {name: sum(count.values()) if isinstance(count, dict) else count for name, count in counts.items()}
    return ", ".join(f"{name} {count}" for name, count in flat.items() if count or name in ("read", *output.CONFIGS))
