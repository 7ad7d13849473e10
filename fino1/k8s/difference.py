"""How does an object on the cluster differ from what an apply would make of it? The server's defaults differ in nothing."""

import difflib
from collections.abc import Iterator
from typing import Any

from fino1.k8s import output
from fino1.k8s.admission import Change
from fino1.k8s.belongings import Object, label

_SERVERS_OWN = ("managedFields", "resourceVersion", "generation", "uid", "creationTimestamp")


def unified(change: Change) -> str:
    """For people: as `diff -u` prints it, from the cluster to the run file."""
    before, after = (
        output.as_yaml([_plain(thing)]).splitlines(keepends=True) if thing else []
        for thing in (change.before, change.after)
    )
    name = label(change.object)
    return "".join(difflib.unified_diff(before, after, f"cluster {name}", f"run {name}"))


def differences(change: Change) -> dict[str, Any]:
    """For programs: which fields differ, and how?"""
    before, after = (dict(_leaves(_plain(thing))) if thing else {} for thing in (change.before, change.after))
    paths = [path for path in before | after if before.get(path) != after.get(path)]
    fields = [{"path": path, "cluster": before.get(path), "run": after.get(path)} for path in paths]
    what = {"kind": change.object["kind"], "name": change.object["metadata"]["name"], "outcome": change.outcome}
    return {**what, "fields": fields if change.before else []}


def _plain(thing: Object) -> dict[str, Any]:
    """An object without what the server writes itself."""
    kept = {key: value for key, value in thing.items() if key != "status"}
    metadata = {key: value for key, value in thing["metadata"].items() if key not in _SERVERS_OWN}
    return {"apiVersion": kept.pop("apiVersion"), "kind": kept.pop("kind"), **kept, "metadata": metadata}


def _leaves(value: Any, path: str = "") -> Iterator[tuple[str, Any]]:
    items = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    if not items:
        yield path, value
    for key, item in items:
        yield from _leaves(item, f"{path}.{key}" if path else str(key))
