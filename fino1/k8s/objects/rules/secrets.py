"""Does a manifest hold a secret, or a path that the pod has not? No message repeats a secret."""

import json
import re
from collections.abc import Iterator
from typing import Any

from fino1.k8s.objects.rules.rule import Fault, Rule, show
from fino1.k8s.objects.rules.walk import Thing, entries, get, join, listing, mapping

SECRET = Rule(
    "secret-value",
    "error",
    "Whoever may read the object, its Git history or its ConfigMap reads the secret; a secretKeyRef names it only.",
    "DESIGN.md C4; kubernetes.io Good practices for Kubernetes Secrets",
)
MANIFEST = Rule(
    "secret-in-manifest",
    "warning",
    "base64 hides nothing: a Secret among rendered objects ends in Git. Make it by hand, or by an ExternalSecret.",
    "reference/kubernetes.md §3 (Security baseline)",
)
RELATIVE = Rule(
    "config-relative-path",
    "error",
    "A pod's working directory holds none of the user's files: data are on the volumes /work and /models.",
    "DESIGN.md C4, C13",
)
OUTSIDE = Rule(
    "config-path-outside-volumes",
    "warning",
    "The pod has the volumes /work and /models; elsewhere it has what its image has.",
    "DESIGN.md C4, C13",
)
_NAME = re.compile(
    r"(^|_)(token|api_?key|secret|secret_?key|access_?key|private_?key|credentials)$|passw(or)?d(?!.*_(file|path))|passphrase",
    re.IGNORECASE,
)
_NO_SECRET = re.compile(r"(^|_)(pad|eos|bos|unk|mask|sep|cls|stop|image|implicit|end|start)_token$", re.IGNORECASE)
_PLACEHOLDER = re.compile(
    r"|\$\([A-Za-z_]\w*\)|([0-9]{1,6}|true|false|yes|no|empty|none|null|dummy|unused|-)", re.IGNORECASE
)
_VALUE = re.compile(
    r"(?<![A-Za-z0-9])(hf_[A-Za-z0-9]{16,}|sk-(?=[A-Za-z_-]{0,20}[0-9])[A-Za-z0-9_-]{16}|(AKIA|ASIA)[0-9A-Z]{16}"
    r"|gh[pousr]_[A-Za-z0-9]{30,}|github_pat_[A-Za-z0-9_]{30,}|glpat-[A-Za-z0-9_-]{20,}|xox[abprs]-[A-Za-z0-9-]{10,}"
    r"|AIza[0-9A-Za-z_-]{35})|-----BEGIN [A-Z ]*PRIVATE KEY-----|://[^/\s:@$]{1,99}:[^/\s:@$]{1,999}@"
)
_FLAG = re.compile(r"--?([A-Za-z0-9_-]+)(?:=(.*))?$", re.DOTALL)
_DEEPEST = 60


def check(thing: Thing) -> Iterator[Fault]:
    """Does this object hold a secret as a value, or a ConfigMap of ours a path that the pod has not?"""
    for container in thing.containers():
        for index, item in entries(container.body, "env"):
            name, value = item.get("name"), item.get("value")
            if isinstance(value, str) and (_is_secret(name, value) or _VALUE.search(value)):
                yield SECRET.at(join(container.path, "env", index), _message(name, value, "valueFrom.secretKeyRef"))
        for key in ("command", "args"):
            yield from _words(join(container.path, key), listing(container.body, key))
    if thing.kind == "ConfigMap":
        yield from _config_map(thing)
    if thing.kind == "Secret" and (get(thing.body, "data") or get(thing.body, "stringData")):
        yield MANIFEST.at(
            "data" if get(thing.body, "data") else "stringData", "expected no Secret here, got its values"
        )


def _is_secret(name: Any, value: str) -> bool:
    """Does this name stand for a secret, and is the value more than a placeholder?"""
    if not isinstance(name, str) or _PLACEHOLDER.fullmatch(value):
        return False
    if re.fullmatch(r"[A-Z][A-Z0-9_]*", value) and _NAME.search(value):
        return False  # the name of the variable that holds it
    plain = name[:200].replace("-", "_")
    return bool(_NAME.search(plain)) and not _NO_SECRET.search(plain)


def _message(name: Any, value: str, expected: str) -> str:
    return f"{name if isinstance(name, str) else '?'}: expected {expected}, got a value of {len(value)} characters"


def _words(path: str, words: list[Any]) -> Iterator[Fault]:
    for index, word in enumerate(words):
        if not isinstance(word, str):
            continue
        flag = _FLAG.match(word)
        following = words[index + 1] if index + 1 < len(words) else None
        value = (flag[2] if flag[2] is not None else following) if flag else None
        is_named = flag and isinstance(value, str) and not value.startswith("-") and _is_secret(flag[1], value)
        if is_named or _VALUE.search(word):
            name = flag[1] if flag else "this word"
            yield SECRET.at(join(path, index), _message(name, value if is_named else word, "a variable from a Secret"))


def _config_map(thing: Thing) -> Iterator[Fault]:
    for key, value in mapping(thing.body, "data").items():
        if not isinstance(value, str):
            continue
        path = join("data", key)
        if _is_secret(key, value):
            yield SECRET.at(path, _message(key, value, "a Secret"))
            continue
        leaves = _leaves(value) if isinstance(key, str) and key.endswith(".json") else None
        if leaves is None:
            if _VALUE.search(value):
                yield SECRET.at(path, _message(key, value, "no secret in it"))
            continue
        for inner, name, leaf in leaves:
            if _is_secret(name, leaf) or _VALUE.search(leaf):
                yield SECRET.at(f"{path}: {inner}", _message(name, leaf, "the name of a Secret"))
            elif key == "config.json" and name == "path":
                yield from _path(f"{path}: {inner}", leaf)


def _path(where: str, value: str) -> Iterator[Fault]:
    if not value.startswith("/"):
        yield RELATIVE.at(where, f"expected an absolute path under /work or /models, got {show(value)}")
    elif not re.match(r"/(work|models)(/|$)", value):
        yield OUTSIDE.at(where, f"expected a path under /work or /models, got {show(value)}")


def _leaves(document: str) -> list[tuple[str, str, str]] | None:
    """Which strings does a JSON text hold: path, key, value? None where it is no JSON."""
    try:
        root = json.loads(document)
    except (ValueError, RecursionError):
        return None
    found: list[tuple[str, str, str]] = []
    stack: list[tuple[tuple[Any, ...], str, Any]] = [((), "", root)]
    while stack:
        path, name, node = stack.pop()
        if isinstance(node, str):
            found.append((join("", *path), name, node))
        elif len(path) < _DEEPEST and isinstance(node, dict):
            stack += [((*path, key), key, value) for key, value in reversed(node.items())]
        elif len(path) < _DEEPEST and isinstance(node, list):
            stack += [((*path, index), name, value) for index, value in reversed(list(enumerate(node)))]
    return found
