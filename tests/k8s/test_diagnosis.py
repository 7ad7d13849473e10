"""Which cause is named for what a cluster says? Objects as controllers and kubelets write them, without a cluster."""

from dataclasses import replace
from datetime import UTC, datetime

import pytest

from fino1.errors import SpecError
from fino1.k8s import times
from fino1.k8s.state import pods
from fino1.k8s.state import status as standing
from fino1.k8s.state.nodes import Node
from fino1.k8s.state.queue import Queue
from fino1.k8s.state.run import Run
from fino1.k8s.why.facts import Facts
from fino1.k8s.why.judge import diagnose

NOW = datetime(2026, 11, 23, 12, 0, 0, tzinfo=UTC)
EARLY, LATE = "2026-11-23T11:00:00Z", "2026-11-23T11:30:00Z"
KINDS = {
    "PyTorchJob": {"pytorchReplicaSpecs": {"Worker": {"replicas": 2, "template": {"spec": {}}}}, "runPolicy": {}},
    "Job": {"parallelism": 2, "template": {"spec": {}}, "backoffLimit": 3},
    "JobSet": {
        "failurePolicy": {"maxRestarts": 4},
        "replicatedJobs": [{"template": {"spec": {"parallelism": 2, "template": {"spec": {}}}}}],
    },
    "TrainJob": {"trainer": {"numNodes": 2}},
}


def condition(kind, reason="", message="", status="True"):
    return {"type": kind, "status": status, "reason": reason, "message": message, "lastTransitionTime": LATE}


def run(kind="PyTorchJob", *conditions, queue="", suspend=False, created=EARLY, **status):
    labels = {"app.kubernetes.io/instance": "run", "app.kubernetes.io/component": "sft"}
    labels |= {"kueue.x-k8s.io/queue-name": queue} if queue else {}
    metadata = {"name": "run-0123456789", "namespace": "ns", "uid": "u", "labels": labels, "creationTimestamp": created}
    spec = (
        KINDS[kind] | {"suspend": suspend}
        if kind != "PyTorchJob"
        else {**KINDS[kind], "runPolicy": {"suspend": suspend}}
    )
    return Run({"kind": kind, "metadata": metadata, "spec": spec, "status": {"conditions": list(conditions), **status}})


def pod(rank=0, phase="Running", state=None, *, last=None, restarts=0, init=None, spec=None, deleted="", **status):
    labels = {"batch.kubernetes.io/job-completion-index": str(rank), "fino1/run": "run-0123456789"}
    metadata = {"name": f"run-0123456789-{rank}", "labels": labels, "creationTimestamp": EARLY}
    metadata |= {"deletionTimestamp": deleted} if deleted else {}
    if state is not None:
        told = {"name": "train", "state": state, "lastState": last or {}, "restartCount": restarts}
        status["containerStatuses"] = [told]
    if init is not None:
        status["initContainerStatuses"] = [init]
    body = {"containers": [{"name": "train", "image": "image"}], "nodeName": "n1", **(spec or {})}
    return {"metadata": metadata, "spec": body, "status": {"phase": phase, **status}}


def ended(code, at=LATE, reason="Error"):
    return {"terminated": {"exitCode": code, "reason": reason, "finishedAt": at}}


def waiting(reason, message=""):
    return {"waiting": {"reason": reason, "message": message}}


def event(name, reason, message, kind="Pod", type_="Warning"):
    about = {"kind": kind, "name": name}
    told = {"involvedObject": about, "reason": reason, "message": message, "type": type_}
    return {**told, "metadata": {"creationTimestamp": EARLY}, "lastTimestamp": LATE}


def verdict(run_, *found, events=(), **more):
    facts = Facts(run_, NOW, pods.group_ranks(found), events, **more)
    return diagnose(facts)["verdict"]


RUNNING = {"running": {"startedAt": EARLY}}
FAILED = condition("Failed", "PyTorchJobFailed", "PyTorchJob run is failing because 1 Worker replica(s) failed.")
CREATED = condition("Created")
SIDECAR = {"initContainers": [{"name": "server", "image": "v", "restartPolicy": "Always"}]}
LINK = {"initContainers": [{"name": "model", "image": "v"}]}


