"""Which mistakes of a JobSet or a TrainJob cost a run? (JobSet v1alpha2, Kubeflow Trainer 2)"""

from collections.abc import Iterator
from typing import Any

from fino1.k8s.objects.rules.rule import Fault, Rule, show
from fino1.k8s.objects.rules.walk import RUNTIMES, Thing, entries, get, join, listing, mapping, text, whole

_JOBSET = "kubernetes-sigs/jobset v0.9.1 pkg/webhooks/jobset_webhook.go"
_TRAINER = "kubeflow/trainer v2.0.0 pkg/runtime/framework/plugins"
_REASONS = ["BackoffLimitExceeded", "DeadlineExceeded", "FailedIndexes", "MaxFailedIndexesExceeded", "PodFailurePolicy"]
_STEP = "trainer.kubeflow.org/trainjob-ancestor-step"
_RESERVED = frozenset(["PET_NNODES", "PET_NPROC_PER_NODE", "PET_NODE_RANK", "PET_MASTER_ADDR", "PET_MASTER_PORT"])
_SINCE = {
    "podSpecOverrides": "2.0 alone",
    "podTemplateOverrides": "2.1 alone",
    "runtimePatches": "from 2.2 on",
    "activeDeadlineSeconds": "from 2.2 on",
}

RESTARTS = Rule(
    "jobset-max-restarts",
    "warning",
    "maxRestarts is 0 where it is not set: the first lost pod fails the whole set.",
    "kubernetes-sigs/jobset v0.9.1 api/jobset/v1alpha2/jobset_types.go (FailurePolicy.MaxRestarts)",
)
FATAL = Rule(
    "jobset-retries-fatal",
    "error",
    "A child that failed by its podFailurePolicy ended with a code that says not to try again, but the set starts again.",
    "kubernetes-sigs/jobset v0.9.1 pkg/webhooks/jobset_webhook.go (validOnJobFailureReasons); DESIGN.md C5",
)
CHILD_BACKOFF = Rule(
    "jobset-child-backoff",
    "warning",
    "With a backoffLimit of its own (6 by default) a child Job starts one pod again, alone; its peers of the attempt "
    "before hang or are joined. At 0 the whole set starts again.",
    "kubernetes v1.33 Job.spec.backoffLimit; reference/cluster.md, a peer from the attempt before; DESIGN.md C12",
)
REFERENCE = Rule(
    "jobset-reference", "error", "Policies name replicated jobs and reasons; the webhook refuses unknown ones.", _JOBSET
)
DEPENDS = Rule(
    "jobset-depends-on", "error", "A replicated job can depend on earlier ones only, the first on none.", _JOBSET
)
RUNTIME_TTL = Rule(
    "jobset-ttl-under-trainjob",
    "error",
    "The TTL deletes the JobSet under the TrainJob, which makes it again with its restarts at 0, in a loop.",
    "kubeflow/trainer#3779",
)
TRAINJOB_TTL = Rule(
    "trainjob-ttl",
    "error",
    "A TrainJob has no TTL; `fino1-k8s prune` deletes finished ones.",
    "kubeflow/trainer#2899, #4052",
)
VERSION_BOUND = Rule(
    "trainjob-version-bound",
    "warning",
    "Only some releases of Trainer 2 know this field; the others refuse or drop it. A TrainingRuntime of one's own says the "
    "same in all of them.",
    "kubeflow/trainer v2.0.0, v2.1.0, v2.2.0, v2.3.0 pkg/apis/trainer/v1alpha1/trainjob_types.go",
)
OVERRIDE_ENV = Rule(
    "trainjob-override-env",
    "error",
    "The environment of the containers node, dataset-initializer and model-initializer is set by trainer.env and "
    "initializer.*.env only.",
    f"{_TRAINER}/jobset/jobset.go (Validate)",
)
RESERVED = Rule(
    "trainjob-reserved-env",
    "error",
    "Trainer injects these itself and refuses them here.",
    f"{_TRAINER}/torch/torch.go",
)
RUNTIME = Rule(
    "trainjob-runtime",
    "error",
    "runtimeRef.kind is ClusterTrainingRuntime where it is not set, so that a namespaced runtime is not found.",
    "kubeflow/trainer v2.0.0 pkg/apis/trainer/v1alpha1/trainjob_types.go (RuntimeRef)",
)
MISSING = Rule(
    "trainjob-runtime-missing",
    "warning",
    "The webhook refuses a TrainJob whose TrainingRuntime is not in its namespace; it is not among these objects.",
    "kubeflow/trainer v2.0.0 pkg/webhooks/trainjob_webhook.go",
)
NODE = Rule(
    "trainjob-container-node",
    "error",
    "Trainer finds the pods that train by the step label, their container and their address by the name node; under "
    "another name trainer.* and PET_* reach nothing.",
    f"{_TRAINER}/jobset/builder.go (Trainer), torch/torch.go",
)


