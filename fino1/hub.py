"""What is in the small files of a model? Read from its directory or the hub, without transformers or torch."""

import importlib.util
import json
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

from fino1.errors import SpecError, first_line
from fino1.exits import DISK_ERRORS
from fino1.spec.inputs import DEFAULT_MODEL, DEFAULT_VALUE_MODEL, ModelRef
from fino1.spec.run import RunSpec

if TYPE_CHECKING:
    from tokenizers import Tokenizer

_ANSWER_S = 5.0  # a hub that does not answer then is not waited for
_REFUSED = (401, 403, 404)
_TOKENIZERS = ("tokenizer_config.json", "tokenizer.json", "tokenizer.model", "vocab.json")
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
        if error.errno in DISK_ERRORS:  # of the cache
            raise
        is_known = isinstance(error, EntryNotFoundError) and not isinstance(error, LocalEntryNotFoundError)
        if is_known or constants.HF_HUB_OFFLINE and try_to_load_from_cache(where, "config.json", revision=revision):
            return None
        raise SpecError(f"{where}: expected a model on the hub, got {first_line(error)}") from error
    except (ValueError, ImportError) as error:  # a name that no model can have; a SOCKS proxy without its package
        raise SpecError(f"{where}: expected a model on the hub, got {first_line(error)}") from error


def load_tokenizer(path: Path) -> "Tokenizer":
    """Load a tokenizer.json, to count tokens with. Raises SpecError for a file that is none."""
    from tokenizers import Tokenizer

    try:
        found = Tokenizer.from_file(str(path))
    except Exception as error:  # noqa: BLE001, what the package raises is a plain Exception
        raise SpecError(f"{path}: expected a tokenizer, got {first_line(error)}") from error
    found.no_truncation()
    found.no_padding()
    return found


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


def missing(spec: RunSpec) -> list[str]:
    """Say which of a run's models the hub does not give to this user, as `KEY: …`; their small files are asked for, not fetched.

    Empty offline, and where the hub does not answer: it may when the run needs them. A model in the cache is there.
    """
    found: list[str] = []
    if spec.offline or not importlib.util.find_spec("huggingface_hub"):
        return found
    for key, ref, default in _list_models(spec):
        where = ref.hub or default
        if where and not (ref.path or ref.run or ref.init):
            found += [f"{key}: {where}: {problem}" for problem in _ask(where, ref.revision)]
    return found


def _list_models(spec: RunSpec) -> Iterator[tuple[str, ModelRef, str | None]]:
    """The models that a run loads, with their keys, and what each is where the run names none."""
    if spec.method == "eval":
        yield from ((f"eval.models.{i}", model, None) for i, model in enumerate(spec.eval.models) if not model.base_url)
    elif spec.method != "paths":
        yield "model", spec.model, DEFAULT_MODEL
    if spec.method == "ppo":
        yield "ppo.value_model", spec.ppo.value_model, DEFAULT_VALUE_MODEL
        if spec.ppo.reward.source == "model":
            yield "ppo.reward.model", spec.ppo.reward.model, None


def _ask(where: str, revision: str | None) -> list[str]:
    from huggingface_hub import get_hf_file_metadata, hf_hub_url, try_to_load_from_cache
    from huggingface_hub.errors import EntryNotFoundError, HFValidationError

    def has(name: str) -> bool:
        try:
            get_hf_file_metadata(hf_hub_url(where, name, revision=revision), timeout=_ANSWER_S)
        except EntryNotFoundError:
            return False
        return True

    try:
        if isinstance(try_to_load_from_cache(where, "config.json", revision=revision), str):
            return []
        lacking = [] if has("config.json") else ["config.json"]
        lacking += [] if any(map(has, _TOKENIZERS)) else ["a tokenizer"]
    except HFValidationError as error:
        return [f"expected a model on the hub, got {first_line(error)}"]
    except Exception as error:  # noqa: BLE001, the hub's HTTP client is another in each of its versions
        status = getattr(getattr(error, "response", None), "status_code", 0)
        said = " ".join(str(error).split())
        return [f"expected a model on the hub, got {said}"[:400]] if status in _REFUSED else []
    return [f"expected {' and '.join(lacking)} on the hub, got none"] if lacking else []
