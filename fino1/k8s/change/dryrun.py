"""Would the cluster take a run's objects, and admit their pods, and what of earlier runs is in the way?

Asks the API server, by dry runs, and changes nothing.
"""

import re
from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from fino1.errors import ClusterError, SpecError
from fino1.k8s.change.owned import INSTANCE, Object, find_owner, is_run, join_names, label, list_pods
from fino1.k8s.cluster.client import Api, Outcome, in_parallel
from fino1.k8s.cluster.errors import ApiError, missing_kind
from fino1.k8s.finding import Finding, missing, note, ok, wait
from fino1.k8s.objects.backends import BACKENDS, GANG_SCHEDULERS, pod_templates
from fino1.k8s.state.run import Run, list_runs, run_of

# Trainer 2's webhook looks for the runtime, which a dry run does not make (pkg/runtime/core/trainingruntime.go).
AWAITS_RUNTIME = "must be created before the TrainJob"
_VERSION = "app.kubernetes.io/version"
_REFUSED = (403, 409, 422)  # refusals of one object; other errors concern all of them
_EARLIER = "earlier run"
_FORBIDDEN_POD = re.compile(r'.*pods "[^"]*" is forbidden: ')


@dataclass(frozen=True)
class Change:
    """Effect of an apply of one object: the object as rendered, as the cluster holds it ({}: not at all), and as it would."""

    object: Object
    before: Object
    after: Object
    outcome: Outcome


def check_kinds(api: Api, objects: Sequence[Object]) -> None:
    """Raise SpecError if the cluster does not serve a kind; it names the operator to install, and the backends that are there."""
    kinds = {thing["kind"]: thing["apiVersion"] for thing in objects}
    absent = {kind: version for kind, version in kinds.items() if not api.serves(version, kind)}
    if not absent:
        return
    problems = [str(missing_kind(version, kind, api.who)) for kind, version in absent.items()]
    if "PodGroup" in absent:
        gangs = [name for name, gang in GANG_SCHEDULERS.items() if api.serves(gang.api_version, "PodGroup")]
        without = "none; without the key pods start one by one"
        problems.append(f"gang: this cluster has {' and '.join(gangs) or without}")
    else:
        offered = [name for name, backend in BACKENDS.items() if api.serves(backend.api_version, backend.kind)]
        problems.append(f"backend: this cluster has the operators for --set backend={' or '.join(offered)}")
    raise SpecError(problems)


def find_existing(api: Api, objects: Sequence[Object]) -> dict[str, Object]:
    """The objects of these names that exist, and all run objects of the same run name, by label (Kind/name)."""
    runs = list_runs(api, selector=f"{INSTANCE}={objects[0]['metadata']['labels'][INSTANCE]}")
    found = in_parallel(lambda thing: api.get(thing["apiVersion"], thing["kind"], thing["metadata"]["name"]), objects)
    return {label(thing): thing for thing in [*(run.object for run in runs), *filter(None, found)]}


def find_leftovers(api: Api, objects: Sequence[Object], there: Collection[Object]) -> list[Object]:
    """What earlier attempts at these run objects left and still has to end: objects that are being deleted, and pods.

    `there`: what exists now, from `find_existing`. A rank of the attempt before must not join the new one
    (docs/design.md C12).
    """
    ending = [thing for thing in there if thing["metadata"].get("deletionTimestamp") and run_of(thing)]
    alive = {run_of(thing) for thing in there if is_run(thing) and thing not in ending}
    absent = {run_of(thing) for thing in objects if run_of(thing)} - alive
    return ending + list_pods(api, absent) if absent else []


def judge_earlier(objects: Sequence[Object], there: Collection[Object]) -> Iterator[Finding]:
    """Runs of the same name with another hash: one that writes to the same directory has to be over."""
    mine = {label(thing) for thing in objects}
    directories = {Run(thing).directory for thing in objects if is_run(thing)}
    for run in (Run(thing) for thing in there if is_run(thing) and label(thing) not in mine):
        stands = f"{run.kind}/{run.full}, an earlier run of this name, is {run.phase}"
        same = f"{stands} and writes to the same directory, {run.directory}"
        cancel, goes_on = f"`fino1-k8s cancel {run.full}`", "the new run goes on from its checkpoints"
        if run.is_over and run.directory in directories:
            yield ok(_EARLIER, f"{same}: {goes_on}")
        elif run.directory in directories:
            yield missing(_EARLIER, f"{same}: {cancel} first, {goes_on}")
        elif not run.is_over:
            yield note(_EARLIER, f"{stands}; both will run ({cancel} ends it)")


