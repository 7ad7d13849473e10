"""The verb `status`: how does a run stand?"""

import argparse
from collections.abc import Mapping, Sequence

from fino1 import exits
from fino1.k8s import times
from fino1.k8s.cluster.client import connect
from fino1.k8s.state import status
from fino1.k8s.state.pods import Ended
from fino1.k8s.state.queue import Queue, describe_position, list_queues
from fino1.k8s.state.run import latest_runs, summarize
from fino1.k8s.state.status import ReadAccess, Standing
from fino1.k8s.text import print_structured, print_table

_NEXT = {  # phase → the verb to type then
    "Suspended": "resume",
    "Succeeded": "fetch",
    **dict.fromkeys(("Pending", "Queued", "Failed", "Restarting"), "why"),
}


def main(arguments: argparse.Namespace) -> int:
    """Print phase, ranks, progress, place in the queue and results of a run."""
    api = connect(arguments.kubeconfig, arguments.context, arguments.namespace)
    runs, access = latest_runs(api, arguments.name), ReadAccess()
    pods = access.ask(lambda: status.list_pods(api, runs), [])
    blind = bool(access.unread)
    every = status.with_progress(api, status.standings(runs, pods), access)
    queues = list_queues(api, [run for run in runs if run.phase == "Queued"], access)
    if arguments.output != "text":
        places = {full: queue.to_dict() for full, queue in queues.items()}
        data = [{**each.to_dict(), "place": places.get(each.run.full)} for each in every]
        print_structured({"name": arguments.name, "runs": data, **access.to_dict()}, arguments.output)
        return exits.DONE
    if len(every) == 1:
        _print_one(every[0], queues.get(every[0].run.full), blind)
    else:
        _print_many(every, queues)
    print(*(f"not read: {line}\n" for line in access.unread), sep="", end="")
    return exits.DONE


def _print_one(each: Standing, queue: Queue | None, blind: bool) -> None:
    """A run: a line for each thing known, and a table of its ranks."""
    run = each.run
    lines = {
        "run": f"{run.full}  ({run.method}, {run.kind})",
        "phase": f"{run.phase} for {times.ago(run.since, times.now())} (since {run.since})",
        "queue": describe_position(run, queue) if run.queue else "",
        "pods": "" if blind else each.ready if each.ready == "done" else f"{each.ready} running",
        "progress": str(each.furthest or ""),
        "results": f"{each.results} on the work volume",
        "next": f"fino1-k8s {_NEXT[run.phase]} {run.name}" if run.phase in _NEXT else "",
    }
    for key, text in lines.items():
        if text:
            print(f"{key:<10}{text}")
    if each.ranks:
        print()
        rows = []
        for rank in each.ranks:
            row = {"rank": rank.index, "pod": rank.name, "phase": rank.phase, "restarts": rank.restarts}
            row |= {"node": rank.node or "-", "last exit": _describe_end(rank.last_end)}
            rows.append(row | {"progress": str(each.progress.get(rank.name, ""))})
        print_table(rows, list(rows[0])[: None if len(each.progress) > 1 else -1])


def _print_many(every: Sequence[Standing], queues: Mapping[str, Queue]) -> None:
    """An evaluation: a row for each model."""
    first, now, rows = every[0].run, times.now(), []
    print(f"{first.name}  ({first.method}, {len(every)} models)  {summarize([each.run for each in every])}\n")
    for each in sorted(every, key=lambda each: each.run.full):
        failed = (rank.last_end for rank in each.ranks if rank.last_end and rank.last_end.code)
        row = {"model": each.run.model or "-", "run": each.run.full, "phase": each.run.phase}
        row["for"] = times.ago(each.run.since, now)
        row |= {"pods": each.ready, "restarts": str(each.restarts), "last exit": _describe_end(next(failed, None))}
        row["progress"] = str(each.furthest or "") or describe_position(each.run, queues.get(each.run.full))
        rows.append(row)
    print_table(rows, list(rows[0]))
    print(f"\nresults   {every[0].results} on the work volume")


def _describe_end(end: Ended | None) -> str:
    return f"{end.code}: {end.meaning}" if end else "-"
