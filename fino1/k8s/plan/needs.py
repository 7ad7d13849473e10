"""Is there in the namespace what a run only names: Secrets and their keys, volumes, priority classes, gang schedulers?"""

from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import Any

from fino1.k8s.cluster.client import Api
from fino1.k8s.cluster.errors import ApiError, KindMissing
from fino1.k8s.finding import Finding, missing, note, ok, wait
from fino1.k8s.objects.backends import GANG_SCHEDULERS, OPERATORS, group_of
from fino1.k8s.state.queue import GROUP, kueue_version, stopped
from fino1.k8s.state.volumes import is_default_class
from fino1.spec.placement import ClaimBlock
from fino1.spec.run import RunSpec

_PULL_TYPES = ("kubernetes.io/dockerconfigjson", "kubernetes.io/dockercfg")


def readable(about: str, look: Callable[[], Iterable[Finding]]) -> Iterator[Finding]:
    """What `look` finds; a note instead where this user may not read it, or the cluster has no such kind."""
    try:
        yield from look()
    except KindMissing as error:
        yield note(about, str(error))
    except ApiError as error:
        if error.status != 403:
            raise
        yield note(about, f"not checked, {error}")


def secrets(api: Api, spec: RunSpec) -> Iterator[Finding]:
    """Whether the Secrets exist, with the keys that the pods read. No value is shown."""
    names = dict.fromkeys([*spec.image.pullSecrets, *(ref.name for ref in spec.secretEnv.values())])
    for name in names:
        yield from readable("secret", lambda name=name: _secret(api, spec, name))


def _secret(api: Api, spec: RunSpec, name: str) -> Iterator[Finding]:
    body = api.get("v1", "Secret", name)
    has = sorted((body or {}).get("data") or {})
    refs = {variable: ref for variable, ref in spec.secretEnv.items() if ref.name == name}
    create, problems = f"--namespace {api.namespace}", []
    for variable, ref in refs.items():
        if ref.key not in has:
            got = f"it has {', '.join(has) or 'no keys'}" if body else "the Secret does not exist"
            text = f"{name}: key {ref.key}, for secretEnv.{variable}: {got}"
            hint = f"kubectl create secret generic {name} {create} --from-literal={ref.key}=…"
            problems.append(
                note("secret", f"{text} (optional)") if ref.optional else missing("secret", f"{text}; {hint}")
            )
    if name in spec.image.pullSecrets and body is None:
        hint = f"kubectl create secret docker-registry {name} {create} …"
        problems.append(missing("secret", f"{name}: of image.pullSecrets: does not exist; {hint}"))
    elif name in spec.image.pullSecrets and body["type"] not in _PULL_TYPES:
        text = f"{name}: of image.pullSecrets: expected type {_PULL_TYPES[0]}, got {body['type']}"
        problems.append(missing("secret", text))
    keys = ", ".join(sorted({ref.key for ref in refs.values()}))
    yield from problems or [ok("secret", f"{name}: there" + (f", with {keys}" if keys else ""))]


def claims(api: Api, spec: RunSpec, pods: int) -> Iterator[Finding]:
    """Whether the volumes exist or can be made, and whether so many `pods` can share them."""
    blocks = {block.claimName: block for block in (spec.volumes.models, spec.volumes.work)}
    for name, block in sorted(blocks.items()):
        yield from readable("claim", lambda block=block, name=name: _claim(api, block, name, spec, pods))


def _claim(api: Api, block: ClaimBlock, name: str, spec: RunSpec, pods: int) -> Iterator[Finding]:
    body = api.get("v1", "PersistentVolumeClaim", name)
    if body is None and not block.create:
        yield missing("claim", f"{name}: expected a PersistentVolumeClaim that exists (create: false), got none")
        return
    if body is None:
        yield from readable("claim", lambda: _to_make(api, block, name))
    else:
        yield _state(name, body)
    modes = list(body["spec"].get("accessModes") or []) if body else list(block.accessModes)
    if pods == 1 or {"ReadWriteMany", "ReadOnlyMany"} & set(modes):
        return
    if modes == ["ReadWriteOncePod"]:
        yield missing("claim", f"{name}: ReadWriteOncePod serves one pod, the run has {pods}")
    elif spec.method != "eval":
        yield missing("claim", f"{name}: {pods} pods on several nodes need ReadWriteMany, it has {', '.join(modes)}")
    else:
        yield wait("claim", f"{name}: {', '.join(modes)}: all {pods} pods have to run on one node")


