"""Would the cluster take a run's objects, and admit their pods? Asks the API server by dry runs, and changes nothing."""

import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from fino1.errors import ClusterError, SpecError
from fino1.k8s.change.owned import INSTANCE, Object, find_owner, in_parallel, is_run, join_names, label, list_ours
from fino1.k8s.cluster.client import Api, Outcome
from fino1.k8s.cluster.errors import ApiError
from fino1.k8s.objects.backends import BACKENDS, GANG_SCHEDULERS, KINDS, OPERATORS, group_of, pod_templates
from fino1.k8s.state.run import run_of

# Trainer 2's webhook looks for the runtime, which a dry run does not make (pkg/runtime/core/trainingruntime.go).
AWAITS_RUNTIME = "must be created before the TrainJob"
_VERSION = "app.kubernetes.io/version"
_REFUSED = (403, 409, 422)  # refusals of one object; other errors concern all of them
_FORBIDDEN_POD = re.compile(r'.*pods "[^"]*" is forbidden: ')
_MOST_ERRORS = 20


@dataclass(frozen=True)
class Change:
    """Effect of an apply of one object: the object as rendered, as the cluster holds it ({}: not at all), and as it would."""

    object: Object
    before: Object
    after: Object
    outcome: Outcome


def check_kinds(api: Api, objects: Sequence[Object]) -> None:
    """Raise SpecError if the cluster does not serve a kind; it names the operator to install, and the backends that are there."""
    missing = {
        thing["kind"]: thing["apiVersion"] for thing in objects if not api.serves(thing["apiVersion"], thing["kind"])
    }
    if not missing:
        return
    problems = []
    for kind, version in missing.items():
        operator = OPERATORS.get(group_of(version))
        how = f"; to install it: {operator.how}" if operator and operator.how else ""
        problems.append(f"{kind} ({version}): expected a kind that {api.url} serves, got one it does not{how}")
    if "PodGroup" in missing:
        gangs = [name for name, gang in GANG_SCHEDULERS.items() if api.serves(gang.api_version, "PodGroup")]
        without = "none; without the key pods start one by one"
        problems.append(f"gang: this cluster has {' and '.join(gangs) or without}")
    else:
        offered = [name for name, backend in BACKENDS.items() if api.serves(backend.api_version, backend.kind)]
        problems.append(f"backend: this cluster has the operators for --set backend={' or '.join(offered)}")
    raise SpecError(problems)


def find_existing(api: Api, objects: Sequence[Object]) -> dict[str, Object]:
    """Those of these objects that exist, and others of the same run name, by label (Kind/name)."""
    kinds = dict.fromkeys((thing["apiVersion"], thing["kind"]) for thing in objects if run_of(thing))
    kinds |= dict.fromkeys((version, kind) for kind, version in KINDS.items())
    instances = {thing["metadata"]["labels"][INSTANCE] for thing in objects}
    things = [thing for instance in instances for thing in list_ours(api, kinds, f"{INSTANCE}={instance}")]
    for claim in (thing for thing in objects if not run_of(thing)):
        there = api.get(claim["apiVersion"], claim["kind"], claim["metadata"]["name"])
        things += [there] if there else []
    return {label(thing): thing for thing in things}


def plan_changes(
    api: Api, objects: Sequence[Object], there: Mapping[str, Object], *, force: bool = False
) -> list[Change]:
    """Plan what an apply of these objects would do, by a dry run of each. `there`: what exists, from `find_existing`.

    Claims that exist stay as they are, and so do a run object and its TrainingRuntime that another version of fino1 has
    submitted from the same run file: their pod templates cannot change. Raises SpecError or ClusterError with all refusals.
    """
    problems: list[Exception] = []
    kept = set(_list_kept_labels(objects, there))
    runtimes = {thing["metadata"]["name"] for thing in objects if thing["kind"] == "TrainingRuntime"}

    def ask(thing: Object) -> Change | None:
        before = there.get(label(thing), {})
        try:
            if label(thing) in kept:
                return _keep(thing, before)
            return _plan_change(api, thing, before, force)
        except SpecError as error:
            problems.append(error)
        except ApiError as error:
            if thing["kind"] == "TrainJob" and AWAITS_RUNTIME in str(error) and thing["metadata"]["name"] in runtimes:
                return Change(thing, {}, thing, "created")
            if error.status not in _REFUSED:
                raise
            problems.append(error)
        return None

    found = [change for change in in_parallel(ask, objects) if change]
    raise_all(problems)
    return found


def admit_pods(api: Api, objects: Sequence[Object]) -> list[str]:
    """Ask the server to admit a pod of each template: a run object is admitted even where its pods are not.

    Returns warnings. Raises SpecError or ClusterError with all refusals.
    """
    if not api.can("create", "pods"):
        return ["not asked whether the cluster admits the run's pods: this user may not create pods (docs/rbac.md)"]
    is_queued = any("kueue.x-k8s.io/queue-name" in thing["metadata"]["labels"] for thing in objects)
    warnings: list[str] = []
    problems: dict[str, Exception] = {}  # by reason: the pods of an evaluation's models are alike

    def ask(pod: Object) -> None:
        try:
            api.create(pod, dry_run=True)
        except ApiError as error:
            if error.status not in _REFUSED:
                raise
            reason, name = _FORBIDDEN_POD.sub("", str(error)), pod["metadata"]["name"]
            if "exceeded quota" in reason and is_queued:
                warnings.append(f"{name}: no room now, it will wait: {reason}")
            else:
                problems[reason] = ApiError(f"{name}: the pods of this run would be refused: {reason}", error.status)

    in_parallel(ask, make_sample_pods(objects))
    raise_all(list(problems.values()))
    return warnings


