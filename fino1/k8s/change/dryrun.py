"""Would the cluster take these objects? Asks the server, and changes nothing. (Their pods: admitted_pods.py)"""

import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from fino1.errors import ClusterError, SpecError
from fino1.k8s.change.owned import INSTANCE, Object, in_parallel, is_run, label, listed, names, owner, run_of
from fino1.k8s.cluster.client import Api, Outcome
from fino1.k8s.cluster.errors import ApiError
from fino1.k8s.state.run import KINDS

UNKNOWN = {"metadata": {}}  # stands for the object as it is now: only "created" is then a sure answer
_INSTALL = {
    "kubeflow.org": "kubectl apply --server-side -k github.com/kubeflow/trainer.git/manifests/overlays/standalone?ref=v1.9.4",
    "trainer.kubeflow.org": "helm install kubeflow-trainer oci://ghcr.io/kubeflow/charts/kubeflow-trainer --version 2.3.0"
    " -n kubeflow-system --create-namespace",
    "jobset.x-k8s.io": "kubectl apply --server-side -f"
    " https://github.com/kubernetes-sigs/jobset/releases/download/v0.12.0/manifests.yaml",
    "scheduling.volcano.sh": "helm install volcano volcano --repo https://volcano-sh.github.io/helm-charts --version 1.15.1"
    " -n volcano-system --create-namespace",
    "scheduling.x-k8s.io": "helm install scheduler-plugins scheduler-plugins --repo https://scheduler-plugins.sigs.k8s.io"
    " -n scheduler-plugins --create-namespace",
}
_BACKENDS = {"pytorchjob": "PyTorchJob", "job": "Job", "jobset": "JobSet", "trainjob": "TrainJob"}
_GANGS = {"volcano": "scheduling.volcano.sh/v1beta1", "coscheduling": "scheduling.x-k8s.io/v1alpha1"}
# Trainer 2's webhook looks for the runtime, which a dry run does not make (pkg/runtime/core/trainingruntime.go).
AWAITS_RUNTIME = "must be created before the TrainJob"
_MOST_ERRORS = 20
_MANY = (
    200  # objects that are asked about one by one; of more, one of each shape (1,200 models: 4,800 objects, 4 shapes)
)
_SHAPELESS = ("args", "data", "annotations")  # keys whose texts no server looks into


@dataclass(frozen=True)
class Change:
    """One object: as asked for, as the cluster holds it (`{}`: not at all), and as it would hold it after an apply."""

    object: Object
    before: Object
    after: Object
    outcome: Outcome


def kinds_served(api: Api, objects: Sequence[Object]) -> None:
    """Does the cluster serve every kind? SpecError names the operator that is missing, and the backends that would do."""
    missing = {
        thing["kind"]: thing["apiVersion"] for thing in objects if not api.serves(thing["apiVersion"], thing["kind"])
    }
    if not missing:
        return
    problems = []
    for kind, version in missing.items():
        group = version.rpartition("/")[0]
        how = f"; to install it: {_INSTALL[group]}" if group in _INSTALL else ""
        problems.append(f"{kind} ({version}): expected a kind that {api.url} serves, got one it does not{how}")
    offered = [name for name, kind in _BACKENDS.items() if api.serves(KINDS[kind], kind)]
    gangs = [name for name, version in _GANGS.items() if api.serves(version, "PodGroup")]
    if "PodGroup" in missing:
        problems.append(
            f"gang: this cluster has {' and '.join(gangs) or 'none; without the key pods start one by one'}"
        )
    else:
        problems.append(f"backend: this cluster has the operators for --set backend={' or '.join(offered)}")
    raise SpecError(problems)


