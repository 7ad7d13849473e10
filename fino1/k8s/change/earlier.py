"""Which earlier runs of the same name are in the way of a submit, and what of an earlier attempt has still to end?"""

from collections.abc import Collection, Sequence

from fino1.errors import SpecError
from fino1.k8s.change.owned import Object, is_run, label, list_pods
from fino1.k8s.cluster.client import Api
from fino1.k8s.state.run import Run, run_of


def find_leftovers(api: Api, objects: Sequence[Object], there: Collection[Object]) -> list[Object]:
    """What earlier attempts at these run objects left and still has to end: objects that are being deleted, and pods.

    `there`: what exists now, from `dryrun.find_existing`. A rank of the attempt before must not join the new one
    (docs/design.md C12).
    """
    ending = [thing for thing in there if thing["metadata"].get("deletionTimestamp") and run_of(thing)]
    alive = {run_of(thing) for thing in there if is_run(thing) and thing not in ending}
    absent = {run_of(thing) for thing in objects if run_of(thing)} - alive
    if not absent:
        return []
    return ending + list_pods(api, absent)


def check_earlier(objects: Sequence[Object], there: Collection[Object]) -> list[str]:
    """Warnings about runs of the same name with another hash that are not over.

    Raises SpecError where one of them writes to the same directory.
    """
    mine = {label(thing) for thing in objects}
    directories = {Run(thing).directory for thing in objects if is_run(thing)}
    warnings, problems = [], []
    for run in (Run(thing) for thing in there if is_run(thing) and label(thing) not in mine):
        stands = f"{run.kind}/{run.full}, an earlier run of this name, is {run.phase}"
        cancel = f"`fino1-k8s cancel {run.full}`"
        if run.is_over:
            continue
        if run.directory in directories:
            goes_on = f"{cancel} first, the new run goes on from its checkpoints"
            problems.append(f"{stands} and writes to the same directory, {run.directory}: {goes_on}")
        else:
            warnings.append(f"{stands}; both will run ({cancel} ends it)")
    if problems:
        raise SpecError(problems)
    return warnings