@pytest.mark.parametrize(
    ("run_", "found", "says"),
    [
        (run("Job", condition("Complete")), [], "has succeeded (30m ago): nothing is wrong"),
        (
            run("PyTorchJob", CREATED, condition("Running")),
            [pod(0, state=RUNNING), pod(1, state=RUNNING)],
            "is running (30m): nothing is wrong",
        ),
        (
            run("Job", active=1, ready=1, succeeded=1),
            [pod(0, "Succeeded", ended(0, reason="Completed")), pod(1, state=RUNNING)],
            "is running (1h0m): nothing is wrong",
        ),
        (
            run("Job", active=1, ready=1, succeeded=1),
            [pod(0, "Succeeded", ended(0, reason="Completed")), pod(1, state=RUNNING, last=ended(146), restarts=1)],
            "is running (1h0m): it runs again, after 1 restarts; the last because rank 1 ended with exit code 146",
        ),
        (
            run("Job", active=1, ready=1),
            [pod(0, "Failed", ended(137)), pod(1, state=RUNNING)],
            "runs, without 1 of its 2 pods (for 1h0m): rank 0 ended with exit code 137",
        ),
        # which rank
        (
            run("PyTorchJob", FAILED),
            [pod(0, "Failed", ended(145, EARLY)), pod(1, "Failed", ended(1, LATE))],
            "rank 1 ended with exit code 1: a bug: not retried",
        ),
        (
            run("PyTorchJob", condition("Restarting")),
            [pod(0, state=ended(145)), pod(1, state=RUNNING, last=ended(139), restarts=1)],
            "rank 1 ended with exit code 139: ended by signal 11: tried again",
        ),
        (
            run("PyTorchJob", FAILED),
            [pod(0, "Failed", ended(145))],
            "rank 0 ended with exit code 145: another rank was lost: tried again, and no rank is left that says why",
        ),
        (run("PyTorchJob", FAILED), [pod(0, "Failed", ended(74))], "the disk is full, read-only or unreadable"),
        (
            run("Job", condition("Failed", "BackoffLimitExceeded", "")),
            [pod(0, "Failed", init={"name": "model", "state": ended(2)}, spec=LINK)],
            "container model of rank 0 ended with exit code 2",
        ),
        # given up
        (
            run(
                "JobSet",
                condition("Failed", "ReachedMaxRestarts", "jobset failed due to reaching max number of restarts"),
            ),
            [],
            "it was started again as often as it may (backoffLimit 4)",
        ),
        (
            run(
                "Job",
                condition(
                    "Failed", "PodFailurePolicy", "Container train for pod ns/x failed with exit code 2 matching"
                ),
            ),
            [],
            "a container ended with exit code 2: the user's mistake",
        ),
        (run("TrainJob", condition("Failed", "Odd", "words")), [], "its controller says: words"),
        # nodes
        (
            run("Job", active=1),
            [pod(0, "Failed", reason="Evicted", message="The node was low on resource: ephemeral-storage.")],
            "a pod on node n1 was evicted",
        ),
        (
            run("Job", active=1),
            [pod(0, "Failed", conditions=[condition("DisruptionTarget", "PreemptionByScheduler")])],
            "was preempted by a pod of higher priority",
        ),
        (
            run("Job", active=1),
            [pod(0, state=RUNNING, deleted=EARLY)],
            "a pod should have ended 1h0m ago: node n1 does not answer",
        ),
        # starting
        (run("Job", active=1), [pod(0, "Pending", waiting("ContainerCreating"))], "started on node n1 (for 1h0m)"),
        (
            run("Job", active=1),
            [pod(0, "Pending", waiting("PodInitializing"), init={"name": "model", "state": RUNNING}, spec=LINK)],
            "init container model still runs",
        ),
        (
            run("Job", active=1),
            [pod(0, "Pending", waiting("PodInitializing"), init={"name": "server", "state": RUNNING}, spec=SIDECAR)],
            "sidecar container server is not ready yet",
        ),
        (
            run("Job", active=1),
            [pod(0, "Pending", waiting("CrashLoopBackOff", "back-off 5m0s"), last=ended(1), restarts=5)],
            "container train ends again and again",
        ),
        (
            run("Job", active=1),
            [pod(0, "Pending", waiting("RunContainerError", "exec: no such file"))],
            "container train cannot be started: exec: no such file",
        ),
        (
            run("Job", active=1),
            [pod(0, "Pending", conditions=[condition("PodScheduled", "SchedulingGated", "", "False")])],
            "its pods wait for a scheduling gate",
        ),
        # it runs again
        (
            run("PyTorchJob", condition("Running")),
            [pod(0, state=RUNNING, last=ended(137, reason="OOMKilled"), restarts=3), pod(1, state=RUNNING)],
            "it runs again, after 3 restarts; the last because rank 0 ran out of memory",
        ),
        # nobody
        (run("JobSet"), [], "no controller has touched it for 1h0m: the JobSet controller does not run"),
        (
            run("TrainJob", created="2026-11-23T11:59:30Z"),
            [],
            "it was created 30s ago; Kubeflow Trainer 2 has not answered",
        ),
        (run("PyTorchJob", CREATED), [], "its controller has seen it, and has not made its pods"),
        (run("PyTorchJob", suspend=True), [], "its user has suspended it"),
    ],
)
def test_the_verdict(run_, found, says):
    assert says in verdict(run_, *found)


