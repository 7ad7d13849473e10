"""What keeps a run's pods from running: no node, volume, image or secret, a failed container, a lost node?"""

import re
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from fino1 import exits
from fino1.k8s import times
from fino1.k8s.finding import Finding
from fino1.k8s.state import pods
from fino1.k8s.state.pods import Ended, Rank
from fino1.k8s.state.queue import condition
from fino1.k8s.why import scheduler
from fino1.k8s.why.facts import Facts, flat, refusal_of

_IMAGE = ("ErrImagePull", "ImagePullBackOff", "InvalidImageName", "ErrImageNeverPull", "RegistryUnavailable")
_MISSING = re.compile(r'(secret|configmap) "([^"]+)" not found', re.IGNORECASE)
_KEY = re.compile(r"couldn't find key (\S+) in (Secret|ConfigMap) (?:[^/\s]+/)?(\S+)")
_KINDS = {"secret": "Secret", "configmap": "ConfigMap"}
_MOUNT = ("FailedMount", "FailedAttachVolume", "FailedCreatePodSandBox")
_STUCK_S = 120  # after the end of its grace period a pod should be gone
_DISRUPTED = {
    "PreemptionByScheduler": "preempted by a pod of higher priority",
    "DeletionByTaintManager": "put off its node by a taint (the node is not ready, or is being emptied)",
    "EvictionByEvictionAPI": "evicted (a drain, or an autoscaler)",
    "DeletionByPodGC": "lost with its node",
    "TerminationByKubelet": "ended by its node, which was short of a resource or shut down",
    "Evicted": "evicted",
    **dict.fromkeys(("NodeLost", "Preempting", "Shutdown", "NodeShutdown"), "lost with its node"),
}


def find_failed_containers(facts: Facts) -> Iterator[Finding]:
    """The container that failed first and what its exit code means; the evidence lists the failures that followed."""
    failures = pods.find_root_failures(facts.ranks)
    if not failures:
        return
    first = failures[0]
    yield Finding(
        cause="OOMKilled" if first.reason == "OOMKilled" else f"Exit{first.code}",
        says=_describe_failure(first, facts),
        about=(f"rank {first.rank} ({first.pod})",),
        evidence=tuple(_list_evidence(failures)),
        advice=_advise(first, facts.tail),
        numbers={"exitCode": first.code, "rank": first.rank, "at": first.at},
    )


def find_disruptions(facts: Facts) -> Iterator[Finding]:
    """Pods that were evicted or preempted, or lost with their node."""
    advice = "" if facts.run.is_over else "its controller makes a new pod, which goes on from the newest checkpoint"
    for rank in facts.ranks:
        for pod in (rank.pod, *rank.before[-1:]):
            status, target = pod.get("status") or {}, condition(pod, "DisruptionTarget")
            is_target = target.get("status") == "True"
            reason = target.get("reason", "Disrupted") if is_target else status.get("reason", "")
            if is_target or reason in _DISRUPTED:
                on = f" on node {pod['spec']['nodeName']}" if pod["spec"].get("nodeName") else ""
                says = f"a pod{on} was {_DISRUPTED.get(reason, f'disrupted ({reason})')}"
                about = (f"rank {rank.index} ({pod['metadata']['name']})",)
                yield Finding(reason, says, about, ((target if is_target else status).get("message", ""),), advice)


def find_waiting_pods(facts: Facts) -> Iterator[Finding]:
    """Pods that do not run yet, with the reason that the scheduler or the kubelet gives."""
    for rank in facts.ranks:
        status = rank.pod.get("status") or {}
        if status.get("phase") in ("Succeeded", "Failed"):
            continue
        about = (f"rank {rank.index} ({rank.name})",)
        if deleted := rank.pod["metadata"].get("deletionTimestamp"):
            late = (facts.now - times.parse(deleted)).total_seconds()
            if late > _STUCK_S:  # as on a node that does not answer
                says = f"a pod should have ended {times.short(late)} ago: node {rank.node or '?'} does not answer"
                advice = f"when the node is gone: kubectl delete pod {rank.name} --force"
                yield Finding("Terminating", says, about, (), advice)
        elif refusal := refusal_of(rank.pod):
            yield scheduler.explain(rank.pod["spec"], refusal, facts, about)
        elif not rank.is_running or any(_is_stuck(each) for each in pods.containers(rank.pod)):
            yield from _find_start_causes(rank, facts, about)


