"""Which rows do finished searches and row files hold, and where do they come from? (docs/rows.md)"""

import hashlib
import json
import os
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from fino1 import jsonlines
from fino1.errors import SpecError
from fino1.inputs import FILE as INPUTS
from fino1.inputs import digest
from fino1.paths.output import PATHS, RL_ROWS, ROWS
from fino1.rows.row import Row, split_prompt
from fino1.spec import canonical
from fino1.tasks.rows import first_problems, is_finite
from fino1.train.data.columns import DOCUMENT, RL_COLUMNS, SFT_COLUMNS, load_local

_TEXTS = ("id", "task", "page", "table", DOCUMENT)  # columns that a row may have besides


@dataclass(frozen=True)
class Source:
    """A run or a file that rows came from: `sha256` is that of the run's result or of the file."""

    name: str
    sha256: str
    rows: int
    writer: str = ""
    tasks: tuple[str, ...] = ()
    inputs: Mapping[str, str] = field(default_factory=dict)  # SHA-256 → name of a file that the search read

    def to_dict(self) -> dict[str, Any]:
        """Return it as summary.json has it."""
        return {name: value for name, value in asdict(self).items() if value not in ("", (), {})}


def read_all(paths: Sequence[Path]) -> tuple[list[Row], list[Source]]:
    """Read all runs and files; rows by rank, sources by name. Raises SpecError with what cannot be read."""
    problems: list[str] = []
    rows: list[Row] = []
    sources: list[Source] = []
    for path in paths:
        try:
            found, source = _read_run(path) if os.path.isdir(path) else _read_file(path)
        except SpecError as error:
            problems += error.problems
            continue
        except (KeyError, TypeError, ValueError) as error:
            if not path.is_dir():
                raise
            got = f"{type(error).__name__}: {error}"
            problems.append(f"{path}: expected files as method paths writes them, got others ({got})")
            continue
        rows += found
        sources.append(source)
    if problems:
        raise SpecError(problems)
    if not rows:
        raise SpecError(f"expected rows, got none in {', '.join(map(str, paths))}")
    return sorted(rows, key=lambda row: row.rank), sorted(sources, key=lambda source: (source.name, source.sha256))


def _read_run(directory: Path) -> tuple[list[Row], Source]:
    """Read a finished run of method `paths`. Raises SpecError for another, or one that was changed since."""
    directory = directory.resolve()
    names = ("done.json", "config.json", PATHS, ROWS, RL_ROWS)
    missing = [name for name in names if not (directory / name).is_file()]
    if missing:
        raise SpecError(f"{directory}: expected a finished run of method paths, got no {missing[0]} in it")
    sha256 = canonical.digest({name: (directory / name).read_text(encoding="utf-8") for name in (ROWS, RL_ROWS, PATHS)})
    if jsonlines.read_object(directory / "done.json").get("artefact_sha256") != sha256:
        raise SpecError(f"{directory}: expected the files that done.json has the hash of, got others")
    # In one order. Ids name no question: two files of one task may have the same ones.
    solved = [line for line in jsonlines.read_lines(directory / PATHS) if line["failure"] is None]
    rows = [
        _make_row(directory.name, line, path)
        for line, path in zip(jsonlines.read_lines(directory / ROWS), solved, strict=True)
    ]
    config = jsonlines.read_object(directory / "config.json")["paths"]
    inputs = directory / INPUTS
    known = jsonlines.read_object(inputs).values() if inputs.is_file() else ()
    source = Source(
        name=directory.name,
        sha256=sha256,
        rows=len(rows),
        writer=_name_writer(config["writer"]),
        tasks=tuple(sorted({task["task"] for task in config["tasks"]})),
        inputs={each["sha256"]: Path(each["path"]).name for each in known},
    )
    return rows, source


