"""How do defaults, file and `--set` become one RunSpec?

Merging follows Helm's three rules (DESIGN C1): maps are merged key by key, lists are replaced, null deletes. All problems
of a document are reported together, each as `FILE: KEY: expected X, got Y`.
"""

import copy
import difflib
import json
import re
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any, get_args

import pydantic
import yaml

from fino1 import canonical
from fino1.errors import SpecError
from fino1.spec import PLACEMENT, Block, RunSpec

# The seed's spellings (reference fino1.md §1.3, §1.4) → ours.
SEED_NAMES = {
    "batch_size": "global_batch_size",
    "data_path": "data.path",
    "dataset_name": "data.path or data.hub",
    "eval_step": "eval_steps",
    "max_ckpts": "save_total_limit",
    "max_prompt_len": "max_prompt_length",
    "max_seq_len": "max_length",
    "max_seq_length": "max_length",
    "model_name_or_path": "model.hub or model.path",
    "model_path": "model.hub or model.path",
    "n_epochs": "num_train_epochs",
    "output_dir": "the command line's --work",
    "reward_model_path": "ppo.reward.model",
    "run_name": "the command line's --name",
    "experiment_name": "the command line's --name",
    "exp_name": "the command line's --name",
    "save_step": "save_steps",
    "stop_token_id": "stop_token",
    "train_bsz_per_gpu": "per_device_train_batch_size",
    "value_model_path": "ppo.value_model",
    "warmup_rates": "warmup_ratio",
    "warmup_steps": "warmup_ratio",
}


class _Loader(yaml.SafeLoader):
    """YAML that refuses a key given twice: PyYAML would keep the last one silently."""


def _mapping(loader: _Loader, node: yaml.MappingNode) -> dict:
    keys = [loader.construct_object(key) for key, _ in node.value]
    for key in keys:
        if keys.count(key) > 1:
            raise yaml.constructor.ConstructorError(None, None, f"{key}: expected once, got twice", node.start_mark)
    return yaml.SafeLoader.construct_mapping(loader, node, deep=True)


_Loader.add_constructor(yaml.resolver.BaseResolver.DEFAULT_MAPPING_TAG, _mapping)


def read_yaml(path: Path) -> dict:
    """Which document does this file hold? Raises SpecError for a missing file, broken YAML, anything but a map."""
    try:
        document = yaml.load(path.read_text(encoding="utf-8"), Loader=_Loader)  # noqa: S506, a SafeLoader
    except FileNotFoundError:
        raise SpecError(f"{path}: expected a file, got none") from None
    except (OSError, UnicodeDecodeError) as error:
        raise SpecError(f"{path}: expected a readable text file, got {error}") from error
    except yaml.YAMLError as error:
        mark = getattr(error, "problem_mark", None)
        where = f"line {mark.line + 1}: " if mark else ""
        raise SpecError(f"{path}: {where}expected YAML, got {getattr(error, 'problem', None) or error}") from error
    if document is None:
        return {}
    if not isinstance(document, dict):
        raise SpecError(f"{path}: expected a map of keys, got {_show(document)}")
    return document


def merge(base: Mapping[str, Any], over: Mapping[str, Any]) -> dict[str, Any]:
    """Which document results from laying `over` on `base`, by Helm's rules?"""
    merged = copy.deepcopy(dict(base))
    for key, value in over.items():
        if value is None:
            merged.pop(key, None)
        elif isinstance(value, Mapping) and isinstance(merged.get(key), Mapping):
            merged[key] = merge(merged[key], value)
        else:
            merged[key] = merge({}, value) if isinstance(value, Mapping) else copy.deepcopy(value)
    return merged


def parse_set(assignments: Iterable[str]) -> dict[str, Any]:
    """Which document do `--set a.b=VALUE` options make? VALUE is JSON where it parses as JSON, else text."""
    document: dict[str, Any] = {}
    for assignment in assignments:
        key, equals, text = assignment.partition("=")
        if not equals or not all(key.split(".")):
            raise SpecError(f"--set {assignment}: expected KEY.KEY=VALUE, got {assignment!r}")
        try:
            value = json.loads(text)
        except ValueError:
            value = text
        *parents, leaf = key.split(".")
        inner = document
        for parent in parents:
            inner = inner.setdefault(parent, {})
            if not isinstance(inner, dict):
                raise SpecError(f"--set {assignment}: expected {parent} to be a map, got a value set before")
        inner[leaf] = value
    return document