def _find_start_causes(rank: Rank, facts: Facts, about: tuple[str, ...]) -> Iterator[Finding]:
    """A pod on a node whose containers do not all run."""
    stuck = [each for each in pods.containers(rank.pod) if _is_stuck(each)]
    if stuck:
        yield from (_explain_stuck(rank, each["name"], each["state"]["waiting"], about) for each in stuck)
        return
    warnings = [e for e in facts.events if e["involvedObject"].get("name") == rank.name and e.get("type") == "Warning"]
    mounts = [event for event in warnings if event.get("reason") in _MOUNT]
    if mounts:
        message, says = flat(mounts[-1]["message"]), "a volume cannot be mounted, or its network cannot be made"
        if thing := _MISSING.search(message):
            says = f"{_KINDS[thing[1].lower()]} {thing[2]}, which it mounts, does not exist"
        elif "Multi-Attach" in message:
            says = "a volume is still attached to another node (access mode ReadWriteOnce)"
        yield Finding(mounts[-1]["reason"], says, about, (message,))
    elif init := _find_awaited_init(rank):
        advice = f"fino1-k8s logs {facts.run.name} -c {init}"
        is_sidecar = init in pods.sidecars(rank.pod)
        says = f"sidecar container {init} is not ready yet" if is_sidecar else f"init container {init} still runs"
        yield Finding("Init", says, about, advice=advice, level="wait")
    elif not rank.is_running and not rank.ends:
        node = f" on node {rank.node}" if rank.node else ""
        since = times.ago(rank.pod["metadata"]["creationTimestamp"], facts.now)
        latest = tuple(event.get("message", "") for event in warnings[-1:])
        says = f"its containers are being started{node} (for {since})"
        yield Finding("Starting", says, about, latest, level="wait")


def _explain_stuck(rank: Rank, name: str, state: Mapping[str, str], about: tuple[str, ...]) -> Finding:
    """A container that the kubelet cannot start."""
    reason, message = state.get("reason", ""), flat(state.get("message", ""))
    evidence = (": ".join(filter(None, (name, reason, message))),)
    says, advice = f"container {name} cannot be started: {message or reason}", ""
    if reason in _IMAGE:
        image = pods.find_container(rank.pod, name).get("image", "")
        last = message.rpartition(": ")[2] if image in message and "failed to" in message else ""
        says = f"image {image} cannot be pulled{f': {last}' if last else ''}"
        advice = "check image.repository, tag or digest, and image.pullSecrets"
    elif key := _KEY.search(message):
        says = f"{key[2]} {key[3]} has no key {key[1]}"
        advice = f"add the key to the {key[2]}, or change secretEnv"
    elif thing := _MISSING.search(message):
        kind = _KINDS[thing[1].lower()]
        says = f"{kind} {thing[2]} does not exist"
        advice = f"create the {kind}{_list_keys(rank, thing[2])}; the container then starts by itself"
    elif reason == "CrashLoopBackOff":
        says = f"container {name} ends again and again; the next start waits"
    return Finding(reason, says, about, evidence, advice)


def _list_keys(rank: Rank, secret: str) -> str:
    """The keys of a Secret that the pod's variables name, for the advice; empty without any."""
    every = [each for c in rank.pod["spec"]["containers"] for each in c.get("env", [])]
    wanted = [each.get("valueFrom", {}).get("secretKeyRef", {}) for each in every]
    keys = sorted({ref["key"] for ref in wanted if ref.get("name") == secret})
    return f" with {', '.join(keys)} in it" if keys else ""


def _is_stuck(status: Mapping[str, Any]) -> bool:
    """Whether the container waits for something else than the usual start."""
    reason = (status.get("state", {}).get("waiting") or {}).get("reason", "")
    return reason not in ("", "ContainerCreating", "PodInitializing")


def _find_awaited_init(rank: Rank) -> str:
    """Name of the init container or sidecar that the pod waits for; empty without one."""
    sidecars = pods.sidecars(rank.pod)
    for each in (rank.pod.get("status") or {}).get("initContainerStatuses") or []:
        if not each.get("started") if each["name"] in sidecars else "running" in each.get("state", {}):
            return each["name"]
    return ""


def _describe_failure(first: Ended, facts: Facts) -> str:
    pod = next(rank.pod for rank in facts.ranks if rank.index == first.rank)
    what = "" if first.container == pods.main_container(pod) else f"container {first.container} of "
    if first.reason == "OOMKilled":
        limit = pods.find_container(pod, first.container).get("resources", {}).get("limits", {}).get("memory")
        return f"{what}rank {first.rank} ran out of memory ({f'limit {limit}' if limit else 'of its node: it has no limit'})"
    aftermath = ", and no rank is left that says why" if first.code == exits.PEER_LOST else ""
    return f"{what}rank {first.rank} ended with exit code {first.code}: {first.meaning}{aftermath}"


def _list_evidence(failures: Sequence[Ended]) -> Iterator[str]:
    for each in failures[:8]:
        reason = f" ({each.reason})" if each.reason not in ("", "Error") else ""
        again = f", restarted {each.restarts} times" if each.restarts else ""
        yield f"{each.pod}: exit code {each.code}{reason} at {each.at or '?'}{again}: {each.meaning}"
        if each.message:
            yield f"{each.pod}: {flat(each.message)}"
    if len(failures) > 8:
        yield f"and {len(failures) - 8} more"


def _advise(first: Ended, tail: Sequence[str]) -> str:
    if first.reason == "OOMKilled":
        return "raise resources.limits.memory, or shmSize where /dev/shm filled it"
    if first.code == exits.USER:
        return "mend what the last lines name, then submit again"
    if first.code == exits.DISK:
        if any("Read-only file system" in line and "/models" in line for line in tail):
            return "put the model into the cache first, or set volumes.models.readOnly=false, then submit again"
        return "make room on the volume that the last lines name, then `fino1-k8s retry`: its checkpoints are intact"
    return "" if exits.is_retryable(first.code) else "a bug: the last lines have its traceback"
