"""Apply a run's objects, all of them or none; the run objects come last, after what they need."""

import sys
import time
from collections.abc import Sequence

from fino1.errors import ClusterError
from fino1.k8s.change.dryrun import AWAITS_RUNTIME, Change
from fino1.k8s.change.owned import Object, is_run, join_names, label
from fino1.k8s.cluster.client import Api, Applied, in_parallel
from fino1.k8s.cluster.errors import ApiError, Lost

_SEEN_S = 30.0  # until a webhook sees an object that was made a moment ago


def apply(api: Api, changes: Sequence[Change]) -> list[Change]:
    """Apply what is new or differs; returns the changes with what the server then holds.

    Where one is refused, or the connection breaks, what this call made is removed again: a run is there whole or not at all.
    """
    made: list[Object] = []

    def apply_one(change: Change) -> Change:
        if change.outcome == "unchanged":
            return change
        try:
            applied = _apply_with_retry(api, change)
        except Lost:  # perhaps after the object was made; before this call there was none
            if not change.before:
                made.append(change.object)
            raise
        if applied.outcome == "created":
            made.append(applied.object)
        return Change(change.object, change.before, applied.object, applied.outcome)

    try:
        needed = in_parallel(apply_one, [change for change in changes if not is_run(change.object)])
        return needed + in_parallel(apply_one, [change for change in changes if is_run(change.object)])
    except KeyboardInterrupt:
        print(_undo(api, made), file=sys.stderr)
        raise
    except ClusterError as error:
        raise ClusterError(f"{error}\n{_undo(api, made)}") from error


def _apply_with_retry(api: Api, change: Change) -> Applied:
    """Apply one; again while Trainer 2's webhook, which reads a cache, has not seen the runtime that was made just before."""
    deadline = time.monotonic() + _SEEN_S
    while True:
        try:
            return api.apply(change.object, before=change.before)
        except ApiError as error:
            if AWAITS_RUNTIME not in str(error) or time.monotonic() >= deadline:
                raise
            time.sleep(0.2)


def _undo(api: Api, made: Sequence[Object]) -> str:
    """Remove what was made. Returns what is left, in words."""
    left: dict[str, ClusterError] = {}

    def remove(thing: Object) -> bool:
        metadata = thing["metadata"]
        try:
            return api.delete(thing["apiVersion"], thing["kind"], metadata["name"], uid=metadata.get("uid", ""))
        except ClusterError as error:
            left[label(thing)] = error
            return False

    removed = f"{sum(in_parallel(remove, made))} objects that this call had made are removed again"
    if not left:
        return f"not submitted: {removed}"
    if all("may not delete persistentvolumeclaims" in str(error) for error in left.values()):
        return f"not submitted: {removed}; the new {join_names(left)} stay: this user may not delete claims"
    why = next(iter(left.values()))
    return f"{removed}; {join_names(left)} may still be there: {why}; `fino1-k8s cancel` removes it"
