"""Which cells can be compared? Those that differ in nothing but the model.

What belongs to a model goes with it: weights or endpoint, the server and its arguments, the context, the variables of its chat
template. All other settings of a cell must be equal: rows, prompt, limits, temperature, samples, scorer, and whatever comes
later.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from fino1.cells import Cell
from fino1.spec import canonical

OF_MODEL = frozenset({"model", "server", "server_args", "context_length", "chat_template_kwargs", "prompt_tokens"})
_SHOWN_FIRST = ("dataset", "prompt", "max_tokens", "temperature", "samples", "limit", "fold", "gold", "scorer")
_DEFAULTS = {"samples": 1, "gold": "published"}  # not in the settings of a cell that has them
UNSAID = {label: str(value) for label, value in _DEFAULTS.items()}
"""Label → text that says nothing; of all others it is "none"."""
_LABELS = {"dataset": "rows"}
_DIGITS = 8  # of a digest that stands for a text


@dataclass(frozen=True)
class Group:
    """Cells of one task that can be compared; `settings` are what they share, as label and text."""

    task: str
    cells: tuple[Cell, ...]
    settings: dict[str, str]
    differs: str = ""
    """What tells the group from the others of its task; "" for the only one."""

    @property
    def name(self) -> str:
        """The task, with what tells the group from the others."""
        return f"{self.task} ({self.differs})" if self.differs else self.task


def group(cells: Sequence[Cell]) -> list[Group]:
    """Divide cells into groups that can be compared, each in the order given."""
    found: list[Group] = []
    for task in dict.fromkeys(cell.task for cell in cells):
        members: dict[str, list[Cell]] = {}
        for cell in cells:
            if cell.task == task:
                members.setdefault(identify(cell), []).append(cell)
        described = _describe([each[0] for each in members.values()])
        differing = [label for label in described[0] if len({texts[label] for texts in described}) > 1]
        for each, texts in zip(members.values(), described, strict=True):
            differs = ", ".join(f"{label} {texts[label]}" for label in differing)
            found.append(Group(task, tuple(each), texts, differs))
    return found


def identify(cell: Cell) -> str:
    """Return the digest of what a cell must have in common with those that it is compared with."""
    return canonical.digest([cell.task, _select(cell)])


def share(groups: Sequence[Group]) -> dict[str, str]:
    """Return the settings that all these groups have in common."""
    return {
        label: text for label, text in groups[0].settings.items() if all(g.settings.get(label) == text for g in groups)
    }


def _select(cell: Cell) -> dict[str, Any]:
    return {key: value for key, value in cell.settings.items() if key not in OF_MODEL}


def _describe(cells: Sequence[Cell]) -> list[dict[str, str]]:
    """Describe the settings of cells of one task, all under the same labels; different values have different texts."""
    keys = {key for cell in cells for key in _select(cell)} | _DEFAULTS.keys()
    later = sorted(keys - {*_SHOWN_FIRST, "task"})
    found: list[dict[str, str]] = [{} for _ in cells]
    for key in [*(key for key in _SHOWN_FIRST if key in keys), *later]:
        values = [cell.settings.get(key, _DEFAULTS.get(key)) for cell in cells]
        texts = [_format(key, value, cell) for value, cell in zip(values, cells, strict=True)]
        digests = [canonical.digest(value) for value in values]
        for i, text in enumerate(texts):
            is_clear = len({digests[j] for j, other in enumerate(texts) if other == text}) == 1
            found[i][_LABELS.get(key, key)] = text if is_clear else f"{text} ({digests[i][:_DIGITS]})"
    return found


def _format(key: str, value: Any, cell: Cell) -> str:
    if key == "prompt" and isinstance(preset := cell.provenance.get("preset"), str):
        return preset
    if isinstance(value, dict) and "generated" in value:
        return f"{value['generated']}, size {value.get('size')}, seed {value.get('seed')}"
    if key == "extraction" and value:
        return value["model"]["model_id"]
    if value is None:
        return "none"
    if isinstance(value, int | float) and not isinstance(value, bool):
        return f"{value:,}"
    return value if isinstance(value, str) and len(value) <= _DIGITS * 2 else canonical.digest(value)[:_DIGITS]