def _state(name: str, body: Mapping[str, Any]) -> Finding:
    """How a claim that exists stands."""
    status, spec = body.get("status") or {}, body["spec"]
    phase = status.get("phase", "Pending")
    size = (status.get("capacity") or spec["resources"]["requests"]).get("storage")
    text = f"{name}: there, {phase}, {size}, {', '.join(spec.get('accessModes') or [])}"
    if body["metadata"].get("deletionTimestamp"):
        return missing("claim", f"{name}: is being deleted")
    if phase == "Lost":
        return missing("claim", f"{name}: has lost its volume")
    return ok("claim", text) if phase == "Bound" else note("claim", f"{text}; bound when a pod uses it, or never")


def _to_make(api: Api, block: ClaimBlock, name: str) -> Iterator[Finding]:
    """Whether a claim can be made: without a class it gets the default one, and without that it is never bound."""
    what = f"{name}: would be made: {block.size}, {', '.join(block.accessModes)}"
    classes = api.list("storage.k8s.io/v1", "StorageClass").items
    names = [each["metadata"]["name"] for each in classes]
    default = [each["metadata"]["name"] for each in classes if is_default_class(each)]
    there = f"(there: {', '.join(names) or 'none'})"
    if block.storageClassName and block.storageClassName not in names:
        yield missing("claim", f"{what}: StorageClass {block.storageClassName} does not exist {there}")
    elif not block.storageClassName and not default:
        yield missing("claim", f"{what}: no default StorageClass; set volumes.*.storageClassName {there}")
    else:
        used = block.storageClassName or f"{default[0]} (the default)"
        several = "; whether it can do so for several nodes, only its driver knows"
        yield ok("claim", f"{what}, StorageClass {used}{'' if block.accessModes == ['ReadWriteOnce'] else several}")


def priority_class(api: Api, name: str) -> Iterator[Finding]:
    """Whether the run's WorkloadPriorityClass exists. (Its PriorityClass the server looks for when it admits a pod.)"""
    version, kind = kueue_version(api), "WorkloadPriorityClass"
    names = [body["metadata"]["name"] for body in api.list(version, kind).items] if version else []
    if name in names:
        yield ok("workloadPriorityClass", f"{name}: there")
    else:
        there = f"(there: {', '.join(names) or 'none'})"
        yield missing("workloadPriorityClass", f"{name}: expected a {kind}, got none {there}")


def gang_scheduler(api: Api, spec: RunSpec) -> Iterator[Finding]:
    """Whether the pods of a run of several nodes start together, by the gang scheduler that it names or by its Kueue queue."""
    groups = {name: group_of(each.api_version) for name, each in GANG_SCHEDULERS.items()}
    offered = [name for name, group in groups.items() if api.versions(group)]
    if spec.gang and spec.gang not in offered:
        group = groups[spec.gang]
        has = f"this cluster offers {' and '.join(offered) or 'none'}; to install it: {OPERATORS[group].how}"
        yield missing("gang", f"{spec.gang}: its PodGroup ({group}) is not served; {has}")
    elif spec.gang or spec.queue:
        yield ok(
            "gang", f"{spec.gang}: its PodGroup is served" if spec.gang else "Kueue admits all pods of the run at once"
        )
    elif spec.nodes > 1:
        hint = f"set gang: {offered[0]}" if offered else "a Kueue queue admits them together"
        yield note("gang", f"{spec.nodes} pods may start one by one and wait for each other; {hint}")


def queue(api: Api, name: str) -> Iterator[Finding]:
    """Whether the Kueue queue exists and is open. Whether its ClusterQueue has the quota, Kueue says after submit (`why`)."""
    served = kueue_version(api)
    queues = {each["metadata"]["name"]: each for each in api.list(served, "LocalQueue").items} if served else {}
    if not served:
        text = "the cluster has no Kueue: remove `queue`, or install it: " + OPERATORS[GROUP].how
        yield missing("queue", f"{name}: {text}")
    elif name not in queues:
        there = f"(there: {', '.join(queues) or 'none'})"
        yield missing("queue", f"{name}: expected a LocalQueue in namespace {api.namespace}, got none {there}")
    else:
        full = f"{name} → {queues[name]['spec']['clusterQueue']}"
        yield from [wait("queue", f"{full}: {text}") for _, text in stopped(queues[name])] or [
            ok("queue", f"{full}: there")
        ]