def present(api: Api, objects: Sequence[Object]) -> dict[str, Object]:
    """Which of these objects, and which others of the same run names, are there already? By label (Kind/name)."""
    kinds = dict.fromkeys((thing["apiVersion"], thing["kind"]) for thing in objects if run_of(thing))
    kinds |= dict.fromkeys((version, kind) for kind, version in KINDS.items())
    instances = {thing["metadata"]["labels"][INSTANCE] for thing in objects}
    things = [thing for instance in instances for thing in listed(api, kinds, f"{INSTANCE}={instance}")]
    for claim in (thing for thing in objects if not run_of(thing)):
        there = api.get(claim["apiVersion"], claim["kind"], claim["metadata"]["name"])
        things += [there] if there else []
    return {label(thing): thing for thing in things}


def changes(api: Api, objects: Sequence[Object], there: Mapping[str, Object], *, force: bool = False) -> list[Change]:
    """What would an apply of these objects do? The server's own word on each; ClusterError with all that it refuses.

    SpecError where one is another's. A claim that exists stays as it is. Of very many new objects one of each shape is asked
    about, and of the others whether their names are free.
    """
    problems: list[Exception] = []
    claims = [thing for thing in objects if not run_of(thing) and label(thing) in there]
    for claim in claims:
        if there[label(claim)]["metadata"].get("deletionTimestamp"):
            problems.append(SpecError(f"{label(claim)}: expected a claim that stays, got one that is being deleted"))
    asked = [thing for thing in objects if run_of(thing) or label(thing) not in there]
    asked, twins = _told_apart(asked, there) if len(asked) > _MANY else (asked, [])
    runtimes = {thing["metadata"]["name"] for thing in asked if thing["kind"] == "TrainingRuntime"}

    def one(thing: Object) -> Change | None:
        before = there.get(label(thing), {})
        try:
            if before:
                _refuse_anothers(before)
                thing = _with_suspend_as_it_is(thing, before)
            would = api.apply(thing, dry_run=True, force=force, before=before or UNKNOWN)
            if not before and would.outcome != "created":
                before = _found_unlabelled(api, thing)
            return Change(thing, before, would.object, would.outcome)
        except SpecError as error:
            problems.append(error)
        except ApiError as error:
            if thing["kind"] == "TrainJob" and AWAITS_RUNTIME in str(error) and thing["metadata"]["name"] in runtimes:
                return Change(thing, {}, thing, "created")
            if error.status not in (403, 409, 422):  # no connection, no namespace: the same for every object
                raise
            problems.append(_explained(api, thing, before, error))
        return None

    found_out = [change for change in in_parallel(one, asked) if change]
    problems += _taken(api, twins)
    raise_all(problems)
    found_out += [Change(thing, {}, thing, "created") for thing in twins]
    return found_out + [Change(thing, there[label(thing)], there[label(thing)], "unchanged") for thing in claims]


def claims_that_differ(changed: Sequence[Change]) -> Iterator[str]:
    """Which claims exist with another size or class than the run file's? They are left as they are."""
    for change in changed:
        if change.object["kind"] != "PersistentVolumeClaim" or not change.before:
            continue
        wanted, there = change.object["spec"], change.before["spec"]
        for path, key in (
            ("size", "storage"),
            ("storageClassName", "storageClassName"),
            ("accessModes", "accessModes"),
        ):
            want, got = (_of_claim(spec, key) for spec in (wanted, there))
            if want is not None and want != got:
                yield f"{label(change.object)}: {path} is {got}, the run file says {want}; a claim that exists is left as it is"


def _refuse_anothers(thing: Object) -> None:
    other = owner(thing)
    if other:
        raise SpecError(
            f"{label(thing)}: expected it to be this command's, got one of {other.name}: {other.removal}, or take another --name"
        )


