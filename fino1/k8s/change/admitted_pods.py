"""Would the pods of a run be admitted? A run object is, even where Pod Security, a LimitRange or a quota refuses its pods."""

import sys
from collections.abc import Sequence
from typing import Any

from fino1.k8s.change.dryrun import raise_all, shape
from fino1.k8s.change.owned import Object, in_parallel
from fino1.k8s.cluster.client import Api
from fino1.k8s.cluster.errors import ApiError
from fino1.k8s.objects.backends import pod_templates


def check(api: Api, objects: Sequence[Object]) -> None:
    """Ask the server to admit one pod of each template, as a dry run.

    ClusterError with all reasons; says so where the user may not ask.
    """
    if not api.can("create", "pods"):
        print(
            "warning: not asked whether the cluster admits the run's pods: this user may not create pods (docs/rbac.md)",
            file=sys.stderr,
        )
        return
    accounts = {thing["metadata"]["name"] for thing in objects if thing["kind"] == "ServiceAccount"}
    problems: dict[str, Exception] = {}
    waits = any("kueue.x-k8s.io/queue-name" in thing["metadata"]["labels"] for thing in objects)

    def one(pod: dict[str, Any]) -> None:
        try:
            api.create(pod, dry_run=True)
        except ApiError as error:
            if error.status not in (403, 409, 422):
                raise
            reason = str(error).partition(": ")[2].removeprefix(f'pods "{pod["metadata"]["name"]}" is forbidden: ')
            if "exceeded quota" in reason and waits:
                print(f"warning: {pod['metadata']['name']}: no room now, it will wait: {reason}", file=sys.stderr)
                return
            text = f"{pod['metadata']['name']}: the pods of this run would be refused: {reason}"
            problems[reason] = ApiError(text, error.status)

    in_parallel(one, _pods(objects, accounts))
    raise_all(list(problems.values()))


def _pods(objects: Sequence[Object], accounts: set[str]) -> list[dict[str, Any]]:
    """One pod for each template that admission could tell from the others."""
    different: dict[str, dict[str, Any]] = {}
    for thing in objects:
        for template in pod_templates(thing):
            spec = template["spec"]
            if spec.get("serviceAccountName") in accounts:  # it is not there yet, and admission looks for it
                spec = {key: value for key, value in spec.items() if key != "serviceAccountName"}
            name = thing["metadata"]["name"]
            pod = {
                "apiVersion": "v1",
                "kind": "Pod",
                "metadata": {"name": name, **template.get("metadata", {})},
                "spec": spec,
            }
            different.setdefault(shape(pod, name), pod)
    return list(different.values())
