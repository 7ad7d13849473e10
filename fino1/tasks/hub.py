"""What rows has a benchmark's data set on the Hugging Face hub? Read by the task's own reader for files."""

import tempfile
from pathlib import Path

from fino1 import files
from fino1.errors import SpecError, first_line
from fino1.exits import DISK_ERRORS
from fino1.spec.inputs import RowsBlock
from fino1.tasks.record import Records, Task


def read_hub(block: RowsBlock, task: Task) -> tuple[Records, str]:
    """Read `block.hub` and return its records and their file's SHA-256, so that a `revision` that moves is noticed.

    A split that is named as a file (`dev.json`) is read from the repository as it is: `datasets` refuses columns of mixed types,
    as TAT-QA's answers are.
    """
    from datasets import load_dataset
    from huggingface_hub import hf_hub_download

    try:
        if block.split.endswith((".json", ".jsonl", ".csv", ".tsv", ".parquet")):
            name = hf_hub_download(block.hub, block.split, repo_type="dataset", revision=block.revision)
            return task.read(Path(name)), files.hash_file(Path(name))
        dataset = load_dataset(block.hub, revision=block.revision, split=block.split)
    except (OSError, ValueError) as error:
        if getattr(error, "errno", None) in DISK_ERRORS:
            raise
        raise SpecError(f"{task.name}: {block.hub}: expected a hub dataset, got {first_line(error)}") from error
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "rows.jsonl"
        dataset.to_json(path)
        return task.read(path), files.hash_file(path)
