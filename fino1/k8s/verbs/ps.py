"""The verb `ps`: which runs are on the cluster?"""

import argparse
from collections import Counter, defaultdict
from collections.abc import Sequence
from typing import Any

from fino1 import exits
from fino1.k8s import times
from fino1.k8s.cluster.client import connect
from fino1.k8s.state import status
from fino1.k8s.state.run import list_runs, summarize
from fino1.k8s.state.status import ReadAccess, Standing
from fino1.k8s.text import print_structured, print_table


def main(arguments: argparse.Namespace) -> int:
    """Print a row for each run object; the models of an evaluation share one."""
    api = connect(arguments.kubeconfig, arguments.context, arguments.namespace)
    namespace = "" if arguments.all_namespaces else None
    runs, access = list_runs(api, namespace=namespace), ReadAccess()
    pods = access.ask(lambda: status.list_pods(api, runs, namespace), []) if runs else []
    every = status.standings(runs, pods)
    if arguments.output != "text":
        rows = [{**each.run.to_dict(), "pods": each.ready, "restarts": each.restarts} for each in every]
        print_structured({"runs": rows, **access.to_dict()}, arguments.output)
        return exits.DONE
    if not runs:
        where = "any namespace" if arguments.all_namespaces else f"namespace {api.namespace}"
        print(f"no runs in {where}; `fino1-k8s runs` lists what can be submitted")
        return exits.DONE
    now = times.now()
    rows = [_row(group, now, bool(access.unread)) for group in _groups(every)]
    print_table(rows, list(rows[0])[0 if arguments.all_namespaces else 1 :])
    print(*(f"not read: {line}\n" for line in access.unread), sep="", end="")
    return exits.DONE


def _groups(every: Sequence[Standing]) -> list[list[Standing]]:
    """Runs that share a row: the models of one evaluation; an older submission of the same models has its own."""
    seen: Counter[tuple[Any, ...]] = Counter()
    groups: dict[tuple[Any, ...], list[Standing]] = defaultdict(list)
    for each in every:  # the newest first
        namespace, series = each.run.object["metadata"]["namespace"], each.run.series
        name = each.run.name if each.run.method == "eval" else each.run.full
        groups[namespace, name, seen[namespace, series]].append(each)
        seen[namespace, series] += 1
    return list(groups.values())


def _row(group: Sequence[Standing], now: Any, blind: bool) -> dict[str, Any]:
    newest = group[0].run
    many = len(group) > 1
    live = [each.ready.partition("/") for each in group if not (many and each.run.is_over)]
    running = sum(int(ready) for ready, slash, _ in live if slash)
    wanted = sum(int(all_) for _, slash, all_ in live if slash)
    return {
        "namespace": newest.object["metadata"]["namespace"],
        "name": newest.name,
        "method": newest.method,
        "kind": newest.kind,
        "phase": summarize([each.run for each in group]),
        "pods": "?" if blind else f"{running}/{wanted}" if wanted else "done",
        "age": times.ago(newest.created, now),
        "run": f"{len(group)} models (status {newest.name})" if many else newest.full,
    }