@pytest.mark.parametrize(
    ("reason", "message", "says"),
    [
        (
            "FailedMount",
            'MountVolume.SetUp failed for volume "config" : configmap "run" not found',
            "ConfigMap run, which",
        ),
        (
            "FailedAttachVolume",
            'Multi-Attach error for volume "pvc-1" Volume is already used',
            "still attached to another",
        ),
        ("FailedCreatePodSandBox", "failed to set up sandbox", "a volume cannot be mounted, or its network"),
    ],
)
def test_what_the_events_of_a_pod_say(reason, message, says):
    stuck = pod(0, "Pending", waiting("ContainerCreating"))
    assert says in verdict(run("Job", active=1), stuck, events=[event("run-0123456789-0", reason, message)])


@pytest.mark.parametrize(
    ("message", "says"),
    [
        (
            'Error creating: pods "x" is forbidden: error looking up service account ns/x: serviceaccount "x" not found',
            'its pods cannot be made: error looking up service account ns/x: serviceaccount "x" not found',
        ),
        (
            "Error creating: pods is forbidden: no PriorityClass with name high was found",
            "its pods cannot be made: no PriorityClass with name high was found",
        ),
        (
            'admission webhook "policy.example.com" denied the request: no GPUs on Fridays',
            "denied the request: no GPUs on Fri",
        ),
        ("Error creating: etcd has no more space", "its pods cannot be made: Error creating: etcd"),
    ],
)
def test_pods_that_are_not_admitted(message, says):
    events = [event("run-0123456789", "FailedCreate", message, "Job")]
    assert says in verdict(run("Job", startTime=EARLY), events=events)


def test_the_exit_code_of_a_pod_that_the_operator_has_deleted():
    told = [
        event(
            "run-0123456789",
            "ExitedWithCode",
            "Pod: ns.run-0123456789-worker-1 exited with code 145",
            "PyTorchJob",
            "Normal",
        ),
        event(
            "run-0123456789",
            "ExitedWithCode",
            "Pod: ns.run-0123456789-worker-0 exited with code 137",
            "PyTorchJob",
            "Normal",
        ),
    ]
    found = pod(0, "Pending", waiting("ContainerCreating"))
    facts = Facts(run("PyTorchJob", condition("Restarting")), NOW, pods.group_ranks([found]), told)
    assert [each["cause"] for each in diagnose(facts)["findings"]] == ["Starting", "Exit137"]