def plan_changes(
    api: Api, objects: Sequence[Object], there: Mapping[str, Object], *, force: bool = False
) -> list[Change]:
    """Plan what an apply of these objects would do, by a dry run of each. `there`: what exists, from `find_existing`.

    Claims that exist stay as they are, and so do a run object and its TrainingRuntime that another version of fino1 has
    submitted from the same run file: their pod templates cannot change. Raises SpecError or ClusterError with all refusals.
    """
    problems: list[Exception] = []
    pairs = [(thing, there.get(label(thing), {})) for thing in objects]
    of_others = {run_of(mine) for mine, old in pairs if old and is_run(mine) and _version(mine) != _version(old)}

    def is_kept(thing: Object) -> bool:
        return not run_of(thing) or (run_of(thing) in of_others and (is_run(thing) or bool(pod_templates(thing))))

    def ask(pair: tuple[Object, Object]) -> Change | None:
        thing, before = pair
        try:
            _refuse_foreign(thing, before)
            if before and is_kept(thing):
                return Change(thing, before, before, "unchanged")
            thing = _keep_suspend(before, thing)
            would = api.apply(thing, dry_run=True, force=force, before=before)
            return Change(thing, before, would.object, would.outcome)
        except SpecError as error:
            problems.append(error)
        except ApiError as error:
            if thing["kind"] == "TrainJob" and AWAITS_RUNTIME in str(error):
                return Change(thing, {}, thing, "created")
            if error.status not in _REFUSED:
                raise
            problems.append(error)
        return None

    found = [change for change in in_parallel(ask, pairs) if change]
    raise_all(problems)
    return found


def admit_pods(api: Api, objects: Sequence[Object]) -> tuple[list[Object], list[Finding]]:
    """Ask the server to admit a pod of each template: a run object is admitted even where its pods are not, by Pod Security,
    LimitRanges or quotas. Returns the pods' specs, with what the server adds to them, and what it says of them.
    """
    is_queued = any("kueue.x-k8s.io/queue-name" in thing["metadata"]["labels"] for thing in objects)
    found: dict[str, Finding] = {}  # by reason: the pods of an evaluation's models are alike

    def ask(pod: Object) -> Object:
        try:
            admitted = api.create(pod, dry_run=True)["spec"]
        except ApiError as error:
            if error.status not in _REFUSED:
                raise
            reason, name = _FORBIDDEN_POD.sub("", str(error)), pod["metadata"]["name"]
            if reason.startswith("forbidden: "):  # by the user's rights, not the pod's contents
                found[reason] = note("pods", f"not asked whether the cluster admits the run's pods: {reason}")
            elif "exceeded quota" in reason and is_queued:
                found[reason] = wait("pods", f"{name}: no room now, it will wait: {reason}")
            else:
                says = f"{name}: the pods of this run would be refused: {reason}"
                found[reason] = missing("pods", says, status=error.status)
            return pod["spec"]
        if added := _list_added(pod["spec"], admitted):
            found[added] = note("limits", f"the namespace adds to containers that set none: {added}")
        return admitted

    specs = in_parallel(ask, make_sample_pods(objects))
    is_admitted = all(each.about != ("pods",) for each in found.values())
    return specs, [*sorted(found.values(), key=str), *([ok("pods", "the server admits them")] if is_admitted else [])]


def make_sample_pods(objects: Sequence[Object]) -> list[dict[str, Any]]:
    """A pod of each template, as a controller would make it; without an account among `objects`, which admission would miss."""
    accounts = {thing["metadata"]["name"] for thing in objects if thing["kind"] == "ServiceAccount"}
    found = []
    for thing in objects:
        for template in pod_templates(thing):
            metadata = {"name": thing["metadata"]["name"], **template.get("metadata", {})}
            spec = dict(template["spec"])
            if spec.get("serviceAccountName") in accounts:
                del spec["serviceAccountName"]
            found.append({"apiVersion": "v1", "kind": "Pod", "metadata": metadata, "spec": spec})
    return found


