"""Which mistakes of a Job cost a run? Those of `batch/v1`, also where a JobSet or a training runtime holds one."""

import re
from collections.abc import Iterator
from typing import Any

from fino1 import exits
from fino1.k8s.objects.rules.rule import Fault, Rule, show
from fino1.k8s.objects.rules.walk import Thing, entries, get, join, listing, mapping, text, whole

_BATCH = "kubernetes v1.33 pkg/apis/batch/validation/validation.go"
POLICY_RESTART = Rule(
    "job-failure-policy-restart",
    "error",
    "podFailurePolicy looks at failed pods; under another restartPolicy the kubelet restarts the container instead.",
    f"{_BATCH} (validatePodFailurePolicy)",
)
POLICY_INVALID = Rule(
    "job-failure-policy-invalid",
    "error",
    "The API server refuses such a Job; where a JobSet or a TrainJob holds it, their object is made and stays without pods.",
    f"{_BATCH} (validatePodFailurePolicyRuleOnExitCodes, validatePodReplacementPolicy)",
)
EXIT_CODES = Rule(
    "job-exit-codes",
    "error",
    "Codes 1–127 are the user's mistakes and bugs, which no restart mends; 128 and up say try again.",
    "DESIGN.md C5, fino1/exits.py; Job.spec.podFailurePolicy, KEP-3329",
)
DISRUPTION = Rule(
    "job-disruption-counts",
    "warning",
    "Evictions and preemptions are nobody's fault; where they count, a few of them use the backoffLimit up.",
    "kubernetes.io Jobs (Pod failure policy), KEP-3329; reference/kubernetes.md §3 (Preemption)",
)
COMPLETIONS = Rule(
    "job-indexed-completions", "error", "An Indexed Job needs its number of indexes.", f"{_BATCH} (validateJobSpec)"
)
PER_INDEX = Rule(
    "job-backoff-per-index",
    "error",
    "A limit for each index needs indexes, and failed pods to count: completionMode Indexed, restartPolicy Never.",
    "kubernetes v1.33 pkg/apis/batch/types.go (BackoffLimitPerIndex), KEP-3850",
)
DEADLINE = Rule(
    "pod-active-deadline",
    "warning",
    "A deadline of the pod fails that pod alone, and its controller starts it again; the run's own deadline ends the run.",
    "kubernetes v1.33 pkg/apis/core/types.go (PodSpec.ActiveDeadlineSeconds)",
)
TTL_TRACKED = Rule(
    "ttl-gitops",
    "error",
    "GitOps tools make a tracked object again that its TTL has deleted: the run would start from its beginning.",
    "argo-cd#8586; Flux kustomize-controller drift correction",
)
TTL_HOOK = Rule(
    "ttl-hook",
    "warning",
    "A hook that its TTL deletes before the tool has seen it finished hangs the sync.",
    "argo-cd#21055",
)
HOOK_SIDECAR = Rule(
    "argo-hook-sidecar",
    "error",
    "A sidecar (init container with restartPolicy Always) in a hook Job leaves the hook's finalizer in place.",
    "argo-cd#27407",
)
_TRACKED = re.compile(r"argocd\.argoproj\.io/(tracking-id|instance)|(kustomize|helm)\.toolkit\.fluxcd\.io/")
_RUN_KINDS = ("Job", "JobSet", "PyTorchJob")


def check(thing: Thing) -> Iterator[Fault]:
    """What is wrong with the Jobs in this object, and with its deadlines?"""
    for path, spec in thing.job_specs:
        yield from _failure_policy(thing, path, spec)
        yield from _indexes(thing, path, spec)
    if thing.job_specs or thing.kind == "PyTorchJob":
        for pod in thing.pods:
            if (seconds := pod.spec.get("activeDeadlineSeconds")) is not None:
                message = f"expected it in the run's own spec, got {show(seconds)} in the pod's"
                yield DEADLINE.at(join(pod.spec_path, "activeDeadlineSeconds"), message)
    yield from _ttl(thing)
    if "argocd.argoproj.io/hook" in thing.annotations and thing.kind == "Job":
        for pod in thing.pods:
            for container in pod.containers:
                if container.role == "sidecar":
                    yield HOOK_SIDECAR.at(join(container.path, "restartPolicy"), "expected none in a hook, got Always")


def _is_ours(thing: Thing) -> bool:
    """Do its pods end with our exit codes?"""
    return thing.is_ours or any(
        word.rpartition("/")[2] == "fino1" for box in thing.containers() for word in box.words[:3]
    )


def _failure_policy(thing: Thing, path: str, spec: dict[Any, Any]) -> Iterator[Fault]:
    policy, where = spec.get("podFailurePolicy"), join(path, "podFailurePolicy")
    restart = get(spec, "template", "spec", "restartPolicy")
    if policy is not None and restart != "Never":
        at = join(path, "template", "spec", "restartPolicy")
        yield POLICY_RESTART.at(at, f"expected Never with podFailurePolicy, got {show(restart)}")
    if policy is not None:
        yield from _invalid(path, spec)
    if not _is_ours(thing) or (policy is None and thing.kind == "Job" and spec.get("backoffLimit") == 0):
        return
    names = {text(body, "name") for _, body in entries(spec, "template", "spec", "containers")}
    rules = [rule for _, rule in entries(policy, "rules")]
    if policy is not None and not any(_ignores_disruption(rule) for rule in rules):
        yield DISRUPTION.at(join(where, "rules"), "expected Ignore on pod condition DisruptionTarget, got no such rule")
    failing = _failing(rules, names)
    retried, failed = sorted(_FATAL - failing), sorted(failing - _FATAL)
    if retried:
        yield EXIT_CODES.at(where, f"expected FailJob for exit codes {_ranges(retried)}, got another try")
    if failed:
        yield EXIT_CODES.at(where, f"expected another try after exit codes {_ranges(failed)}, got FailJob")


