"""Which document does a YAML file hold, read as Helm reads it?"""

import json
import re
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import yaml

from fino1.errors import SpecError, first_line


class _Loader(getattr(yaml, "CSafeLoader", yaml.SafeLoader)):
    """YAML as Helm reads it (go-yaml 2), and a key given twice is refused: PyYAML would keep the last one silently.

    PyYAML alone takes 5e-7 for text, 1:30 for 90, and 2024-01-01 for a date.
    """

    yaml_implicit_resolvers: dict[str, list] = {}


class _Twice(yaml.constructor.ConstructorError):
    """A key is given twice in one map."""


def _mapping(loader: _Loader, node: yaml.MappingNode) -> dict:
    keys = [(loader.construct_object(key, deep=True), key) for key, _ in node.value if not key.tag.endswith(":merge")]
    seen: list[Any] = []
    for key, its_node in keys:
        if key in seen:
            raise _Twice(None, None, f"{key}: expected once, got twice", its_node.start_mark)
        seen.append(key)
    found = yaml.SafeLoader.construct_mapping(loader, node, deep=True)
    return {key if isinstance(key, str) else json.dumps(key): value for key, value in found.items()}


def _number(loader: _Loader, node: yaml.ScalarNode) -> float | int:
    text = node.value.replace("_", "")
    sign, digits = (-1 if text[0] == "-" else 1), text.lstrip("+-").lower()
    for prefix, base in (("0x", 16), ("0o", 8), ("0b", 2)):
        if digits.startswith(prefix):
            return sign * int(digits[2:], base)
    if re.fullmatch("0[0-7]+", digits):
        return sign * int(digits, 8)
    return sign * (int(digits) if digits.isdigit() else float(digits.replace(".inf", "inf").replace(".nan", "nan")))


_Loader.add_constructor(yaml.resolver.BaseResolver.DEFAULT_MAPPING_TAG, _mapping)
_Loader.add_constructor("tag:yaml.org,2002:float", _number)
_Loader.add_constructor("tag:yaml.org,2002:bool", lambda loader, node: node.value.lower() in ("y", "yes", "true", "on"))
for _tag, _pattern, _first in (
    ("bool", "[yYnN]|yes|Yes|YES|no|No|NO|true|True|TRUE|false|False|FALSE|on|On|ON|off|Off|OFF", "yYnNtTfFoO"),
    ("null", "~|null|Null|NULL|", ["~", "n", "N", ""]),
    ("merge", "<<", "<"),
    (
        "float",
        r"[-+]?(0[xX][0-9a-fA-F_]+|0[oO][0-7_]+|0[bB][01_]+|(\.[0-9]+|[0-9][0-9_]*(\.[0-9_]*)?)([eE][-+]?[0-9]+)?"
        r"|\.(inf|Inf|INF))|\.(nan|NaN|NAN)",
        "-+.0123456789",
    ),
):
    _Loader.add_implicit_resolver(f"tag:yaml.org,2002:{_tag}", re.compile(f"^({_pattern})$"), list(_first))


def read_yaml(path: Path) -> dict:
    """Read a file's document. Raises SpecError for a missing file, broken YAML, anything but a map."""
    try:
        text = path.read_text(encoding="utf-8")
    except FileNotFoundError:
        raise SpecError(f"{path}: expected a file, got none") from None
    except (OSError, UnicodeDecodeError) as error:
        raise SpecError(f"{path}: expected a readable text file, got {error}") from error
    return read_yaml_text(text, str(path))


def read_yaml_text(text: str, source: str) -> dict:
    """Read a document; `source` names it in messages. Raises SpecError for broken YAML, anything but a map."""
    try:
        document = yaml.load(text, Loader=_Loader)  # noqa: S506, a SafeLoader
    except yaml.YAMLError as error:
        mark = getattr(error, "problem_mark", None)
        where = f"line {mark.line + 1}: " if mark else ""
        problem = getattr(error, "problem", None) or first_line(error)
        raise SpecError(
            f"{source}: {where}{'' if isinstance(error, _Twice) else 'expected YAML, got '}{problem}"
        ) from error
    except (ValueError, RecursionError) as error:  # of a number of thousands of digits, and of lists in lists
        raise SpecError(f"{source}: expected YAML, got {first_line(error)}") from error
    if document is None:
        return {}
    if not isinstance(document, dict):
        raise SpecError(
            f"{source}: expected a map of keys, got {'text' if isinstance(document, str) else show(document)}"
        )
    return document


def show(value: Any) -> str:
    """A value in an error message."""
    is_plain = isinstance(value, str) and value.isprintable()
    text = value if is_plain else json.dumps(value, default=str, ensure_ascii=False)
    kind = {str: "the text ", dict: "the map ", list: "the list "}.get(type(value), "")
    return f"{kind}{text if len(text) <= 60 else text[:57] + '...'}"


class PlainDumper(getattr(yaml, "CSafeDumper", yaml.SafeDumper)):
    """YAML without anchors: kubectl and people read each object by itself."""

    def ignore_aliases(self, data: Any) -> bool:
        """Never refer back."""
        return True


def as_yaml(documents: Sequence[Any]) -> str:
    """One YAML stream."""
    return yaml.dump_all(documents, Dumper=PlainDumper, sort_keys=False, allow_unicode=True, width=10_000)
