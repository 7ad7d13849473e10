"""Which objects on the cluster belong to a run, who else may own them, and how are they removed?"""

import functools
import sys
import time
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from typing import Any, Literal

from fino1.errors import ClusterError
from fino1.k8s.cluster.client import FIELD_MANAGER, Api, in_parallel
from fino1.k8s.objects.backends import KINDS
from fino1.k8s.state.queue import find_workload, kueue_version
from fino1.k8s.state.run import OURS, Run, list_ours

Object = Mapping[str, Any]

RUN, INSTANCE = "fino1/run", "app.kubernetes.io/instance"
# What a run object needs. Claims are none of these: they hold results, and outlive every run.
SURROUNDINGS = (
    ("v1", "ServiceAccount"),
    ("v1", "ConfigMap"),
    ("v1", "Service"),
    ("networking.k8s.io/v1", "NetworkPolicy"),
    ("scheduling.volcano.sh/v1beta1", "PodGroup"),
    ("scheduling.x-k8s.io/v1alpha1", "PodGroup"),
    ("trainer.kubeflow.org/v1alpha1", "TrainingRuntime"),
)
_PAUSE_S = 1.0  # between two looks at pods that end
_LATE_S = 2.0  # after an object's deletion, for a controller that has not seen it and still makes a pod
_SHOWN = 5  # names in a message


def managed(thing: Object) -> dict[str, Any]:
    """An object as `submit` sends it: Helm puts its own name on what it manages, we put ours."""
    metadata = thing["metadata"]
    labels = {**metadata["labels"], "app.kubernetes.io/managed-by": FIELD_MANAGER}
    return {**thing, "metadata": {**metadata, "labels": labels}}


def label(thing: Object) -> str:
    """Name of an object in messages: Kind/name."""
    return f"{thing['kind']}/{thing['metadata']['name']}"


def is_run(thing: Object) -> bool:
    """Whether it is a run object, of which a controller makes pods."""
    return KINDS.get(thing["kind"]) == thing["apiVersion"]


def join_names(names: Iterable[str]) -> str:
    """The first few names and how many more there are, for a message."""
    every = list(names)
    more = f" and {len(every) - _SHOWN} more" if len(every) > _SHOWN else ""
    return ", ".join(every[:_SHOWN]) + more


def list_of_run(api: Api, name: str) -> list[dict[str, Any]]:
    """All objects of the run with the full name `name`, else of all runs submitted under it; run objects come last."""
    kinds = (*SURROUNDINGS, *((version, kind) for kind, version in KINDS.items()))
    for selector in (f"{RUN}={name}", f"{INSTANCE}={name},{RUN}"):
        if things := list_ours(api, kinds, selector):
            return things
    return []


def find_owner(thing: Object) -> str:
    """The tool that manages this object of ours, and how the object is removed there; empty if it is this command."""
    metadata = thing["metadata"]
    annotations, labels = metadata.get("annotations") or {}, metadata.get("labels") or {}
    if release := annotations.get("meta.helm.sh/release-name"):
        namespace = annotations.get("meta.helm.sh/release-namespace", metadata.get("namespace", ""))
        return f"Helm release {release}: helm uninstall {release} -n {namespace}"
    if tracked := annotations.get("argocd.argoproj.io/tracking-id"):
        return f"Argo CD application {tracked.partition(':')[0]}: take it out of the application's repository"
    if flux := labels.get("kustomize.toolkit.fluxcd.io/name"):
        return f"Flux Kustomization {flux}: take it out of the Kustomization's repository"
    return ""


def find_foreign(api: Api, things: Iterable[Object]) -> dict[str, list[Object]]:
    """What others manage, by `find_owner`'s words, without what an Argo CD application has left behind (docs/gitops.md)."""
    found: dict[str, list[Object]] = {}
    for thing in things:
        held = _list_held(api) if (owner := find_owner(thing)).startswith("Argo CD") else None
        if owner and (held is None or (thing["kind"], thing["metadata"]["name"]) in held):
            found.setdefault(owner, []).append(thing)
    return found