def _list_added(before: Mapping[str, Any], admitted: Mapping[str, Any]) -> str:
    """The requests and limits that a LimitRange has added to containers, as text; a memory limit nobody chose can kill a run."""
    found: dict[str, None] = {}
    for mine, theirs in zip(before["containers"], admitted["containers"], strict=False):
        own = mine.get("resources", {})
        for kind in ("limits", "requests"):
            chosen = {**own.get("limits", {}), **own.get(kind, {})}
            for resource, amount in (theirs.get("resources", {}).get(kind) or {}).items():
                if resource not in chosen:
                    found[f"{kind.removesuffix('s')} {resource} {amount}"] = None
    return ", ".join(found)


def find_claim_differences(changes: Sequence[Change]) -> Iterator[str]:
    """A line for each claim that exists with another size or class than the run file's; it is left as it is."""
    for change in changes:
        if change.object["kind"] == "PersistentVolumeClaim" and change.before:
            mine, there = change.object["spec"], change.before["spec"]
            sizes = (spec["resources"]["requests"].get("storage") for spec in (mine, there))
            fields = [(key, mine.get(key), there.get(key)) for key in ("storageClassName", "accessModes")]
            for key, want, has in (("size", *sizes), *fields):
                if want is not None and want != has:
                    says = f"{key} is {has}, the run file says {want}; a claim that exists is left as it is"
                    yield f"{label(change.object)}: {says}"


def describe_kept(change: Change) -> str:
    """Say why a run object stays though this version of fino1 would make another one, for a message; empty for other changes."""
    if not change.before or not is_run(change.object) or _version(change.before) == _version(change.object):
        return ""
    anew = f"to have it made anew: `fino1-k8s cancel {change.object['metadata']['name']}` first"
    return f"as fino1 {_version(change.before)} has made it; {anew}"


def raise_all(problems: Sequence[Exception]) -> None:
    """Raise SpecError where all problems are the run file's, else ClusterError: quotas, policies and rights are the cluster's."""
    lines = sorted({str(problem) for problem in problems})
    if lines and all(isinstance(problem, SpecError) or getattr(problem, "status", 0) == 422 for problem in problems):
        raise SpecError(lines)
    if lines:
        raise ClusterError("\n".join(lines))


def _refuse_foreign(thing: Object, there: Object) -> None:
    """SpecError where the object that exists is not ours to change, or a claim that goes."""
    if there and not run_of(thing):
        if there["metadata"].get("deletionTimestamp"):
            raise SpecError(f"{label(thing)}: expected a claim that stays, got one that is being deleted")
    elif there and (owner := find_owner(there)):
        raise SpecError(f"{label(thing)}: expected it to be this command's, got one of {owner}, or take another --name")
    elif there and (there["metadata"].get("labels") or {}).get("app.kubernetes.io/part-of") != "fino1":
        labels, managers = there["metadata"].get("labels") or {}, there["metadata"].get("managedFields") or []
        by = labels.get("app.kubernetes.io/managed-by") or join_names({entry["manager"] for entry in managers})
        raise SpecError(
            f"{label(thing)}: expected no such object, or one of ours, got another's (made by {by or 'unknown'},"
            " without the label app.kubernetes.io/part-of: fino1): take another --name"
        )


def _keep_suspend(before: Object, thing: Object) -> Object:
    """A run object that keeps the `suspend` of the existing one, which `suspend`, `resume` or Kueue has set."""
    if not before or not is_run(thing):
        return thing
    spec, there = (each["spec"].get("runPolicy", each["spec"]) for each in (thing, before))
    if "suspend" not in spec or spec["suspend"] == there.get("suspend"):
        return thing
    kept = {**spec, "suspend": there.get("suspend", False)}
    return {**thing, "spec": {**thing["spec"], "runPolicy": kept} if "runPolicy" in thing["spec"] else kept}


def _version(thing: Object) -> str:
    return (thing["metadata"].get("labels") or {}).get(_VERSION, "unknown")
