"""Is there in the namespace what a run only names: Secrets and their keys, volumes, priority classes, gang schedulers, queues?"""

from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import Any

from fino1.errors import Fino1Error
from fino1.k8s.cluster.client import Api
from fino1.k8s.cluster.errors import ApiError, KindMissing
from fino1.k8s.finding import Finding, missing, note, ok, wait
from fino1.k8s.objects.backends import GANG_SCHEDULERS, OPERATORS, group_of
from fino1.k8s.state.queue import GROUP, kueue_version, stopped
from fino1.k8s.state.volumes import is_default_class
from fino1.spec.placement import ClaimBlock
from fino1.spec.run import RunSpec

_PULL_TYPES = ("kubernetes.io/dockerconfigjson", "kubernetes.io/dockercfg")
_SHARED = {"ReadWriteMany", "ReadOnlyMany"}


def readable(about: str, look: Callable[..., Iterable[Finding] | None], *arguments: Any) -> Iterator[Finding]:
    """What `look` finds, and each problem that it raises; a note where this user may not read it, or no such kind is served."""
    try:
        yield from look(*arguments) or ()
    except KindMissing as error:
        yield note(about, str(error))
    except ApiError as error:
        if error.status != 403:
            raise
        yield note(about, f"not checked, {error}")
    except Fino1Error as error:
        lines = str(error).splitlines()  # which rights are lacking, `rights` says
        yield from (missing(about, line) for line in lines if not line.startswith("forbidden: "))


def find_needs(api: Api, spec: RunSpec, pods: int, is_there: bool) -> Iterator[Finding]:
    """What the run names: Secrets, claims, classes, and for a run that is not there yet its queue; whether its `pods` start
    together.
    """
    for name in dict.fromkeys([*spec.image.pullSecrets, *(ref.name for ref in spec.secretEnv.values())]):
        yield from readable("secret", _secret, api, spec, name)
    claims = {block.claimName: block for block in (spec.volumes.models, spec.volumes.work)}
    for _, block in sorted(claims.items()):
        yield from readable("claim", _claim, api, spec, block, pods)
    if spec.workloadPriorityClass:
        yield from readable("workloadPriorityClass", _priority_class, api, spec.workloadPriorityClass)
    if spec.trains and (spec.nodes > 1 or spec.gang):
        yield from _gang_scheduler(api, spec)
    if spec.queue and not is_there:
        yield from readable("queue", _queue, api, spec.queue)


def _secret(api: Api, spec: RunSpec, name: str) -> Iterator[Finding]:
    """Whether a Secret exists, with the keys that the pods read. No value is shown."""
    body = api.get("v1", "Secret", name)
    has, create, problems = sorted((body or {}).get("data") or {}), f"{name} --namespace {api.namespace}", []
    got = f"it has {', '.join(has) or 'no keys'}" if body else "the Secret does not exist"
    refs = {variable: ref for variable, ref in spec.secretEnv.items() if ref.name == name}
    for variable, ref in refs.items():
        if ref.key not in has:
            text = f"{name}: key {ref.key}, for secretEnv.{variable}: {got}"
            hint = f"kubectl create secret generic {create} --from-literal={ref.key}=…"
            optional, required = note("secret", f"{text} (optional)"), missing("secret", f"{text}; {hint}")
            problems.append(optional if ref.optional else required)
    kind = body["type"] if body else "none"
    if name in spec.image.pullSecrets and kind not in _PULL_TYPES:
        hint = f"kubectl create secret docker-registry {create} …"
        text = f"{name}: of image.pullSecrets: expected type {_PULL_TYPES[0]}, got {kind}; {hint}"
        problems.append(missing("secret", text))
    keys = ", ".join(sorted({ref.key for ref in refs.values()}))
    yield from problems or [ok("secret", f"{name}: there" + (f", with {keys}" if keys else ""))]


def _claim(api: Api, spec: RunSpec, block: ClaimBlock, pods: int) -> Iterator[Finding]:
    """Whether a volume exists or can be made, and whether so many `pods` can share it."""
    name = block.claimName
    body = api.get("v1", "PersistentVolumeClaim", name)
    if body is None and not block.create:
        yield missing("claim", f"{name}: expected a PersistentVolumeClaim that exists (create: false), got none")
        return
    yield from [_state(name, body)] if body else readable("claim", _class_of_new, api, block)
    modes = list(body["spec"].get("accessModes") or []) if body else list(block.accessModes)
    if pods == 1 or _SHARED & set(modes):
        return
    if modes == ["ReadWriteOncePod"]:
        yield missing("claim", f"{name}: ReadWriteOncePod serves one pod, the run has {pods}")
    elif spec.trains:
        yield missing("claim", f"{name}: {pods} pods on several nodes need ReadWriteMany, it has {', '.join(modes)}")
    else:
        yield wait("claim", f"{name}: {', '.join(modes)}: all {pods} pods have to run on one node")