@functools.cache
def _list_held(api: Api) -> set[tuple[str, str]] | None:
    """Kind and name of what Argo CD applications hold; None where this user may not list them, or Argo CD runs elsewhere."""
    try:
        applications = api.list("argoproj.io/v1alpha1", "Application", namespace="")
    except ClusterError:
        return None
    things = [thing for each in applications for thing in each.get("status", {}).get("resources", [])]
    # Where the repository cannot be read all seem to need pruning, and their status is Unknown.
    left = [thing for thing in things if thing.get("requiresPruning") and thing["status"] == "OutOfSync"]
    return {(thing["kind"], thing["name"]) for thing in things if thing not in left}


def remove(api: Api, things: Sequence[Object], propagation: Literal["Foreground", "Background"] = "Background") -> None:
    """Delete these very objects, not others that have got their names since."""

    def remove_one(thing: Object) -> None:
        name, uid = thing["metadata"]["name"], thing["metadata"]["uid"]
        api.delete(thing["apiVersion"], thing["kind"], name, propagation=propagation, uid=uid)

    in_parallel(remove_one, things)


def list_pods(api: Api, runs: Iterable[str]) -> list[dict[str, Any]]:
    """Pods of the runs with these full names, without those of `helm test`."""
    selector = f"{OURS},{RUN} in ({','.join(sorted(runs))}),app.kubernetes.io/component!=test"
    return api.list("v1", "Pod", label_selector=selector)


def find_own_workload(api: Api, run: Run) -> Object | None:
    """The Workload that Kueue has made of the run; None where it is not in a queue, or Kueue has made none."""
    version = kueue_version(api) if run.queue else ""
    return find_workload(run, api.list(version, "Workload")) if version else None


def end_runs(api: Api, things: Sequence[Object], names: Collection[str], timeout_s: float | None = None) -> None:
    """Delete these run objects; wait until they and all pods of the runs with the full names `names` are gone."""
    uids = {thing["metadata"]["uid"] for thing in things}

    def list_remaining() -> list[dict[str, Any]]:
        found = [api.get(thing["apiVersion"], thing["kind"], thing["metadata"]["name"]) for thing in things]
        return [thing for thing in found if thing and thing["metadata"]["uid"] in uids] + list_pods(api, names)

    list_remaining()  # whoever may not look is refused before anything is deleted
    remove(api, things, "Foreground")
    wait_until_gone(list_remaining, timeout_s)


def wait_until_gone(list_remaining: Callable[[], Sequence[Object]], timeout_s: float | None = None) -> None:
    """Wait until `list_remaining` finds nothing, twice; by default for the pods' grace period and a minute for the kubelet.

    Raises ClusterError that names what is left when time is up. An old rank must not join a new attempt (docs/design.md C12).
    """
    end = 0.0
    # Twice: a controller may still create a pod of an object that was just deleted.
    while things := list_remaining() or (time.sleep(_LATE_S) or list_remaining()):
        which = join_names(map(label, things))
        if not end:
            if timeout_s is None:
                graces = [
                    thing["spec"].get("terminationGracePeriodSeconds") for thing in things if thing["kind"] == "Pod"
                ]
                timeout_s = 60.0 + max((grace or 30 for grace in graces), default=600)
            end = time.monotonic() + timeout_s
            print(f"waiting for the end of {which} (at most {timeout_s:.0f} s)", file=sys.stderr)
        if time.monotonic() + _PAUSE_S > end:
            advice = "a pod whose node is lost ends only with `kubectl delete pod --force`; then type this again"
            raise ClusterError(f"still there after {timeout_s:.0f} s: {which}; {advice}")
        time.sleep(_PAUSE_S)


def count_kinds(things: Iterable[Object]) -> str:
    """Number of objects of each kind: "2 ConfigMap, 1 Service"; "nothing else" for none."""
    kinds = sorted(thing["kind"] for thing in things)
    return ", ".join(f"{kinds.count(kind)} {kind}" for kind in dict.fromkeys(kinds)) or "nothing else"