def _make_row(source: str, line: dict[str, Any], path: dict[str, Any]) -> Row:
    return Row(
        source=source,
        **{name: line.get(name, "") for name in ("id", "task", "page", "table")},
        prompt=line["Question"],
        document=line[DOCUMENT],
        question=path["question"],
        cot=line["Complex_CoT"],
        response=line["Response"],
        gold=None if line["shows_gold"] else _write_gold(path["target"]),
        shows_gold=line["shows_gold"],
        rejected=_find_rejected(path["turns"]),
    )


def _find_rejected(turns: Sequence[dict[str, Any]]) -> tuple[str, str] | None:
    """Find the last chain that was judged wrong: its steps up to the conclusion, and the conclusion. Its check is left out."""
    wrong = [turn["steps"] for turn in turns if not turn["right"] and turn["judged_by"] != "nobody"]
    if not wrong or turns[-1]["strategy"] == "Gold shown":
        return None
    *thoughts, conclusion, _ = (step["content"] for step in wrong[-1])
    return "\n\n".join(thoughts), conclusion


def _name_writer(writer: Mapping[str, Any]) -> str:
    """Name the model that wrote: nothing of where on this machine it lies."""
    if writer.get("base_url"):
        return str(writer.get("model_id") or writer.get("name"))
    if writer.get("hub"):
        return "@".join(filter(None, (writer["hub"], writer.get("revision"))))
    return str(writer.get("run") or Path(writer["path"]).name)


def _read_file(path: Path) -> tuple[list[Row], Source]:
    """Read a file of rows in Fino1's columns. Raises SpecError naming file, row and field of bad ones."""
    numbered, problems = load_local(path)
    rows = []
    for number, line in numbered:
        problems += [f"{path}:{number}: {problem}" for problem in _find_problems(line)]
        if not problems:
            rows.append(_parse_row(path.name, line))
    if problems:
        raise SpecError(first_problems(problems, str(path)))
    return rows, Source(path.name, digest(path), len(rows), tasks=tuple(sorted({row.task for row in rows} - {""})))


def _find_problems(line: dict[str, Any]) -> list[str]:
    """List the fields that are not what they must be. Whether a text is well-formed is asked later, and counted."""
    texts = {"Question": _find_prompt(line)} | {name: line.get(name) for name in SFT_COLUMNS[1:]}
    texts |= {name: line[name] for name in _TEXTS if line.get(name) is not None}
    found = [
        f"{name}: expected text, got {json.dumps(value, default=str)[:60] if value is not None else 'nothing'}"
        for name, value in texts.items()
        if not isinstance(value, str)
    ]
    gold, shows_gold = line.get(RL_COLUMNS[1]), line.get("shows_gold")
    if not (gold is None or isinstance(gold, str | bool) or is_finite(gold)):
        found.append(f"{RL_COLUMNS[1]}: expected text or a number, got {json.dumps(gold, default=str)[:60]}")
    if not isinstance(shows_gold, bool | None):
        found.append(f"shows_gold: expected true or false, got {json.dumps(shows_gold, default=str)[:60]}")
    return found


def _parse_row(source: str, line: dict[str, Any]) -> Row:
    prompt = _find_prompt(line)
    texts = {name: line.get(name) or "" for name in _TEXTS}
    document, question = split_prompt(prompt, texts.pop(DOCUMENT))
    texts["id"] = texts["id"] or hashlib.sha256(prompt.encode()).hexdigest()[:12]
    return Row(
        source=source,
        **texts,
        prompt=prompt,
        document=document,
        question=question,
        cot=line["Complex_CoT"],
        response=line["Response"],
        gold=_write_gold(line.get(RL_COLUMNS[1])),
        shows_gold=bool(line.get("shows_gold")),
    )


def _find_prompt(line: dict[str, Any]) -> Any:
    """Return the prompt: published rows have it under the name that PPO reads."""
    return line.get(SFT_COLUMNS[0], line.get(RL_COLUMNS[0]))


def _write_gold(gold: Any) -> str | None:
    """Write a gold as text, as it is read from a row: Parquet has one type for a column."""
    if isinstance(gold, bool):
        return "yes" if gold else "no"
    return None if gold is None or not str(gold).strip() else str(gold)
