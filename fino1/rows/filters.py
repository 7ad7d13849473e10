"""Which rows are malformed, too long, or answered by the base model already? (docs/rows.md)"""

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from fino1 import cells, hub
from fino1.cells import CELL_FILE, Cell
from fino1.errors import SpecError
from fino1.rows.row import Row
from fino1.tasks.overlap import words_of
from fino1.tasks.record import FINAL, THINKING, well_formed

Measure = Callable[[str], int]


@dataclass(frozen=True)
class Limits:
    """How long a row may be, in what `measure` counts; None for no limit."""

    measure: Measure
    longest: int | None = None
    longest_response: int | None = None
    shortest_response: int | None = None

    def find_fault(self, row: Row) -> str | None:
        """Return the count under which a row of another length is left out."""
        response = self.measure(row.completion)
        if self.shortest_response is not None and response < self.shortest_response:
            return "response_too_short"
        if self.longest_response is not None and response > self.longest_response:
            return "response_too_long"
        if self.longest is not None and self.measure(row.prompt) + response > self.longest:
            return "too_long"
        return None


def load_measure(tokenizer: str | None) -> Measure:
    """Return what counts a text's tokens by the tokenizer of a hub id or directory; without one its characters."""
    if tokenizer is None:
        return len
    try:
        path = hub.find((tokenizer, None), "tokenizer.json")
        if path is None:
            raise SpecError(f"{tokenizer}: expected a model with tokenizer.json, got none")
        found = hub.load_tokenizer(path)
    except SpecError as error:
        raise SpecError(f"--tokenizer: {problem}" for problem in error.problems) from error
    return lambda text: len(found.encode(text, add_special_tokens=False).ids)


def is_well_formed(row: Row) -> bool:
    """True for a row that training reads: no text is empty, and its completion has each heading once."""
    texts = (row.prompt, row.cot, row.response)
    return all(text.strip() for text in texts) and well_formed(row.completion)


def drop_long_pairs(rows: Iterable[Row], limits: Limits) -> list[Row]:
    """Return the rows without the failed chains that are malformed or of a length that no row may have."""
    return [replace(row, rejected=None) if row.rejected and not _may_be_rejected(row, limits) else row for row in rows]


def _may_be_rejected(row: Row, limits: Limits) -> bool:
    assert row.rejected is not None
    thinking, conclusion = row.rejected
    failed = replace(row, cot=thinking, response=conclusion)
    has_heading = any(heading in text for heading in (THINKING, FINAL) for text in row.rejected)
    return not has_heading and is_well_formed(failed) and limits.find_fault(failed) is None


class Solved:
    """What a model answered right, and what it was asked, in finished cells of an evaluation."""

    def __init__(self, directory: Path) -> None:
        """Read a cell, or all cells in a directory. Raises SpecError where there is none, or cells of several models."""
        found = [cells.read_cell(path.parent) for path in _list_cells(directory)]
        models = sorted({cell.model for cell in found})
        if len(models) != 1:
            raise SpecError(
                f"--solved-by: {directory}: expected finished cells of one model, got {', '.join(models) or 'none'}"
            )
        (self.model,) = models
        self._asked: dict[str, bool] = {}
        for cell in found:
            for sample in cell.samples:
                for key in _list_keys(cell, sample):
                    self._asked[key] = sample.right or self._asked.get(key, False)
        self.keys = sorted(cell.key for cell in found)

    def find(self, row: Row) -> bool | None:
        """Return whether the model answered a row's question right; None where it was not asked."""
        for key in (row.prompt, f"{row.task} {row.id} {words_of(row.question)}"):
            if key in self._asked:
                return self._asked[key]
        return None


def _list_cells(directory: Path) -> Sequence[Path]:
    return [path for path in (directory / CELL_FILE, *sorted(directory.glob(f"*/{CELL_FILE}"))) if path.is_file()]


def _list_keys(cell: Cell, sample: cells.Sample) -> tuple[str, str]:
    return sample.prompt, f"{cell.task} {sample.id} {words_of(sample.question)}"
