"""Which objects does a run need, as plain dicts in a fixed order? (docs/design.md C1) The chart's templates say the same."""

from collections.abc import Mapping
from typing import Any

from fino1 import __version__, exits
from fino1.k8s.objects import pod, scheduling
from fino1.k8s.objects.backends import BACKENDS, GANG_SCHEDULERS, TRAINER, group_of
from fino1.k8s.objects.unit import Unit, given, ports, units
from fino1.spec import canonical, load
from fino1.spec.run import RunSpec

Object = dict[str, Any]
CHART = f"fino1-{__version__}".replace("+", "_")[:63]  # as a label's value


def render(spec: RunSpec, name: str, *, tests: bool = False) -> list[Object]:
    """The objects of the run `name`, with `tests` also the pod of `helm test`, last. Pure: no clock, no randomness, no cluster.

    Raises SpecError for a name that Kubernetes would refuse.
    """
    parts = units(spec, name)
    objects = _claims(parts[0])
    for unit in parts:
        objects += [*_make_support_objects(unit), *_run(unit)]
    return [*objects, pod.test_pod(parts[0])] if tests else objects


def _object(unit: Unit, api: str, kind: str, name: str | None = None, **keys: Any) -> Object:
    labels = {**pod.labels(unit), "app.kubernetes.io/version": __version__, "helm.sh/chart": CHART}
    return {"apiVersion": api, "kind": kind, "metadata": {"name": name or unit.full, "labels": labels}, **keys}


def _claims(unit: Unit) -> list[Object]:
    """The claims outlive the run: Helm keeps them, and their labels name no run."""
    objects = []
    for claim in (unit.document["volumes"][name] for name in ("work", "models")):
        if claim["create"]:
            size = {"resources": {"requests": {"storage": claim["size"]}}}
            spec = {
                "accessModes": claim["accessModes"],
                **given(storageClassName=claim.get("storageClassName")),
                **size,
            }
            thing = _object(unit, "v1", "PersistentVolumeClaim", claim["claimName"], spec=spec)
            for label in ("fino1/run", "app.kubernetes.io/component"):
                del thing["metadata"]["labels"][label]
            thing["metadata"]["annotations"] = {"helm.sh/resource-policy": "keep"}
            objects.append(thing)
    return objects


def _make_support_objects(unit: Unit) -> list[Object]:
    """The ServiceAccount, ConfigMap and NetworkPolicy of the unit's pods."""
    objects = []
    if "serviceAccountName" not in unit.document:
        objects.append(_object(unit, "v1", "ServiceAccount", automountServiceAccountToken=False))
    data = {"config.json": canonical.dumps(load.config(unit.spec)), "name": unit.name}
    objects.append(_object(unit, "v1", "ConfigMap", data=data, immutable=True))
    if unit.document["networkPolicy"]["enabled"]:
        objects.append(_object(unit, "networking.k8s.io/v1", "NetworkPolicy", spec=_network(unit)))
    return objects


def _network(unit: Unit) -> dict[str, Any]:
    """Default deny; the unit's own pods, DNS, and what the run needs of the world."""
    own = {"matchLabels": {"fino1/run": unit.full}}
    dns = [{"port": 53, "protocol": "UDP"}, {"port": 53, "protocol": "TCP"}]
    outside = [{"port": port, "protocol": "TCP"} for port in ports(unit)]
    return {
        "podSelector": own,
        "policyTypes": ["Ingress", "Egress"],
        "ingress": [{"from": [{"podSelector": own}]}],
        "egress": [
            {"to": [{"podSelector": own}]},
            {"ports": dns},
            *([{"ports": outside}] if outside else []),
            *unit.document["networkPolicy"]["egress"],
        ],
    }


def _run(unit: Unit) -> list[Object]:
    makers = {"pytorchjob": _pytorchjob, "job": _job, "jobset": _jobset, "trainjob": _trainjob}
    return makers[unit.backend](unit)


def _run_object(unit: Unit, spec: dict[str, Any]) -> Object:
    """An object that a controller runs: with the queue's labels, the name of its directory, and the model that it evaluates."""
    backend = BACKENDS[unit.backend]
    thing = _object(unit, backend.api_version, backend.kind, spec=spec)
    keys = {"kueue.x-k8s.io/queue-name": "queue", "kueue.x-k8s.io/priority-class": "workloadPriorityClass"}
    thing["metadata"]["labels"] |= given(**{label: unit.document.get(key) for label, key in keys.items()})
    is_cell = unit.spec.method == "eval"
    model = {"fino1/model": unit.asked[0]["name"]} if is_cell else {}  # the object's name may cut it
    thing["metadata"]["annotations"] = {"fino1/directory": unit.directory, **model}
    return thing


def _limits(unit: Unit) -> dict[str, Any]:
    """The keys that say how long it may run, how long it stays, and whether it waits."""
    keys = ("activeDeadlineSeconds", "ttlSecondsAfterFinished")
    return given(**{key: unit.document.get(key) for key in keys}, suspend=unit.document["suspend"] or None)