def load(path: Path, assignments: Iterable[str] = (), overrides: Mapping[str, Any] | None = None) -> RunSpec:
    """Which run do this file, a recipe's `overrides` and `--set` ask for? Raises SpecError with every problem."""
    document = merge(merge(read_yaml(path), overrides or {}), parse_set(assignments))
    return build(document, str(path))


def build(document: Mapping[str, Any], source: str, world_size: int | None = None) -> RunSpec:
    """Which run is this document? `source` names it in messages. Raises SpecError with every problem.

    A pod's `config.json` says nothing of placement: there `world_size` is the real one.
    """
    try:
        spec = RunSpec.model_validate(document)
    except pydantic.ValidationError as error:
        raise SpecError(f"{source}: {problem(item, RunSpec)}" for item in error.errors()) from None
    complaints = spec.complaints(world_size or spec.world_size)
    if complaints:
        raise SpecError(f"{source}: {path}: {problem}" for path, problem in complaints)
    return spec


def effective(spec: RunSpec) -> dict[str, Any]:
    """The whole document: defaults merged, nulls gone."""
    return spec.model_dump(exclude_none=True)


def config(spec: RunSpec) -> dict[str, Any]:
    """What travels to the pod as `config.json`: the effective document without placement. Its digest is the run's (C3)."""
    return {key: value for key, value in effective(spec).items() if key not in PLACEMENT}


def run_hash(spec: RunSpec) -> str:
    """First 10 hex digits of the run's digest: they end the name of its directory (C13)."""
    return canonical.digest(config(spec))[:10]


def problem(item: Mapping[str, Any], root: type[Block]) -> str:
    """One line for one of pydantic's errors about a document of type `root`."""
    path = ".".join(map(str, item["loc"]))
    if item["type"] == "extra_forbidden":
        return f"{path}: unknown key{_hint(item['loc'], root)}"
    message = re.sub(r"^(Value error, |Input should be )", "", item["msg"])
    message = re.sub(r", unable to parse.*", "", message).replace("a valid integer", "an integer").replace("valid ", "")
    if item["type"] == "missing":
        return f"{path}: expected a value, got none"
    if item["type"] == "value_error":
        return f"{path}: {message}" if path else message
    return f"{path}: expected {message}, got {_show(item['input'])}"


def _hint(location: tuple[str | int, ...], root: type[Block]) -> str:
    """Which key was probably meant?"""
    key = str(location[-1])
    block = root
    for part in location[:-1]:
        block = _block(block, part) or block
    if key in SEED_NAMES:
        return f"; ours is {SEED_NAMES[key]}"
    near = difflib.get_close_matches(key, block.model_fields, n=1)
    elsewhere = [
        f"{name}.{key}" for name in ("sft", "ppo", "data", "eval") if key in _block(RunSpec, name).model_fields
    ]
    if near:
        return f"; the nearest known one is {near[0]}"
    if elsewhere:
        return f"; there is {' and '.join(elsewhere)}"
    return f"; known here are {', '.join(block.model_fields)}"


def _block(block: type[Block], part: str | int) -> type[Block] | None:
    """Which block is the value of this field (of a list's items for an index)?"""
    if isinstance(part, int):
        return block
    field = block.model_fields.get(part)
    types = [field.annotation, *get_args(field.annotation)] if field else []
    return next((t for t in types if isinstance(t, type) and issubclass(t, Block)), None)


def _show(value: Any) -> str:
    text = value if isinstance(value, str) else json.dumps(value, default=str)
    kind = {str: "the text ", dict: "the map ", list: "the list "}.get(type(value), "")
    return f"{kind}{text if len(text) <= 60 else text[:57] + '...'!s}"
