"""What does a dataset card say of the rows? In the hub's form (docs/rows.md)."""

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from fino1.rows.output import CONFIGS
from fino1.spec.yamlfile import as_yaml

_CONTENTS = {
    "sft": "rows for supervised fine-tuning: `Question`, `Complex_CoT` (the reasoning), `Response`",
    "rl": "rows for reinforcement learning, of other pages: `Open-ended Verifiable Question`, `Ground-True Answer`",
    "preferences": "`prompt`, `chosen`, `rejected`: a right chain and one of the same question that was judged wrong",
}
_STEPS = {
    "read": "read",
    "malformed": "left out: malformed",
    "too_long": "left out: prompt and response too long",
    "response_too_long": "left out: response too long",
    "response_too_short": "left out: response too short",
    "evaluated": "left out: like an evaluated row",
    "repeated": "left out: the prompt of another row",
    "near_duplicates": "left out: nearly another row",
    "solved": "left out: solved by the base model",
    "unused": "left out: on a page for PPO, and no row for PPO",
    **{name: f"rows of `{name}`" for name in CONFIGS},
}


def write(summary: Mapping[str, Any], licenses: Mapping[str, str]) -> str:
    """Write the card."""
    counts = summary["counts"]
    names = sorted(set(licenses.values()))
    front = {
        "license": names[0] if len(names) == 1 else names,
        "language": ["en"],
        "task_categories": ["question-answering", "text-generation"],
        "tags": ["finance", "reasoning"],
        "configs": [{"config_name": name, "data_files": f"{name}.parquet"} for name in CONFIGS if counts[name]],
    }
    sections = [
        "# Reasoning paths for financial questions",
        "Made by `fino1 rows`. Each file is there as JSON Lines and as Parquet.",
        _write_table(("file", "rows", "what"), ((f"`{name}`", counts[name], _CONTENTS[name]) for name in CONFIGS)),
        "No page and no table is in both `sft` and `rl`; `preferences` has pairs of both, and says in `part` of which.",
        "## Counts",
        _write_table(("step", "rows"), _list_counts(counts)),
        "## Where the rows come from",
        _write_table(("source", "writer", "tasks", "rows", "SHA-256"), map(_write_source, summary["sources"])),
        *_write_inputs(summary["sources"]),
        *_write_evaluation(summary),
        "## Licences",
        _write_table(("task", "licence"), ((task or "no task named", name) for task, name in licenses.items())),
        "The writer's terms of use may limit what its texts may be used for.",
    ]
    return f"---\n{as_yaml([front])}---\n\n" + "\n\n".join(sections) + "\n"


def _write_table(heading: Sequence[str], lines: Iterable[Sequence[Any]]) -> str:
    rows = [heading, [":--"] * len(heading), *lines]
    return "\n".join("| " + " | ".join(str(cell).replace("|", "\\|") for cell in row) + " |" for row in rows)


def _list_counts(counts: Mapping[str, Any]) -> Iterable[Sequence[Any]]:
    for name, text in _STEPS.items():
        count = counts[name]
        if isinstance(count, dict):
            yield text, sum(count.values())
            yield from ((f"— by {kind}", number) for kind, number in count.items())
        elif count is not None:
            yield text, count


def _write_source(source: Mapping[str, Any]) -> Sequence[Any]:
    tasks = ", ".join(source.get("tasks", ()))
    return f"`{source['name']}`", source.get("writer", ""), tasks, source["rows"], f"`{source['sha256'][:12]}`"


def _write_inputs(sources: Iterable[Mapping[str, Any]]) -> list[str]:
    lines = sorted({(name, sha256) for source in sources for sha256, name in source.get("inputs", {}).items()})
    if not lines:
        return []
    return ["The searches read:", _write_table(("file", "SHA-256"), ((f"`{n}`", f"`{h[:12]}`") for n, h in lines))]


def _write_evaluation(summary: Mapping[str, Any]) -> list[str]:
    sets, model = summary["evaluation_sets"], summary["solved_by"]
    shares = summary["options"]
    parts = []
    if sets:
        named = ", ".join(f"{each['name']} ({each['rows']} rows)" for each in sets)
        parts.append(
            f"Rows of the same page, table or question as a row of these evaluation sets are left out, and rows that have "
            f"{shares['ngram_share']:.0%} of the figures of one of their documents in shared 8-grams: {named}."
        )
    if model:
        parts.append(f"What {model} answered right is left out.")
    return parts
