"""What may a values file hold, as a tree from which schema, values, reference and the charts' own reading follow?

Contract: docs/design.md C1.
A node is a dict with `kind` (block, map, list, number, quantity, any, value), its `default` where it has one, `doc`, and for
scalars the JSON-schema keywords that bound it. The tree is pydantic's schema of `RunSpec` with the docstrings in fino1/spec.
"""

import ast
import inspect
from collections.abc import Mapping
from typing import Any

from pydantic import BaseModel

from fino1.spec import evaluation, inputs, paths, placement, ppo, run, train
from fino1.spec.fields import BYTES, EXPECTED, NUMERIC, QUANTITY
from fino1.spec.run import RunSpec

Node = dict[str, Any]
_MODULES = (placement, inputs, train, ppo, evaluation, paths, run)  # where the blocks of a run file are declared
_BOUNDS = ("minimum", "exclusiveMinimum", "maximum", "exclusiveMaximum")
_KEPT = ("type", "enum", "const", "pattern", "minLength", "maxLength")
LARGEST = 2**53  # of a whole number: beyond, a float64 is not exact


def tree(model: type[RunSpec] = RunSpec) -> Node:
    """The tree of a whole run file."""
    schema = model.model_json_schema()
    return _node(schema, schema["$defs"], _docs())


def json_schema(node: Node) -> dict[str, Any]:
    """A node as JSON Schema draft 7, which Helm 3.14 and Helm 4 both read.

    Numbers may be text (`helm --set` makes text of 5e-7), and any key but a required one may be null, which is as good as absent.
    """
    described = {"description": node["doc"]} if node.get("doc") else {}
    kind = node["kind"]
    if kind == "block":
        fields = {key: json_schema(field) for key, field in node["fields"].items()}
        required = {"required": node["required"]} if node["required"] else {}
        return described | {
            "type": _nullable(node, "object"),
            "additionalProperties": False,
            "properties": fields,
            **required,
        }
    if kind == "map":
        values = json_schema(node["values"] | {"nullable": True})
        keys = (
            {"properties": dict.fromkeys(node["keys"], values)}
            if "keys" in node
            else {"patternProperties": {node["pattern"]: values}}
        )
        return described | {"type": _nullable(node, "object"), "additionalProperties": False, **keys}
    if kind == "list":
        return described | {"type": _nullable(node, "array"), "items": json_schema(node["items"])}
    if kind == "any":
        return described | {"type": _nullable(node, "object")}
    if kind == "number":
        word = "integer" if node["integer"] else "number"
        bounds = {key: node[key] for key in _BOUNDS if key in node}
        return described | {"type": _nullable(node, word, "string"), "pattern": NUMERIC, **bounds}
    if kind == "quantity":
        return described | {"type": _nullable(node, "string", "number"), "pattern": node["pattern"], "minimum": 0}
    kept = {key: node[key] for key in _KEPT if key in node and key != "type"}
    if "enum" in kept and node.get("nullable"):
        kept["enum"] = [*kept["enum"], None]
    return described | {"type": _nullable(node, node["type"]), **kept}


def compact(node: Node) -> Node:
    """A node with only what `_complete.tpl` reads: kinds, defaults, and the bounds of numbers."""
    kept: Node = {"kind": node["kind"]}
    kept |= {key: node[key] for key in ("default", "added") if key in node}
    if node["kind"] == "block":
        kept["fields"] = {key: compact(field) for key, field in node["fields"].items()}
    for key, value in (("values", node.get("values")), ("items", node.get("items"))):
        if value:
            kept[key] = compact(value)
    if node["kind"] == "number":
        kept |= {key: node[key] for key in ("integer", *_BOUNDS) if key in node}
    if node["kind"] == "quantity":
        kept |= {"pattern": node["pattern"], "expected": EXPECTED[node["pattern"]]}
    return kept


def added(node: Node, path: str = "") -> list[str]:
    """Paths of the keys that are marked as added (fields.ADDED); `*` is any item or key."""
    if node["kind"] == "block":
        inner = {f"{path}.{key}".lstrip("."): field for key, field in node["fields"].items()}
    else:
        inner = {f"{path}.*": node[key] for key in ("items", "values") if key in node}
    return [found for key, field in inner.items() for found in [key] * ("added" in field) + added(field, key)]