def _found_unlabelled(api: Api, thing: Object) -> Object:
    """The object as it is; it has not our labels, so SpecError says whose it is."""
    there = api.get(thing["apiVersion"], thing["kind"], thing["metadata"]["name"])
    if there is None:  # gone since
        return {}
    _refuse_anothers(there)
    labels = there["metadata"].get("labels") or {}
    by = labels.get("app.kubernetes.io/managed-by") or names(
        dict.fromkeys(entry["manager"] for entry in there["metadata"].get("managedFields") or [])
    )
    if labels.get("app.kubernetes.io/part-of") != "fino1":
        raise SpecError(
            f"{label(thing)}: expected no such object, or one of ours, got another's (made by {by or 'unknown'},"
            " without the label app.kubernetes.io/part-of: fino1): take another --name"
        )
    return there


def _with_suspend_as_it_is(thing: Object, before: Object) -> Object:
    """What `suspend`, `resume` or Kueue have done since the run was submitted is no difference."""
    if not is_run(thing):
        return thing
    spec, there = (each["spec"].get("runPolicy", each["spec"]) for each in (thing, before))
    if "suspend" not in spec or spec["suspend"] == there.get("suspend"):
        return thing
    kept = {**spec, "suspend": there.get("suspend", False)}
    return {**thing, "spec": {**thing["spec"], "runPolicy": kept} if "runPolicy" in thing["spec"] else kept}


def _explained(api: Api, thing: Object, before: Object, error: ApiError) -> Exception:
    """The server's refusal, with what it does not know."""
    if not before and error.status != 403:
        try:
            _found_unlabelled(api, thing)
        except SpecError as anothers:
            return anothers
    if "immutable" in str(error) and before:
        version = (before["metadata"].get("labels") or {}).get("app.kubernetes.io/version", "unknown")
        return SpecError(
            f"{error}; it was submitted by fino1 {version}: `fino1-k8s cancel {thing['metadata']['name']}` first,"
            " results stay and the run goes on from its checkpoints"
        )
    return error


def shape(thing: Object, name: str) -> str:
    """What can the server judge of an object, whatever it is called? Alike for the models of an evaluation."""

    def judged(value: Any) -> Any:
        if isinstance(value, dict):
            return {key: judged(item) for key, item in value.items() if key not in _SHAPELESS}
        return [judged(item) for item in value] if isinstance(value, list) else value

    return json.dumps(judged(thing)).replace(name, "")


def _told_apart(asked: Sequence[Object], there: Mapping[str, Object]) -> tuple[list[Object], list[Object]]:
    """Those that exist and one of each shape; and the new ones that are like one of these."""
    seen: set[str] = set()
    first: list[Object] = []
    twins: list[Object] = []
    for thing in asked:
        known = shape(thing, run_of(thing) or label(thing))
        (twins if known in seen and label(thing) not in there else first).append(thing)
        seen.add(known)
    return first, twins


def _taken(api: Api, twins: Sequence[Object]) -> list[SpecError]:
    """Which of these new objects' names are taken by objects without our labels?"""
    problems = []
    for kind in dict.fromkeys((thing["apiVersion"], thing["kind"]) for thing in twins):
        strangers = api.list(*kind, label_selector="app.kubernetes.io/part-of!=fino1").items
        names_taken = {label(thing) for thing in strangers}
        for thing in twins:
            if label(thing) in names_taken:
                try:
                    _found_unlabelled(api, thing)
                except SpecError as error:
                    problems.append(error)
    return problems


def raise_all(problems: Sequence[Exception]) -> None:
    """SpecError where all of it is the run file's fault, else ClusterError: quotas, policies and rights are the cluster's."""
    if not problems:
        return
    lines = list(dict.fromkeys(str(problem) for problem in problems))
    more = [f"… and {len(lines) - _MOST_ERRORS} more"] if len(lines) > _MOST_ERRORS else []
    lines = sorted(lines[:_MOST_ERRORS]) + more
    if all(isinstance(problem, SpecError) or getattr(problem, "status", 0) == 422 for problem in problems):
        raise SpecError(lines)
    raise ClusterError("\n".join(lines))


def _of_claim(spec: Mapping[str, Any], key: str) -> Any:
    return spec["resources"]["requests"].get(key) if key == "storage" else spec.get(key)