def check(thing: Thing) -> Iterator[Fault]:
    """What is wrong with this JobSet, training runtime or TrainJob? What only the other objects tell: `check_runtimes`."""
    if thing.kind == "JobSet":
        yield from _set("spec", mapping(thing.body, "spec"), thing)
    elif thing.kind in RUNTIMES:
        path = "spec.template.spec"
        spec = mapping(thing.body, "spec", "template", "spec")
        yield from _set(path, spec, thing)
        if spec.get("ttlSecondsAfterFinished") is not None:
            message = f"expected none, got {show(spec['ttlSecondsAfterFinished'])}"
            yield RUNTIME_TTL.at(f"{path}.ttlSecondsAfterFinished", message)
        yield from _node(thing)
    elif thing.kind == "TrainJob":
        yield from _trainjob(mapping(thing.body, "spec"))


def check_runtimes(thing: Thing, runtimes: set[tuple[str, str]]) -> Iterator[Fault]:
    """Is the TrainJob's runtime among `runtimes`, the (kind, name) of those in the same set of objects?"""
    if thing.kind != "TrainJob":
        return
    kind, name = get(thing.body, "spec", "runtimeRef", "kind"), text(thing.body, "spec", "runtimeRef", "name")
    wanted = kind or "ClusterTrainingRuntime"
    if not name or not isinstance(wanted, str) or (wanted, name) in runtimes:
        return
    others = [other for other, its_name in sorted(runtimes) if its_name == name]
    if others:
        yield RUNTIME.at("spec.runtimeRef.kind", f"expected {others[0]}, got {show(kind)}")
    elif wanted == "TrainingRuntime":
        known = ", ".join(sorted(its_name for other, its_name in runtimes if other == wanted)) or "none"
        yield MISSING.at("spec.runtimeRef.name", f"expected a runtime of this set ({known}), got {show(name)}")


def _set(path: str, spec: dict[Any, Any], thing: Thing) -> Iterator[Fault]:
    policy = mapping(spec, "failurePolicy")
    jobs = [job for _, job in thing.replicated]
    names = [text(job, "name") for job in jobs]
    restarts = whole(policy, "maxRestarts")
    if restarts is None:
        message = f"expected a number, got {show(policy.get('maxRestarts'))}"
        yield RESTARTS.at(join(path, "failurePolicy", "maxRestarts"), message)
    elif restarts > 0:
        yield from _fatal(path, policy, jobs)
        yield from _children(thing)
    yield from _references(path, spec, names)
    yield from _depends(thing, names)


def _fatal(path: str, policy: dict[Any, Any], jobs: list[dict[Any, Any]]) -> Iterator[Fault]:
    """Has a child a podFailurePolicy, and ends the set where it says so? The first rule that matches decides."""
    if not any(get(job, "template", "spec", "podFailurePolicy") is not None for job in jobs):
        return
    for _, rule in entries(policy, "rules"):
        reasons = listing(rule, "onJobFailureReasons")
        if (not reasons or "PodFailurePolicy" in reasons) and not listing(rule, "targetReplicatedJobs"):
            if rule.get("action") == "FailJobSet":
                return
            break
        if "PodFailurePolicy" in reasons and rule.get("action") == "FailJobSet":
            return
    message = "expected FailJobSet on reason PodFailurePolicy, got a restart"
    yield FATAL.at(join(path, "failurePolicy", "rules"), message)


