"""How does a cell come by its extractions? It is made of the cell that has the answers, a reply of the extractor to each.

Answers are bought and kept under the key that they have without an extractor, so that another extractor, or none, buys none of
them again. A reply is kept, with its answer, as an answer is.
"""

import threading
from collections.abc import Callable

from fino1 import cells
from fino1.cells import Cell, Sample
from fino1.evaluate.budget import Account
from fino1.evaluate.cell import PlannedCell, run_cell
from fino1.evaluate.endpoint import Answer, Endpoint
from fino1.evaluate.extractor import add_extraction
from fino1.evaluate.questions import Question
from fino1.evaluate.samples import Shard

Extract = Callable[[PlannedCell], Cell | None]


def extract(
    endpoint: Endpoint, account: Account, concurrency: int, stop: threading.Event, shard: Shard, cell: PlannedCell
) -> Cell | None:
    """Ask the extractor of the answers of a shard that have no reply yet; all of the shard's answers must be there.

    An empty answer has no result, so nobody is asked of it. Returns and raises as `run_cell`.
    """
    extractor, answers = cell.extractor, cell.answers
    assert extractor is not None and answers is not None, cell.key
    found = {sample.key: sample for sample in answers.read_answered(shard)}

    async def ask(question: Question, halt: threading.Event) -> Answer | None:
        sample = found[question.key]
        if not sample.completion.strip():
            return None
        label = f"{cell.key} {question.id} {question.number} extraction"
        return await account.ask(
            endpoint, extractor.tariff, extractor.write_prompt(sample), extractor.block.temperature, halt, label
        )

    def make(question: Question, answer: Answer | None) -> Sample:
        sample = found[question.key]
        return sample if answer is None else add_extraction(cell.task, question.record, sample, answer)

    finished = run_cell(cell, ask, concurrency, stop, shard, make)
    if finished is not None:
        right = sum(sample.right_by_extraction for sample in cells.read_cell(cell.directory).samples)
        said = f"{right}/{finished.summary.n} right as {extractor.source.name} reads the answers"
        print(f"{cell.source.name} on {cell.task.name}: {said}", flush=True)
    return finished
