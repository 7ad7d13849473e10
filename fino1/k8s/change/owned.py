"""Which objects on the cluster belong to a run, who else may own them, and how do they go?"""

import sys
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any, Literal, NamedTuple, TypeVar

from fino1.errors import ClusterError
from fino1.k8s.cluster.client import FIELD_MANAGER, Api
from fino1.k8s.state.run import KINDS, OURS

Object = Mapping[str, Any]
Thing, Result = TypeVar("Thing"), TypeVar("Result")

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
_CONNECTIONS = 16
_PAUSE_S = 1.0  # between two looks at pods that end
_LATE_S = 2.0  # within which a controller that has not heard of its object's end may still make a pod of it
_SHOWN = 5  # names in a message


class Owner(NamedTuple):
    """Who brought an object here, if not this command, and how does it go?"""

    name: str
    removal: str


def managed(thing: Object) -> dict[str, Any]:
    """An object as `submit` sends it: Helm puts its own name on what it manages, we put ours."""
    metadata = thing["metadata"]
    labels = {**metadata["labels"], "app.kubernetes.io/managed-by": FIELD_MANAGER}
    return {**thing, "metadata": {**metadata, "labels": labels}}


def label(thing: Object) -> str:
    """What is an object called in messages?"""
    return f"{thing['kind']}/{thing['metadata']['name']}"


def run_of(thing: Object) -> str:
    """Full name of the run it belongs to; empty for a claim, which belongs to none."""
    return (thing["metadata"].get("labels") or {}).get(RUN, "")


def is_run(thing: Object) -> bool:
    """Is it a run object, that a controller runs?"""
    return KINDS.get(thing["kind"]) == thing["apiVersion"]


def names(things: Iterable[str]) -> str:
    """A list for a message, of which the first few are named."""
    listed = list(things)
    more = f" and {len(listed) - _SHOWN} more" if len(listed) > _SHOWN else ""
    return ", ".join(listed[:_SHOWN]) + more


def in_parallel(task: Callable[[Thing], Result], things: Iterable[Thing]) -> list[Result]:
    """Do a task for each, a few at a time. The first error ends it, and what has not begun then never does."""
    with ThreadPoolExecutor(_CONNECTIONS) as pool:
        try:
            return list(pool.map(task, things))
        finally:
            pool.shutdown(cancel_futures=True)


def listed(api: Api, kinds: Iterable[tuple[str, str]], selector: str) -> list[dict[str, Any]]:
    """Which objects of ours, of these kinds, match? Those that a controller made are its own affair."""
    served = [kind for kind in kinds if api.serves(*kind)]
    lists = in_parallel(lambda kind: api.list(*kind, label_selector=f"{OURS},{selector}").items, served)
    return [item for items in lists for item in items if not _is_made_by_a_controller(item)]


def of_run(api: Api, name: str) -> list[dict[str, Any]]:
    """Everything of the run that is called so, by full name or else of all submitted under it; run objects come last."""
    kinds = (*SURROUNDINGS, *((version, kind) for kind, version in KINDS.items()))
    for selector in (f"{RUN}={name}", f"{INSTANCE}={name},{RUN}"):
        if things := listed(api, kinds, selector):
            return things
    return []


def owner(thing: Object) -> Owner | None:
    """Does another tool look after this object of ours?"""
    metadata = thing["metadata"]
    annotations, labels = metadata.get("annotations") or {}, metadata.get("labels") or {}
    if release := annotations.get("meta.helm.sh/release-name"):
        namespace = annotations.get("meta.helm.sh/release-namespace", metadata.get("namespace", ""))
        return Owner(f"Helm release {release}", f"helm uninstall {release} -n {namespace}")
    if tracked := annotations.get("argocd.argoproj.io/tracking-id"):
        application = tracked.partition(":")[0]
        return Owner(f"Argo CD application {application}", "take it out of the application's repository")
    if flux := labels.get("kustomize.toolkit.fluxcd.io/name"):
        return Owner(f"Flux Kustomization {flux}", "take it out of the Kustomization's repository")
    return None


def remove(api: Api, things: Sequence[Object], propagation: Literal["Foreground", "Background"] = "Background") -> int:
    """Ask for these very objects to be deleted (not others that have their names since); how many were still there?"""

    def one(thing: Object) -> bool:
        metadata = thing["metadata"]
        return api.delete(
            thing["apiVersion"], thing["kind"], metadata["name"], propagation=propagation, uid=metadata["uid"]
        )

    return sum(in_parallel(one, things))


def pods(api: Api, selector: str, runs: set[str]) -> list[dict[str, Any]]:
    """Which pods of these runs (full names) are there? `selector` narrows what the server sends; a test's pod is none."""
    wanted = f"{OURS},{selector},app.kubernetes.io/component!=test"
    return [pod for pod in api.list("v1", "Pod", label_selector=wanted).items if run_of(pod) in runs]


def patience_s(pods_left: Iterable[Object]) -> float:
    """How long may pods take to end? Their grace period, and a minute for the kubelet."""
    return 60.0 + max((pod["spec"].get("terminationGracePeriodSeconds") or 30 for pod in pods_left), default=600)


def wait_until_gone(left: Callable[[], list[dict[str, Any]]], timeout_s: float) -> None:
    """Wait until none of the objects that `left` finds are there (C12: an old rank must not join a new attempt).

    None twice, since a pod may come after the object that it is of has gone: it lives until the garbage collector finds it.
    ClusterError that names them when time is up.
    """
    end = time.monotonic() + timeout_s
    told = False
    while things := left() or _late(left):
        which = names(label(thing) for thing in things)
        if time.monotonic() + _PAUSE_S > end:
            raise ClusterError(
                f"still there after {timeout_s:.0f} s: {which}; a pod whose node is lost ends only with"
                " `kubectl delete pod --force`; then type this again"
            )
        if not told:
            print(f"waiting for the end of {which} (at most {timeout_s:.0f} s)", file=sys.stderr)
            told = True
        time.sleep(_PAUSE_S)


def _late(left: Callable[[], list[dict[str, Any]]]) -> list[dict[str, Any]]:
    """What is there a while after nothing was?"""
    time.sleep(_LATE_S)
    return left()


def _is_made_by_a_controller(thing: Object) -> bool:
    return any(reference.get("controller") for reference in thing["metadata"].get("ownerReferences") or [])


def count_kinds(things: Iterable[Object]) -> str:
    """How many objects of each kind, as text."""
    kinds = sorted(thing["kind"] for thing in things)
    return ", ".join(f"{kinds.count(kind)} {kind}" for kind in dict.fromkeys(kinds)) or "nothing else"