# Kueue


def queue(*conditions, cohort=None, version=1, active=True, nominal="8", reserved="8", **more):
    resources = [{"name": "nvidia.com/gpu", "nominalQuota": nominal}]
    groups = [{"coveredResources": ["nvidia.com/gpu"], "flavors": [{"name": "h200", "resources": resources}]}]
    taken = [{"name": "h200", "resources": [{"name": "nvidia.com/gpu", "total": reserved}]}]
    spec = {"resourceGroups": groups} | ({("cohort", "cohortName")[version - 1]: cohort} if cohort else {})
    container = {"name": "train", "resources": {"limits": {"nvidia.com/gpu": "8"}}}
    workload = {
        "metadata": {"name": "w"},
        "spec": {"active": active, "podSets": [{"count": 2, "template": {"spec": {"containers": [container]}}}]},
        "status": {"conditions": list(conditions), **more},
    }
    local = {"metadata": {"name": "gpus"}, "spec": {"clusterQueue": "cq"}, "status": {}}
    cluster = {"metadata": {"name": "cq"}, "spec": spec, "status": {"flavorsReservation": taken}}
    return Queue(True, workload, local, cluster, ahead=0, waiting=1)


def not_reserved(reason="Pending", message="couldn't assign flavors"):
    return condition("QuotaReserved", reason, message, "False")


@pytest.mark.parametrize(
    ("held", "says"),
    [
        (Queue(installed=False), "it waits in queue gpus, and the cluster has no Kueue"),
        (Queue(), "LocalQueue gpus does not exist"),
        (queue(not_reserved(), nominal="32"), "it waits for quota (next in line)"),
        (queue(not_reserved(), nominal="8"), "Kueue can never admit it: it asks for more than the quota"),
        (queue(not_reserved(), nominal="8", cohort="all"), "it waits for quota"),
        (queue(not_reserved(), nominal="8", cohort="all", version=2), "it waits for quota"),
        (queue(not_reserved("ExceedsMaxQuota"), nominal="32"), "Kueue can never admit it"),
        (queue(not_reserved("NoMatchingFlavor"), nominal="32"), "no flavor fits its nodes and tolerations"),
        (queue(active=False), "it is suspended in its queue"),
        (queue(condition("Evicted", "Deactivated", "was deactivated"), active=False), "it is suspended in its queue"),
        (queue(not_reserved(), condition("Evicted", "Deactivated", "was"), nominal="32"), "it waits for quota"),
        (
            queue(not_reserved(), condition("Evicted", "PodsReadyTimeout", "Exceeded the PodsReady timeout")),
            "Kueue has ended its pods (PodsReadyTimeout): Exceeded the PodsReady timeout",
        ),
        (
            queue(condition("Evicted", "DeactivatedDueToRequeuingLimitExceeded", "exceeding the limit"), active=False),
            "Kueue has ended its pods (DeactivatedDueToRequeuingLimitExceeded): exceeding the limit",
        ),
        (
            queue(
                condition("QuotaReserved"), admissionChecks=[{"name": "provision", "state": "Pending", "message": "m"}]
            ),
            "it has its quota, and waits for admission check provision: Pending",
        ),
    ],
)
def test_in_the_queue(held, says):
    assert says in verdict(run(queue="gpus", suspend=True), queue=held)


def test_past_the_queue():
    held = replace(queue(), workload=None)
    assert "Kueue does not manage the TrainJob: it runs without waiting in its queue" in verdict(
        run("TrainJob", queue="gpus"), queue=held
    )


