"""How do defaults, file and `--set` become one RunSpec?

Merging follows Helm's three rules (docs/design.md C1): maps are merged key by key, lists are replaced, null deletes. All problems
of a document are reported together, each as `FILE: KEY: expected X, got Y`.
"""

import copy
import difflib
import functools
import re
from collections.abc import Iterable, Mapping
from typing import Any, get_args

import pydantic

from fino1.errors import SpecError
from fino1.spec import canonical
from fino1.spec.fields import EXPECTED, Block
from fino1.spec.placement import OF_PODS, OF_TRAINING, PLACEMENT
from fino1.spec.run import ASKING, READ, RunSpec
from fino1.spec.setting import keys_of, value_of
from fino1.spec.yamlfile import show

# Spellings of the original scripts (docs/flags.md, and the fields of TRL 0.13 that they take over) → ours.
ORIGINAL_NAMES = {
    "batch_size": "global_batch_size",
    "data_path": "data.path",
    "dataset_name": "data.path or data.hub",
    "dataset_num_proc": "ppo.dataloader_num_workers",
    "eval_step": "eval_steps",
    "exp_name": "the command line's --name",
    "experiment_name": "the command line's --name",
    "log_dir": "the command line's --work",
    "max_ckpts": "save_total_limit",
    "max_prompt_len": "max_prompt_length",
    "max_seq_len": "max_length",
    "max_seq_length": "max_length",
    "model_name_or_path": "model.hub or model.path",
    "model_path": "model.hub or model.path",
    "n_epochs": "num_train_epochs",
    "num_machines": "nodes",
    "num_processes": "gpus_per_node, or processes_per_node without GPUs",
    "output_dir": "the command line's --work",
    "reward_model_path": "ppo.reward.model",
    "run_name": "the command line's --name",
    "save_step": "save_steps",
    "sft_model_path": "model.run, model.path or model.hub",
    "stop_token_id": "stop_token",
    "train_bsz_per_gpu": "per_device_train_batch_size",
    "value_model_path": "ppo.value_model",
    "warmup_rates": "warmup_ratio",
    "warmup_steps": "warmup_ratio",
}
# What the original commands take and we have no key for → what happens instead.
NOT_OFFERED = {
    "model_adapter_name": "adapters are not offered; the whole policy is trained",
    "ref_adapter_name": "adapters are not offered; the reference is a frozen copy of the policy",
    "save_strategy": "checkpoints are always written every save_steps",
}
_MESSAGES = {  # pydantic's error type → what was expected, from the error's context
    "bool_type": "true or false",
    "dict_type": "a map of keys",
    "greater_than": "more than {gt}",
    "greater_than_equal": "at least {ge}",
    "invalid_key": "keys that are text",
    "less_than": "less than {lt}",
    "less_than_equal": "at most {le}",
    "list_type": "a list",
    "literal_error": "{expected}",
    "model_type": "a map of keys",
    "string_too_long": "at most {max_length} characters",
    "string_too_short": "text that is not empty",
    "string_type": "text",
    "string_unicode": "Unicode text",
    "too_short": "at least {min_length}",
}


def merge(base: Mapping[str, Any], over: Mapping[str, Any]) -> dict[str, Any]:
    """Lay `over` on `base` by Helm's rules; return a new document."""
    merged = copy.deepcopy(dict(base))
    for key, value in over.items():
        if value is None:
            merged.pop(key, None)
        elif isinstance(value, Mapping) and isinstance(merged.get(key), Mapping):
            merged[key] = merge(merged[key], value)
        else:
            merged[key] = merge({}, value) if isinstance(value, Mapping) else copy.deepcopy(value)
    return merged


def layered(documents: Iterable[Mapping[str, Any]]) -> dict[str, Any]:
    """Lay each document on those before it. A null in the first deletes too, as it does in Helm."""
    return functools.reduce(merge, documents, {})