def _nullable(node: Node, *types: str) -> list[str] | str:
    return [*types, "null"] if node.get("nullable") else types[0] if len(types) == 1 else list(types)


def _node(schema: Mapping[str, Any], defs: Mapping[str, Any], docs: Mapping[tuple[str, str], str]) -> Node:
    """The node of one (sub)schema of pydantic's."""
    if "$ref" in schema:
        name = schema["$ref"].rpartition("/")[2]
        return _node(defs[name] | {"title": name}, defs, docs)
    if "anyOf" in schema:
        (schema,) = (part for part in schema["anyOf"] if part.get("type") != "null")
        return _node(schema, defs, docs)
    if schema.get("type") == "object" and "properties" in schema:
        return _block(schema, defs, docs)
    if schema.get("type") == "object":
        return _map(schema, defs, docs)
    if schema.get("type") == "array":
        return {"kind": "list", "items": _node(schema["items"], defs, docs)}
    if schema.get("type") in ("number", "integer"):
        whole = schema["type"] == "integer"
        return {
            "kind": "number",
            "integer": whole,
            **({"maximum": LARGEST} if whole else {}),
            **{key: schema[key] for key in _BOUNDS if key in schema},
        }
    if schema.get("pattern") in (QUANTITY, BYTES):
        return {"kind": "quantity", "pattern": schema["pattern"]}
    if "const" in schema:
        return {"kind": "value", "type": "string", "enum": [schema["const"]]}
    return {"kind": "value", **{key: schema[key] for key in _KEPT if key in schema}}


def _block(schema: Mapping[str, Any], defs: Mapping[str, Any], docs: Mapping[tuple[str, str], str]) -> Node:
    fields = {}
    for key, part in schema["properties"].items():
        field = _node(part, defs, docs)
        required = key in schema.get("required", [])
        default = part.get("default")
        if field["kind"] == "block" and default is not None:
            default = {}  # the block's own defaults are its fields'
        if default is not None:
            field["default"] = default
        if "added" in part:
            field["added"] = True
        doc = docs.get((schema["title"], key)) or (field.get("doc") if field["kind"] == "block" else "")
        fields[key] = field | {"nullable": not required, "doc": doc or ""}
    own = docs.get((schema["title"], ""), "")
    return {"kind": "block", "fields": fields, "required": schema.get("required", []), "doc": own}


def _map(schema: Mapping[str, Any], defs: Mapping[str, Any], docs: Mapping[tuple[str, str], str]) -> Node:
    if schema.get("additionalProperties") is True:
        return {"kind": "any"}
    if "patternProperties" in schema:
        ((pattern, values),) = schema["patternProperties"].items()
        return {"kind": "map", "pattern": pattern, "values": _node(values, defs, docs)}
    values = _node(schema["additionalProperties"], defs, docs)
    return {"kind": "map", "keys": schema["propertyNames"]["enum"], "values": values}


def _docs() -> dict[tuple[str, str], str]:
    """(class, field) → the docstring under the field, (class, "") → the class's. Read from the source: pydantic would do it at
    every start, for 0.08 s.
    """
    found = {}
    for module in _MODULES:
        for node in ast.parse(inspect.getsource(module)).body:
            if isinstance(node, ast.ClassDef):
                found[node.name, ""] = _text(ast.get_docstring(node) or "")
                for field, after in zip(node.body, node.body[1:], strict=False):
                    if isinstance(field, ast.AnnAssign) and isinstance(after, ast.Expr):
                        found[node.name, field.target.id] = _text(after.value.value)
    for name, cls in {name: cls for module in _MODULES for name, cls in vars(module).items()}.items():
        if isinstance(cls, type) and issubclass(cls, BaseModel):
            for parent in cls.__mro__[1:]:
                for key in cls.model_fields:
                    if (parent.__name__, key) in found:
                        found.setdefault((name, key), found[parent.__name__, key])
    return found


def _text(docstring: str) -> str:
    return " ".join(docstring.split())