def test_whose_the_quota_is():
    share = {"flavors": {"nvidia.com/gpu": "h200"}, "resourceUsage": {"nvidia.com/gpu": "4"}}
    admission = {"clusterQueue": "cq", "podSetAssignments": [share, share]}
    owned = {"name": "w2", "ownerReferences": [{"name": "sft-1", "uid": "2"}]}
    holder = {"metadata": owned, "spec": {}, "status": {"admission": admission}}

    def told(reserved):
        held = replace(queue(not_reserved(), nominal="32", reserved=reserved), holders=[holder])
        return diagnose(Facts(run(queue="gpus", suspend=True), NOW, queue=held))["findings"][0]

    assert "it asks for 16; reserved by sft-1 8, other namespaces 16" in told("24")["evidence"][-1]
    assert told("24")["numbers"]["quota"][0]["reservedBy"] == {"sft-1": 8.0, "other namespaces": 16.0}
    # the ClusterQueue's status is behind
    assert "8 of 32 nvidia.com/gpu reserved, it asks for 16; reserved by sft-1 8" in told("0")["evidence"][-1]


def test_a_cluster_queue_that_is_stopped():
    held = queue(not_reserved(), nominal="32")
    held.cluster["status"]["conditions"] = [
        condition("Active", "FlavorNotFound", "flavor h200 does not exist", "False")
    ]
    assert "ClusterQueue cq is not active: flavor h200 does not exist" in verdict(
        run(queue="gpus", suspend=True), queue=held
    )


def test_an_admitted_run_is_judged_by_its_pods():
    held = queue(condition("QuotaReserved"), condition("Admitted"))
    stuck = pod(0, "Pending", waiting("ErrImagePull", "not found"))
    assert "image image cannot be pulled" in verdict(run("PyTorchJob", CREATED, queue="gpus"), stuck, queue=held)


# Claims


def claim(storage_class=None):
    spec = {"accessModes": ["ReadWriteMany"], "resources": {"requests": {"storage": "1Gi"}}}
    spec |= {"storageClassName": storage_class} if storage_class else {}
    return {"metadata": {"name": "work", "creationTimestamp": EARLY}, "spec": spec, "status": {"phase": "Pending"}}


def storage_class(name, default=False, mode="Immediate"):
    annotations = {"storageclass.kubernetes.io/is-default-class": "true"} if default else {}
    return {"metadata": {"name": name, "annotations": annotations}, "provisioner": "p", "volumeBindingMode": mode}


@pytest.mark.parametrize(
    ("body", "classes", "says"),
    [
        (None, None, "PersistentVolumeClaim work does not exist"),
        (claim(), [storage_class("a")], "it names no storage class, and the cluster has no default"),
        (claim("b"), [storage_class("a")], "storage class b does not exist (there: a)"),
        (claim("a"), [storage_class("a")], "provisioner p has not made a volume (for 1h0m)"),
        (claim("a"), None, "claim work is not bound (for 1h0m)"),
        (claim("a"), [storage_class("a", mode="WaitForFirstConsumer")], "has not made its pods"),
    ],
)
def test_claims(body, classes, says):
    assert says in verdict(run("PyTorchJob", CREATED), claims={"work": body}, classes=classes)


# The scheduler's words


@pytest.mark.parametrize(
    ("message", "says"),
    [
        (
            "0/3 nodes are available: 3 Insufficient nvidia.com/gpu.",
            "0/3 nodes are available: 3 Insufficient nvidia.com/gpu",
        ),
        (
            "0/5 nodes are available: 1 node(s) had untolerated taint {node.kubernetes.io/not-ready: }, 2 Insufficient cpu, "
            "2 Insufficient memory. preemption: 0/5 nodes are available: 5 Preemption is not helpful for scheduling.",
            "0/5 nodes are available: 1 node(s) had untolerated taint {node.kubernetes.io/not-ready: }, 2 Insufficient cpu, "
            "2 Insufficient memory",
        ),
        ("no nodes available to schedule pods", "no nodes available to schedule pods"),
    ],
)
def test_the_schedulers_message(message, says):
    refused = condition("PodScheduled", "Unschedulable", message, "False")
    said = verdict(run("Job", active=1), pod(0, "Pending", conditions=[refused], spec={"nodeName": ""}))
    assert said.endswith(f": no node takes it: {says}")