def make_sample_pods(objects: Sequence[Object]) -> list[dict[str, Any]]:
    """A pod of each template, as a controller would make it; without an account among `objects`, which admission would miss."""
    accounts = {thing["metadata"]["name"] for thing in objects if thing["kind"] == "ServiceAccount"}
    found = []
    for name, template in (
        (each["metadata"]["name"], template) for each in objects for template in pod_templates(each)
    ):
        spec = dict(template["spec"])
        if spec.get("serviceAccountName") in accounts:
            del spec["serviceAccountName"]
        metadata = {"name": name, **template.get("metadata", {})}
        found.append({"apiVersion": "v1", "kind": "Pod", "metadata": metadata, "spec": spec})
    return found


def find_claim_differences(changed: Sequence[Change]) -> Iterator[str]:
    """A line for each claim that exists with another size or class than the run file's; it is left as it is."""
    for change in changed:
        if change.object["kind"] != "PersistentVolumeClaim" or not change.before:
            continue
        wanted, there = (_claim_fields(each["spec"]) for each in (change.object, change.before))
        for key, want in wanted.items():
            if want is not None and want != there[key]:
                has = f"{key} is {there[key]}, the run file says {want}"
                yield f"{label(change.object)}: {has}; a claim that exists is left as it is"


def describe_kept(change: Change) -> str:
    """Say why a run object stays though this version of fino1 would make another one, for a message; empty for other changes."""
    if not change.before or not is_run(change.object) or _version(change.before) == _version(change.object):
        return ""
    anew = f"to have it made anew: `fino1-k8s cancel {change.object['metadata']['name']}` first"
    return f"as fino1 {_version(change.before)} has made it; {anew}"


def raise_all(problems: Sequence[Exception]) -> None:
    """Raise SpecError where all problems are the run file's, else ClusterError: quotas, policies and rights are the cluster's."""
    if not problems:
        return
    lines = list(dict.fromkeys(str(problem) for problem in problems))
    more = [f"… and {len(lines) - _MOST_ERRORS} more"] if len(lines) > _MOST_ERRORS else []
    lines = sorted(lines[:_MOST_ERRORS]) + more
    if all(isinstance(problem, SpecError) or getattr(problem, "status", 0) == 422 for problem in problems):
        raise SpecError(lines)
    raise ClusterError("\n".join(lines))


def _list_kept_labels(objects: Sequence[Object], there: Mapping[str, Object]) -> Iterator[str]:
    """Labels of the objects that exist and stay as they are: claims, and what another version has made pods of."""
    mine = [thing for thing in objects if label(thing) in there]
    runs = {run_of(thing) for thing in mine if is_run(thing) and _version(thing) != _version(there[label(thing)])}
    for thing in mine:
        if not run_of(thing) or (run_of(thing) in runs and (is_run(thing) or pod_templates(thing))):
            yield label(thing)


def _keep(thing: Object, before: Object) -> Change:
    if run_of(thing):
        _refuse_foreign(before)
    elif before["metadata"].get("deletionTimestamp"):
        raise SpecError(f"{label(thing)}: expected a claim that stays, got one that is being deleted")
    return Change(thing, before, before, "unchanged")


def _plan_change(api: Api, thing: Object, before: Object, force: bool) -> Change:
    """The dry run of one object. SpecError if it exists and is not ours."""
    if before:
        _refuse_foreign(before)
        thing = _keep_suspend(before, thing)
    try:
        would = api.apply(thing, dry_run=True, force=force, before=before)
    except ApiError as error:
        if not before and error.status in (409, 422):
            _find_unlabelled(api, thing)
        raise
    if not before and would.outcome != "created":
        before = _find_unlabelled(api, thing)
    return Change(thing, before, would.object, would.outcome)


def _refuse_foreign(thing: Object) -> None:
    if other := find_owner(thing):
        raise SpecError(
            f"{label(thing)}: expected it to be this command's, got one of {other.name}: {other.removal}, or take another --name"
        )


def _find_unlabelled(api: Api, thing: Object) -> Object:
    """The object of that name that `find_existing` has not found; {} if it is gone since. SpecError where it is not ours."""
    there = api.get(thing["apiVersion"], thing["kind"], thing["metadata"]["name"])
    if there is None:
        return {}
    _refuse_foreign(there)
    labels = there["metadata"].get("labels") or {}
    managers = dict.fromkeys(entry["manager"] for entry in there["metadata"].get("managedFields") or [])
    if labels.get("app.kubernetes.io/part-of") != "fino1":
        by = labels.get("app.kubernetes.io/managed-by") or join_names(managers) or "unknown"
        raise SpecError(
            f"{label(thing)}: expected no such object, or one of ours, got another's (made by {by},"
            " without the label app.kubernetes.io/part-of: fino1): take another --name"
        )
    return there


def _keep_suspend(before: Object, thing: Object) -> Object:
    """A run object that keeps the `suspend` of the existing one, which `suspend`, `resume` or Kueue has set."""
    if not is_run(thing):
        return thing
    spec, there = (each["spec"].get("runPolicy", each["spec"]) for each in (thing, before))
    if "suspend" not in spec or spec["suspend"] == there.get("suspend"):
        return thing
    kept = {**spec, "suspend": there.get("suspend", False)}
    return {**thing, "spec": {**thing["spec"], "runPolicy": kept} if "runPolicy" in thing["spec"] else kept}


def _claim_fields(spec: Mapping[str, Any]) -> dict[str, Any]:
    size = spec["resources"]["requests"].get("storage")
    return {"size": size, **{key: spec.get(key) for key in ("storageClassName", "accessModes")}}


def _version(thing: Object) -> str:
    return (thing["metadata"].get("labels") or {}).get(_VERSION, "unknown")