def parse_set(assignments: Iterable[str]) -> dict[str, Any]:
    """Make one document of `--set a.b=VALUE` options. Raises SpecError with every assignment that is none."""
    document: dict[str, Any] = {}
    problems = []
    for assignment in assignments:
        path, equals, text = assignment.partition("=")
        *parents, leaf = keys = keys_of(path)
        if not equals or not all(keys):
            problems.append(f"--set {assignment}: expected KEY.KEY=VALUE, got {assignment!r}")
            continue
        inner: Any = document
        for parent in parents:
            inner = inner.setdefault(parent, {}) if isinstance(inner, dict) else None
        if isinstance(inner, dict):
            inner[leaf] = value_of(text)
        else:
            problems.append(f"--set {assignment}: expected {'.'.join(parents)} to be a map, got a value set before")
    if problems:
        raise SpecError(problems)
    return document


def build(document: Mapping[str, Any], source: str, world_size: int | None = None) -> RunSpec:
    """Validate a document. `source` names it in messages. Raises SpecError with every problem.

    A pod's `config.json` has no placement: there `world_size` is the real one.
    """
    document = _without_nulls(document)
    problems: list[str] = []
    faulty: set[str | int] = set()
    try:
        spec: RunSpec | None = RunSpec.model_validate(document)
    except pydantic.ValidationError as error:
        problems = [problem(item, RunSpec) for item in error.errors()]
        faulty = {item["loc"][0] for item in error.errors() if item["loc"]}
        document = {key: value for key, value in document.items() if key not in faulty}
        spec = _validate_rest(document) if "method" in document else None
        if faulty & set(PLACEMENT):
            faulty |= {"sft", "verifier", "ppo"}  # batches cannot be judged without the number of ranks
    if spec:
        problems += [
            f"{path}: {text}"
            for path, text in spec.complaints(world_size or spec.world_size)
            if path.partition(".")[0] not in faulty
        ]
    if problems:
        raise SpecError(f"{source}: {text}" for text in problems)
    assert spec is not None
    return spec


def _without_nulls(document: Any) -> Any:
    """The document without its nulls. They count as absent keys in the maps of a list too, where Helm keeps them."""
    if isinstance(document, Mapping):
        return {key: _without_nulls(value) for key, value in document.items() if value is not None}
    return [_without_nulls(item) for item in document] if isinstance(document, list) else document


def _validate_rest(document: Mapping[str, Any]) -> RunSpec | None:
    """The run that the rest of a faulty document describes; None where that is faulty too."""
    try:
        return RunSpec.model_validate(document)
    except pydantic.ValidationError:
        return None


def effective(spec: RunSpec) -> dict[str, Any]:
    """The whole document: defaults merged, nulls gone."""
    return spec.model_dump(exclude_none=True)


def config(spec: RunSpec) -> dict[str, Any]:
    """What travels to the pod as `config.json`: what the method reads. Its digest is the run's (docs/design.md C3)."""
    return _only(spec.given(), READ[spec.method])


def run_hash(spec: RunSpec) -> str:
    """First 10 hex digits of the run's digest: they end the name of its directory (docs/design.md C13)."""
    return canonical.digest(config(spec))[:10]


def object_hash(spec: RunSpec) -> str:
    """First 10 hex digits of the digest of what the run's pods are made of: they end the names of its objects."""
    return canonical.digest(_only(spec.given(), object_keys(spec.method)))[:10]


def object_keys(method: str) -> tuple[str, ...]:
    """Paths of the keys that the pods of this method are made of."""
    return READ[method] + tuple(key for key in OF_PODS if method not in ASKING or key not in OF_TRAINING)


def _only(document: Mapping[str, Any], paths: Iterable[str]) -> dict[str, Any]:
    """The document with these paths alone, where it has them."""
    found: dict[str, Any] = {}
    for path in paths:
        key, _, rest = path.partition(".")
        if key in document:
            part = _only(document[key], [rest]) if rest else document[key]
            found = merge(found, {key: part})
    return found


def located(error: SpecError, source: str | None) -> SpecError:
    """The same error, whose problems that begin with a key of the run file begin with `source`, the file; None changes none."""
    if source is None:
        return error
    return SpecError(f"{source}: {text}" if _is_key(text.partition(":")[0]) else text for text in error.problems)