def test_a_product_that_no_node_has():
    refused = condition(
        "PodScheduled", "Unschedulable", "0/1 nodes are available: 1 node(s) didn't match Pod's node selector."
    )
    spec = {"nodeSelector": {"nvidia.com/gpu.product": "H200"}, "nodeName": ""}
    spec["containers"] = [{"name": "train", "image": "i", "resources": {"limits": {"nvidia.com/gpu": "8"}}}]
    found = pod(0, "Pending", spec=spec, conditions=[refused | {"status": "False"}])
    node = Node({"metadata": {"name": "n", "labels": {"nvidia.com/gpu.product": "A100"}}, "status": {}})
    node.body["status"]["allocatable"] = {"nvidia.com/gpu": "8", "pods": "110"}
    told = diagnose(Facts(run("Job", active=1), NOW, pods.group_ranks([found]), nodes=[node]))
    assert told["advice"].startswith("waiting does not help: no node may take it; check gpu.product")
    assert "asked: 8 nvidia.com/gpu on nodes with nvidia.com/gpu.product=H200" in told["findings"][0]["evidence"]
    assert any(
        line.startswith("A100: 1 with nvidia.com/gpu, at most 8 each, free 8")
        for line in told["findings"][0]["evidence"]
    )


# Progress and times


def line(second, done, total=100, **labels):
    labels = {"stage": "sft", **labels}
    told = ", ".join(f'"{key}": "{value}"' for key, value in labels.items())
    counts = f'"done": {done}, "total": {total}, "loss": 0.5'
    return f'2026-11-23T11:00:{second:02}.123456789Z {{"event": "progress", {told}, {counts}}}'


def test_progress_with_the_time_that_is_left():
    told = standing.last_progress([line(0, 10), "2026-11-23T11:00:01Z noise", line(20, 30), line(30, 40)])
    assert (told.done, told.percent, told.eta_s, told.numbers) == (40, 40.0, 60.0, {"loss": 0.5})
    assert str(told) == "sft 40/100 (40 %)  loss 0.5  ETA 1m"


def test_progress_of_another_cell_says_nothing_of_the_pace():
    told = standing.last_progress([line(0, 90, task="one"), line(20, 5, task="two")])
    assert (told.labels, told.eta_s) == ({"task": "two"}, None)


@pytest.mark.parametrize("text", ["", '2026-11-23T11:00:00Z {"event": "progress", "sta', "2026-11-23T11:00:00Z hello"])
def test_a_log_without_progress(text):
    assert standing.last_progress([text]) is None


@pytest.mark.parametrize(
    ("seconds", "text"), [(-3, "0s"), (59, "59s"), (60, "1m"), (3600, "1h0m"), (90000, "1d1h"), (7 * 86400, "7d0h")]
)
def test_lengths_of_time(seconds, text):
    assert times.short(seconds) == text


def test_times_that_users_write():
    assert times.length("2h", "--x").total_seconds() == 7200
    assert times.since("2026-11-23T12:00:00", "--x") == NOW
    with pytest.raises(SpecError, match="--x: expected a time such as 90s, 5m, 2h or 7d, got '5'"):
        times.length("5", "--x")
    with pytest.raises(SpecError, match="--x: expected a time such as 90s, 5m, 2h or 7d, got '9999999d'"):
        times.since("9999999d", "--x")


# Phases


@pytest.mark.parametrize(
    ("run_", "phase"),
    [
        (run("Job", active=2), "Pending"),
        (run("Job", active=2, ready=1), "Running"),
        (run("Job", active=2, failed=1), "Restarting"),
        (run("JobSet", restarts=1), "Restarting"),
        (run("TrainJob", jobsStatus=[{"name": "node", "ready": 1}]), "Running"),
        (run("JobSet", replicatedJobsStatus=[{"name": "node", "active": 1, "ready": 0}]), "Pending"),
        (run("PyTorchJob", condition("Running", status="False"), condition("Restarting")), "Restarting"),
        (run("PyTorchJob", condition("Running"), condition("Suspended", status="False")), "Running"),
        (run("Job", condition("Suspended"), suspend=True), "Suspended"),
        (run("Job", condition("Suspended"), suspend=True, queue="q"), "Queued"),
    ],
)
def test_phases(run_, phase):
    assert run_.phase == phase


