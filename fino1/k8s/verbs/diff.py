"""The verb `diff`: how do a run's objects differ from those on the cluster? The server's own defaults are no difference."""

import argparse
import difflib
import sys
from collections.abc import Iterator
from typing import Any

from fino1 import exits
from fino1.errors import ClusterError
from fino1.k8s.change import dryrun
from fino1.k8s.change.dryrun import Change
from fino1.k8s.change.owned import label, managed
from fino1.k8s.cluster.client import connect, strip_server_fields
from fino1.k8s.objects.render import render
from fino1.k8s.text import print_structured
from fino1.spec import recipe
from fino1.spec.yamlfile import as_yaml


def main(arguments: argparse.Namespace) -> int:
    """Print what `submit` would change. Returns 0 for nothing, 1 for something, 2 where the cluster cannot say (as kubectl)."""
    spec, name = recipe.read_run(arguments.run, arguments.values, arguments.set, arguments.name)
    objects = [managed(thing) for thing in render(spec, name)]
    api = connect(arguments.kubeconfig, arguments.context, arguments.namespace)
    try:
        dryrun.check_kinds(api, objects)
        changes = dryrun.plan_changes(api, objects, dryrun.find_existing(api, objects), force=True)
    except ClusterError as error:
        print(error, file=sys.stderr)
        return exits.USER
    for warning in dryrun.find_claim_differences(changes):
        print(f"warning: {warning}", file=sys.stderr)
    for change in changes:
        if kept := dryrun.describe_kept(change):
            print(f"note: {label(change.object)} stays {kept}", file=sys.stderr)
    changed = [change for change in changes if change.outcome != "unchanged"]
    if arguments.output != "text":
        print_structured([list_fields(change) for change in changed], arguments.output)
    else:
        for change in changed:
            print(format_diff(change), end="")
    return exits.BUG if changed else exits.DONE


def format_diff(change: Change) -> str:
    """A change as `diff -u` prints it, from the cluster to the run file."""
    before, after = (
        as_yaml([{"apiVersion": "", "kind": ""} | thing]).splitlines(keepends=True) if thing else []  # the kind first
        for thing in _strip(change)
    )
    name = label(change.object)
    return "".join(difflib.unified_diff(before, after, f"cluster {name}", f"run {name}"))


def list_fields(change: Change) -> dict[str, Any]:
    """A change for `-o json`: the fields that differ, with both values."""
    before, after = (dict(_list_leaves(thing)) if thing else {} for thing in _strip(change))
    paths = [path for path in before | after if before.get(path) != after.get(path)]
    fields = [{"path": path, "cluster": before.get(path), "run": after.get(path)} for path in paths]
    what = {"kind": change.object["kind"], "name": change.object["metadata"]["name"], "outcome": change.outcome}
    return {**what, "fields": fields if change.before else []}


def _strip(change: Change) -> Iterator[dict[str, Any]]:
    """The object before and after, without what the server adds."""
    return (strip_server_fields(thing) if thing else {} for thing in (change.before, change.after))


def _list_leaves(value: Any, path: str = "") -> Iterator[tuple[str, Any]]:
    items = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    if not items:
        yield path, value
    for key, item in items:
        yield from _list_leaves(item, f"{path}.{key}" if path else str(key))
