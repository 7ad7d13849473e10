"""What is in the small files of a model? Read from its directory or the hub, without transformers or torch."""

import json
from pathlib import Path
from typing import Any

from fino1.errors import SpecError, first_line

Location = tuple[str, str | None]
"""A directory, or a hub id and its revision."""


def find(model: Location, name: str) -> Path | None:
    """Find a file of the model; None where the model has no such file. Raises SpecError for a model that is not there.

    Offline, only the hub's cache is read; a model counts as there if the cache holds its config.
    """
    where, revision = model
    if Path(where).is_dir():
        path = Path(where) / name
        return path if path.is_file() else None
    from huggingface_hub import constants, hf_hub_download, try_to_load_from_cache
    from huggingface_hub.errors import EntryNotFoundError, LocalEntryNotFoundError

    try:
        return Path(hf_hub_download(where, name, revision=revision))
    except OSError as error:
        is_known = isinstance(error, EntryNotFoundError) and not isinstance(error, LocalEntryNotFoundError)
        if is_known or constants.HF_HUB_OFFLINE and try_to_load_from_cache(where, "config.json", revision=revision):
            return None
        raise SpecError(f"{where}: expected a model on the hub, got {first_line(error)}") from error
    except ValueError as error:  # a name that no model can have
        raise SpecError(f"{where}: expected a model on the hub, got {first_line(error)}") from error


def read(model: Location, name: str) -> dict[str, Any]:
    """Read a JSON file of the model, {} where it has none. Raises SpecError for one that cannot be read."""
    path = find(model, name)
    if path is None:
        return {}
    try:
        document = json.loads(path.read_text(encoding="utf-8"))
    except ValueError as error:
        raise SpecError(f"{path}: expected JSON, got {error}") from error
    if not isinstance(document, dict):
        raise SpecError(f"{path}: expected a map of keys, got {json.dumps(document)[:60]}")
    return document