def test_why_an_image_cannot_be_pulled():
    tried = 'failed to pull and unpack image "image": failed to resolve reference "image": image: not found'
    for reason, message in (
        ("ErrImagePull", tried),
        ("ImagePullBackOff", f'Back-off pulling "image": ErrImagePull: {tried}'),
    ):
        said = verdict(run("PyTorchJob", CREATED), pod(0, "Pending", waiting(reason, message)))
        assert said.endswith("image image cannot be pulled: not found")


def test_which_keys_a_missing_secret_needs():
    env = [
        {"name": "A", "value": "a"},
        {"name": "HF_TOKEN", "valueFrom": {"secretKeyRef": {"name": "hub", "key": "token"}}},
        {"name": "OTHER", "valueFrom": {"secretKeyRef": {"name": "other", "key": "no"}}},
    ]
    spec = {"containers": [{"name": "train", "image": "image", "env": env}]}
    stuck = pod(0, "Pending", waiting("CreateContainerConfigError", 'secret "hub" not found'), spec=spec)
    told = diagnose(Facts(run("PyTorchJob", CREATED), NOW, pods.group_ranks([stuck])))
    assert told["advice"] == "create the Secret with token in it; the container then starts by itself"


@pytest.mark.parametrize(
    ("line", "advice"),
    [
        ("expected a disk, got [Errno 28] No space left on device: '/work/runs/a'", "make room on the volume"),
        ("expected a disk, got [Errno 30] Read-only file system: '/work/runs/a'", "make room on the volume"),
        ("expected a disk, got [Errno 30] Read-only file system: '/models/hub'", "put the model into the cache"),
    ],
)
def test_what_to_do_about_a_disk(line, advice):
    ranks = pods.group_ranks([pod(0, "Failed", ended(74))])
    assert diagnose(Facts(run("PyTorchJob", FAILED), NOW, ranks, tail=[line]))["advice"].startswith(advice)


def test_a_pod_that_failed_before_its_main_container_could_start():
    failed = pod(0, "Failed", waiting("PodInitializing"), init={"name": "model", "state": ended(2)}, spec=LINK)
    (rank,) = pods.group_ranks([failed])
    assert (rank.last_end.container, rank.last_end.code) == ("model", 2)
    given_up = run("Job", condition("Failed", "PodFailurePolicy", "Container model for pod failed with exit code 2"))
    told = diagnose(Facts(given_up, NOW, [rank]))
    assert [each["cause"] for each in told["findings"]] == ["Exit2"]  # the controller's word adds nothing


@pytest.mark.parametrize(
    ("run_", "found", "phase"),
    [
        (run("TrainJob"), [], "Pending"),  # Trainer 2.0 writes nothing until the end
        (run("TrainJob"), [pod(0, "Pending", waiting("ContainerCreating"))], "Pending"),
        (run("TrainJob"), [pod(0, state=RUNNING)], "Running"),
        (run("Job", active=1, ready=0), [pod(0, "Pending", waiting("ContainerCreating"))], "Pending"),
        (run("Job", active=1, ready=0), [pod(0, "Running", ended(0))], "Running"),  # its phase comes later
        (run("Job", active=1, ready=0), [pod(0, "Succeeded", ended(0))], "Running"),  # not counted yet
        (run("Job", active=1, ready=0), [pod(0, "Failed", ended(137))], "Running"),
        (run("Job", failed=1, ready=0), [pod(0, "Failed", ended(137))], "Restarting"),
        (run("Job", failed=1, active=1, ready=0), [pod(0, state=RUNNING)], "Running"),
        (run("Job", condition("Suspended"), suspend=True), [pod(0, state=RUNNING, deleted=LATE)], "Suspended"),
    ],
)
def test_what_pods_say_of_the_phase(run_, found, phase):
    (told,) = standing.standings([run_], found)
    assert told.run.phase == phase