def _pytorchjob(unit: Unit) -> list[Object]:
    """Workers only: with a Master the operator injects an init container that Pod Security `restricted` refuses."""
    nodes, restarts = unit.document["nodes"], unit.document["backoffLimit"]
    gang = given(schedulingPolicy={"minAvailable": nodes} if "gang" in unit.document else None)
    worker = {"replicas": nodes, "restartPolicy": "ExitCode", "template": pod.template(unit, "pytorch")}
    spec = {
        "nprocPerNode": str(unit.ranks),
        "runPolicy": {"cleanPodPolicy": "Running", "backoffLimit": restarts, **_limits(unit), **gang},
        "pytorchReplicaSpecs": {"Worker": worker},
    }
    return [_run_object(unit, spec)]


def _job(unit: Unit) -> list[Object]:
    """A lost pod takes its peers along, so each restart of the group counts once a node. A shard is restarted by itself."""
    nodes, most = unit.document["nodes"], unit.document["backoffLimit"]
    restarts = {"backoffLimitPerIndex": most} if unit.asked else {"backoffLimit": most * nodes}
    spec = {**_job_spec(unit, unit.verb), **restarts, **_limits(unit)}
    if unit.asked or nodes == 1:
        return [*_group(unit), _run_object(unit, spec)]
    spec["template"]["spec"]["subdomain"] = unit.full
    headless = {"clusterIP": "None", "publishNotReadyAddresses": True, "selector": {"fino1/run": unit.full}}
    return [*_group(unit), _object(unit, "v1", "Service", spec=headless), _run_object(unit, spec)]


def _jobset(unit: Unit) -> list[Object]:
    spec = {"failurePolicy": _jobset_failures(unit), "replicatedJobs": [_replicated(unit)]}
    ttl_and_suspend = {key: value for key, value in _limits(unit).items() if key != "activeDeadlineSeconds"}
    return _group(unit) + [_run_object(unit, {**spec, **ttl_and_suspend})]


def _trainjob(unit: Unit) -> list[Object]:
    """The run object, and a TrainingRuntime with the pod template: which of its fields a TrainJob can set changes between
    releases of Trainer.
    """
    document = unit.document
    job = _replicated(unit)
    job["template"]["metadata"] = {"labels": {"trainer.kubeflow.org/trainjob-ancestor-step": "trainer"}}
    runtime = {
        "mlPolicy": {"numNodes": document["nodes"], "torch": {"numProcPerNode": unit.ranks}},
        **({"podGroupPolicy": {document["gang"]: {}}} if "gang" in document else {}),
        "template": {"spec": {"failurePolicy": _jobset_failures(unit), "replicatedJobs": [job]}},
    }
    train = {
        "runtimeRef": {"apiGroup": group_of(TRAINER), "kind": "TrainingRuntime", "name": unit.full},
        "trainer": {"numNodes": document["nodes"], "numProcPerNode": unit.ranks},
        **given(suspend=document["suspend"] or None),
    }
    return [_object(unit, TRAINER, "TrainingRuntime", spec=runtime), _run_object(unit, train)]


def _replicated(unit: Unit) -> dict[str, Any]:
    spec = {**_job_spec(unit, "node"), "backoffLimit": 0}
    deadline = given(activeDeadlineSeconds=unit.document.get("activeDeadlineSeconds"))
    return {"name": "node", "replicas": 1, "template": {"spec": {**spec, **deadline}}}


def _jobset_failures(unit: Unit) -> dict[str, Any]:
    """The whole set starts again, except after an exit code that says that this is of no use."""
    rule = {"name": "fatal", "action": "FailJobSet", "onJobFailureReasons": ["PodFailurePolicy"]}
    return {"maxRestarts": unit.document["backoffLimit"], "rules": [rule]}


def _job_spec(unit: Unit, container: str) -> dict[str, Any]:
    """An Indexed Job of one pod a node, or a shard."""
    template = pod.template(unit, container)
    template["spec"]["restartPolicy"] = "Never"  # podFailurePolicy wants it
    pods = unit.block["shards"] if unit.asked else unit.document["nodes"]
    return {
        "completionMode": "Indexed",
        "completions": pods,
        "parallelism": pods,
        "podFailurePolicy": {"rules": _pod_failures(template)},
        "podReplacementPolicy": "Failed",
        "template": template,
    }


def _pod_failures(template: Mapping[str, Any]) -> list[dict[str, Any]]:
    """Exit codes' meaning (exits.py): fatal codes of our containers end the Job, evictions do not count, the rest is tried
    again. Sidecars' exit codes are ignored.
    """
    spec = template["spec"]
    ours = [c["name"] for c in [*spec.get("initContainers", []), *spec["containers"]] if "restartPolicy" not in c]
    fatal = {"operator": "In", "values": exits.FATAL}
    return [
        *({"action": "FailJob", "onExitCodes": {"containerName": name, **fatal}} for name in ours),
        {"action": "Ignore", "onPodConditions": [{"type": "DisruptionTarget", "status": "True"}]},
    ]


def _group(unit: Unit) -> list[Object]:
    """The PodGroup that the pods of a plain Job or a JobSet wait for; none where an operator makes it."""
    gang, spec = scheduling.own_gang(unit), {"minMember": unit.document["nodes"]}
    return [_object(unit, GANG_SCHEDULERS[gang].api_version, "PodGroup", spec=spec)] if gang else []
