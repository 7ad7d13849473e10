"""How do run objects and their pods change while one looks? They are listed again at each `look`."""

import time
from collections.abc import Sequence

from fino1 import exits
from fino1.k8s import times
from fino1.k8s.cluster.client import Api
from fino1.k8s.state import status
from fino1.k8s.state.pods import Pod, find_first_failures
from fino1.k8s.state.run import KINDS, Run
from fino1.k8s.state.status import ReadAccess, Standing

_SETTLE_S = 10.0  # for the last pods' exit codes to come, after the run object has said that it is over


class Watched:
    """Run objects and their pods, as they were at the last `look`."""

    def __init__(self, api: Api, runs: Sequence[Run], *, with_pods: bool = True) -> None:
        self.access = ReadAccess()
        self.runs = {run.full: run for run in runs}
        self.deleted: set[str] = set()  # full names
        self._api, self._selector, self._with_pods = api, status.pod_selector(runs), with_pods
        self._pods: dict[str, Pod] = {}  # by uid; deleted ones too: their exit codes count
        self._gone: set[str] = set()  # uids of deleted pods
        self._over_since: float | None = None
        self.look()

    def look(self) -> bool:
        """List all again; returns whether they are over. Raises what the server refuses, except for pods."""
        there = {}
        for kind in {run.kind for run in self.runs.values()}:
            items = self._api.list(KINDS[kind], kind, label_selector=self._selector)
            there |= {item["metadata"]["uid"]: item for item in items}
        for full, run in self.runs.items():
            if item := there.get(run.object["metadata"]["uid"]):
                self.runs[full] = Run(item)
            else:
                self.deleted.add(full)
        if self._with_pods:
            pods = self.access.ask(lambda: status.list_pods(self._api, list(self.runs.values())), [])
            listed = {pod["metadata"]["uid"]: pod for pod in pods}
            self._gone |= self._pods.keys() - listed.keys()
            self._pods |= listed
        return self.is_over

    @property
    def is_over(self) -> bool:
        """Whether none of them will go on."""
        return all(run.is_over or run.full in self.deleted for run in self.runs.values())

    @property
    def is_settled(self) -> bool:
        """Whether they are over, and failed ones' pods say why (or have not said it in time)."""
        if not self.is_over:
            return False
        self._over_since = self._over_since or time.monotonic()
        failed = [each for each in self.standings() if each.run.phase == "Failed" and _is_news(each.run)]
        is_explained = all(find_first_failures(each.ranks) for each in failed)
        return is_explained or bool(self.access.unread) or time.monotonic() - self._over_since > _SETTLE_S

    def standings(self) -> list[Standing]:
        """The state of all now. Once all are over, deleted pods count too: they may say why."""
        pods = [pod for uid, pod in self._pods.items() if self.is_over or uid not in self._gone]
        return status.standings(self.runs.values(), pods)

    def exit_code(self) -> int:
        """0 if all succeeded, else what the container that failed first ended with; 1 where that is not known."""
        codes = []
        for each in self.standings():
            failures = find_first_failures(each.ranks)
            if each.run.phase == "Failed" and failures:
                codes.append((failures[0].at, failures[0].code))
            elif each.run.phase == "Failed" or (each.run.full in self.deleted and not each.run.is_over):
                codes.append((each.run.since, exits.BUG))
        return min(codes)[1] if codes else exits.DONE


def _is_news(run: Run) -> bool:
    """Whether it has ended so recently that its pods may still say how."""
    return (times.now() - times.parse(run.since)).total_seconds() < _SETTLE_S