def attributed(error: SpecError, source: str, layers: Iterable[tuple[str, Mapping[str, Any]]]) -> SpecError:
    """The same error, whose problems `SOURCE: KEY: …` name the last layer that gives the key instead of `source`.

    `layers` are what was laid over the document of `source`: how messages begin (`FILE: `, `--set `), and the keys.
    """
    layers, problems = list(layers), []
    for text in error.problems:
        rest = text.removeprefix(f"{source}: ")
        key = rest.partition(":")[0]
        begin = next((begin for begin, over in reversed(layers) if rest != text and _gives(over, key)), None)
        problems.append(text if begin is None else begin + rest)
    return SpecError(problems)


def _gives(document: Any, key: str) -> bool:
    """True where the document has a value at `key`, or a list or scalar on the way there, which stands for all below it."""
    if not isinstance(document, Mapping):
        return True
    return any(  # a key may have dots of its own
        key == own or (key.startswith(f"{own}.") and _gives(value, key.removeprefix(f"{own}.")))
        for own, value in document.items()
    )


def _is_key(path: str) -> bool:
    """True for the path of a run file's key, such as eval.tasks.0.path, and not for a file such as data.jsonl."""
    block: type[Block] | None = RunSpec
    for part in path.split("."):
        if block is None or not (part.isdecimal() or part in block.model_fields):
            return False
        block = block if part.isdecimal() else _block(block, part)
    return True


def problem(item: Mapping[str, Any], root: type[Block]) -> str:
    """One line for one of pydantic's errors about a document of type `root`."""
    path = ".".join(str(part) for part in item["loc"] if part != "[key]")
    kind, message = item["type"], item["msg"]
    if kind == "extra_forbidden":
        return f"{path}: unknown key{_hint(item['loc'], root)}"
    if kind == "missing":
        return f"{path}: expected a value, got none"
    if kind == "value_error":  # of a block's own validator; it may name a key of the block
        message = message.removeprefix("Value error, ")
        return f"{path}{'.' if re.match('[a-z_.]+: ', message) else ': '}{message}" if path else message
    if kind in _MESSAGES:
        limits = {key: canonical.dumps(v) if isinstance(v, float) else v for key, v in item.get("ctx", {}).items()}
        message = _MESSAGES[kind].format(**limits)
    got = show(item["input"])
    if kind == "string_pattern_mismatch":
        message = EXPECTED[item["ctx"]["pattern"]]
        got = got.removeprefix("the text ") or "empty text"
    if kind in ("literal_error", "string_type") and isinstance(item["input"], bool):
        got += " (YAML's reading of no or yes; put it in quotes)"
    elif kind == "string_type" and isinstance(item["input"], float):
        got += " (YAML's reading of a number; put it in quotes)"  # 1.20 is 1.2 by now
    return f"{path}: expected {message}, got {got}"


def _hint(location: tuple[str | int, ...], root: type[Block]) -> str:
    """What to say behind "unknown key": the key that was probably meant, or those that are known."""
    key = str(location[-1])
    block = root
    for part in location[:-1]:
        block = _block(block, part) or block
    if key in NOT_OFFERED:
        return f"; {NOT_OFFERED[key]}"
    if key in ORIGINAL_NAMES:
        return f"; ours is {ORIGINAL_NAMES[key]}"
    elsewhere = [key] if key in PLACEMENT and block is not root else []
    elsewhere += [
        f"{name}.{key}"
        for name in ("sft", "verifier", "ppo", "data", "eval", "paths")
        if key in _block(RunSpec, name).model_fields
    ]
    if elsewhere:
        return f"; there is {' and '.join(elsewhere)}"
    near = difflib.get_close_matches(key, block.model_fields, n=1)
    if near:
        return f"; the nearest known one is {near[0]}"
    return f"; known here are {', '.join(block.model_fields)}"


def _block(block: type[Block], part: str | int) -> type[Block] | None:
    """Type of the block that is the value of this field, or of a list's items for an index; None for other values."""
    if isinstance(part, int):
        return block
    field = block.model_fields.get(part)
    types = [field.annotation, *get_args(field.annotation)] if field else []
    return next((t for t in types if isinstance(t, type) and issubclass(t, Block)), None)
