"""Which earlier runs of the same name are in the way of a submit, and what of an earlier attempt has still to end?"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from fino1.errors import SpecError
from fino1.k8s.change.owned import INSTANCE, Object, is_run, label, list_pods, run_of
from fino1.k8s.cluster.client import Api
from fino1.k8s.state.run import Run


def check_earlier(objects: Sequence[Object], there: Iterable[Object]) -> list[str]:
    """Warnings about runs of the same name with another hash that are not over.

    Raises SpecError where one of them writes to the same directory.
    """
    mine = {label(thing) for thing in objects}
    directories = {Run(thing).directory for thing in objects if is_run(thing)}
    earlier = [Run(thing) for thing in there if is_run(thing) and label(thing) not in mine]
    warnings, problems = [], []
    for run in (run for run in earlier if not run.is_over):
        stands = f"{run.kind}/{run.full}, an earlier run of this name, is {run.phase}"
        if run.directory in directories:
            problems.append(
                f"{stands} and writes to the same directory, {run.directory}: `fino1-k8s cancel {run.full}` first, the new run"
                " goes on from its checkpoints"
            )
        else:
            warnings.append(f"{stands}; both will run (`fino1-k8s cancel {run.full}` ends it)")
    if problems:
        raise SpecError(problems)
    return warnings


@dataclass(frozen=True)
class Leftovers:
    """What earlier attempts at the same run objects (their full names: `runs`) may have left: pods, and objects being deleted.

    A rank of the attempt before must not join the new one (docs/design.md C12).
    """

    api: Api
    ending: Sequence[Object]
    selector: str
    runs: frozenset[str]

    @classmethod
    def of(cls, api: Api, objects: Sequence[Object], there: Mapping[str, Object]) -> "Leftovers":
        """Of the run objects among `objects` that do not exist; `there`: what exists, from `dryrun.present`."""
        ending = [thing for thing in there.values() if thing["metadata"].get("deletionTimestamp") and run_of(thing)]
        alive = {run_of(thing) for thing in there.values() if is_run(thing) and thing not in ending}
        instance = objects[0]["metadata"]["labels"][INSTANCE]
        runs = frozenset(run_of(thing) for thing in objects if run_of(thing)) - alive
        return cls(api, ending, f"{INSTANCE}={instance}", runs)

    def find(self) -> list[dict[str, Any]]:
        """What is there now."""
        if not self.runs:
            return []
        uids = {thing["metadata"]["uid"] for thing in self.ending}
        again = [self.api.get(each["apiVersion"], each["kind"], each["metadata"]["name"]) for each in self.ending]
        still = [thing for thing in again if thing and thing["metadata"]["uid"] in uids]
        return still + list_pods(self.api, self.selector, set(self.runs))