def _invalid(path: str, spec: dict[Any, Any]) -> Iterator[Fault]:
    boxes = entries(spec, "template", "spec", "containers") + entries(spec, "template", "spec", "initContainers")
    names = [text(body, "name") for _, body in boxes]
    for index, rule in entries(spec, "podFailurePolicy", "rules"):
        on, where = mapping(rule, "onExitCodes"), join(path, "podFailurePolicy", "rules", index, "onExitCodes")
        values = [value for value in listing(on, "values") if isinstance(value, int)]
        if values != sorted(set(values)) or len(values) > 255 or (values[:1] == [0] and on.get("operator") == "In"):
            message = f"expected at most 255 numbers in order, each once, none 0, got {show(values)}"
            yield POLICY_INVALID.at(join(where, "values"), message)
        if on.get("containerName") is not None and on["containerName"] not in names:
            message = f"expected one of {', '.join(names) or 'none'}, got {show(on['containerName'])}"
            yield POLICY_INVALID.at(join(where, "containerName"), message)
    if spec.get("podReplacementPolicy") not in (None, "Failed"):
        message = f"expected Failed with podFailurePolicy, got {show(spec['podReplacementPolicy'])}"
        yield POLICY_INVALID.at(join(path, "podReplacementPolicy"), message)


def _ignores_disruption(rule: dict[Any, Any]) -> bool:
    conditions = [text(item, "type") for _, item in entries(rule, "onPodConditions")]
    return rule.get("action") == "Ignore" and "DisruptionTarget" in conditions


_CODES = frozenset(range(1, 256))
_FATAL = frozenset(code for code in _CODES if not exits.is_retryable(code))


def _failing(rules: list[dict[Any, Any]], names: set[str]) -> set[int]:
    """After which exit codes is there no other try? For each code the first rule that matches decides."""
    left, failing = set(_CODES), set()
    for rule in rules:
        on = mapping(rule, "onExitCodes")
        if not on or (on.get("containerName") is not None and text(on, "containerName") not in names):
            continue
        values = {value for value in listing(on, "values") if isinstance(value, int)}
        matched = left & values if on.get("operator") == "In" else left - values
        left -= matched
        if rule.get("action") in ("FailJob", "FailIndex"):
            failing |= matched
    return failing


def _ranges(codes: list[int]) -> str:
    """How are these numbers said in short? `1–127, 130`."""
    spans: list[list[int]] = []
    for code in codes:
        if spans and spans[-1][1] == code - 1:
            spans[-1][1] = code
        else:
            spans.append([code, code])
    return ", ".join(str(first) if first == last else f"{first}–{last}" for first, last in spans)


def _indexes(thing: Thing, path: str, spec: dict[Any, Any]) -> Iterator[Fault]:
    is_indexed = spec.get("completionMode") == "Indexed"
    is_plain = thing.kind in ("Job", "CronJob")  # JobSet makes its Jobs Indexed, and fills completions in
    if is_indexed and is_plain and whole(spec, "completions") is None:
        message = f"expected a number with completionMode Indexed, got {show(spec.get('completions'))}"
        yield COMPLETIONS.at(join(path, "completions"), message)
    limit, where = spec.get("backoffLimitPerIndex"), join(path, "backoffLimitPerIndex")
    restart = get(spec, "template", "spec", "restartPolicy")
    if limit is not None and is_plain and not is_indexed:
        message = f"expected completionMode Indexed with it, got {show(spec.get('completionMode'))}"
        yield PER_INDEX.at(where, message)
    elif limit is not None and restart != "Never" and spec.get("podFailurePolicy") is None:
        yield PER_INDEX.at(where, f"expected restartPolicy Never with it, got {show(restart)}")
    if limit is None and spec.get("maxFailedIndexes") is not None:
        yield PER_INDEX.at(join(path, "maxFailedIndexes"), "expected backoffLimitPerIndex with it, got nothing")
    if limit is None and any(
        rule.get("action") == "FailIndex" for _, rule in entries(spec, "podFailurePolicy", "rules")
    ):
        yield PER_INDEX.at(where, "expected a number with action FailIndex, got nothing")


def _ttl(thing: Thing) -> Iterator[Fault]:
    keys = ("spec", "runPolicy") if thing.kind == "PyTorchJob" else ("spec",)
    seconds = get(thing.body, *keys, "ttlSecondsAfterFinished")
    if seconds is None or thing.kind not in _RUN_KINDS:
        return
    path = join("", *keys, "ttlSecondsAfterFinished")
    tracked = [key for key in [*thing.labels, *thing.annotations] if isinstance(key, str) and _TRACKED.match(key)]
    if tracked and not thing.is_hook:
        yield TTL_TRACKED.at(path, f"expected none under {tracked[0]}, got {show(seconds)}")
    if thing.is_hook and isinstance(seconds, int) and seconds < 600:
        yield TTL_HOOK.at(path, f"expected none, or 600 at least, in a hook, got {show(seconds)}")
