"""Which model is asked, what makes it that model, and how many tokens can it read? (docs/design.md C9, C13)"""

import json
import os
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal
from urllib.parse import urlsplit

from fino1 import files, hub, runs, weights
from fino1.errors import SpecError
from fino1.hub import Location
from fino1.spec.evaluation import EvalModel, PriceBlock

SERVERS = {"vllm": "vllm", "transformers": "transformers serve"}  # as a cell's key names them


@dataclass(frozen=True)
class Source:
    """A model that was found: its identity (part of the cell's key), its endpoint, the tokens it can read.

    `served` is the directory or hub id (`ID@REVISION`) that this run's server has to load, None for a hosted endpoint;
    `engine` is the program that serves it. `tokenizer` is where we can count the model's own tokens.
    """

    name: str
    identity: dict[str, Any]
    served: str | None
    base_url: str | None
    model_id: str
    api_key_env: str | None
    context_length: int | None
    tokenizer: Location | None

    engine: Literal["vllm", "transformers"] = "transformers"
    server_args: tuple[str, ...] = ()
    price: PriceBlock | None = None
    requests_per_minute: int | None = None
    tokens_per_minute: int | None = None
    chat_template_kwargs: Mapping[str, Any] = field(default_factory=dict)

    @property
    def kind(self) -> str:
        """The server as the cell's key has it: endpoint, vllm or transformers serve."""
        return "endpoint" if self.base_url else SERVERS[self.engine]


def find(model: EvalModel, work: Path) -> Source:
    """Find the model. Raises SpecError for runs not finished, folders without a model, a key that is not set."""
    problems = _check_endpoint(model)
    identity: dict[str, Any] = {}
    folder, hub = None, None
    try:
        if not model.is_empty:
            where, revision = runs.resolve(model, work)
            folder, hub = (None, (where, revision)) if model.hub else (Path(where), None)
    except SpecError as error:
        problems += error.problems
    if folder:
        problems += _check_folder(folder)
    if problems:
        raise SpecError(f"{model.name}: {problem}" for problem in problems)
    if folder:
        identity["artefact_sha256"] = _hash_artefact(folder, is_run=model.run is not None)
    if hub:
        identity |= {"hub": hub[0], "revision": hub[1] or "main"}
    if model.base_url:
        identity |= {"base_url": model.base_url.rstrip("/"), "model_id": model.model_id or model.name}
    tokenizer = (str(folder), None) if folder else hub if hub and not model.base_url else None
    return Source(
        name=model.name,
        identity=identity,
        served=None if model.base_url else str(folder) if folder else "@".join(filter(None, hub or ())),
        base_url=model.base_url,
        model_id=model.model_id or model.name,
        api_key_env=model.api_key_env,
        context_length=model.context_length or (_read_context_length(tokenizer) if tokenizer else None),
        tokenizer=tokenizer,
        price=model.price,
        requests_per_minute=model.requests_per_minute,
        tokens_per_minute=model.tokens_per_minute,
        chat_template_kwargs=model.chat_template_kwargs,
    )


def _check_endpoint(model: EvalModel) -> list[str]:
    problems = []
    if model.base_url and "@" in urlsplit(model.base_url).netloc:
        problems.append("base_url: expected no user and password in it (api_key_env names a variable), got some")
    if model.api_key_env:
        key = os.environ.get(model.api_key_env, "")
        wanted = f"api_key_env: expected the environment variable {model.api_key_env} to hold a key"
        if not key:
            problems.append(f"{wanted}, got none")
        elif not (key.isascii() and key.isprintable() and " " not in key):  # no header can carry it
            problems.append(f"{wanted} without spaces and line ends, got one with some")
    return problems


def _check_folder(folder: Path) -> list[str]:
    if not (folder / "config.json").is_file():
        return [f"{folder}: expected a directory with config.json, got none"]
    if not any(folder.glob("*.safetensors")) and not any(folder.glob("*.bin")):
        return [f"{folder}: expected weights (*.safetensors), got none"]
    try:
        weights.check_no_adapter(folder)
        weights.read_headers(folder)
    except SpecError as error:
        return error.problems
    return []


def _hash_artefact(folder: Path, is_run: bool) -> str:
    """Return the hash of the model's files. A finished run has it in its done.json."""
    done = folder.parent / "done.json"
    if is_run and done.is_file():
        written = json.loads(done.read_text(encoding="utf-8")).get("artefact_sha256")
        if written:
            return written
    return files.artefact_hash(folder)


def _read_context_length(model: Location) -> int | None:
    """Read how many tokens fit the model from its config. Raises SpecError where there is no config."""
    config = hub.read(model, "config.json")
    text = config.get("text_config")  # of one that reads pictures too
    length = (text if isinstance(text, dict) else config).get("max_position_embeddings")
    if length is not None and (isinstance(length, bool) or not isinstance(length, int) or length < 1):
        raise SpecError(f"{model[0]}: expected tokens in max_position_embeddings of config.json, got {length!r}")
    return length