def _children(thing: Thing) -> Iterator[Fault]:
    for path, job in thing.replicated:
        limit = get(job, "template", "spec", "backoffLimit")
        pods = (whole(job, "template", "spec", "parallelism") or 1) * (whole(job, "replicas") or 1)
        if limit != 0 and pods * (whole(thing.body, "spec", "mlPolicy", "numNodes") or 1) > 1:
            yield CHILD_BACKOFF.at(join(path, "template", "spec", "backoffLimit"), f"expected 0, got {show(limit)}")


def _references(path: str, spec: dict[Any, Any], names: list[str]) -> Iterator[Fault]:
    policies = [(join(path, "successPolicy"), mapping(spec, "successPolicy"))]
    for index, rule in entries(spec, "failurePolicy", "rules"):
        policies.append((join(path, "failurePolicy", "rules", index), rule))
        for reason in listing(rule, "onJobFailureReasons"):
            if reason not in _REASONS:
                at = join(path, "failurePolicy", "rules", index, "onJobFailureReasons")
                yield REFERENCE.at(at, f"expected {', '.join(_REASONS)}, got {show(reason)}")
    for where, policy in policies:
        for target in listing(policy, "targetReplicatedJobs"):
            if target not in names:
                message = f"expected one of {', '.join(names) or 'none'}, got {show(target)}"
                yield REFERENCE.at(join(where, "targetReplicatedJobs"), message)


def _depends(thing: Thing, names: list[str]) -> Iterator[Fault]:
    for place, (path, job) in enumerate(thing.replicated):
        for index, item in entries(job, "dependsOn"):
            if text(item, "name") not in names[:place]:
                before = f"one of {', '.join(names[:place])}" if place else "none of the first"
                message = f"expected {before}, got {show(item.get('name'))}"
                yield DEPENDS.at(join(path, "dependsOn", index, "name"), message)


def _node(thing: Thing) -> Iterator[Fault]:
    steps = [get(job, "template", "metadata", "labels", _STEP) for _, job in thing.replicated]
    if "trainer" not in steps:
        at = "spec.template.spec.replicatedJobs"
        yield NODE.at(at, f"expected one with the label {_STEP}: trainer, got none")
    for (path, job), step in zip(thing.replicated, steps, strict=True):
        if step != "trainer":
            continue
        containers = entries(job, "template", "spec", "template", "spec", "containers")
        names = [text(body, "name") for _, body in containers]
        if "node" not in names:
            at = join(path, "template", "spec", "template", "spec", "containers")
            yield NODE.at(at, f"expected a container named node, got {', '.join(names) or 'none'}")
        if text(job, "name") != "node":
            yield NODE.at(join(path, "name"), f"expected node, got {show(job.get('name'))}")


def _trainjob(spec: dict[Any, Any]) -> Iterator[Fault]:
    if spec.get("ttlSecondsAfterFinished") is not None:
        yield TRAINJOB_TTL.at("spec.ttlSecondsAfterFinished", "expected none, got one")
    for key, versions in _SINCE.items():
        if spec.get(key) is not None:
            yield VERSION_BOUND.at(
                join("spec", key), f"expected it in a TrainingRuntime, got a field of Trainer {versions}"
            )
    number = get(spec, "trainer", "numProcPerNode")
    if isinstance(number, str):
        message = f"expected an integer, got {show(number)}, which Trainer 2.0 and 2.1 alone take"
        yield VERSION_BOUND.at("spec.trainer.numProcPerNode", message)
    for key, middle in (("podSpecOverrides", ()), ("podTemplateOverrides", ("spec",))):
        for index, item in entries(spec, key):
            for place, container in entries(item, *middle, "containers"):
                name = text(container, "name")
                if name in ("node", "dataset-initializer", "model-initializer") and container.get("env"):
                    at = join("spec", key, index, *middle, "containers", place, "env")
                    yield OVERRIDE_ENV.at(at, f"expected none for {name}, got some")
    for index, item in entries(spec, "trainer", "env"):
        if text(item, "name") in _RESERVED:
            yield RESERVED.at(join("spec.trainer.env", index), f"expected none of {item['name']}, got it")