def _state(name: str, body: Mapping[str, Any]) -> Finding:
    """How a claim that exists stands."""
    status, spec = body.get("status") or {}, body["spec"]
    phase = status.get("phase", "Pending")
    if body["metadata"].get("deletionTimestamp") or phase == "Lost":
        return missing("claim", f"{name}: {'has lost its volume' if phase == 'Lost' else 'is being deleted'}")
    size = (status.get("capacity") or spec["resources"]["requests"]).get("storage")
    text = f"{name}: there, {phase}, {size}, {', '.join(spec.get('accessModes') or [])}"
    return ok("claim", text) if phase == "Bound" else note("claim", f"{text}; bound when a pod uses it, or never")


def _class_of_new(api: Api, block: ClaimBlock) -> Iterator[Finding]:
    """Whether a claim can be made: without a class it gets the default one, and without that it is never bound."""
    what = f"{block.claimName}: would be made: {block.size}, {', '.join(block.accessModes)}"
    classes = {each["metadata"]["name"]: each for each in api.list("storage.k8s.io/v1", "StorageClass")}
    default = next((name for name, each in classes.items() if is_default_class(each)), None)
    used, there = block.storageClassName or default, f"(there: {', '.join(classes) or 'none'})"
    if used is None:
        yield missing("claim", f"{what}: no default StorageClass; set volumes.*.storageClassName {there}")
    elif used not in classes:
        yield missing("claim", f"{what}: StorageClass {used} does not exist {there}")
    else:
        which = used if block.storageClassName else f"{used} (the default)"
        several = "; whether it can do so for several nodes, only its driver knows"
        yield ok("claim", f"{what}, StorageClass {which}{'' if block.accessModes == ['ReadWriteOnce'] else several}")


def _priority_class(api: Api, name: str) -> Iterator[Finding]:
    """Whether the run's WorkloadPriorityClass exists. (Its PriorityClass the server looks for when it admits a pod.)"""
    version, kind = kueue_version(api), "WorkloadPriorityClass"
    names = [body["metadata"]["name"] for body in api.list(version, kind)] if version else []
    expected = f"{name}: expected a {kind}, got none (there: {', '.join(names) or 'none'})"
    yield ok("workloadPriorityClass", f"{name}: there") if name in names else missing("workloadPriorityClass", expected)


def _gang_scheduler(api: Api, spec: RunSpec) -> Iterator[Finding]:
    """Whether the pods of a run of several nodes start together, by the gang scheduler that it names or by its Kueue queue."""
    groups = {name: group_of(each.api_version) for name, each in GANG_SCHEDULERS.items()}
    offered = [name for name, group in groups.items() if api.versions(group)]
    if spec.gang and spec.gang not in offered:
        group = groups[spec.gang]
        has = f"this cluster offers {' and '.join(offered) or 'none'}; to install it: {OPERATORS[group].how}"
        yield missing("gang", f"{spec.gang}: its PodGroup ({group}) is not served; {has}")
    elif spec.gang:
        yield ok("gang", f"{spec.gang}: its PodGroup is served")
    elif spec.queue:
        yield ok("gang", "Kueue admits all pods of the run at once")
    else:
        hint = f"set gang: {offered[0]}" if offered else "a Kueue queue admits them together"
        yield note("gang", f"{spec.nodes} pods may start one by one and wait for each other; {hint}")


def _queue(api: Api, name: str) -> Iterator[Finding]:
    """Whether the Kueue queue exists and is open. Whether its ClusterQueue has the quota, Kueue says after submit (`why`)."""
    served = kueue_version(api)
    queues = {each["metadata"]["name"]: each for each in api.list(served, "LocalQueue")} if served else {}
    if not served:
        how = OPERATORS[GROUP].how
        yield missing("queue", f"{name}: the cluster has no Kueue: remove `queue`, or install it: {how}")
    elif name not in queues:
        there = f"(there: {', '.join(queues) or 'none'})"
        yield missing("queue", f"{name}: expected a LocalQueue in namespace {api.namespace}, got none {there}")
    else:
        full = f"{name} → {queues[name]['spec']['clusterQueue']}"
        closed = [wait("queue", f"{full}: {text}") for _, text in stopped(queues[name])]
        yield from closed or [ok("queue", f"{full}: there")]
