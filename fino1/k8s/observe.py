"""The verbs that look: ps, status, logs, wait."""

import argparse
from collections import Counter, defaultdict
from collections.abc import Mapping, Sequence
from typing import Any

from fino1 import exits
from fino1.k8s import api as k8s
from fino1.k8s import found, output, standing, times
from fino1.k8s.found import Run
from fino1.k8s.listening import logs
from fino1.k8s.place import in_words
from fino1.k8s.place import places as places_of
from fino1.k8s.standing import Reading, Standing
from fino1.k8s.waiting import wait, wait_for

__all__ = ["logs", "ps", "status", "wait", "wait_for"]
STYLES = {
    "Succeeded": "green",
    "Failed": "red",
    "Running": "cyan",
    "Restarting": "yellow",
    "Pending": "yellow",
    "Queued": "yellow",
    "Suspended": "dim",
}


def ps(arguments: argparse.Namespace) -> int:
    """Verb `ps`: a row for each run object; the models of one evaluation share one."""
    api = k8s.connect(arguments.kubeconfig, arguments.context, arguments.namespace)
    namespace = "" if arguments.all_namespaces else None
    runs, reading = found.runs(api, namespace=namespace), Reading()
    pods = reading.ask(lambda: standing.pods_of(api, runs, namespace), []) if runs else []
    every = standing.standings(runs, pods)
    if arguments.output != "text":
        rows = [{**standing.about(each.run), "pods": each.ready, "restarts": each.restarts} for each in every]
        output.structured({"runs": rows, **_unread(reading)}, arguments.output)
        return exits.DONE
    if not runs:
        where = "any namespace" if arguments.all_namespaces else f"namespace {api.namespace}"
        print(f"no runs in {where}; `fino1-k8s runs` lists what can be submitted")
        return exits.DONE
    now = times.now()
    columns = ["name", "method", "kind", "phase", "pods", "age", "run"]
    columns = ["namespace", *columns] if arguments.all_namespaces else columns
    rows = [_row(group, now, bool(reading.unread)) for group in _groups(every)]
    output.table(rows, columns, styles=STYLES)
    _print_unread(reading)
    return exits.DONE


def status(arguments: argparse.Namespace) -> int:
    """Verb `status`: phase, ranks, progress, place in the queue, results."""
    api = k8s.connect(arguments.kubeconfig, arguments.context, arguments.namespace)
    runs, reading = found.latest(api, arguments.name), Reading()
    pods = reading.ask(lambda: standing.pods_of(api, runs), [])
    blind = bool(reading.unread)
    every = standing.with_progress(api, standing.standings(runs, pods), reading)
    places = places_of(api, [run for run in runs if run.phase == "Queued"], reading)
    if arguments.output != "text":
        told = [{**each.told(), "place": places.get(each.run.full)} for each in every]
        output.structured({"name": arguments.name, "runs": told, **_unread(reading)}, arguments.output)
        return exits.DONE
    if len(every) == 1:
        _print_one(every[0], places.get(every[0].run.full), blind)
    else:
        _print_many(every, places)
    _print_unread(reading)
    return exits.DONE


def _groups(every: Sequence[Standing]) -> list[list[Standing]]:
    """Which of them share a row? The models of one evaluation; an older submission of the same models has its own."""
    seen: Counter[tuple[str, str]] = Counter()
    groups: dict[tuple[Any, ...], list[Standing]] = defaultdict(list)
    for each in every:  # the newest first
        namespace = each.run.object["metadata"]["namespace"]
        before = (namespace, each.run.full.rpartition("-")[0])
        age, seen[before] = seen[before], seen[before] + 1
        key = (namespace, each.run.name, age) if each.run.method == "eval" else (namespace, each.run.full)
        groups[key].append(each)
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
        "phase": found.summary([each.run for each in group]),
        "pods": "?" if blind else f"{running}/{wanted}" if wanted else "done",
        "age": times.ago(newest.created, now),
        "run": f"{len(group)} models (status {newest.name})" if many else newest.full,
    }


def _print_one(each: Standing, place: Mapping[str, Any] | None, blind: bool) -> None:
    """A run's lines, and a table of its ranks."""
    run, now = each.run, times.now()
    lines = {
        "run": f"{run.full}  ({run.method}, {run.kind})",
        "phase": f"{run.phase} for {times.ago(run.since, now)} (since {run.since})",
        "queue": in_words(run, place) if run.queue else "",
        "pods": "" if blind else each.ready if each.ready == "done" else f"{each.ready} running",
        "progress": str(each.furthest or ""),
        "results": f"{each.results} on the work volume",
        "next": _advice(run),
    }
    for key, text in lines.items():
        if text:
            print(f"{key:<10}{text}")
    if each.ranks:
        print()
        columns = ["rank", "pod", "phase", "restarts", "node", "last exit"]
        columns += ["progress"] if len(each.progress) > 1 else []
        output.table([_rank_row(each, rank) for rank in each.ranks], columns, styles=STYLES)


def _rank_row(each: Standing, rank: Any) -> dict[str, Any]:
    end = rank.last_end
    return {
        "rank": rank.index,
        "pod": rank.name,
        "phase": rank.phase,
        "restarts": rank.restarts,
        "node": rank.node or "-",
        "last exit": f"{end.code}: {end.meaning}" if end else "-",
        "progress": str(each.progress.get(rank.name, "")),
    }


def _print_many(every: Sequence[Standing], places: Mapping[str, Mapping[str, Any]]) -> None:
    """An evaluation: a row for each model."""
    first, now = every[0].run, times.now()
    print(f"{first.name}  ({first.method}, {len(every)} models)  {found.summary([each.run for each in every])}\n")
    rows = []
    for each in sorted(every, key=lambda each: each.run.full):
        ends = [rank.last_end for rank in each.ranks if rank.last_end and rank.last_end.code]
        rows.append(
            {
                "run": each.run.full,
                "phase": each.run.phase,
                "pods": each.ready,
                "for": times.ago(each.run.since, now),
                "restarts": each.restarts,
                "last exit": f"{ends[0].code}: {ends[0].meaning}" if ends else "-",
                "progress": str(each.furthest or "") or in_words(each.run, places.get(each.run.full)),
            }
        )
    output.table(rows, ("run", "phase", "for", "pods", "restarts", "last exit", "progress"), styles=STYLES)
    print(f"\nresults   {every[0].results} on the work volume")


def _advice(run: Run) -> str:
    """What to type next, where there is something."""
    if run.phase == "Suspended":
        return f"fino1-k8s resume {run.name}"
    if run.phase in ("Pending", "Queued", "Failed", "Restarting"):
        return f"fino1-k8s why {run.name}"
    return f"fino1-k8s fetch {run.name}" if run.phase == "Succeeded" else ""


def _unread(reading: Reading) -> dict[str, list[str]]:
    return {"unread": reading.unread} if reading.unread else {}


def _print_unread(reading: Reading) -> None:
    for line in reading.unread:
        print(f"not read: {line}")
