"""Apply a run's objects, all of them or none; the run objects come last, after what they need."""

import sys
import time
from collections.abc import Sequence
from typing import Any

from fino1.errors import ClusterError
from fino1.k8s.change.dryrun import AWAITS_RUNTIME, Change
from fino1.k8s.change.owned import Object, in_parallel, is_run, join_names, label, remove
from fino1.k8s.cluster.client import Api, Applied
from fino1.k8s.cluster.errors import ApiError, Lost
from fino1.k8s.state.run import run_of

_SEEN_S = 30.0  # until a webhook sees an object that was made a moment ago


def apply(api: Api, changes: Sequence[Change]) -> list[Change]:
    """Apply what is new or differs; returns the changes with what the server then holds.

    Where one is refused, or the connection breaks, what this call made is removed again: a run is there whole or not at all.
    """
    made: list[dict[str, Any]] = []
    unanswered: list[Object] = []

    def apply_one(change: Change) -> Change:
        if change.outcome == "unchanged":
            return change
        try:
            applied = _apply_with_retry(api, change)
        except Lost:
            if not change.before:
                unanswered.append(change.object)
            raise
        if applied.outcome == "created":
            made.append(applied.object)
        return Change(change.object, change.before, applied.object, applied.outcome)

    try:
        needed = in_parallel(apply_one, [change for change in changes if not is_run(change.object)])
        return needed + in_parallel(apply_one, [change for change in changes if is_run(change.object)])
    except KeyboardInterrupt:
        print(_undo(api, made, unanswered), file=sys.stderr)
        raise
    except ClusterError as error:
        raise ClusterError(f"{error}\n{_undo(api, made, unanswered)}") from error


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


def _undo(api: Api, made: Sequence[Object], unanswered: Sequence[Object]) -> str:
    """Remove what was made. Returns what is left, in words."""
    try:
        # The answer got lost, perhaps after the object was made: before this call there was none.
        found = [api.get(thing["apiVersion"], thing["kind"], thing["metadata"]["name"]) for thing in unanswered]
        new = [*made, *(thing for thing in found if thing)]
        claims = [thing for thing in new if not run_of(thing)]
        remove(api, [thing for thing in reversed(new) if run_of(thing)])
    except ClusterError as error:
        left = join_names(label(thing) for thing in [*made, *unanswered])
        return f"what this call had made may still be there ({left}): {error}; `fino1-k8s cancel` removes it"
    kept = ""
    try:
        remove(api, claims)
    except ApiError as error:
        if error.status != 403:
            return f"not submitted, but this call had made {join_names(map(label, claims))}, which may still be there: {error}"
        new = [thing for thing in new if run_of(thing)]
        kept = f"; the new {join_names(map(label, claims))} stay: this user may not delete claims"
    return f"not submitted: {len(new)} objects that this call had made are removed again{kept}"
